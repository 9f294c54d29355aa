"""Turn crops upright before the network: the direction from the wrist to the middle MCP points up.

The finger joints of upright hands lie in similar places of the crop, so a linear map reads a finger's bend from j2D
much better (LOG.md). The direction comes from the labels in training. In use, f_J2D finds it in a first look at the
crop as it is; the network then looks a second time. The turned crop is another crop frame of the same photo, so all
results can be converted back (:class:`dhpe_lib.data.crop_frame.CropFrame`).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.data.crops import Crops
from dhpe_lib.data.views import View, jittered_view, no_jitter, plain_view, upright_angle
from dhpe_lib.network.estimator import Estimator, evaluating


def turns_upright(network: Estimator) -> bool:
    """Return whether crops are turned for this network; without f_J2D no direction can be found."""
    return network.config.upright and network.pose_machine is not None


@torch.no_grad()
def find_angle(network: Estimator, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, " b"]:
    """Find the angle by which each crop must be turned to show its hand upright; no gradient.

    Args:
        network: f_DHPE.
        images: Crops in [0, 1].

    Returns:
        Angles in radians, as in :class:`dhpe_lib.data.crop_frame.CropFrame`.
    """
    with evaluating(network):
        return upright_angle(network.find_evidence(images).joints_2d)


def network_view(network: Estimator, crops: Crops) -> View:
    """Return the view of crops that a network expects: turned upright, or the paper's crop.

    Args:
        network: f_DHPE, on the device of the crops.
        crops: Crops with any margin.

    Returns:
        The views with their labels.
    """
    view = plain_view(crops)
    if not turns_upright(network):
        return view
    return jittered_view(crops, no_jitter(find_angle(network, view.images)))
