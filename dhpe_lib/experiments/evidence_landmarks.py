"""The joints of the hand landmark network, which a user could take instead of this network: on tests and on photos."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from dhpe_lib.common.records import take_rows, to_numpy
from dhpe_lib.data.crops import Crops
from dhpe_lib.evaluation.alignment import align_similarity
from dhpe_lib.evaluation.evaluate import undo_eq8
from dhpe_lib.evaluation.metrics import joint_errors
from dhpe_lib.experiments.cached_evidence import AT_A_TIME, CachedEvidence, same_view
from dhpe_lib.experiments.evidence_photos import hand_of_photo
from dhpe_lib.experiments.evidence_results import gain
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.network.hand_landmarks import load_hand_landmarks


@torch.no_grad()
def landmark_errors(evidence: CachedEvidence, crops: Crops) -> dict[str, ndarray]:
    """Compute the errors of the hand landmark network, which sees the views that our network saw.

    Args:
        evidence: Evidence of the test; only its frames are used.
        crops: Crops of the test.

    Returns:
        Errors in mm: "A8" of its joints in the image with their depth, from root depth, box and focal length; "C" of
        its joints in space, after alignment.
    """
    network, parts = load_hand_landmarks(), []
    for rows in torch.arange(len(crops)).split(AT_A_TIME):
        own, frame = crops[rows], take_rows(evidence.frame, rows)
        found = network(same_view(own, frame).images)
        joints = found.joints.clone()
        joints[..., 2] -= found.joints[:, MIDDLE_MCP, None, 2]
        truth = to_numpy(own.joints_3d).astype(float)
        in_space = align_similarity(to_numpy(found.world).astype(float), truth)
        parts.append((joint_errors(undo_eq8(joints, own, frame), truth), joint_errors(in_space, truth)))
    return {name: np.concatenate(errors) for name, errors in zip(("A8", "C"), zip(*parts, strict=True), strict=True)}


def photo_gain(photos: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the joints of the estimator's meshes with those of the public networks on photos with labels.

    Args:
        photos: Content of `real_photos.json`.

    Returns:
        The gain as a share of the hand's size, as of :func:`dhpe_lib.experiments.evidence_results.gain`; its interval
        is over hands: photos of one hand before several backgrounds count once.
    """
    public, own = "landmarks to label", "estimator to label"
    hands: dict[str, list[tuple[float, float]]] = {}
    for name, row in photos["results"].items():
        if name not in ("mean", "wanted") and row.get(public) and row.get(own):
            hands.setdefault(hand_of_photo(name), []).append((row[public], row[own]))
    pairs = np.array([np.mean(rows, 0) for rows in hands.values()])
    return gain(pairs[None, :, 0], pairs[None, :, 1], "share")
