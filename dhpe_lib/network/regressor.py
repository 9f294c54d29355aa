"""f_E3D, the iterative 3D mesh estimator: f_J3D, f_Ref and their three iterations (Sec. 3.2, Eqs. 4 to 6).

    h(t+1)   = h(t) + f_J3D(F(x), j2D(t), h(t))
    j2D(t+1) = f_Ref(j2D(t), F(x), h(t+1), f_Reg(v(t+1)))

f_J3D and f_Ref are one fully connected layer each, shared by all iterations; the light network's f_J3D has two hidden
layers. Everything here is in the crop frame, in units of g. The chapter is *The iterative regressor*.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dhpe_lib.common.precision import full_precision
from dhpe_lib.hand.model import HandMesh, HandModel, neutral_h

H, JOINTS_2D, JOINTS_3D = 63, 42, 63
POSE_SPREAD = 0.25
"""Unit of the pose in standard units, radians: the spread of a joint's angle over natural hands."""
INITIAL_GAIN = 0.01
"""Gain of f_J3D's initial weights. It makes the first steps small, so that early meshes stay near the mean hand."""


@dataclass(frozen=True)
class RegressorState:
    """State of the regressor after t iterations.

    Attributes:
        h: h(t), the hand parameters of Eq. 4.
        joints_2d: j2D(t), units of g.
        mesh: v(t) and f_Reg(v(t)), units of g.
    """

    h: Float[Tensor, "b 63"]
    joints_2d: Float[Tensor, "b 21 2"]
    mesh: HandMesh


class Regressor(nn.Module):
    """f_E3D: with a feature of 2048 numbers f_J3D maps 2153 to 63 and f_Ref maps 2216 to 42 numbers.

    Args:
        feature_size: Length of F(x), and of what else f_J3D and f_Ref see of the crop.
        iterations: Number of iterations from h(0).
        without_refiner: Whether to remove f_Ref: j2D(t) stays j2D(0).
        standard_units: Whether f_J3D and f_Ref see and give h in standard units: the pose in units of its spread. The
            paper does not say so. Without it all 63 numbers have one scale, and the pose learns slowest.
        hidden: Width of two hidden layers of f_J3D; 0 for the paper's single layer.
    """

    unit: Float[Tensor, " 63"]

    def __init__(
        self,
        feature_size: int = 2048,
        iterations: int = 3,
        without_refiner: bool = False,
        standard_units: bool = False,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        self.iterations = iterations
        unit = torch.ones(H)
        unit[:45] = POSE_SPREAD if standard_units else 1.0
        self.register_buffer("unit", unit, persistent=False)
        self.f_j3d = _step_layers(feature_size + JOINTS_2D + H, hidden)
        self.f_ref = None if without_refiner else _identity_layer(JOINTS_2D + feature_size + H + JOINTS_3D)

    def forward(
        self, feature: Float[Tensor, "b f"], joints_2d: Float[Tensor, "b 21 2"], hand: HandModel
    ) -> tuple[RegressorState, ...]:
        """Iterate from h(0) and j2D(0).

        Args:
            feature: F(x).
            joints_2d: j2D(0), units of g.
            hand: The hand model; it has no trained weights.

        Returns:
            The states from the start (t = 0) to the last iteration (t = 3).

        Source: Eqs. 4 to 6.
        """
        h = neutral_h(hand).expand(len(feature), -1)
        steps = [RegressorState(h, joints_2d, hand.forward_h(h))]
        for _ in range(self.iterations):
            last = steps[-1]
            h = last.h + self.h_step(feature, last.joints_2d, last.h)
            mesh = hand.forward_h(h)
            joints_2d = self.refine_joints(last.joints_2d, feature, h, mesh.joints)
            steps.append(RegressorState(h, joints_2d, mesh))
        return tuple(steps)

    @full_precision
    def h_step(
        self, feature: Float[Tensor, "b f"], joints_2d: Float[Tensor, "b 21 2"], h: Float[Tensor, "b 63"]
    ) -> Float[Tensor, "b 63"]:
        """Compute dh(t) = f_J3D(F(x), j2D(t), h(t)).

        Args:
            feature: F(x).
            joints_2d: j2D(t), units of g.
            h: h(t).

        Returns:
            The step dh(t), which is added to h(t).

        Source: Eq. 5.
        """
        return self.unit * self.f_j3d(torch.cat((feature, joints_2d.flatten(1), h / self.unit), 1))

    @full_precision
    def refine_joints(
        self,
        joints_2d: Float[Tensor, "b 21 2"],
        feature: Float[Tensor, "b f"],
        h: Float[Tensor, "b 63"],
        joints: Float[Tensor, "b 21 3"],
    ) -> Float[Tensor, "b 21 2"]:
        """Compute j2D(t+1) = f_Ref(j2D(t), F(x), h(t+1), f_Reg(v(t+1))).

        Args:
            joints_2d: j2D(t), units of g.
            feature: F(x).
            h: h(t+1).
            joints: f_Reg(v(t+1)), units of g.

        Returns:
            j2D(t+1), or j2D(t) without f_Ref.

        Source: Eq. 6.
        """
        if self.f_ref is None:
            return joints_2d
        inputs = torch.cat((joints_2d.flatten(1), feature, h / self.unit, joints.flatten(1)), 1)
        return self.f_ref(inputs).unflatten(1, (21, 2))


def _step_layers(inputs: int, hidden: int) -> nn.Module:
    """Return f_J3D as it is before training: one layer, or two hidden layers before it."""
    last = nn.Linear(hidden or inputs, H)
    nn.init.xavier_uniform_(last.weight, INITIAL_GAIN)
    nn.init.zeros_(last.bias)
    if not hidden:
        return last
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), last)


def _identity_layer(inputs: int) -> nn.Linear:
    """Return f_Ref as it is before training: it outputs j2D(t) unchanged, so an untrained f_Ref does no harm."""
    layer = nn.Linear(inputs, JOINTS_2D)
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(JOINTS_2D, inputs))
    return layer
