"""f_E3D sees the same on fixed evidence as in the network, and learns from it; L_Sh reaches only hands near theirs."""

from dataclasses import replace

import pytest
import torch
from cached_hands import cached_hands
from dot_dataset import Dots, write_dots
from rich.console import Console
from small_nets import CONFIG, SIZE, random_images, random_targets

from dhpe_lib.common.records import take_rows
from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.views import View
from dhpe_lib.hand.model import HandMesh
from dhpe_lib.network.estimator import PRESETS, Estimator
from dhpe_lib.network.hand_evidence import CHANNELS
from dhpe_lib.network.regressor import RegressorState
from dhpe_lib.rendering.renderer import silhouette
from dhpe_lib.training.fixed_evidence import (
    TRAINED_MASK,
    FixedEvidence,
    MeshEstimator,
    MeshStage,
    find_fixed_evidence,
    jittered_views,
    mesh_loss,
    train_mesh_estimator,
)
from dhpe_lib.training.losses import articulation_loss, hand_loss, refiner_loss, shape_loss

LIGHT = replace(PRESETS["light"], feature_input=SIZE, hidden=16, joint_features=3)


@pytest.fixture(scope="module")
def network() -> Estimator:
    torch.manual_seed(0)
    return Estimator(LIGHT)


@pytest.fixture
def view(generator) -> View:
    frame = CropFrame(torch.zeros(4, 2), torch.ones(4), torch.zeros(4))
    return View(random_images(4, generator), random_targets(4, generator), frame)


@pytest.fixture
def evidence(network, generator) -> FixedEvidence:
    """Evidence of 12 known hands; the feature is random."""
    hands = cached_hands(network.hand, 12, 1152)
    readings = torch.randn(12, 21, sum(CHANNELS), generator=generator).half()
    statistics = torch.rand(12, 21, 4, generator=generator)
    return FixedEvidence(hands.of_crop, readings, hands.joints_2d, statistics, hands.targets)


def known(evidence: FixedEvidence, network: Estimator, moved: float = 0.0) -> tuple[RegressorState, ...]:
    """Return states that end at the true hands, moved along x."""
    hands = cached_hands(network.hand, 12, 1152)
    vertices, joints = (
        value + moved * torch.tensor([1.0, 0, 0]) for value in (hands.truth_mesh.vertices, hands.truth_mesh.joints)
    )
    state = RegressorState(hands.h, evidence.joints_2d, HandMesh(vertices.requires_grad_(), joints))
    return (state, state)


def test_f_e3d_sees_what_it_sees_in_the_network(network, view):
    network.train()
    evidence = find_fixed_evidence(network, [view])
    assert network.training
    mesh = MeshEstimator.of(network)
    expected = network.predict(view.images, render=False)
    assert torch.equal(evidence.joints_2d, expected.evidence.joints_2d)
    torch.testing.assert_close(mesh(evidence)[-1].h, expected.h, rtol=1e-2, atol=1e-3)  # maps are in half precision
    assert evidence.targets.mask.shape == (4, TRAINED_MASK, TRAINED_MASK)
    torch.testing.assert_close(evidence.targets.mask.float().mean((1, 2)), view.targets.mask.mean((1, 2)))


def test_a_network_without_shared_maps_is_refused(view):
    with pytest.raises(ValueError, match="use a network of the preset light"):
        find_fixed_evidence(Estimator(CONFIG), [view])


def test_equal_seeds_learn_the_same_and_the_network_stays_as_it_is(network, evidence):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    stage = MeshStage(steps=60, batch=12, warmup=5, weight_sh=1.0)
    found: list[list[float]] = [[], []]
    trained = []
    for losses in found:
        mesh = MeshEstimator.anew(network, seed=3)
        train_mesh_estimator(mesh, evidence, stage, lambda step, loss, losses=losses: losses.append(float(loss)))
        trained.append(mesh.state_dict())
    assert found[0] == found[1]
    assert len(found[0]) == 60
    assert found[0][-1] < 0.7 * found[0][0]
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_loss_is_the_sum_of_its_terms(network, evidence):
    path, targets = known(evidence, network, moved=0.02), evidence.targets
    plain = mesh_loss(path, targets, network.hand, MeshStage(weight_h=0.5))
    refined = torch.stack([path[-1].joints_2d], 1)
    terms = articulation_loss(path[-1].mesh.joints, targets) + refiner_loss(refined, targets)
    torch.testing.assert_close(plain, (terms + 0.5 * hand_loss(path, targets)).mean())
    with_shape = mesh_loss(path, targets, network.hand, MeshStage(weight_h=0.5, weight_sh=10.0))
    rows = torch.arange(0, 12, 4)
    masks = silhouette(path[-1].mesh.vertices[rows], network.hand.faces, TRAINED_MASK, "coverage")
    some = take_rows(targets, rows)
    shape = shape_loss(masks, replace(some, mask=some.mask.float())).mean()
    assert shape > 1e-3
    torch.testing.assert_close(with_shape - plain, 10 * shape)


def test_l_sh_reaches_only_hands_near_theirs(network, evidence):
    stage = MeshStage(weight_sh=10.0, shape_share=1)
    targets = evidence.targets
    near = known(evidence, network, moved=0.02)
    mesh_loss(near, targets, network.hand, stage).backward()
    assert near[-1].mesh.vertices.grad.abs().sum((1, 2)).gt(0).all()
    far = known(evidence, network, moved=0.2)  # 45 pixels
    loss = mesh_loss(far, targets, network.hand, stage)
    assert loss == mesh_loss(far, targets, network.hand, MeshStage())


def test_views_come_from_all_splits_and_from_the_seed(network, tmp_path):
    jobs = [Job("dots", "all", Dots, write_dots(tmp_path / f"files{k}", 4, k), tmp_path / f"cache{k}") for k in (0, 1)]
    splits: list[Prepared] = [prepare(job, 1, Console(quiet=True)) for job in jobs]
    first, second = jittered_views(network, splits, 6)
    assert len(first.images) == len(second.images) == 3
    assert first.images.shape[-1] == SIZE
    again, _ = jittered_views(network, splits, 6)
    other, _ = jittered_views(network, splits, 6, seed=1)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    few = list(jittered_views(network, splits[:1], 100))
    assert [len(view.images) for view in few] == [4]
