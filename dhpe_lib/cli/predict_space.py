"""The part of `dhpe predict` that fits hands to joints in space."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer
from rich.text import Text

from dhpe_lib.cli.options import SideName, clean_exit, prepare_folder, usage_error
from dhpe_lib.common.console import Terminal, link


def predict_space(
    source: Path,
    folder: Path,
    side: SideName | None,
    model: Path | None,
    write: Sequence[str] | None,
    device: str | None,
    unused: Mapping[str, object],
) -> None:
    """Fit a mesh to each hand in a file of joints in space, write its files and print one line for it.

    Args:
        source: The JSON.
        folder: Folder for the files.
        side: Handedness of all hands.
        model: File of the hand model; by default the open hand.
        write: Names of the files to write; by default all of them.
        device: Name of the device.
        unused: Options of photos, which are refused.
    """
    from dataclasses import replace

    from dhpe_lib.common.devices import find_device
    from dhpe_lib.prediction.from_joints_3d import SPACE_FILES, fit_joints_3d, read_joints_3d, write_space_estimate
    from dhpe_lib.prediction.photo_groups import load_right_hand

    for option, value in unused.items():
        if value:
            raise typer.BadParameter("joints in space need no photo; leave it out", param_hint=option)
    suffixes = tuple(f".{name}" for name in dict.fromkeys(write or ())) or SPACE_FILES
    if wrong := [suffix[1:] for suffix in suffixes if suffix not in SPACE_FILES]:
        choices = ", ".join(suffix[1:] for suffix in SPACE_FILES)
        problem = f"{wrong[0]} is not written for joints in space; choose from {choices}"
        raise typer.BadParameter(problem, param_hint="--write")
    with usage_error("--keypoints-3d"):
        hands = read_joints_3d(source)
    if side is not None:
        hands = [replace(hand, side=side.value) for hand in hands]
    with usage_error("--device"):
        torch_device = find_device(device)
    with usage_error("--model"):
        hand_model = load_right_hand(model).to(torch_device)
    with usage_error("--out"):
        prepare_folder(folder)
    console = Terminal()
    with clean_exit():
        for estimate in fit_joints_3d(hand_model, hands):
            files = write_space_estimate(estimate, folder, suffixes)
            line = Text.assemble(
                ("! ", "yellow") if estimate.warnings else ("✓ ", "green"),
                f"{estimate.given.name}  ",
                (f"{estimate.model.side} hand", "bold"),
                f", residual {100 * estimate.relative_error:.1f} %  ",
                link(files[-1]),
            )
            console.print(line, soft_wrap=True)
            for warning in estimate.warnings:
                console.print(Text(f"  {warning}", "yellow"), soft_wrap=True)
