"""The command `dhpe train-mesh`."""

from pathlib import Path
from typing import Annotated

import typer

from dhpe_lib.cli.options import CheckpointArgument, DeviceOption, clean_exit, prepare_folder, usage_error
from dhpe_lib.common.console import Terminal, say


def train_mesh(
    checkpoint: CheckpointArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.", show_default=False)],
    data: Annotated[
        list[Path],
        typer.Option("--data", metavar="DIR", help="Prepared split; may be repeated.", show_default=False),
    ],
    count: Annotated[int, typer.Option("--count", min=2, help="Crops to train on, over all splits.")] = 24_576,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps with 256 crops each.")] = 2000,
    shape_weight: Annotated[float, typer.Option("--shape-weight", min=0, help="Weight of L_Sh.")] = 0.0,
    rate: Annotated[float, typer.Option("--rate", min=0, help="Largest learning rate.")] = 3e-4,
    anew: Annotated[bool, typer.Option("--anew", help="Begin with random weights of f_E3D.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 0,
    device: DeviceOption = None,
) -> None:
    """Train f_E3D of a light network further, while F and f_J2D stay as they are.

    The evidence of all crops is found once and takes 70 kB of memory a crop. Then a step takes half a second of a CPU,
    and an interrupted training begins again.
    """
    from dhpe_lib.common.console import progress_bar
    from dhpe_lib.common.devices import find_device
    from dhpe_lib.data.cache.reader import Prepared
    from dhpe_lib.network.checkpoints import CheckpointError, read_checkpoint, require_safetensors, write_checkpoint
    from dhpe_lib.network.trained import load_trained
    from dhpe_lib.training.fixed_evidence import (
        MeshEstimator,
        MeshStage,
        find_fixed_evidence,
        jittered_views,
        train_mesh_estimator,
    )

    with usage_error("--device"):
        torch_device = find_device(device)
    with clean_exit():
        network, facts = load_trained(checkpoint).to(torch_device), read_checkpoint(checkpoint).facts
        splits = [Prepared(path) for path in data]
    with usage_error("OUT"):
        require_safetensors(out)
        prepare_folder(out.parent)
    stage = MeshStage(steps=steps, learning_rate=rate, weight_sh=shape_weight, seed=seed)
    with progress_bar(Terminal()) as progress, clean_exit():
        task = progress.add_task("evidence", total=min(count, sum(map(len, splits))))
        evidence = find_fixed_evidence(
            network, jittered_views(network, splits, count, seed), lambda n: progress.advance(task, n)
        )
        task = progress.add_task("f_E3D", total=steps)
        mesh = MeshEstimator.anew(network, seed) if anew else MeshEstimator.of(network)
        train_mesh_estimator(mesh, evidence, stage, lambda step, loss: progress.advance(task))
    network.regressor, network.joint_reader = mesh.regressor, mesh.joint_reader
    kept = {name: value for name, value in facts.items() if name in ("config", "feature_input")}
    with clean_exit(CheckpointError):
        write_checkpoint(out, network, {"step": steps, **kept})
    say("Written: ", out)
    say("To measure its errors, run: dhpe evaluate ", out, " DATASET_DIR")
