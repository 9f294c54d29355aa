"""FreiHAND's benchmark: read and write its prediction file, and compute the twelve scores of its `eval.py`.

The file `pred.json` is `[joints, vertices]`: n x 21 x 3 and n x 778 x 3 numbers, in metres in the camera frame. Joints
are in canonical order and images are in the order of the dataset (3,960 images). Here they are arrays in millimetres.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float
from msgspec import Meta
from numpy import ndarray

from dhpe_lib.common.files import atomic_write
from dhpe_lib.common.json_files import LARGE, JsonError, Number, read_json
from dhpe_lib.evaluation.alignment import align_similarity
from dhpe_lib.evaluation.metrics import THRESHOLDS, auc, f_scores, joint_errors, mean_epe

DECIMALS = 7  # decimal places of a metre: a tenth of a micrometre, and half the file size
GRID = THRESHOLDS["freihand"]
FIELDS = {"joints": (21, 3), "vertices": (778, 3)}
Point = tuple[Number, Number, Number]
Joints = Annotated[list[Point], Meta(min_length=21, max_length=21)]
Vertices = Annotated[list[Point], Meta(min_length=778, max_length=778)]


class FreihandFileError(ValueError):
    """A prediction file is not valid; the message names file, field and remedy."""


@dataclass(frozen=True)
class SurfaceScores:
    """Scores of joints and mesh with one alignment.

    Attributes:
        mpjpe: Mean error of the joints, mm.
        joint_auc: Area under the joints' PCK curve from 0 to 50 mm.
        mpvpe: Mean error of the vertices, mm.
        vertex_auc: Area under the vertices' PCK curve from 0 to 50 mm.
        f_5: F-score of the mesh at 5 mm.
        f_15: F-score of the mesh at 15 mm.
    """

    mpjpe: float
    joint_auc: float
    mpvpe: float
    vertex_auc: float
    f_5: float
    f_15: float


@dataclass(frozen=True)
class FreihandScores:
    """The scores that the benchmark reports.

    Attributes:
        plain: Scores in the camera frame, without alignment.
        aligned: Scores after a similarity for the joints and another for the vertices ("PA"). Reflections are allowed,
            as in the benchmark.
    """

    plain: SurfaceScores
    aligned: SurfaceScores


def write_freihand(path: str | Path, joints: Float[ndarray, "n 21 3"], vertices: Float[ndarray, "n 778 3"]) -> None:
    """Write a prediction file atomically.

    Args:
        path: Path of the file, usually `pred.json`; its folder is created if it does not exist.
        joints: Camera frame, canonical order, mm.
        vertices: Camera frame, MANO's order, mm.

    Raises:
        FreihandFileError: There is no image, a number is not finite, or a shape is wrong.
        OSError: The file cannot be written.

    Source: FreiHAND's `pred.py`.
    """
    path = Path(path)
    if not len(joints):
        raise FreihandFileError(f"{path}: not written, since there is no image; give a prediction for each image")
    metres = []
    for field, values in (("joints", joints), ("vertices", vertices)):
        if values.shape != (len(joints), *FIELDS[field]):
            expected = (len(joints), *FIELDS[field])
            raise FreihandFileError(
                f"{path}: not written, since {field} have shape {values.shape}; give shape {expected}"
            )
        _check_finite(path, field, values)
        metres.append(np.round(values.astype(float) / 1000, DECIMALS).tolist())
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(metres, separators=(",", ":")), encoding="utf-8")


def read_freihand(path: str | Path) -> tuple[Float[ndarray, "n 21 3"], Float[ndarray, "n 778 3"]]:
    """Read a prediction file of any program.

    Args:
        path: Path of the file.

    Returns:
        Joints and vertices in mm.

    Raises:
        FileNotFoundError: The file does not exist.
        FreihandFileError: The file is not a valid prediction file.

    Source: FreiHAND's `eval.py`.
    """
    path = Path(path)
    try:
        content = read_json(path, tuple[list[Joints], list[Vertices]], LARGE)
    except JsonError as error:
        raise FreihandFileError(f"{path}: not [joints, vertices] ({error}); write it with write_freihand") from error
    joints, vertices = (
        1000 * np.array(values, float).reshape(-1, *FIELDS[name]) for name, values in zip(FIELDS, content, strict=True)
    )
    if not len(joints):
        raise FreihandFileError(f"{path}: holds no image; give a prediction for each image")
    _check_finite(path, "joints", joints)
    _check_finite(path, "vertices", vertices)
    if len(joints) != len(vertices):
        raise FreihandFileError(
            f"{path}: joints of {len(joints)} images, but vertices of {len(vertices)}; give both for each image"
        )
    return joints, vertices


def score_freihand(
    joints: Float[ndarray, "n 21 3"],
    vertices: Float[ndarray, "n v 3"],
    true_joints: Float[ndarray, "n 21 3"],
    true_vertices: Float[ndarray, "n v 3"],
) -> FreihandScores:
    """Score predictions as the benchmark does.

    Args:
        joints: Predicted joints, camera frame, canonical order, mm.
        vertices: Predicted vertices, camera frame, mm.
        true_joints: Ground truth of `evaluation_xyz.json`, mm.
        true_vertices: Ground truth of `evaluation_verts.json`, mm.

    Returns:
        Scores before and after alignment.

    Raises:
        ValueError: There is no image.

    Source: FreiHAND's `eval.py`; the scores agree with it to 1e-6.
    """
    aligned = align_similarity(joints, true_joints, True), align_similarity(vertices, true_vertices, True)
    return FreihandScores(
        plain=_surface_scores(joints, vertices, true_joints, true_vertices),
        aligned=_surface_scores(*aligned, true_joints, true_vertices),
    )


def _surface_scores(joints: ndarray, vertices: ndarray, true_joints: ndarray, true_vertices: ndarray) -> SurfaceScores:
    distances = joint_errors(joints, true_joints), joint_errors(vertices, true_vertices)
    measures = [measure for errors in distances for measure in (mean_epe(errors), auc(errors, GRID))]
    return SurfaceScores(*measures, *f_scores(vertices, true_vertices).mean(0).tolist())


def _check_finite(path: Path, field: str, values: ndarray) -> None:
    bad = ~np.isfinite(values).all((1, 2))
    if bad.any():
        raise FreihandFileError(
            f"{path}: {field} of image {np.flatnonzero(bad)[0]} are not finite; give a prediction for each image"
        )
