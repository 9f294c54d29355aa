"""From a photo to the meshes of all hands in it.

Public networks say where each hand is, which hand it is, and where its 21 joints are, in the picture and in space
(:mod:`dhpe_lib.prediction.find_hands`). The fit of :mod:`dhpe_lib.refinement.inverse_kinematics` turns these joints
into the parameters h of the dense hand. The joints in the picture say where the mesh lies; the joints in space decide
which way each finger bends in depth. Right hands are fitted; a left hand is mirrored on the way in and out. Nothing
here has a gradient.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import take_rows, to_numpy
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.model import HandMesh, HandModel
from dhpe_lib.hand.parameters import mirror_h
from dhpe_lib.prediction.find_hands import FoundHand, find_hand_in_box, find_hands
from dhpe_lib.prediction.hand_estimate import HandEstimate, mask_in_crop
from dhpe_lib.prediction.hand_search import HandNetworks
from dhpe_lib.prediction.keypoints import HandKeypoints
from dhpe_lib.refinement.inverse_kinematics import fit_to_landmarks

Box = tuple[float, float, float, float]  # left, top, width and height, pixels


def predict_hands(
    model: HandModel,
    networks: HandNetworks,
    photo: UInt8[ndarray, "height width 3"],
    max_hands: int | None = None,
    side: Side | None = None,
    box: Box | None = None,
    mask: Bool[ndarray, "height width"] | None = None,
) -> list[HandEstimate]:
    """Find every hand in a photo and fit a mesh to each.

    Args:
        model: Model of a right hand.
        networks: From :func:`dhpe_lib.prediction.hand_search.load_hand_networks`.
        photo: Upright RGB photo.
        max_hands: Largest number of hands; by default all of them.
        side: Handedness of all hands; by default the networks decide.
        box: Box of the only hand that is wanted, pixels; by default the whole photo is searched.
        mask: Foreground of the photo; only for a photo with one hand.

    Returns:
        The hands, the surest first.

    Raises:
        NoHandError: The photo has no hand.
        ValueError: The box lies outside the photo, or the photo is no RGB image.
    """
    if box is None:
        hands = find_hands(networks, photo, max_hands, side)
    else:
        left, top, width, height = box
        hands = [find_hand_in_box(networks, photo, (left, top, left + width, top + height), side)]
    return fit_found_hands(model, hands, side is not None, mask)


def fit_found_hands(
    model: HandModel,
    hands: Sequence[FoundHand],
    side_known: bool = False,
    mask: Bool[ndarray, "height width"] | None = None,
) -> list[HandEstimate]:
    """Fit a mesh to each found hand; all hands are fitted as one batch.

    Args:
        model: Model of a right hand, on the device to compute on.
        hands: Hands of one photo or of several.
        side_known: Whether the caller said which hand they are.
        mask: Foreground of the photo; only for a single hand.

    Returns:
        One estimate for each hand, in their order.

    Raises:
        ValueError: A mask was given for more than one hand.
    """
    if not hands:
        return []
    if mask is not None and len(hands) > 1:
        raise ValueError(f"a mask does not say which of {len(hands)} hands a pixel shows; leave it out")
    like = model.v_template
    joints_px = torch.stack([hand.joints_px for hand in hands]).to(like)
    confidence = torch.stack([hand.confidence for hand in hands]).to(like).clamp_min(1e-3)
    frame = CropFrame.from_joints(joints_px, torch.ones_like(confidence, dtype=torch.bool))
    flip = like.new_tensor([[[-1.0 if hand.side == "left" else 1.0]] for hand in hands])
    joints_2d = torch.cat((flip, torch.ones_like(flip)), -1) * frame.to_crop(joints_px)
    world = torch.stack([hand.joints_world for hand in hands]).to(like)
    joints_3d = torch.cat((flip * world[..., :1], world[..., 1:]), -1)
    fit = fit_to_landmarks(model, joints_2d, confidence, joints_3d)
    h, energy = fit.h, fit.energy
    if mask is not None:
        cover = mask_in_crop(mask, frame, mirrored=hands[0].side == "left")
        h, energy = fit_to_mask(model, joints_2d, confidence, cover, h)
    with torch.no_grad():
        mesh = model.forward_h(h)
    models = {"right": model, "left": model.mirrored() if any(hand.side == "left" for hand in hands) else model}
    return [
        HandEstimate(
            model=models[hand.side],
            side_known=side_known,
            keypoints=keypoints_of(hand),
            frame=take_rows(frame, row),
            h=h[row] if hand.side == "right" else mirror_h(h[row]),
            mesh=sided(take_rows(mesh, row), hand.side),
            energy=float(energy[row]),
            with_mask=mask is not None,
            presence=hand.presence,
            right_probability=hand.right_probability,
            right_spread=hand.right_spread,
            outside=hand.outside,
        )
        for hand, row in zip(hands, torch.arange(len(hands), device=like.device).split(1), strict=True)
    ]


def fit_to_mask(
    model: HandModel,
    joints_2d: Float[Tensor, "1 21 2"],
    confidence: Float[Tensor, "1 21"],
    mask: Float[Tensor, "1 size size"],
    h: Float[Tensor, "1 63"],
) -> tuple[Float[Tensor, "1 63"], Float[Tensor, " 1"]]:
    """Fit a hand to its joints and its mask, from the fit to the joints.

    Args:
        model: Model of a right hand.
        joints_2d: Joints in the crop frame, units of g.
        confidence: Weight of each joint.
        mask: Foreground of the crop, 0 to 1.
        h: Start.

    Returns:
        h and its energy.
    """
    from dhpe_lib.refinement.energy import Observations  # these import the renderer, which takes a second
    from dhpe_lib.refinement.fitting import FitOptions, fit_hands

    options = FitOptions(starts=1, finalists=1, iterations=60, final_iterations=60)
    fit = fit_hands(model, Observations(joints_2d, confidence, mask), options, h)
    return fit.h, fit.energy


def sided(mesh: HandMesh, side: Side) -> HandMesh:
    """The mesh of a right hand, or its mirror image for a left hand."""
    if side == "right":
        return mesh
    return HandMesh(_mirrored(mesh.vertices), _mirrored(mesh.joints))


def _mirrored(points: Float[Tensor, "1 n 3"]) -> Float[Tensor, "1 n 3"]:
    return points * points.new_tensor((-1.0, 1.0, 1.0))


def keypoints_of(hand: FoundHand) -> HandKeypoints:
    """The joints of a found hand in the picture, as the fit uses them."""
    return HandKeypoints(
        to_numpy(hand.joints_px).astype(float),
        to_numpy(hand.confidence).astype(float).clip(1e-3),
        hand.side,
        hand.source,
        hand.doubts,
    )
