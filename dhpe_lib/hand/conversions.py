"""Convert poses of hands between representations, sides, and the conventions of other programs.

A :class:`HandPose` is the common form. Everything here keeps dtype and device and is differentiable, except at half
turns. ``dhpe hand convert`` converts files.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.common.arguments import check_fields, checked
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.model import HandModel, about_wrist
from dhpe_lib.hand.rotations import (
    axis_angle_to_matrix,
    matrix_from_6d,
    matrix_to_6d,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    quaternion_to_matrix,
)
from dhpe_lib.hand.skeleton import MANO_JOINT_NAMES

Representation = Literal["axis-angle", "matrix", "6d", "quaternion"]
REPRESENTATIONS: tuple[Representation, ...] = get_args(Representation)
MIDDLE = MANO_JOINT_NAMES.index("middle_1")


@dataclass(frozen=True)
class HandPose:
    """Parameters of hands of one side, in this project's convention: v' = R v + translation.

    Attributes:
        side: Handedness.
        fingers: Rotations of the 15 finger joints in MANO's order, relative to the flat hand.
        shape: Shape coefficients, standard deviations.
        rotation: Global rotation R about the origin of the model's frame.
        translation: Global translation, metres; None if it is unknown.
    """

    side: Side
    fingers: Float[Tensor, "n 15 3 3"]
    shape: Float[Tensor, "n 10"]
    rotation: Float[Tensor, "n 3 3"]
    translation: Float[Tensor, "n 3"] | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def pose(self) -> Float[Tensor, "n 45"]:
        """Axis-angle vectors of the fingers relative to the flat hand, radians."""
        return matrix_to_axis_angle(self.fingers).flatten(1)


@checked()
def to_matrix(rotations: Tensor, representation: Representation) -> Tensor:
    """Convert rotations to matrices.

    Args:
        rotations: [..., 3] in radians, [..., 3, 3], [..., 6] or [..., 4] as (w, x, y, z).
        representation: Their representation.

    Returns:
        Matrices [..., 3, 3].

    Raises:
        ValueError: The representation is unknown, or the shape belongs to another one.
    """
    if representation == "axis-angle":
        return axis_angle_to_matrix(rotations)
    if representation == "6d":
        return matrix_from_6d(rotations)
    if representation == "quaternion":
        return quaternion_to_matrix(rotations)
    return rotations


@checked()
def from_matrix(matrices: Float[Tensor, "*batch 3 3"], representation: Representation) -> Tensor:
    """Convert matrices to another representation; the inverse of :func:`to_matrix`.

    Args:
        matrices: Rotation matrices.
        representation: Representation of the result.

    Returns:
        Rotations, [..., 3], [..., 3, 3], [..., 6] or [..., 4].

    Raises:
        ValueError: The representation is unknown.
    """
    if representation == "axis-angle":
        return matrix_to_axis_angle(matrices)
    if representation == "6d":
        return matrix_to_6d(matrices)
    if representation == "quaternion":
        return matrix_to_quaternion(matrices)
    return matrices


@checked()
def flat_to_mean(model: HandModel, pose: Float[Tensor, "n 45"]) -> Float[Tensor, "n 45"]:
    """Convert a pose relative to the flat hand to one relative to the mean pose, as smplx and manopth take by default.

    Args:
        model: The hand that holds the mean pose.
        pose: Axis-angle vectors relative to the flat hand, radians.

    Returns:
        Axis-angle vectors relative to the mean pose, radians.
    """
    return pose - model.hands_mean


@checked()
def mean_to_flat(model: HandModel, pose: Float[Tensor, "n 45"]) -> Float[Tensor, "n 45"]:
    """Convert a pose relative to the mean pose to one relative to the flat hand; see :func:`flat_to_mean`."""
    return pose + model.hands_mean


@checked()
def pose_to_pca(model: HandModel, pose: Float[Tensor, "n 45"], count: int = 45) -> Float[Tensor, "n count"]:
    """Compute the coefficients of a pose on the first principal components, by least squares.

    Args:
        model: The hand that holds the components.
        pose: Axis-angle vectors relative to the mean pose, radians.
        count: Number of components; with all 45 :meth:`HandModel.pose_from_pca` gives the pose back.

    Returns:
        Coefficients, radians.

    Raises:
        ValueError: There are no such components.

    Source: MANO (Romero et al. 2017), Sec. 3.
    """
    if not 1 <= count <= 45:
        raise ValueError(f"count = {count}; a hand has 45 components: give 1 to 45")
    return torch.linalg.lstsq(model.hands_components[:count].mT, pose.mT).solution.mT


def mirror_pose(hands: HandPose) -> HandPose:
    """Convert the pose of a right hand to the left hand's mirror image in x, and back.

    Args:
        hands: The hands; a translation is mirrored too.

    Returns:
        The hands of the other side. A rotation R becomes M R M with M = diag(-1, 1, 1).

    Source: :func:`dhpe_lib.hand.io.mirror_hand`.
    """
    point = hands.fingers.new_tensor((-1.0, 1.0, 1.0))
    signs = point[:, None] * point
    moved = None if hands.translation is None else hands.translation * point
    side: Side = "left" if hands.side == "right" else "right"
    return HandPose(side, hands.fingers * signs, hands.shape, hands.rotation * signs, moved)


@checked()
def from_freihand(
    model: HandModel, vectors: Float[Tensor, "n 61"], k: Float[Tensor, "n 3 3"] | None = None
) -> HandPose:
    """Read FreiHAND's vectors of 61 numbers (``training_mano.json``).

    The vector is [rotation 3 and pose 45 relative to the mean, shape 10, place of the middle MCP in the picture 2,
    scale 1]. The middle MCP lies at ((u - c_x) / s, (v - c_y) / s, f / s) with f = (f_x + f_y) / 2.

    Args:
        model: A right hand.
        vectors: The vectors.
        k: Camera matrices, pixels; without them the translation stays unknown.

    Returns:
        The hands.

    Raises:
        ValueError: The model is a left hand.

    Source: ``utils/model.py`` of FreiHAND (Zimmermann et al. 2019).
    """
    _require_right(model)
    rotation, pose, shape, place, scale = vectors.split((3, 45, 10, 2, 1), dim=1)
    fingers = axis_angle_to_matrix(mean_to_flat(model, pose).unflatten(1, (15, 3)))
    hands = HandPose("right", fingers, shape, axis_angle_to_matrix(rotation))
    if k is None:
        return hands
    focal, center = _focal_and_center(k)
    root = torch.cat((place - center, focal), dim=1) / scale
    return replace(hands, translation=root - _turned(hands.rotation, model.rest_joints(shape)[:, MIDDLE]))


@checked()
def to_freihand(model: HandModel, hands: HandPose, k: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 61"]:
    """Write FreiHAND's vectors; the inverse of :func:`from_freihand`.

    Args:
        model: A right hand.
        hands: Right hands with a translation.
        k: Camera matrices, pixels.

    Returns:
        The vectors.

    Raises:
        ValueError: The hands are left hands, or their translation is unknown.
    """
    _require_right(model)
    if hands.side != "right" or hands.translation is None:
        raise ValueError(
            "FreiHAND's vectors hold right hands with a translation; mirror a left hand, or give its place"
        )
    root = hands.translation + _turned(hands.rotation, model.rest_joints(hands.shape)[:, MIDDLE])
    focal, center = _focal_and_center(k)
    scale = focal / root[:, 2:]
    pose = flat_to_mean(model, hands.pose)
    return torch.cat((matrix_to_axis_angle(hands.rotation), pose, hands.shape, root[:, :2] * scale + center, scale), 1)


@checked()
def from_hamer(
    model: HandModel,
    global_orient: Float[Tensor, "n 3 3"],
    hand_pose: Float[Tensor, "n 15 3 3"],
    betas: Float[Tensor, "n 10"],
    translation: Float[Tensor, "n 3"] | None = None,
) -> HandPose:
    """Read the parameters that HaMeR and WiLoR predict for hands of the model's side.

    Both networks see a left hand mirrored, as a right hand; they mirror only the vertices back. Both rotate about the
    wrist joint.

    Args:
        model: The hand of the side in the photo.
        global_orient: Global rotation.
        hand_pose: Rotations of the finger joints relative to the flat hand.
        betas: Shape coefficients.
        translation: ``pred_cam_t_full``, the translation to the camera of the photo, metres.

    Returns:
        The hands.

    Source: ``demo.py`` of HaMeR (Pavlakos et al. 2024); WiLoR (Potamias et al. 2025) has the same output.
    """
    hands = HandPose("right", hand_pose, betas, global_orient)
    if model.side == "left":
        hands = mirror_pose(hands)
    return _moved_about_wrist(model, hands, translation)


@checked()
def from_frankmocap(model: HandModel, pose: Float[Tensor, "n 48"], betas: Float[Tensor, "n 10"]) -> HandPose:
    """Read the parameters that FrankMocap's hand module predicts for hands of the model's side.

    FrankMocap mirrors the pose of a left hand itself. Its pose is relative to the mean pose. Its betas shape the hands
    of SMPL-X, whose directions are not MANO's, so the shape is the mean one here.

    Args:
        model: The hand of the side in the photo.
        pose: ``pred_hand_pose``: the rotation, then the fingers relative to the mean pose, radians.
        betas: ``pred_hand_betas``; only their number is used.

    Returns:
        The hands; the translation is unknown.

    Source: ``hand_mocap_api.py`` and ``h3dw_model.py`` of FrankMocap (Rong et al. 2021).
    """
    fingers = axis_angle_to_matrix(mean_to_flat(model, pose[:, 3:]).unflatten(1, (15, 3)))
    return HandPose(model.side, fingers, torch.zeros_like(betas), axis_angle_to_matrix(pose[:, :3]))


@checked()
def from_smplx(
    model: HandModel,
    hand_pose: Float[Tensor, "n 45"],
    global_orient: Float[Tensor, "n 3"],
    betas: Float[Tensor, "n 10"],
    transl: Float[Tensor, "n 3"] | None = None,
    relative_to: Literal["mean", "flat"] = "mean",
) -> HandPose:
    """Read the parameters of smplx's MANO or of manopth, which rotate about the wrist joint.

    Args:
        model: The hand of the parameters' side.
        hand_pose: Axis-angle vectors of the fingers, radians.
        global_orient: Axis-angle vector of the global rotation, radians.
        betas: Shape coefficients.
        transl: Translation of smplx, metres.
        relative_to: "mean" for smplx's default ``flat_hand_mean=False``, "flat" for ``flat_hand_mean=True``.

    Returns:
        The hands.

    Source: :func:`dhpe_lib.hand.model.about_wrist`.
    """
    pose = mean_to_flat(model, hand_pose) if relative_to == "mean" else hand_pose
    fingers = axis_angle_to_matrix(pose.unflatten(1, (15, 3)))
    hands = HandPose(model.side, fingers, betas, axis_angle_to_matrix(global_orient))
    return _moved_about_wrist(model, hands, transl)


def _moved_about_wrist(model: HandModel, hands: HandPose, translation: Tensor | None) -> HandPose:
    """Add the translation of a program that rotates about the wrist joint."""
    if translation is None:
        return hands
    wrist = model.rest_joints(hands.shape)[:, 0]
    return replace(hands, translation=about_wrist(translation, hands.rotation, wrist))


def _focal_and_center(k: Float[Tensor, "n 3 3"]) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 2"]]:
    return (k[:, :1, 0] + k[:, 1:2, 1]) / 2, k[:, :2, 2]


def _turned(rotation: Float[Tensor, "n 3 3"], points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    return (rotation @ points[..., None]).squeeze(-1)


def _require_right(model: HandModel) -> None:
    if model.side != "right":
        raise ValueError("FreiHAND has right hands only; give the model of a right hand")
