"""Hands as the hand landmark network would find them, made from known poses."""

import torch
from torch import Tensor

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rotations import random_rotations
from dhpe_lib.prediction.find_hands import FoundHand

FOCAL = 700.0


def known_hands(count: int, seed: int = 0, side: str = "right") -> tuple[list[FoundHand], Tensor]:
    """Hands in a photo of 640 x 480 pixels, and the ground truth of their joints in metres, axes of the photo."""
    generator = torch.Generator().manual_seed(seed)
    model = HandModel.open_hand(side)
    pose = sample_poses(count, generator).float()
    if side == "left":
        pose = pose * torch.tensor([1.0, -1, -1] * 15)
    joints = model(pose, None, random_rotations(count, generator)).joints
    joints = joints - joints.mean(1, keepdim=True)
    center = torch.tensor([320.0, 240.0]) + 40 * torch.randn(count, 1, 2, generator=generator)
    joints_px = FOCAL * joints[..., :2] / 0.6 + center
    frame = CropFrame.from_joints(joints_px, torch.ones(count, 21, dtype=torch.bool))
    hands = [
        FoundHand(
            joints_px[k],
            joints[k],
            presence=0.99,
            side=side,
            right_probability=0.97 if side == "right" else 0.03,
            palm_score=0.9,
            frame=CropFrame(frame.center[k : k + 1], frame.side[k : k + 1], frame.angle[k : k + 1]),
            confidence=torch.full((21,), 0.9),
        )
        for k in range(count)
    ]
    return hands, joints
