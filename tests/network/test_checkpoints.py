"""Checkpoints are read back bit by bit, bad files are refused with a clear message, and no code of a file runs."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dhpe_lib.common import files
from dhpe_lib.network.checkpoints import (
    CheckpointError,
    load_network,
    load_optimiser,
    optimiser_parts,
    read_checkpoint,
    write_checkpoint,
)


def network(width: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def trained(net: nn.Module, steps: int, optimiser: torch.optim.Adam | None = None) -> torch.optim.Adam:
    optimiser = optimiser or torch.optim.Adam(net.parameters(), 0.1)
    for step in range(steps):
        net(torch.linspace(0, 1 + step, 8).view(4, 2)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    return optimiser


def equal(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_network_and_optimiser_are_restored_exactly(tmp_path):
    net = network()
    optimiser = trained(net, 3)
    write_checkpoint(tmp_path / "a.safetensors", net, {"step": 3, "config": {"note": "é"}}, optimiser)
    again = network()
    fresh = torch.optim.Adam(again.parameters(), 0.5)
    checkpoint = read_checkpoint(tmp_path / "a.safetensors")
    load_network(checkpoint, again)
    load_optimiser(checkpoint, fresh)
    assert (checkpoint.facts["step"], checkpoint.facts["config"]) == (3, {"note": "é"})
    assert equal(net, again)
    assert fresh.param_groups[0]["lr"] == 0.1
    trained(net, 2, optimiser)
    trained(again, 2, fresh)
    assert equal(net, again)
    assert all(torch.equal(v, optimiser_parts(fresh)[0][name]) for name, v in optimiser_parts(optimiser)[0].items())


def test_a_folder_means_its_best_weights(tmp_path):
    net = network()
    write_checkpoint(tmp_path / "last.safetensors", net, {"step": 2})
    assert read_checkpoint(tmp_path).facts["step"] == 2
    write_checkpoint(tmp_path / "best.safetensors", net, {"step": 1})
    assert read_checkpoint(tmp_path).facts["step"] == 1


def test_memory_formats_do_not_matter(tmp_path):
    net = nn.Conv2d(3, 4, 3)
    write_checkpoint(tmp_path / "a.safetensors", copy.deepcopy(net).to(memory_format=torch.channels_last), {})
    again = nn.Conv2d(3, 4, 3)
    load_network(read_checkpoint(tmp_path / "a.safetensors"), again)
    assert torch.equal(net.weight, again.weight)


def test_another_network_is_refused_and_unchanged(tmp_path):
    write_checkpoint(tmp_path / "a.safetensors", network(4), {})
    checkpoint, net = read_checkpoint(tmp_path / "a.safetensors"), network()
    before = copy.deepcopy(net)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: field 0\.bias is \(4,\) in the file and \(3,\) in the"):
        load_network(checkpoint, net)
    assert equal(net, before)
    with pytest.raises(CheckpointError, match=r"field 0\.bias is \(4,\) in the file and missing in the network"):
        load_network(checkpoint, nn.Identity())
    with pytest.raises(CheckpointError, match="holds weights but no optimiser state; resume from last"):
        load_optimiser(checkpoint, torch.optim.Adam(net.parameters()))
    write_checkpoint(tmp_path / "b.safetensors", net, {}, trained(net, 1))
    other = nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match=r"b\.safetensors: field groups does not fit"):
        load_optimiser(read_checkpoint(tmp_path / "b.safetensors"), torch.optim.Adam(other.parameters()))


class Harmful:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def test_files_that_are_not_checkpoints_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such checkpoint; name"):
        read_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        read_checkpoint(tmp_path)
    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(CheckpointError, match="is not a safetensors file, or is damaged"):
        read_checkpoint(path)
    write_checkpoint(path, network(), {})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="field format is missing, this version reads 1"):
        read_checkpoint(path)


def test_a_failed_write_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    path, net = tmp_path / "a.safetensors", network()
    write_checkpoint(path, net, {"step": 1})
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "flush", full)
    with pytest.raises(
        CheckpointError, match=r"a\.safetensors: cannot be written .*No space left.*takes \d+ bytes\. Free"
    ):
        write_checkpoint(path, net, {"step": 2})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_checkpoint(path / "a.safetensors", net, {})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('"text"', "header: is a text, not an object"),
        ("[]", "header: is a list, not an object"),
        ('{"format": 1, "step": "3"}', "the field step is a text, not a whole number"),
        ('{"format": 1, "groups": 3}', "the field groups is a whole number, not a list"),
        ('{"format": 1, "step": ' + "1" * 400 + "}", "the field step is not a whole number <= 9007199254740992"),
        ("[" * 100, "header: is a list, not an object"),
        ('{"format": 1, "more": ' + "[" * 100_000, "header: is not JSON .*recursion"),
        ('{"format": 1, "config": {"a": {"b": 3}}}', r"the field config\[\.\.\.\] is an object, not"),
        ('{"format": "1"}', "the field format is a text"),
    ],
)
def test_header_of_the_wrong_type(tmp_path, header, message):
    save_file({"network.weight": torch.zeros(2)}, tmp_path / "a.safetensors", {"dhpe": header})
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: .*{message}"):
        read_checkpoint(tmp_path / "a.safetensors")
