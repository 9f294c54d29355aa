"""Bring crops near those of the training: upright, with the middle MCP near the centre.

The finger joints of upright hands lie in similar places of the crop, so a linear map reads a finger's bend from j2D
much better (LOG.md). In training the direction from the wrist to the middle MCP comes from the labels, and the middle
MCP lies within :data:`NEAR` of the centre. In use, f_J2D finds both joints in a first look at the crop as it is. The
crop is turned, and moved if its centre is farther away, as around fingertips alone. A second look at the moved crop is
more exact. The result is another crop frame of the same photo, so all results can be converted back
(:class:`dhpe_lib.data.crop_frame.CropFrame`).
"""

from dataclasses import replace

import torch

from dhpe_lib.data.crops import Crops
from dhpe_lib.data.views import Jitter, JitterRange, View, jittered_view, no_jitter, plain_view, upright_angle
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.network.estimator import Estimator, evaluating

LOOKS = 2
"""Number of looks at a crop before the estimate."""
NEAR = JitterRange().shift
"""Largest distance of the middle MCP from the crop's centre along each axis, units of g: that of the training."""


def turns_upright(network: Estimator) -> bool:
    """Return whether crops are turned for this network; without f_J2D no direction can be found."""
    return network.config.upright and network.pose_machine is not None


@torch.no_grad()
def find_jitter(network: Estimator, crops: Crops, view: View) -> Jitter:
    """Find how crops must be turned and moved to be like those of the training; no gradient.

    Args:
        network: f_DHPE, on the device of the crops.
        crops: Crops with any margin.
        view: Any view of the crops, at which f_J2D looks.

    Returns:
        Rotations, and shifts of the centres; sides and colours stay.
    """
    with evaluating(network):
        found = network.find_evidence(view.images).joints_2d
    joints = crops.frame.to_crop(view.frame.to_image(found))
    middle = joints[:, MIDDLE_MCP]
    return replace(no_jitter(upright_angle(joints)), shift=middle - middle.clamp(-NEAR, NEAR))


def network_view(network: Estimator, crops: Crops) -> View:
    """Return the view of crops that a network expects: upright and near the hand's centre, or the paper's crop.

    Args:
        network: f_DHPE, on the device of the crops.
        crops: Crops with any margin.

    Returns:
        The views with their labels.
    """
    view = plain_view(crops)
    if turns_upright(network):
        for _ in range(LOOKS):
            view = jittered_view(crops, find_jitter(network, crops, view))
    return view
