"""The training loop learns, and an interrupted and resumed run ends with the weights of an uninterrupted run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_network
import torch
from dot_dataset import Dots, write_dots
from project import child_environment
from rich.console import Console

from dhpe_lib.common.files import DiskFullError
from dhpe_lib.data.cache.layout import PreparedError
from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.experiments.ablation import Run, measure
from dhpe_lib.network import checkpoints
from dhpe_lib.network.checkpoints import CheckpointError, read_checkpoint
from dhpe_lib.network.trained import load_trained
from dhpe_lib.training import loop
from dhpe_lib.training.agreement import Flags
from dhpe_lib.training.batches import TrainingBatches, ViewOptions, plan_batches
from dhpe_lib.training.config import ConfigError, TrainingConfig
from dhpe_lib.training.log import read_curves
from dhpe_lib.training.loop import TrainingError
from dhpe_lib.training.losses import losses_of
from dhpe_lib.training.optimiser import build_optimiser
from dhpe_lib.training.run_folder import BEST, LAST, space_of_checkpoints
from dhpe_lib.training.self_augmentation import SelfAugmentation
from dhpe_lib.training.setup import build_network, launch_fabric, setup_fabric


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dots")
    job = Job("dots", "all", Dots, write_dots(folder / "files", 10), folder / "cache")
    return prepare(job, 1, Console(quiet=True)).directory


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Use a tiny network and one thread, since the last bits of a sum depend on the number of threads."""
    tiny_network.install(monkeypatch.setitem)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(run: Path, name: str = LAST) -> dict[str, torch.Tensor]:
    checkpoint = read_checkpoint(run / name)
    return checkpoint.network | checkpoint.optimiser


def is_weight(name: str) -> bool:
    """False for the statistics of batch norm, which a forward pass changes."""
    return "running" not in name and "num_batches" not in name


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def test_it_learns_and_writes_all_logs(data, tmp_path):
    outcome = tiny_network.run(
        tiny_network.config(data, steps=30, log_every=5, test_every=15, save_every=15), tmp_path / "run"
    )
    assert (outcome.step, outcome.finished) == (30, True)
    train = read_curves(tmp_path / "run" / "curves.jsonl", "train")
    assert train["step"].tolist() == list(range(5, 31, 5))
    assert train["art"][-1] < 0.7 * train["art"][0]
    test = read_curves(tmp_path / "run" / "curves.jsonl", "test_dots_all")
    assert test["step"].tolist() == [15, 30]
    assert np.isfinite([test[name] for name in ("epe_a_mm", "epe_c_mm", "error_px", "share_under_tau")]).all()
    assert outcome.best == test["epe_a_mm"].min()
    assert {path.name for path in (tmp_path / "run" / "pictures").iterdir()} == {
        "dots_all_0000015.png",
        "dots_all_0000030.png",
    }
    assert "finished after step 30" in (tmp_path / "run" / "log.txt").read_text()
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    trained = load_trained(tmp_path / "run").state_dict()
    assert same(dict(trained), read_checkpoint(tmp_path / "run" / BEST).network)


def test_the_evidence_can_learn_alone(data, tmp_path):
    config = tiny_network.config(data, learns="evidence", steps=30, log_every=5, test_every=30)
    before = build_network(config).state_dict()
    outcome = tiny_network.run(config, tmp_path / "run")
    after = weights(tmp_path / "run")
    changed = {name.split(".")[0] for name in before if is_weight(name) and not torch.equal(before[name], after[name])}
    assert changed == {"pose_machine"}  # the f_J2D of this network has a trunk of its own
    train = read_curves(tmp_path / "run" / "curves.jsonl", "train")
    assert train["j2d"][-1] < 0.97 * train["j2d"][0]
    assert "art" not in train
    test = read_curves(tmp_path / "run" / "curves.jsonl", "test_dots_all")
    assert outcome.best == test["j2d_first_px"].min()


def interrupt_at(monkeypatch, step: int, number: signal.Signals) -> None:
    """Send Ctrl-C or SIGTERM in the middle of a step."""
    view = TrainingBatches.view

    def interrupted(self, now):
        if now == step:
            os.kill(os.getpid(), number)
        return view(self, now)

    monkeypatch.setattr(TrainingBatches, "view", interrupted)


@pytest.mark.parametrize(("rendered", "number"), [(0.0, signal.SIGTERM), (0.5, signal.SIGINT)])
def test_ctrl_c_finishes_the_step_and_resuming_changes_no_bit(data, tmp_path, monkeypatch, rendered, number):
    config = tiny_network.config(data, rendered=rendered, save_every=100, test_every=3)
    tiny_network.run(config, tmp_path / "straight")
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, number)
        stopped = tiny_network.run(config, tmp_path / "stopped")
    assert (stopped.step, stopped.finished) == (4, False)
    assert read_checkpoint(tmp_path / "stopped" / LAST).facts["step"] == 4
    assert not same(weights(tmp_path / "stopped"), weights(tmp_path / "straight"))
    assert signal.getsignal(number) is handler
    outcome = tiny_network.run(config, tmp_path / "stopped", resume=True)
    assert outcome.finished
    for name in (LAST, BEST):
        assert same(weights(tmp_path / "stopped", name), weights(tmp_path / "straight", name))


def test_ctrl_c_while_processes_agree_ends_the_next_step(data, tmp_path, monkeypatch):
    """A Ctrl-C after the flags of a step were noted is not lost: the loop ends after the next step."""
    read, calls = Flags.read, []

    def interrupted(self):
        calls.append(self)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return read(self)

    monkeypatch.setattr(Flags, "read", interrupted)
    stopped = tiny_network.run(tiny_network.config(data, save_every=100), tmp_path / "run")
    assert (stopped.step, stopped.finished) == (4, False)
    assert read_checkpoint(tmp_path / "run" / LAST).facts["step"] == 4


def test_resuming_restores_the_growing_set(data, tmp_path, monkeypatch):
    """A run that is stopped after novel views started has, when resumed, the novel views and weights of a whole run."""
    config = tiny_network.config(data, augment_share=0.5, augment_after=0.5, augment_capacity=20, steps=7, test_every=4)
    lengths = images_of_steps(monkeypatch)
    tiny_network.run(config, tmp_path / "straight")
    assert list(lengths.values()) == [(4, 4), (4, 4)] + 5 * [(2, 4)]  # half an epoch of 10 in batches of 4 is one step
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4, signal.SIGINT)
        assert tiny_network.run(config, tmp_path / "stopped").step == 5
    saved = read_checkpoint(tmp_path / "stopped" / LAST).grown
    assert saved["count"].tolist() == [12 + 3 * 6]
    assert saved["h"].shape == (1, 20, 63)
    assert tiny_network.run(config, tmp_path / "stopped", resume=True).finished
    for name in (LAST, BEST):
        assert same(weights(tmp_path / "stopped", name), weights(tmp_path / "straight", name))
    grown = [read_checkpoint(tmp_path / name / LAST).grown for name in ("stopped", "straight")]
    assert same(*grown)
    assert (tmp_path / "straight" / "pictures" / "children_0000004.png").is_file()
    without = replace(config, ablation=("without-augmentation",))
    tiny_network.run(without, tmp_path / "without")
    assert not read_checkpoint(tmp_path / "without" / LAST).grown
    assert not same(weights(tmp_path / "without"), weights(tmp_path / "straight"))


def test_augmentation_begins_in_the_middle_of_a_short_run(data):
    config = tiny_network.config(data, augment_share=0.5, steps=12)
    fabric = launch_fabric(config, "cpu")
    assert plan_batches(config, fabric, 10).novel_views_from == 6 + 1
    assert plan_batches(replace(config, steps=1000), fabric, 10).novel_views_from == 20 * 10 // 4 + 1
    rendered = replace(config, data=(), steps=10**6, augment_after=1.0)
    assert plan_batches(rendered, fabric, 0).novel_views_from == round(41_258 / 4) + 1
    half = replace(config, rendered=0.5, augment_after=1.0)
    assert plan_batches(half, fabric, 10).novel_views_from == 5 + 1  # an epoch of the data takes twice as many steps
    assert plan_batches(replace(config, augment_share=0.0), fabric, 10).novel_views == 0
    assert plan_batches(config, fabric, 10).novel_views == 2


@pytest.mark.parametrize(("batch", "share"), [(1, 0.9), (4, 0.1)])
def test_augmentation_with_too_small_a_batch_is_refused(data, batch, share):
    config = tiny_network.config(data, batch=batch, augment_share=share)
    fabric = launch_fabric(config, "cpu")
    with pytest.raises(ConfigError, match=f"batch is {batch}, .*no novel view fits.*without-augmentation"):
        plan_batches(config, fabric, 10)
    assert plan_batches(replace(config, ablation=("without-augmentation",)), fabric, 10).batch == batch


def images_of_steps(monkeypatch) -> dict[int, tuple[int, int]]:
    """Return a dict that will hold, for each step, the number of images without and with novel views."""
    extend, lengths = SelfAugmentation.extend, {}

    def watched(self, view, step):
        longer = extend(self, view, step)
        lengths[step] = len(view.images), len(longer.images)
        return longer

    monkeypatch.setattr(SelfAugmentation, "extend", watched)
    return lengths


def test_novel_views_that_have_started_continue_in_a_longer_run(data, tmp_path, monkeypatch):
    lengths = images_of_steps(monkeypatch)
    config = tiny_network.config(data, augment_share=0.5, augment_capacity=20, steps=4)
    for steps in (4, 8, 20):  # a new run would start them in its middle: at 2, 4, 10
        assert tiny_network.run(replace(config, steps=steps), tmp_path / "run", resume=steps > 4).finished
    assert lengths == {step: (4, 4) if step < 3 else (2, 4) for step in range(20)}


def test_novel_views_that_have_not_started_follow_the_new_number_of_steps(data, tmp_path, monkeypatch):
    lengths = images_of_steps(monkeypatch)
    config = tiny_network.config(data, augment_share=0.5, augment_capacity=20, steps=20)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 0, signal.SIGINT)
        assert tiny_network.run(config, tmp_path / "run").step == 1
    tiny_network.run(replace(config, steps=6), tmp_path / "run", resume=True)
    assert lengths == {step: (4, 4) if step < 4 else (2, 4) for step in range(6)}


KILLED = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
import torch
import tiny_network
from dhpe_lib.training.agreement import Flags
from dhpe_lib.training.batches import TrainingBatches
torch.set_num_threads(1)
tiny_network.install()
view = TrainingBatches.view
def slow(self, step):
    time.sleep(0.2)
    return view(self, step)
TrainingBatches.view = slow
data, run = map(Path, sys.argv[1:])
tiny_network.run(tiny_network.config(data, steps=1000), run)
"""


def test_kill_9_and_resume_change_no_bit(data, tmp_path):
    script, run = tmp_path / "script.py", tmp_path / "killed"
    script.write_text(KILLED)
    running = subprocess.Popen([sys.executable, script, data, run], env=child_environment())
    until = time.monotonic() + 120
    while not (run / LAST).is_file() or read_checkpoint(run / LAST).facts["step"] < 3:
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    killed_at = read_checkpoint(run / LAST).facts["step"]
    (run / ".dhpe-x").mkdir()  # a kill during writing leaves such a folder
    (run / ".dhpe-x" / ".lock").touch()
    config = tiny_network.config(data, steps=killed_at + 3)
    assert tiny_network.run(config, run, resume=True).finished
    tiny_network.run(config, tmp_path / "straight")
    assert same(weights(run), weights(tmp_path / "straight"))
    steps = read_curves(run / "curves.jsonl", "train")["step"].tolist()
    assert steps == sorted(set(steps))  # records after the checkpoint were removed
    assert f"resumed after step {killed_at}\n" in (run / "log.txt").read_text()
    assert not list(run.glob(".*"))


def test_a_run_killed_before_its_first_checkpoint_starts_again(data, tmp_path):
    config = tiny_network.config(data, steps=2)
    tiny_network.run(config, tmp_path / "a")
    (tmp_path / "a" / LAST).unlink()
    assert tiny_network.run(config, tmp_path / "a", resume=True).step == 2


def test_a_loss_that_is_not_finite_stops_and_saves_the_batch(data, tmp_path, monkeypatch):
    view = TrainingBatches.view

    def poisoned(self, step):
        good = view(self, step)
        return replace(good, images=good.images * torch.nan) if step == 2 else good

    monkeypatch.setattr(TrainingBatches, "view", poisoned)
    config = tiny_network.config(data)
    with pytest.raises(TrainingError, match=r"loss or h of step 2 is not finite.*not_finite_0\.safetensors"):
        tiny_network.run(config, tmp_path / "run")
    saved = read_checkpoint(tmp_path / "run" / "not_finite_0.safetensors")
    assert saved.batch["images"].isnan().all()
    assert saved.batch["joints"].shape == (4, 21, 3)
    last = read_checkpoint(tmp_path / "run" / LAST)
    assert last.facts["step"] == 2
    assert all(torch.equal(saved.network[name], value) for name, value in last.network.items() if is_weight(name))
    assert all(value.isfinite().all() for value in last.network.values())


PARALLEL = """
import sys
from pathlib import Path
from types import SimpleNamespace
import torch
import tiny_network
torch.set_num_threads(1)
tiny_network.install()
data, run = map(Path, sys.argv[1:])
tiny_network.run(tiny_network.config(data, steps=5, batch_norm="frozen"), run)
"""


INTERRUPTED = """
import os, signal
from dhpe_lib.training.agreement import Flags
read, calls = Flags.read, []
def watched(self):
    flags = read(self)
    calls.append(flags)
    if os.environ["RANK"] == "1" and len(calls) == 2:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
    return flags
Flags.read = watched
"""


def run_in_two_processes(text: str, data: Path, folder: Path) -> None:
    script = folder / "script.py"
    script.write_text(text)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, script, data, folder / "two"], env=child_environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_ctrl_c_of_one_process_ends_both_after_the_same_step(data, tmp_path):
    """Ctrl-C arrives twice, as under torchrun, after the flags of the step were shared."""
    run_in_two_processes(INTERRUPTED + PARALLEL, data, tmp_path)
    assert read_checkpoint(tmp_path / "two" / LAST).facts["step"] == 3
    assert "interrupted after step 3" in (tmp_path / "two" / "log.txt").read_text()


def test_two_processes_equal_one_process_with_the_whole_batch(data, tmp_path):
    run_in_two_processes(PARALLEL, data, tmp_path)
    tiny_network.run(tiny_network.config(data, steps=5, batch_norm="frozen"), tmp_path / "one")
    two, one = (read_checkpoint(tmp_path / name / LAST) for name in ("two", "one"))
    initial = build_network(tiny_network.config(data)).state_dict()
    moved = [name for name, value in one.network.items() if not torch.equal(value, initial[name])]
    assert len(moved) > 10
    for name, value in one.network.items():
        torch.testing.assert_close(two.network[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_batch_statistics_of_several_cpu_processes_are_refused(data, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="--set batch_norm=frozen"):
        launch_fabric(tiny_network.config(data), "cpu")


def test_frozen_statistics_do_not_change(data, tmp_path):
    config = tiny_network.config(data, batch_norm="frozen", steps=2)
    tiny_network.run(config, tmp_path / "run")
    initial, final = build_network(config).state_dict(), weights(tmp_path / "run")
    stored = [name for name in initial if "running" in name]
    assert stored
    assert all(torch.equal(initial[name], final[name]) for name in stored)


@pytest.mark.parametrize(
    ("ablation", "removed"),
    [
        ("without-refiner", {"regressor.f_ref.weight", "regressor.f_ref.bias"}),
        ("without-2d-losses", {"regressor.f_ref.weight", "regressor.f_ref.bias"}),
        ("without-shape-loss", set()),
        ("constant-lambda", set()),
    ],
)
def test_ablations_remove_their_part(data, tmp_path, ablation, removed):
    config = tiny_network.config(data, ablation=(ablation,), steps=2)
    tiny_network.run(config, tmp_path / "run")
    train = read_curves(tmp_path / "run" / "curves.jsonl", "train")
    full = set(build_network(tiny_network.config(data)).state_dict())
    missing = full - set(build_network(config).state_dict())
    assert removed <= missing
    assert any("pose_machine" in name for name in missing) == (ablation == "without-2d-losses")
    assert (train["j2d"] == 0).all() == (ablation == "without-2d-losses")
    if ablation == "without-shape-loss":
        assert (train["sh"] == 0).all()
    if ablation == "constant-lambda":
        assert 0 < train["gate"].max() <= 0.01


def test_pose_machine_has_its_own_rate(data, tmp_path):
    config = tiny_network.config(data, learning_rate_j2d=1e-12, steps=2)
    tiny_network.run(config, tmp_path / "run")
    initial, final = build_network(config).state_dict(), weights(tmp_path / "run")
    names = [name for name in initial if name.endswith("conv1_1.weight")]
    assert names
    assert max(float((final[name] - initial[name]).abs().max()) for name in names) < 1e-9
    assert not torch.equal(initial["regressor.f_j3d.weight"], final["regressor.f_j3d.weight"])


def test_bfloat16_keeps_the_losses_in_full_precision(data, monkeypatch):
    config = tiny_network.config(data, precision="bf16-mixed")
    fabric, network = launch_fabric(config, "cpu"), build_network(config)
    seen = []

    def watched(estimate, targets, laplacian, options):
        seen.append((estimate.evidence.feature.dtype, estimate.mesh.vertices.dtype, torch.is_autocast_enabled("cpu")))
        return losses_of(estimate, targets, laplacian, options)

    monkeypatch.setattr(loop, "losses_of", watched)
    objective = loop.TrainingObjective(network, config)
    objective, _ = setup_fabric(fabric, network, objective, build_optimiser(network, config), config)
    batches = TrainingBatches(
        [Prepared(data)], plan_batches(config, fabric, 10), ViewOptions(config.jitter_range), fabric.device
    )
    view = batches.view(0)
    losses = objective(view.images, vars(view.targets))
    assert seen == [(torch.bfloat16, torch.float32, False)]
    assert losses["objective"].dtype == torch.float32


def test_two_tests_of_one_name_are_refused(data, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(data, again)
    config = tiny_network.config(data, test=(str(data), str(again)))
    with pytest.raises(
        ConfigError, match=rf"{data} and {again}, but both have the name dots_all.*Name only one of them"
    ):
        tiny_network.run(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="both have the name dots_all"):
        measure({"full": [Run(tmp_path / "run", config)]}, tmp_path, torch.device("cpu"))


def test_a_run_with_another_configuration_is_not_resumed(data, tmp_path):
    config = tiny_network.config(data, steps=1)
    tiny_network.run(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run; continue it with --resume"):
        tiny_network.run(config, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"batch was 4, now it is 2\. Start a new run"):
        tiny_network.run(replace(config, batch=2), tmp_path / "run", resume=True)
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file; there is no run to resume"):
        tiny_network.run(config, tmp_path / "other", resume=True)
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["batch"] == 4
    assert tiny_network.run(replace(config, steps=2), tmp_path / "run", resume=True).step == 2
    done = tiny_network.run(config, tmp_path / "run", resume=True)
    assert (done.step, done.finished) == (2, True)  # more steps than the new configuration asks for


@pytest.mark.parametrize("name", ["data", "test", "start", "backgrounds"])
def test_a_wrong_path_leaves_no_run_behind(data, tmp_path, name):
    wrong = str(tmp_path / "nothing")
    config = tiny_network.config(data, steps=1)
    with pytest.raises((FileNotFoundError, PreparedError), match="nothing: no such"):
        tiny_network.run(replace(config, **{name: (wrong,) if name in ("data", "test") else wrong}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert tiny_network.run(config, tmp_path / "run").finished


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_jitter_must_be_a_number_of_at_least_0(value):
    with pytest.raises(ConfigError, match="jitter_scale is"):
        TrainingConfig(jitter_scale=value)


def test_initial_weights_from_a_checkpoint(data, tmp_path):
    config = tiny_network.config(data, steps=2)
    tiny_network.run(config, tmp_path / "run")
    network = build_network(replace(config, start=str(tmp_path / "run" / LAST)))
    assert same(dict(network.state_dict()), read_checkpoint(tmp_path / "run" / LAST).network)
    other = replace(config, start=str(tmp_path / "run" / LAST), ablation=("without-2d-losses",))
    with (
        pytest.warns(UserWarning, match="f_E3D starts anew"),
        pytest.raises(CheckpointError, match=r"field pose_machine\S+ is \(.*\) in the file and missing in the network"),
    ):
        build_network(other)
    with pytest.raises(FileNotFoundError, match="nowhere: no such checkpoint"):
        build_network(replace(config, start="nowhere"))


def test_a_full_disk_leaves_the_previous_checkpoint(data, tmp_path, monkeypatch):
    write, calls = checkpoints.save_file, []

    def full(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        write(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save_file", full)
        with pytest.raises(CheckpointError, match=r"last\.safetensors: cannot be written .*No space left.*Free disk"):
            tiny_network.run(tiny_network.config(data), tmp_path / "run")
    assert read_checkpoint(tmp_path / "run" / LAST).facts["step"] == 2
    assert not list((tmp_path / "run").glob(".*"))


def test_room_for_the_checkpoints_is_looked_for_before_the_first_step(data, tmp_path, monkeypatch):
    config = tiny_network.config(data, steps=1)
    needed = space_of_checkpoints(build_network(config))
    tiny_network.run(config, tmp_path / "small")
    written = sum((tmp_path / "small" / name).stat().st_size for name in (LAST, LAST, BEST))
    assert 0.9 * written < needed < written
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(DiskFullError, match=r"run: .* are needed and .* are free there; make room"):
        tiny_network.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_initial_weights_are_not_overwritten(data, tmp_path):
    config = tiny_network.config(data, steps=1)
    tiny_network.run(config, tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    before = (tmp_path / "run" / BEST).read_bytes()
    for start in (tmp_path / "run" / LAST, tmp_path / "link" / BEST, tmp_path / "link"):
        with pytest.raises(FileExistsError, match="which would be overwritten; name another file"):
            tiny_network.run(replace(config, start=str(start)), tmp_path / "run")
    assert (tmp_path / "run" / BEST).read_bytes() == before
