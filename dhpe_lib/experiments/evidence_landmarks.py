"""The joints of the hand landmark network, which a user could take instead of this network: on tests and on photos."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import take_rows, to_numpy
from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.crops import Crops
from dhpe_lib.evaluation.alignment import align_similarity
from dhpe_lib.evaluation.evaluate import Predictions, millimetres, undo_eq8
from dhpe_lib.evaluation.metrics import joint_errors
from dhpe_lib.evaluation.scores import protocol_errors
from dhpe_lib.experiments.cached_evidence import AT_A_TIME, CachedEvidence, same_view
from dhpe_lib.experiments.evidence_photos import hand_of_photo
from dhpe_lib.experiments.evidence_results import gain
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.network.hand_landmarks import HandLandmarks, load_hand_landmarks


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
    parts = []
    for own, frame, found in landmarks_of(evidence, crops):
        truth = to_numpy(own.joints_3d).astype(float)
        in_space = align_similarity(to_numpy(found.world).astype(float), truth)
        eq8 = undo_eq8(skeletons_of(found), own, frame)
        parts.append((joint_errors(eq8, truth), joint_errors(in_space, truth)))
    return {name: np.concatenate(errors) for name, errors in zip(("A8", "C"), zip(*parts, strict=True), strict=True)}


def landmarks_of(evidence: CachedEvidence, crops: Crops) -> Iterator[tuple[Crops, CropFrame, HandLandmarks]]:
    """Iterate over crops, the frames of the views that our network saw, and the landmarks in these views."""
    network = load_hand_landmarks()
    for rows in torch.arange(len(crops)).split(AT_A_TIME):
        own, frame = crops[rows], take_rows(evidence.frame, rows)
        yield own, frame, network(same_view(own, frame).images)


def skeletons_of(found: HandLandmarks) -> Float[Tensor, "b 21 3"]:
    """Return the joints in the image with their depth below the middle MCP, units of g, as our network's skeletons."""
    joints = found.joints.clone()
    joints[..., 2] -= found.joints[:, MIDDLE_MCP, None, 2]
    return joints


@torch.no_grad()
def rigid_errors(evidence: CachedEvidence, crops: Crops, ours: Predictions) -> dict[str, ndarray]:
    """Compute the errors of the hand landmark network and of ours in protocols A and B.

    The hand landmark network knows no distance and no size. Protocol A gives it both, as it gives them to ours: from
    the root's true depth, the box and the focal length follow the place of the crop and the length of its side in mm.
    Its joints in the image with their depth, in units of this side, are placed as a rigid hand. Protocol B is given
    joint 0 and the length of a bone, of the same hands; it counts visible joints only.

    Args:
        evidence: Evidence of the test; only its frames are used.
        crops: Crops of the test.
        ours: Predictions of our network on the same crops.

    Returns:
        Errors in mm by protocol, "A" and "B", those of our network as "shipped_A" and "shipped_B". "B" is missing if
        no image has the joints that it needs, as with fingertips alone.
    """
    rigid = [millimetres(skeletons_of(found), own, frame) for own, frame, found in landmarks_of(evidence, crops)]
    theirs = protocol_errors(replace(ours, joints_mm=np.concatenate(rigid)))
    own = protocol_errors(ours)
    names = [name for name in ("A", "B") if name in own]
    return {name: theirs[name] for name in names} | {f"shipped_{name}": own[name] for name in names}


@torch.no_grad()
def image_errors(evidence: CachedEvidence, crops: Crops, ours: Float[Tensor, "n 21 3"]) -> dict[str, ndarray]:
    """Compute the errors of the hand landmark network and of ours in the image, as on photos without joints in space.

    Args:
        evidence: Evidence of the photos; its frames and labels are used.
        crops: Crops of the photos.
        ours: Skeletons of our network, crop frame, units of g.

    Returns:
        Errors in pixels of the crop: "A", as found, which is what is left of protocol A without depth, and "C", after
        the best similarity in the image; those of our network as "shipped_A" and "shipped_C". Protocol B needs a bone's
        length in space.
    """
    theirs = torch.cat([skeletons_of(found) for _, _, found in landmarks_of(evidence, crops)])
    found: dict[str, ndarray] = {}
    for prefix, joints in (("", theirs), ("shipped_", ours)):
        truth = torch.where(evidence.targets.known_2d[..., None], evidence.targets.joints_2d, torch.nan)
        flat, wanted = (flattened(to_numpy(one[..., :2]).astype(float)) for one in (joints, truth))
        aligned = align_similarity(flat, wanted)
        found |= {f"{prefix}A": SIZE * joint_errors(flat, wanted), f"{prefix}C": SIZE * joint_errors(aligned, wanted)}
    return found


def flattened(joints: Float[ndarray, "n 21 2"]) -> Float[ndarray, "n 21 3"]:
    """Append a depth of 0."""
    return np.concatenate((joints, np.zeros_like(joints[..., :1])), -1)


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
