"""F and f_J2D have the paper's sizes and equal a written-out pose machine; each result depends on the right inputs."""

import pytest
import torch
from small_nets import MACHINE, SIZE, random_images
from torch.nn import functional

from dhpe_lib.network.evidence import IMAGENET_MEAN, FeatureNet, PoseMachine, PoseMachineConfig, find_joints
from dhpe_lib.network.heatmaps import resize


def test_the_papers_pose_machine_has_the_layers_of_zimmermann_and_brox():
    """Layers and kernels are those of PoseNet: 3 x 3 in the trunk, 1 x 1 in the first stage, 7 x 7 in the others."""
    with torch.device("meta"):
        machine = PoseMachine()
    layers = {n.split(".")[-1]: m for n, m in machine.named_modules() if isinstance(m, torch.nn.Conv2d)}
    widths = [64, 64, 128, 128, *[256] * 4, 512, 512, *[256] * 4, 128]
    names = [f"conv{b}_{k}" for b, n in ((1, 2), (2, 2), (3, 4), (4, 7)) for k in range(1, n + 1)]
    expected = {name: (into, out, 3) for name, into, out in zip(names, [3, *widths[:-1]], widths, strict=True)} | {
        "conv5_1": (128, 512, 1),
        "conv5_2": (512, 21, 1),
    }
    for stage in (6, 7):
        expected |= {f"conv{stage}_1": (149, 128, 7), **{f"conv{stage}_{k}": (128, 128, 7) for k in range(2, 6)}}
        expected |= {f"conv{stage}_6": (128, 128, 1), f"conv{stage}_7": (128, 21, 1)}
    found = {name: (c.in_channels, c.out_channels, c.kernel_size[0]) for name, c in layers.items()}
    assert found == expected
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in machine.modules())
    assert machine(torch.zeros(2, 3, 224, 224, device="meta")).shape == (2, 3, 21, 32, 32)


@pytest.mark.parametrize(("config", "cells"), [(PoseMachineConfig(), 32), (MACHINE, 8)])
def test_map_size_is_the_size_of_the_output(config, cells):
    with torch.device("meta"):
        machine = PoseMachine(config)
    assert config.map_size == cells
    assert machine(torch.zeros(1, 3, SIZE, SIZE, device="meta")).shape == (1, 3, 21, cells, cells)


@pytest.mark.parametrize(("backbone", "size"), [("resnet50", 2048), ("resnet18", 512)])
def test_feature_sizes(backbone, size):
    with torch.device("meta"):
        features = FeatureNet(backbone)
        assert features.size == size
        assert features(torch.zeros(2, 3, 224, 224)).shape == (2, size)


def test_pose_machine_written_out(generator):
    """The pose machine equals plain convolutions, stage by stage."""
    torch.manual_seed(0)
    machine = PoseMachine(MACHINE).double()
    images = random_images(2, generator).double()
    weights = {".".join(name.split(".")[-2:]): value for name, value in machine.state_dict().items()}

    def layer(name: str, x: torch.Tensor, rectify: bool = True) -> torch.Tensor:
        kernel = weights[f"conv{name}.weight"]
        x = functional.conv2d(x, kernel, weights[f"conv{name}.bias"], padding=(kernel.shape[-1] - 1) // 2)
        return torch.where(x > 0, x, 0.01 * x) if rectify else x

    x = functional.avg_pool2d(images, 2) - 0.5
    x = functional.max_pool2d(layer("1_1", x), 2)
    x = functional.max_pool2d(layer("2_2", layer("2_1", x)), 2)
    encoding = layer("3_2", layer("3_1", x))
    maps = [layer("5_2", layer("5_1", encoding), rectify=False)]
    for stage in (6, 7):
        x = torch.cat((maps[-1], encoding), 1)
        for k in range(1, 7):
            x = layer(f"{stage}_{k}", x)
        maps.append(layer(f"{stage}_7", x, rectify=False))
    torch.testing.assert_close(machine(images), torch.stack(maps, 1))


def test_first_maps_are_nearly_empty(generator):
    torch.manual_seed(0)
    assert PoseMachine(MACHINE)(random_images(2, generator)).abs().max() < 0.05


def test_every_stage_learns_from_its_own_maps(generator):
    machine = PoseMachine(MACHINE)
    maps = machine(random_images(1, generator))
    for stage in range(3):
        machine.zero_grad()
        maps[:, stage].sum().backward(retain_graph=True)
        reached = [all(p.grad is not None and p.grad.any() for p in s.parameters()) for s in machine.stages]
        assert reached == [k <= stage for k in range(3)]
        assert all(p.grad.any() for p in machine.trunk.parameters())


def test_joints_are_those_of_the_last_stage(generator):
    maps = torch.zeros(1, 3, 21, 8, 8, requires_grad=True)
    with torch.no_grad():
        maps[0, 0, :, 0, 0], maps[0, 2, :, 3, 5] = 9, 1
    found = find_joints(maps)
    torch.testing.assert_close(found.joints_2d[0, 0], torch.tensor([5.5 / 8 - 0.5, 3.5 / 8 - 0.5]))
    assert not found.joints_2d.requires_grad


def test_images_reach_the_resnet_normalised():
    features = FeatureNet("resnet18", 32).eval()
    seen = []
    features.network.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    features(torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand(1, 3, 64, 64))
    assert seen[0].shape == (1, 3, 32, 32)
    assert seen[0].abs().max() < 1e-6


def test_half_the_size_is_the_mean_of_four(generator):
    images = random_images(1, generator)
    torch.testing.assert_close(resize(images, SIZE // 2), functional.avg_pool2d(images, 2))
    assert resize(images, SIZE) is images


def test_crops_do_not_see_each_other(generator):
    features, machine = FeatureNet("resnet18", 32).eval(), PoseMachine(MACHINE)
    images = random_images(3, generator)
    with torch.no_grad():
        for network in (features, machine):
            torch.testing.assert_close(network(images)[1:2], network(images[1:2]))
