"""A run's config.json of the wrong type or with other values is refused; the error names file and field."""

import json

import pytest

from dhpe_lib.training.config import ConfigError, TrainingConfig, read_config, write_config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"holds \[\], not an object"),
        (7, "holds 7, not an object"),
        ({"steps": "7"}, 'the field steps is "7", not a whole number'),
        ({"steps": 1.5}, "the field steps is 1.5, not a whole number"),
        ({"steps": 10**400}, "a whole number of 401 digits"),
        ({"data": "orh"}, 'the field data is "orh", not a list of texts'),
        ({"compile": 1}, "the field compile is 1, not true or false"),
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
