"""Every part of the library on a pretended GPU: no tensors of two devices meet, and the host seldom waits.

Budgets of waits only fall. A wait stops the queue of kernels, which costs a GPU some 10 microseconds and hides nothing.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_network
import torch
import torch._dynamo  # takes the true `torch.Generator` when it is imported
from dot_dataset import Dots, write_dots
from PIL import Image
from pretended_gpu import GPU, CaptureError, PretendedGpu, RaceError, Stream, unseen
from rich.console import Console
from small_nets import CONFIG, network_on_gpu, random_images, random_targets
from typer.testing import CliRunner

from dhpe_lib.cli.__main__ import app
from dhpe_lib.common.devices import constant
from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.targets import Targets, masked_images
from dhpe_lib.data.views import plain_view
from dhpe_lib.evaluation.evaluate import evaluate
from dhpe_lib.evaluation.evaluate_refined import evaluate_refined
from dhpe_lib.evaluation.scores import full_scores
from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.hand.parameters import mirror_h
from dhpe_lib.network.checkpoints import read_checkpoint
from dhpe_lib.network.estimator import PRESETS, Estimator
from dhpe_lib.prediction.demo import demo_scene
from dhpe_lib.prediction.find_hands import find_hands
from dhpe_lib.prediction.from_keypoints import estimate_hand
from dhpe_lib.prediction.hand_search import load_hand_networks
from dhpe_lib.prediction.keypoints import HandKeypoints
from dhpe_lib.refinement.descent import Optimizer, descent_step
from dhpe_lib.refinement.energy import EQ_13, Observations
from dhpe_lib.refinement.fitting import FitOptions, fit_hands
from dhpe_lib.refinement.test_time import REFINEMENTS, RefinementEnergy, RefineOptions, refine
from dhpe_lib.rendering.projection import Pinhole
from dhpe_lib.rendering.renderer import render, silhouette
from dhpe_lib.rendering.texture_from_photo import lift_texture
from dhpe_lib.rendering.uv_layout import hand_texture
from dhpe_lib.synthetic import engine as synthetic_engine
from dhpe_lib.synthetic.engine import Style, SyntheticHands
from dhpe_lib.training import batches as training_batches
from dhpe_lib.training import loop
from dhpe_lib.training.agreement import Flags
from dhpe_lib.training.batches import Backgrounds, BatchPlan, TrainingBatches, ViewOptions
from dhpe_lib.training.fixed_evidence import (
    MeshEstimator,
    MeshStage,
    find_fixed_evidence,
    jittered_views,
    train_mesh_estimator,
)
from dhpe_lib.training.losses import losses_of
from dhpe_lib.training.optimiser import build_optimiser
from dhpe_lib.training.run_folder import LAST
from dhpe_lib.training.self_augmentation import SelfAugmentation
from dhpe_lib.training.setup import build_network, launch_fabric

pytestmark = pytest.mark.without_device
SIDE = 32
SHIPPED = PRESETS["light"]
LIGHT = replace(SHIPPED, feature_input=SIDE, hidden=8, joint_features=2)
SHORT = FitOptions(starts=2, iterations=2, final_iterations=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dots")
    job = Job("dots", "all", Dots, write_dots(folder / "files", 10), folder / "cache")
    return prepare(job, 1, Console(quiet=True)).directory


@pytest.fixture
def gpu(monkeypatch) -> Iterator[PretendedGpu]:
    tiny_network.install(monkeypatch.setitem)
    with PretendedGpu() as pretended:
        yield pretended


@pytest.fixture
def hand(gpu) -> HandModel:
    return HandModel.open_hand().to("cuda")


@pytest.fixture
def network(gpu) -> Estimator:
    return network_on_gpu()


def poses(hand: HandModel, n: int = 2) -> torch.Tensor:
    h = neutral_h(hand).repeat(n, 1)
    h[:, 59] = 2.2
    return h


# ------------------------------------------------------------------------------------------------- the pretence itself
def test_the_pretence_keeps_to_the_rules_of_cuda(gpu):
    here, there = torch.arange(3.0), torch.zeros(3, device="cuda")
    assert (there + 1).device == GPU
    assert (there + 1).is_cuda
    assert torch.zeros_like(there).sum().device == GPU
    with pytest.raises(RuntimeError, match="two devices"):
        here + there
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(3, device="cuda", generator=torch.Generator())
    assert torch.rand(3, device="cuda", generator=torch.Generator("cuda")).device == GPU
    with pytest.raises(RuntimeError, match="indices"):
        here[there.long()]
    assert there.cpu().device.type == "cpu"
    assert not here.is_cuda


def test_the_pretence_counts_waits_and_refuses_them_in_a_capture(gpu):
    values = torch.ones(3, device="cuda")
    gpu.waits.clear()
    float(values.sum())
    values[values > 0]
    torch.ones(3).to("cuda")
    torch.tensor([1.0], device="cuda")
    assert gpu.total() == 4
    torch.ones(3).pin_memory().to("cuda", non_blocking=True)
    torch.full((3,), 2.0, device="cuda")
    assert gpu.total() == 4
    with gpu.capturing(), pytest.raises(CaptureError, match="item"):
        float(values.sum())


def test_the_pretence_finds_a_stream_that_reads_what_another_one_may_not_have_made(gpu):
    aside = torch.cuda.Stream("cuda")
    with torch.cuda.stream(aside):
        shared = constant((0.25, 0.75), torch.float32, GPU)
        values, done = torch.ones(3, device="cuda"), aside.record_event()
    with pytest.raises(RaceError):
        values + 1
    assert (shared + 1).device == GPU  # the host has waited for a new constant
    torch.cuda.current_stream().wait_event(done)
    assert (values + 1).device == GPU


def test_a_constant_is_not_made_while_a_graph_is_captured(gpu):
    def scaled(values: torch.Tensor) -> torch.Tensor:
        return values * constant((0.5, 2.0), torch.float32, GPU)

    values = torch.ones(2, device="cuda")
    with gpu.capturing(), pytest.raises(RuntimeError, match="call the function once before it is captured"):
        scaled(values)
    scaled(values)
    with gpu.capturing():
        assert scaled(values).device == GPU


# ------------------------------------------------------------------------------------------- what a CUDA graph can hold
def test_the_hand_can_be_captured(gpu, hand):
    h = poses(hand).requires_grad_()
    with gpu.capturing():
        (gradient,) = torch.autograd.grad(hand.forward_h(h).joints.sum(), h)
    assert gradient.device == GPU
    assert gradient.any()


@pytest.mark.parametrize("method", ["kato", "soft", "coverage"])
def test_silhouettes_can_be_captured(gpu, hand, method):
    vertices = hand.forward_h(poses(hand)).vertices.detach().requires_grad_()
    with gpu.capturing():
        mask = silhouette(vertices, hand.faces, SIDE, method)
        (gradient,) = torch.autograd.grad((mask - 0.5).square().sum(), vertices)
    assert mask.device == gradient.device == GPU


def test_pictures_can_be_captured(gpu, hand):
    vertices = hand.forward_h(poses(hand)).vertices.detach().requires_grad_()
    k = torch.tensor([[[32.0, 0, 16], [0, 32, 16], [0, 0, 1]]], device="cuda")
    texture, plain = hand_texture(hand), torch.full_like(hand.v_template, 0.5)
    with gpu.capturing():
        for colors in (plain, texture):
            for camera, seen in ((None, vertices), (Pinhole(k), vertices + 3)):
                image = render(seen, hand.faces, colors, image_size=SIDE, camera=camera, supersample=2).image
                assert torch.autograd.grad(image.sum(), vertices)[0].device == GPU


def test_the_prediction_can_be_captured(gpu, network, generator):
    images = random_images(2, generator).to("cuda")
    with gpu.capturing():
        assert network.predict(images).mask.device == GPU


def test_an_iteration_of_the_refinement_can_be_captured(gpu, network, generator):
    images = random_images(1, generator).to("cuda")
    options = RefineOptions(replace(EQ_13, tau=float("inf")))
    objective = RefinementEnergy(network, images, network.predict(images), options)
    h = objective.start.clone().requires_grad_()
    optimizer = Optimizer(h, options.rate, options.steps)
    with gpu.capturing():
        descent_step(objective, optimizer)
    assert not torch.equal(h.cpu(), objective.start.cpu())


# ------------------------------------------------------------------------------------------------------ part after part
def test_colours_left_on_the_host_are_refused_by_name(gpu, hand):
    vertices = hand.forward_h(poses(hand)).vertices
    with pytest.raises(ValueError, match="colors is on cpu, the mesh on cuda:0"):
        render(vertices, hand.faces, torch.full((778, 3), 0.5), image_size=SIDE)
    texture = hand_texture(hand)
    with pytest.raises(ValueError, match="uv_faces is on cpu"):
        render(vertices, hand.faces, replace(texture, uv_faces=texture.uv_faces.cpu()), image_size=SIDE)


def test_parts_of_the_hand(gpu, hand):
    h = poses(hand)
    hand(pose=h[:, :45], relative_to="mean")
    assert hand.mirrored().forward_h(mirror_h(h)).vertices.device == GPU
    assert hand.pose_from_pca(h[:, :6]).device == hand.rest_joints(h[:, 45:55]).device == GPU


def test_texture_of_a_photo(gpu, hand):
    vertices = hand.forward_h(poses(hand)).vertices
    lifted = lift_texture(torch.rand(2, SIDE, SIDE, 3, device="cuda"), vertices, hand.faces, hand_texture(hand), 32)
    assert lifted.texture.image.device == GPU


def test_losses_and_a_step_of_the_optimiser(gpu, data, generator):
    network = Estimator(CONFIG).to("cuda")
    images, targets = random_images(3, generator).to("cuda"), random_targets(3, generator)
    targets = Targets(**{name: value.to("cuda") for name, value in vars(targets).items()})
    laplacian, optimiser = Laplacian(network.hand), build_optimiser(network, tiny_network.config(data))
    assert all(group["fused"] for group in optimiser.param_groups)
    before = network.regressor.f_j3d.weight.detach().clone()
    for _ in range(2):
        gpu.waits.clear()
        estimate = network(images, masked_images(images, targets), render=True)
        losses_of(estimate, targets, laplacian).objective.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert not gpu.waits
    assert (network.regressor.f_j3d.weight != before).any()


@pytest.mark.parametrize("name", REFINEMENTS)
def test_refinement(gpu, network, generator, name):
    images = random_images(2, generator).to("cuda")
    refined = refine(network, images, network.predict(images), replace(REFINEMENTS[name], iterations=1))
    assert refined.estimate.h.device == refined.energy.device == GPU


def test_fit_without_a_network(gpu, hand):
    h = poses(hand)
    mesh = hand.forward_h(h)
    mask = silhouette(mesh.vertices, hand.faces, SIDE)
    evidence = Observations(mesh.joints[..., :2], torch.ones(2, 21, device="cuda"), mask)
    assert fit_hands(hand, evidence, SHORT, h).mesh.vertices.device == GPU


def test_prediction_from_keypoints(gpu, hand):
    joints = np.random.default_rng(0).uniform(20, 80, (21, 2))
    mask = np.ones((100, 100), bool)
    for side in ("right", "left"):
        found = estimate_hand(hand, HandKeypoints(joints, np.ones(21), side, "t"), mask=mask, options=SHORT)
        assert found.mesh.vertices.device == GPU


def test_a_search_for_hands_waits_once_for_each_look(gpu):
    with unseen():
        photo = demo_scene(HandModel.open_hand()).image[::3, :720:3]
    on_gpu, on_cpu = (load_hand_networks(place) for place in ("cuda", "cpu"))
    find_hands(on_gpu, photo, 1)  # makes the constants
    for most, waits in ((1, 4), (None, 7)):  # the palms, a first look, three further looks, a last look
        gpu.waits.clear()
        (found,), (expected,) = (find_hands(networks, photo, most) for networks in (on_gpu, on_cpu))
        assert gpu.total() == waits, gpu.waits
        assert found.joints_px.device == expected.joints_px.device == torch.device("cpu")
        assert torch.equal(found.joints_px, expected.joints_px)


def test_f_e3d_on_fixed_evidence_waits_neither_for_views_nor_in_its_steps(gpu, data):
    torch.manual_seed(0)
    network, losses = Estimator(LIGHT), {}
    stage = MeshStage(steps=3, batch=4, weight_sh=1.0, shape_share=1)
    for place in ("cpu", "cuda"):
        network.to(place)
        waits = [gpu.waits.copy()]
        views = jittered_views(network, [Prepared(data)] * 2, 12)
        evidence = find_fixed_evidence(network, views, lambda n, waits=waits: waits.append(gpu.waits.copy()))
        assert len(waits) == 3
        assert waits[-1] == waits[-2], waits[-1] - waits[-2]
        mesh = MeshEstimator.anew(network)
        assert evidence.feature.device == next(mesh.parameters()).device == network.hand.v_template.device
        losses[place] = []

        def report(step: int, loss: torch.Tensor, place=place, waits=waits) -> None:
            losses[place].append(loss)
            waits.append(gpu.waits.copy())

        train_mesh_estimator(mesh, evidence, stage, report)
        assert waits[-1] == waits[-2], waits[-1] - waits[-2]
    assert torch.equal(torch.stack(losses["cpu"]), torch.stack(losses["cuda"]).cpu())


def test_evaluation_reads_the_results_of_a_batch_only(gpu, network, data):
    cache, waits = Prepared(data), [gpu.waits.copy()]
    assert full_scores(evaluate(network, cache, GPU, 4, lambda n: waits.append(gpu.waits.copy())))
    of_a_batch = waits[-1] - waits[-2]
    assert {kind for kind, _ in of_a_batch} == {"copy from the GPU"}
    assert of_a_batch.total() <= 12, of_a_batch
    few, many = (waits_of_refined(gpu, network, cache, iterations) for iterations in (1, 3))
    assert many - few <= 2  # an iteration is not read by itself


def waits_of_refined(gpu: PretendedGpu, network: Estimator, cache: Prepared, iterations: int) -> int:
    """Waits of an evaluation with refinement."""
    before = gpu.total()
    evaluate_refined(network, cache, GPU, {"a": RefineOptions(iterations=iterations)}, 4, count=4)
    return gpu.total() - before


def test_a_copy_to_the_host_must_be_complete_before_it_is_read(gpu):
    with pytest.raises(RaceError, match="may not be complete"):
        torch.ones(3, device="cuda").to("cpu", non_blocking=True)


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "{photo}", "--max-hands", "1", "--write", "json", "--write", "png"],
        ["predict", "{photo}", "--max-hands", "1", "--evidence", "estimator", "--write", "json"],
    ],
    ids=["landmarks", "estimator"],
)
def test_the_command_that_predicts(gpu, tmp_path, monkeypatch, command):
    monkeypatch.setitem(PRESETS, "light", SHIPPED)
    with unseen():
        scene = demo_scene(HandModel.open_hand())
    photo = tmp_path / "photo.png"
    Image.fromarray(np.ascontiguousarray(scene.image[::3, :720:3])).save(photo)
    parts = [part.format(photo=photo) for part in command]
    done = CliRunner().invoke(app, [*parts, "--device", "cuda", "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out").iterdir())) == command.count("--write")


def test_a_synthetic_batch_waits_four_times_at_most(gpu):
    engine = SyntheticHands("cuda")
    pool = engine.backgrounds(2, 0)
    crossing = Style(crossing=1.0)
    engine.batch(6, 1, pool, crossing)  # makes the constants
    gpu.waits.clear()
    batch = engine.batch(6, 0, pool, crossing)  # has second hands in front and behind
    assert batch.images.device == GPU
    assert gpu.total() == 4, (
        gpu.waits
    )  # one for the two kinds of second hands, one for each picture of them and the hands
    style = Style(fingertips=True, things=1.0, new_people=True, new_things=True, jitter=False)
    engine.batch(2, 1, pool, style, 16)  # makes the constants
    gpu.waits.clear()
    assert engine.batch(2, 0, pool, style, 16).images.device == GPU
    assert gpu.total() <= 4, gpu.waits
    assert {kind for kind, _ in gpu.waits} <= {"tolist"}, gpu.waits


def test_self_augmentation_does_not_wait(gpu, hand, data):
    engine = SyntheticHands("cuda")
    pool = engine.backgrounds(2, 0)
    batch = engine.batch(2, 0, pool)
    view, backgrounds = plain_view(batch.crops()), Backgrounds(None, (0, 0), GPU)
    backgrounds.at = lambda step: pool
    config = tiny_network.config(data, augment_capacity=20, augment_share=0.5)
    augmentation = SelfAugmentation(hand, config, BatchPlan(4, 0, 0, novel_views=2), backgrounds, ViewOptions())
    augmentation.add_views(batch.h, view, 4)
    augmentation.extend(view, 5)  # makes the constants
    gpu.waits.clear()
    augmentation.add_views(batch.h, view, 5)
    assert augmentation.extend(view, 6).images.device == GPU
    assert not gpu.waits
    filtered = replace(config, augment_filter=True, augment_rotation="uniform")
    augmentation.config = filtered
    augmentation.add_views(batch.h, view, 7)
    assert gpu.total() <= 1, gpu.waits  # the number of seeds that fit
    augmentation.grown.load(augmentation.grown.state())


@pytest.mark.parametrize("free", [100 << 30, 1])
def test_batches_of_caches_in_the_memory_of_the_gpu_or_streamed(gpu, data, monkeypatch, free):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (free, free))
    cache = Prepared(data)
    batches = TrainingBatches([cache], BatchPlan(4, 0, 0, photos=1), ViewOptions(), GPU, weak=[cache])
    assert (batches.resident is None) == (free == 1)
    batches.view(0)
    gpu.waits.clear()
    assert batches.view(1).images.device == GPU
    assert gpu.total() == 0, gpu.waits


def test_hands_of_the_next_step_are_rendered_aside_with_equal_bits(gpu, monkeypatch):
    monkeypatch.setattr(training_batches, "POOL", 2)
    monkeypatch.setattr(training_batches, "POSES", 6)
    batches = TrainingBatches([], BatchPlan(2, 2, 0), ViewOptions(), GPU)
    batches.view(0)
    monkeypatch.setattr(synthetic_engine, "draw_poses", None)  # poses come from a pool
    gpu.waits.clear()
    gpu.waits_of_threads.clear()
    view = batches.view(1)  # renders the hands of step 2 too
    assert view.images.device == GPU
    assert not gpu.waits
    assert 0 < sum(gpu.waits_of_threads.values()) <= 4, gpu.waits_of_threads
    aside, _ = batches.drawn.at(1)
    gpu.main.wait_stream(batches.aside)
    here = batches._render(1)
    assert all(torch.equal(value, vars(here)[name]) for name, value in vars(aside).items())
    with monkeypatch.context() as patch:  # a reader that does not wait for the rendering is found
        patch.setattr(Stream, "wait_event", lambda *_: None)
        with pytest.raises(RaceError):
            batches.view(3)


def train(data: Path, folder: Path, resume: bool = False, **changes: object) -> loop.Outcome:
    """Train the tiny network on the pretended GPU."""
    config = tiny_network.config(data, **changes)
    fabric = launch_fabric(config, "cpu")
    fabric._strategy._root_device = GPU
    fabric._strategy.accelerator.setup_device = lambda *_: None
    return loop.train(config, folder, fabric, Console(quiet=True), resume)


def test_a_training_is_stopped_and_resumed(gpu, data, tmp_path):
    whole = train(data, tmp_path / "whole", steps=3)
    train(data, tmp_path / "run", steps=2)
    resumed = train(data, tmp_path / "run", resume=True, steps=3)
    assert whole.step == resumed.step == 3
    one, other = (read_checkpoint(tmp_path / name / LAST) for name in ("whole", "run"))
    one, other = (saved.network | saved.optimiser for saved in (one, other))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def waits_of_a_step(gpu: PretendedGpu, monkeypatch, train_once) -> int:
    """Waits between the beginnings of the last two steps."""
    marks, original = [], loop.set_rates

    def set_rates(*arguments: object) -> None:
        marks.append(gpu.waits.copy())
        original(*arguments)

    monkeypatch.setattr(loop, "set_rates", set_rates)
    train_once()
    return sum((marks[-1] - marks[-2]).values())


SELDOM = {"test_every": 100, "save_every": 100, "log_every": 100}


@pytest.mark.parametrize("upright", [False, True])
def test_a_training_step_does_not_wait(gpu, data, tmp_path, monkeypatch, upright):
    set_upright(monkeypatch, upright)
    assert waits_of_a_step(gpu, monkeypatch, lambda: train(data, tmp_path / "run", steps=4, **SELDOM)) == 0


def set_upright(monkeypatch, upright: bool) -> None:
    """Let the tiny network turn crops upright, as the light network does."""
    monkeypatch.setitem(PRESETS, "light", replace(tiny_network.TINY, upright=upright))


def test_the_flags_of_a_training_are_read_every_ten_steps_and_before_a_log(gpu, data, tmp_path, monkeypatch):
    steps, read_at, set_rates = [], [], loop.set_rates

    class Watched(Flags):
        def read(self) -> tuple[int | None, bool]:
            read_at.append(steps[-1])
            return super().read()

    monkeypatch.setattr(loop, "set_rates", lambda *its: (steps.append(its[2]), set_rates(*its)))
    monkeypatch.setattr(loop, "Flags", Watched)
    train(data, tmp_path / "run", steps=24, **SELDOM | {"log_every": 8})
    assert read_at == [7, 9, 15, 19, 23]


def test_a_loss_that_is_not_finite_leaves_the_weights_until_the_flags_are_read(gpu, data, tmp_path, monkeypatch):
    view = TrainingBatches.view

    def poisoned(self, step):
        good = view(self, step)
        return replace(good, images=good.images * torch.nan) if step == 2 else good

    train(data, tmp_path / "before", steps=2, **SELDOM)
    monkeypatch.setattr(TrainingBatches, "view", poisoned)
    with pytest.raises(loop.TrainingError, match=r"loss or h of step 2 is not finite.*not_finite_0\.safetensors"):
        train(data, tmp_path / "run", steps=20, **SELDOM)
    saved = read_checkpoint(tmp_path / "run" / "not_finite_0.safetensors")
    assert saved.batch["images"].isnan().all()
    before = read_checkpoint(tmp_path / "before" / LAST).network
    weights = [name for name, _ in build_network(tiny_network.config(data)).named_parameters()]
    assert all(torch.equal(saved.network[name], before[name]) for name in weights)


def test_a_training_step_with_novel_views_waits_once(gpu, data, tmp_path, monkeypatch):
    children = {"augment_share": 0.5, "augment_after": 0.0, "augment_capacity": 20}
    set_upright(monkeypatch, True)
    found = waits_of_a_step(gpu, monkeypatch, lambda: train(data, tmp_path / "run", steps=4, **SELDOM, **children))
    assert found == 1  # the flags, which say that h of the seeds is finite


def test_an_h_that_is_not_finite_becomes_no_seed(gpu, data, tmp_path, monkeypatch):
    forward, added = loop.TrainingObjective.forward, []

    def poisoned(self, images, labels):
        found = forward(self, images, labels)
        return found | {"h": found["h"].index_fill(0, torch.zeros(1, dtype=torch.int64, device=GPU), torch.nan)}

    monkeypatch.setattr(loop.TrainingObjective, "forward", poisoned)
    monkeypatch.setattr(SelfAugmentation, "add_views", lambda *its: added.append(its))
    children = {"augment_share": 0.5, "augment_after": 0.0, "augment_capacity": 20}
    with pytest.raises(loop.TrainingError, match="loss or h of step 0 is not finite"):
        train(data, tmp_path / "run", steps=4, **SELDOM, **children)
    assert not added
