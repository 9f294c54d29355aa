"""A run's config.json of the wrong type or with other values is refused; the error names file and field."""

import json
from dataclasses import replace

import pytest
import torch

from dhpe_lib.network.hand_landmarks import load_hand_landmarks
from dhpe_lib.training.config import ConfigError, TrainingConfig, preset_config, read_config, write_config
from dhpe_lib.training.optimiser import build_optimiser
from dhpe_lib.training.setup import build_network


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "is a list, not an object"),
        (7, "is a whole number, not an object"),
        ({"steps": "7"}, "the field steps is a text, not a whole number"),
        ({"steps": 1.5}, "the field steps is a number, not a whole number"),
        ({"steps": 10**400}, "the field steps is not a whole number <= 9007199254740992"),
        ({"data": "orh"}, "the field data is a text, not a list"),
        ({"data": ["orh", 1]}, r"the field data\[1\] is a whole number, not a text"),
        ({"compile": 1}, "the field compile is a whole number, not true or false"),
        ({"tau": None}, "the field tau is null, not a number"),
        ({"epochs": 3}, "the field epochs is unknown"),
        ({"tau": -1}, "tau is -1.0; it may be a positive number"),
    ],
)
def test_wrong_config(tmp_path, content, message):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=rf"config\.json: is not a configuration of this version \(.*{message}"):
        read_config(tmp_path / "config.json")


def test_a_written_config_is_read_again(tmp_path):
    config = TrainingConfig(data=("a", "b"), tau=7.0, ablation=("without-refiner",), compile=True)
    write_config(tmp_path / "config.json", config)
    assert read_config(tmp_path / "config.json") == config


def test_the_paper_has_nothing_of_its_own_extensions():
    """The preset paper is as the paper writes it; the light preset adds L_h, photos and turned crops."""
    paper, light = preset_config("paper"), preset_config()
    assert (paper.preset, paper.learning_rate, paper.weight_h, paper.clip, paper.weight_decay) == (
        "paper",
        1e-3,
        0,
        0,
        0,
    )
    assert (paper.decay, paper.start, paper.feature_share, paper.jitter_turned) == ("constant", "imagenet", 1, 0)
    assert (paper.weight_feat, paper.weight_sh) == (1, 1)
    assert light == TrainingConfig()
    assert light.weight_h > 0
    with pytest.raises(ConfigError, match="preset is huge"):
        preset_config("huge")


@pytest.mark.parametrize(("preset", "start", "other"), [("light", "imagenet", "hand"), ("paper", "hand", "imagenet")])
def test_a_start_belongs_to_a_preset(preset, start, other):
    with pytest.raises(ConfigError, match=rf"start is {start}, .*preset {preset}; it may be {other}, random"):
        build_network(replace(preset_config(preset), start=start))


def test_the_side_of_the_crop_may_change():
    assert build_network(preset_config()).features.input_size == 192
    assert build_network(replace(preset_config(), feature_input=128)).features.input_size == 128
    with pytest.raises(ConfigError, match="feature_input is 100; it may be a multiple of 32"):
        replace(preset_config(), feature_input=100)


def test_the_hand_start_loads_and_freezes_the_trunk():
    network = build_network(preset_config())
    public = load_hand_landmarks().trunk.state_dict()
    assert all(torch.equal(value, public[name]) for name, value in network.features.network.state_dict().items())
    frozen = {name.split(".")[1] for name, value in network.features.named_parameters() if not value.requires_grad}
    assert frozen == {"0", "2", "3", "4"}  # module 1 is the activation
    groups = build_optimiser(network, preset_config()).param_groups
    assert len(groups) == 3
    assert all(value.requires_grad for group in groups for value in group["params"])
    again = build_network(replace(preset_config(), start="random"))
    assert all(value.requires_grad for value in again.parameters())
