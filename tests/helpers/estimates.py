"""A hand estimate with a chosen position, for the tests of outputs and overlays."""

import numpy as np
import torch

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.hand.parameters import mirror_h
from dhpe_lib.hand.rotations import matrix_to_quaternion
from dhpe_lib.prediction.hand_estimate import HandEstimate
from dhpe_lib.prediction.keypoints import HandKeypoints


def placed_hand(side: str = "right", center: tuple[float, float] = (90.0, 60.0), crop: float = 80.0) -> HandEstimate:
    """Return the mean hand with its palm towards the camera.

    The keypoints lie 1 pixel to the right of the joints of the mesh.

    Args:
        side: Handedness.
        center: Centre of the crop in the photo, pixels.
        crop: Side of the crop, pixels.

    Returns:
        The estimate.
    """
    model = HandModel.open_hand()
    h = neutral_h(model)
    turn = torch.tensor([[[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]])
    h[:, 55:59] = matrix_to_quaternion(turn) - torch.tensor([1.0, 0, 0, 0])
    h[:, 59] = 2.2
    if side == "left":
        model, h = model.mirrored(), mirror_h(h)
    frame = CropFrame(torch.tensor([center]), torch.tensor([crop]), torch.zeros(1))
    mesh = model.forward_h(h)
    joints = frame.to_image(mesh.joints[..., :2])[0].double().numpy() + np.array([1.0, 0.0])
    return HandEstimate(model, True, HandKeypoints(joints, np.ones(21), None, "test.json"), frame, h, mesh, 0.5, False)
