"""f_DHPE has the paper's shapes, is the composition of Eq. 1, and each result has gradients to the right weights."""

from dataclasses import replace

import pytest
import torch
from small_nets import CONFIG, SIZE, random_images
from torch.nn.functional import grid_sample

from dhpe_lib.network.estimator import PRESETS, Estimate, Estimator
from dhpe_lib.network.hand_evidence import HandFeatureNet
from dhpe_lib.network.heatmaps import FoundJoints, heatmap_joints, heatmap_statistics
from dhpe_lib.rendering.renderer import silhouette

LIGHT = replace(PRESETS["light"], feature_input=SIZE)


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    torch.manual_seed(0)
    return Estimator(CONFIG).eval()


@pytest.fixture
def images(generator) -> torch.Tensor:
    return random_images(3, generator)


def reached(network: Estimator) -> set[str]:
    """Return the parts of the network that have a gradient other than 0."""
    return {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize(
    ("preset", "feature", "maps"), [("paper", 2048, (3, 21, 32, 32)), ("light", 1152, (2, 21, 48, 48))]
)
def test_the_shapes_of_the_paper(preset, feature, maps, generator):
    estimate = Estimator(PRESETS[preset]).predict(torch.rand(1, 3, 224, 224, generator=generator))
    shapes = {
        "feature": (estimate.evidence.feature, (1, feature)),
        "heatmaps": (estimate.evidence.heatmaps, (1, *maps)),
        "joints_2d": (estimate.joints_2d, (1, 21, 2)),
        "h": (estimate.h, (1, 63)),
        "v": (estimate.mesh.vertices, (1, 778, 3)),
        "j": (estimate.joints, (1, 21, 3)),
        "m": (estimate.mask, (1, 224, 224)),
    }
    for name, (value, shape) in shapes.items():
        assert value.shape == shape, name
        assert value.isfinite().all(), name
        assert not value.requires_grad, name
    assert len(estimate.steps) == 4


def test_it_is_the_composition_of_eq_1(estimator, images, tol):
    estimate = estimator(images, render=True)
    feature, maps = estimator.features(images), estimator.pose_machine(images)
    steps = estimator.regressor(feature, heatmap_joints(maps[:, 2].detach()).joints_2d, estimator.hand)
    mask = silhouette(steps[3].mesh.vertices, estimator.hand.faces, SIZE)
    pairs = [(estimate.h, steps[3].h), (estimate.joints_2d, steps[3].joints_2d), (estimate.mask, mask)]
    pairs += [(estimate.evidence.feature, feature), (estimate.evidence.heatmaps, maps)]
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, **tol[torch.float32])
    assert estimate.mask.sum() > 10
    assert estimator(images).mask is None
    assert estimate.evidence.masked_feature is None


def test_both_heads_of_the_light_network_share_the_trunk(images, generator, tol):
    """F and f_J2D of one pass equal F and f_J2D computed apart, and heat maps train the trunk too."""
    torch.manual_seed(0)
    light = Estimator(LIGHT).eval()
    masked = images[:2] * (torch.rand(2, 1, SIZE, SIZE, generator=generator) > 0.5)
    evidence = light.find_evidence(images, masked)
    torch.testing.assert_close(evidence.feature, light.features(images), **tol[torch.float32])
    torch.testing.assert_close(evidence.masked_feature, light.features(masked), **tol[torch.float32])
    maps = light.pose_machine(light.features.levels(images))
    torch.testing.assert_close(evidence.heatmaps, maps, **tol[torch.float32])
    assert maps.shape == (3, 2, 21, 16, 16)
    maps.square().sum().backward()
    assert reached(light) == {"features", "pose_machine"}


def test_the_light_f_e3d_reads_the_trunk_at_the_joints(images, tol):
    network = Estimator(LIGHT).eval()
    evidence = network(images).evidence
    levels = network.features.levels(images)
    column = torch.cat(
        [
            grid_sample(maps[1:2], 2 * evidence.joints_2d[1:2, 5:6, None], padding_mode="border", align_corners=False)
            for maps in levels
        ],
        1,
    ).flatten()
    reader = network.joint_reader
    statistics = heatmap_statistics(evidence.heatmaps[:, -1], FoundJoints(evidence.joints_2d, evidence.score))
    expected = torch.cat((reader.norm(reader.project(column)), statistics[1, 5]))
    torch.testing.assert_close(evidence.at_joints[1].view(21, -1)[5], expected, **tol[torch.float32])
    assert torch.equal(evidence.of_crop, torch.cat((evidence.feature, evidence.at_joints), 1))


def test_the_mesh_trains_the_reader_but_not_the_light_f_j2d(images):
    network = Estimator(LIGHT)
    network(images, render=True).mesh.joints.square().sum().backward()
    assert reached(network) == {"features", "joint_reader", "regressor"}


def test_frozen_modules_keep_their_weights_but_pass_a_gradient(images):
    features = HandFeatureNet(64)
    features.freeze(5)
    x = images.clone().requires_grad_()
    features(x).square().sum().backward()
    assert x.grad.any()
    trained = {name.split(".")[1] for name, value in features.named_parameters() if value.grad is not None}
    assert not trained & set("01234")
    assert "5" in trained


def test_the_light_f_j2d_needs_the_hand_trunk():
    with pytest.raises(ValueError, match="backbone is 'resnet18'; this f_J2D is a head on the trunk"):
        Estimator(replace(LIGHT, backbone="resnet18"))


def test_masked_images_go_through_f_too(estimator, images, generator, tol):
    masked = images * (torch.rand(3, 1, SIZE, SIZE, generator=generator) > 0.5)
    evidence = estimator(images, masked).evidence
    torch.testing.assert_close(evidence.masked_feature, estimator.features(masked), **tol[torch.float32])
    torch.testing.assert_close(evidence.feature, estimator.features(images), **tol[torch.float32])


def test_mesh_and_mask_train_f_and_f_e3d_but_not_f_j2d(estimator, images):
    estimator.zero_grad()
    estimate = estimator(images, render=True)
    (estimate.mask.sum() + estimate.joints.sum() + estimate.joints_2d.sum()).backward()
    assert reached(estimator) == {"features", "regressor"}


def test_heat_maps_train_f_j2d_only(estimator, images):
    estimator.zero_grad()
    estimator(images).evidence.heatmaps.square().sum().backward()
    assert reached(estimator) == {"pose_machine"}


def test_f_proj_has_no_weights_but_passes_gradients(estimator, images):
    assert not list(estimator.hand.parameters())
    assert not [name for name in estimator.state_dict() if name.startswith("hand")]
    estimate = estimator(images, render=True)
    (to_h,) = torch.autograd.grad(estimate.mask.sum(), estimate.h, retain_graph=True)
    assert to_h.isfinite().all()
    assert (to_h[:, 59] != 0).all()  # the scale
    (to_h,) = torch.autograd.grad(estimate.joints[..., 2].sum(), estimate.h)
    torch.testing.assert_close(to_h[:, 62], torch.full((3,), 21.0))  # depth: c_t moves all 21 joints equally


def same(one: Estimate, other: Estimate, **tolerance: float) -> None:
    for found, expected in ((one.h, other.h), (one.joints_2d, other.joints_2d), (one.mask, other.mask)):
        torch.testing.assert_close(found, expected, **tolerance)


def test_crops_do_not_see_each_other(estimator, images, tol):
    alone = estimator.predict(images[1:2])
    among = estimator.predict(images)
    torch.testing.assert_close(among.h[1:2], alone.h, **tol[torch.float32])
    torch.testing.assert_close(among.mask[1:2], alone.mask, rtol=0, atol=1e-3)


def test_prediction_is_deterministic_and_leaves_the_network_unchanged(estimator, images):
    before = {name: value.clone() for name, value in estimator.state_dict().items()}
    estimator.train()
    one, other = estimator.predict(images), estimator.predict(images)
    assert estimator.training
    assert estimator.features.training
    estimator.eval()
    same(one, other, rtol=0, atol=0)
    assert not one.h.requires_grad
    for name, value in estimator.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_state_dict_holds_the_whole_state(estimator, images):
    other = Estimator(CONFIG)
    other.load_state_dict(estimator.state_dict())
    same(other.predict(images), estimator.predict(images), rtol=0, atol=0)


def test_channels_last_changes_nothing(estimator, images, tol):
    last = images.to(memory_format=torch.channels_last)
    same(estimator.predict(last), estimator.predict(images), rtol=1e-3, atol=1e-3)


def test_autocast_leaves_the_hand_in_full_precision(estimator, images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        estimate = estimator(images, render=True)
    assert estimate.evidence.feature.dtype == estimate.evidence.heatmaps.dtype == torch.bfloat16
    full = (estimate.h, estimate.mesh.vertices, estimate.joints_2d, estimate.mask)
    assert all(value.dtype == torch.float32 for value in full)
    assert (estimate.h - estimator(images).h).abs().max() < 0.05


def test_a_batch_of_one_can_train(estimator, generator):
    estimate = Estimator(CONFIG).train()(random_images(1, generator), render=True)
    assert estimate.h.isfinite().all()


def test_without_refiner(images):
    estimator = Estimator(replace(CONFIG, without_refiner=True))
    estimate = estimator.predict(images)
    assert estimator.regressor.f_ref is None
    assert torch.equal(estimate.joints_2d, estimate.evidence.joints_2d)


def test_without_2d_losses_it_sees_the_feature_only(images):
    estimator = Estimator(replace(CONFIG, without_2d_losses=True))
    estimate = estimator.predict(images)
    assert estimator.pose_machine is None
    assert estimator.regressor.f_ref is None
    assert estimate.evidence.heatmaps is None
    assert not estimate.joints_2d.any()


def test_on_any_device(device, generator):
    estimate = Estimator(CONFIG).to(device).predict(random_images(2, generator).to(device))
    assert estimate.mask.device.type == estimate.joints.device.type == device.type


def test_repeated_predictions_are_equal_on_any_device(device, generator):
    """On a GPU the fourth is the first that is replayed as a CUDA graph."""
    estimator = Estimator(CONFIG).to(device)
    batches = [random_images(2, generator).to(device) for _ in range(2)]
    first, again = ([estimator.predict(images).h for images in 3 * batches] for _ in range(2))
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert (first[0] - first[1]).abs().max() > 1e-4
