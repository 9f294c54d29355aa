"""Published weights load from files in the published layout, with joints in the right order; bad files are refused."""

import hashlib
import os
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from fake_mano import python2_pickle
from safetensors.torch import save_file
from small_nets import MACHINE, random_images

from dhpe_lib.common.unpickling import PickleFileError
from dhpe_lib.hand.skeleton import to_canonical
from dhpe_lib.network import pretrained
from dhpe_lib.network.evidence import FeatureNet, PoseMachine, PoseMachineConfig
from dhpe_lib.network.pretrained import WeightsFileError, load_imagenet, load_posenet, read_state


def posenet_arrays(machine: PoseMachine, seed: int = 0) -> dict[str, np.ndarray]:
    """Random arrays with the published names and TensorFlow's kernel layout, beside the arrays of another network."""
    rng = np.random.default_rng(seed)
    arrays = {"PosePrior/fc_xyz/weights": rng.normal(size=(4, 63)).astype(np.float32)}
    for name, layer in machine.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            scope = f"PoseNet2D/{name.split('.')[-1]}"
            kernel = rng.normal(0, 0.2, (*layer.kernel_size, layer.in_channels, layer.out_channels))
            arrays[f"{scope}/weights"] = kernel.astype(np.float32)
            arrays[f"{scope}/biases"] = rng.normal(0, 0.1, layer.out_channels).astype(np.float32)
    return arrays


def by_hand(arrays: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """PoseNet on one image as [height, width, channel] arrays, with a loop over kernel positions."""

    def conv(name: str, x: np.ndarray, rectify: bool = True) -> np.ndarray:
        kernel = arrays[f"PoseNet2D/{name}/weights"].astype(np.float64)
        edge = kernel.shape[0] // 2
        padded = np.pad(x, ((edge, edge), (edge, edge), (0, 0)))
        height, width = x.shape[:2]
        total = arrays[f"PoseNet2D/{name}/biases"].astype(np.float64)
        for i in range(kernel.shape[0]):
            for j in range(kernel.shape[1]):
                total = total + padded[i : i + height, j : j + width] @ kernel[i, j]
        return np.maximum(total, 0.01 * total) if rectify else total

    def pool(x: np.ndarray) -> np.ndarray:
        return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max((1, 3))

    x = pool(conv("conv1_1", images - 0.5))
    x = pool(conv("conv2_2", conv("conv2_1", x)))
    encoding = conv("conv3_2", conv("conv3_1", x))
    maps = [conv("conv5_2", conv("conv5_1", encoding), False)]
    for stage in (6, 7):
        x = np.concatenate((maps[-1], encoding), 2)
        for k in range(1, 7):
            x = conv(f"conv{stage}_{k}", x)
        maps.append(conv(f"conv{stage}_7", x, False))
    return np.stack(maps)


def written(path: Path, content: object) -> Path:
    path.write_bytes(python2_pickle(content))
    return path


def test_published_arrays_give_the_same_maps_in_canonical_order(tmp_path, generator):
    machine = PoseMachine(MACHINE)
    arrays = posenet_arrays(machine)
    load_posenet(machine, written(tmp_path / "posenet-rhd-stb.pickle", arrays))
    images = random_images(1, generator)[..., :32, :32].double()
    theirs = torch.from_numpy(by_hand(arrays, images[0].movedim(0, 2).numpy())).movedim(3, 1)
    ours = to_canonical(theirs.flatten(2), "rhd").unflatten(2, theirs.shape[2:])
    found = machine.double()(images)[0]
    torch.testing.assert_close(found, ours, rtol=1e-9, atol=1e-9)
    assert (found - theirs).abs().max() > 0.1


def test_the_papers_machine_takes_them(tmp_path):
    """Zeros under every published name have the shapes of the paper's machine."""
    machine = PoseMachine()
    arrays = {name: np.zeros_like(value) for name, value in posenet_arrays(machine).items()}
    assert len(arrays) == 1 + 2 * 31
    state = pretrained.convert_posenet(arrays, machine, "file")
    assert {name: value.shape for name, value in state.items()} == {n: v.shape for n, v in machine.state_dict().items()}


def test_bad_posenet_files(tmp_path):
    machine = PoseMachine(MACHINE)
    arrays = posenet_arrays(machine)
    before = {name: value.clone() for name, value in machine.state_dict().items()}

    def refused(change: dict[str, object], message: str) -> None:
        content = {name: value for name, value in (arrays | change).items() if value is not None}
        with pytest.raises(WeightsFileError, match=message):
            load_posenet(machine, written(tmp_path / "bad.pickle", content))

    refused({"PoseNet2D/conv6_3/weights": None}, r"bad.pickle: PoseNet2D/conv6_3/weights is missing.*hand3d")
    refused({"PoseNet2D/conv1_1/biases": "text"}, "conv1_1/biases is missing or not an array")
    refused({"PoseNet2D/conv1_1/biases": np.zeros((2, 2))}, "conv1_1/biases is missing or not an array")
    refused({"PoseNet2D/conv2_1/weights": np.zeros((3, 3, 9, 9))}, r"conv2_1.weight has shape \(9, 9, 3, 3\)")
    with pytest.raises(WeightsFileError, match="holds a list, not a dict"):
        load_posenet(machine, written(tmp_path / "list.pickle", [1, 2]))
    (tmp_path / "cut.pickle").write_bytes(python2_pickle(arrays)[:500])
    with pytest.raises(PickleFileError, match="damaged"):
        load_posenet(machine, tmp_path / "cut.pickle")
    with pytest.raises(FileNotFoundError):
        load_posenet(machine, tmp_path / "none.pickle")
    for name, value in machine.state_dict().items():
        assert torch.equal(value, before[name]), name
    normalised = PoseMachine(PoseMachineConfig(batch_norm=True, trunk=MACHINE.trunk, head=7, stage_width=6))
    with pytest.raises(WeightsFileError, match="no batch norm; build f_J2D without it"):
        load_posenet(normalised, written(tmp_path / "good.pickle", arrays))


def resnet_state(seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state = FeatureNet("resnet18").network.state_dict()
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


@pytest.fixture(scope="module")
def imagenet() -> dict[str, torch.Tensor]:
    return resnet_state()


def test_imagenet_weights_from_files(tmp_path, imagenet):
    save_file(imagenet, tmp_path / "resnet18.safetensors")
    torch.save({n: v for n, v in imagenet.items() if "num_batches" not in n}, tmp_path / "resnet18.pth")
    for name in ("resnet18.safetensors", "resnet18.pth"):
        features = FeatureNet("resnet18")
        assert load_imagenet(features, tmp_path / name)
        assert all(torch.equal(value, imagenet[n]) for n, value in features.network.state_dict().items())


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty cache of torch.hub, and no network."""

    def refuse(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def published(monkeypatch, name: str) -> None:
    origin = SimpleNamespace(url=f"https://example.org/{name}")
    monkeypatch.setattr(pretrained, "imagenet_weights", lambda _: origin)


def test_without_network_one_warning_and_random_weights(monkeypatch, hub):
    published(monkeypatch, "resnet18-f37072fd.pth")
    features = FeatureNet("resnet18")
    before = features.network.conv1.weight.clone()
    with pytest.warns(
        UserWarning, match=r"no ImageNet weights.*random weights; download https://example.org"
    ) as caught:
        assert not load_imagenet(features)
    assert len(caught) == 1
    assert torch.equal(features.network.conv1.weight, before)


def in_cache(hub: Path, content: object) -> str:
    """Put a file into the cache under the name that its SHA-256 demands."""
    torch.save(content, hub / "draft")
    digits = hashlib.sha256((hub / "draft").read_bytes()).hexdigest()[:8]
    (hub / "draft").rename(hub / f"resnet18-{digits}.pth")
    return f"resnet18-{digits}.pth"


def test_file_of_the_cache(monkeypatch, hub, imagenet):
    published(monkeypatch, in_cache(hub, imagenet))
    features = FeatureNet("resnet18")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_imagenet(features)
    assert torch.equal(features.network.conv1.weight, imagenet["conv1.weight"])


class Planted:
    """A pickle of it makes a folder when a plain unpickler reads it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("right_hash", [False, True])
def test_file_planted_in_the_cache_runs_nothing(monkeypatch, hub, right_hash):
    made = hub / "made"
    name = in_cache(hub, {"conv1.weight": Planted(made)})
    if not right_hash:
        name = (hub / name).rename(hub / "resnet18-f37072fd.pth").name
    published(monkeypatch, name)
    message = "holds more than tensors" if right_hash else r"SHA-256 begins with \w+, not f37072fd; delete it"
    with pytest.raises(WeightsFileError, match=message):
        load_imagenet(FeatureNet("resnet18"))
    assert not made.exists()
    torch.load(hub / name, weights_only=False)
    assert made.exists()  # the file is hostile


def test_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "MOST_BYTES", 10**5)
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10**6)
    assert (tmp_path / "bomb.pth").stat().st_size < 10**4
    with pytest.raises(WeightsFileError, match="more than 100000 bytes of weights"):
        read_state(tmp_path / "bomb.pth")


class Harm:
    def __reduce__(self):
        return print, ("harm",)


def test_bad_files_of_tensors(tmp_path, imagenet, capsys):
    with pytest.raises(FileNotFoundError, match=r"none.pth: there is no such file"):
        read_state(tmp_path / "none.pth")
    for name, content, message in (
        ("a.txt", b"", r"unknown file type '.txt'; give a .safetensors"),
        ("a.safetensors", b"\x00" * 20, r"a.safetensors: damaged"),
        ("a.pth", b"nothing", r"a.pth: damaged"),
        ("empty.pth", b"", r"empty.pth: damaged"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsFileError, match=message):
            read_state(tmp_path / name)
    torch.save({"x": Harm()}, tmp_path / "harm.pth")
    with pytest.raises(WeightsFileError, match="more than tensors"):
        read_state(tmp_path / "harm.pth")
    assert capsys.readouterr().out == ""
    torch.save({"epoch": 3}, tmp_path / "state.pth")
    with pytest.raises(WeightsFileError, match="not a mapping of names to tensors"):
        read_state(tmp_path / "state.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.weight": None}, "conv1.weight is missing; give the weights of the same network"),
        ({"layer5.weight": torch.zeros(1)}, "layer5.weight is not a field of this network"),
        ({"bn1.bias": torch.zeros(3)}, r"bn1.bias has shape \(3,\), but this network has \(64,\)"),
    ],
)
def test_weights_of_another_network(change, message, tmp_path, imagenet):
    state = {name: value for name, value in (imagenet | change).items() if value is not None}
    save_file(state, tmp_path / "other.safetensors")
    features = FeatureNet("resnet18")
    with pytest.raises(WeightsFileError, match=message):
        load_imagenet(features, tmp_path / "other.safetensors")
