"""f_E3D, the iterative 3D mesh estimator: f_J3D, f_Ref and their three iterations (Sec. 3.2, Eqs. 4 to 6).

    h(t+1)   = h(t) + f_J3D(F(x), j2D(t), h(t))
    j2D(t+1) = f_Ref(j2D(t), F(x), h(t), f_Reg(v(t)))

Both are one fully connected layer, the same in every iteration. Everything here is in the crop frame, units of g. The
chapter is *The iterative regressor*.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dhpe_lib.hand.model import HandMesh, HandModel, neutral_h

H, JOINTS_2D, JOINTS_3D = 63, 42, 63
SMALL = 0.01
"""Gain of f_J3D's first weights: the first steps are small, so that early meshes stay near the mean hand."""


@dataclass(frozen=True)
class Step:
    """Where the iterations stand after t steps.

    Attributes:
        h: h(t), the hand's parameters.
        joints_2d: j2D(t).
        mesh: v(t) and f_Reg(v(t)).
    """

    h: Float[Tensor, "b 63"]
    joints_2d: Float[Tensor, "b 21 2"]
    mesh: HandMesh


class Regressor(nn.Module):
    """f_E3D's weights: f_J3D, 2153 to 63, and f_Ref, 2216 to 42, for a feature of 2048 numbers.

    Args:
        feature_size: Length of F(x).
        iterations: Steps from h(0).
        without_refiner: Leave f_Ref out: j2D(t) stays j2D(0).
    """

    def __init__(self, feature_size: int = 2048, iterations: int = 3, without_refiner: bool = False) -> None:
        super().__init__()
        self.iterations = iterations
        self.f_j3d = nn.Linear(feature_size + JOINTS_2D + H, H)
        nn.init.xavier_uniform_(self.f_j3d.weight, SMALL)
        nn.init.zeros_(self.f_j3d.bias)
        self.f_ref = None if without_refiner else _identity_at_first(JOINTS_2D + feature_size + H + JOINTS_3D)

    def forward(
        self, feature: Float[Tensor, "b f"], joints_2d: Float[Tensor, "b 21 2"], hand: HandModel
    ) -> tuple[Step, ...]:
        """Iterate from h(0) and j2D(0).

        Args:
            feature: F(x).
            joints_2d: j2D(0).
            hand: The hand model; it has no trained weights.

        Returns:
            Step 0, which is the start, to step 3.

        Source: Eqs. 4 to 6.
        """
        h = neutral_h(hand).expand(len(feature), -1)
        steps = [Step(h, joints_2d, hand.forward_h(h))]
        for _ in range(self.iterations):
            last = steps[-1]
            h = last.h + self.h_step(feature, last.joints_2d, last.h)
            joints_2d = self.refine_joints(last.joints_2d, feature, last.h, last.mesh.joints)
            steps.append(Step(h, joints_2d, hand.forward_h(h)))
        return tuple(steps)

    def h_step(
        self, feature: Float[Tensor, "b f"], joints_2d: Float[Tensor, "b 21 2"], h: Float[Tensor, "b 63"]
    ) -> Float[Tensor, "b 63"]:
        """dh(t) = f_J3D(F(x), j2D(t), h(t)).

        Args:
            feature: F(x).
            joints_2d: j2D(t).
            h: h(t).

        Returns:
            What is added to h(t).

        Source: Eq. 5.
        """
        return self.f_j3d(torch.cat((feature, joints_2d.flatten(1), h), 1))

    def refine_joints(
        self,
        joints_2d: Float[Tensor, "b 21 2"],
        feature: Float[Tensor, "b f"],
        h: Float[Tensor, "b 63"],
        joints: Float[Tensor, "b 21 3"],
    ) -> Float[Tensor, "b 21 2"]:
        """j2D(t+1) = f_Ref(j2D(t), F(x), h(t), f_Reg(v(t))).

        Args:
            joints_2d: j2D(t).
            feature: F(x).
            h: h(t).
            joints: f_Reg(v(t)).

        Returns:
            j2D(t+1), or j2D(t) without the refiner.

        Source: Eq. 6.
        """
        if self.f_ref is None:
            return joints_2d
        return self.f_ref(torch.cat((joints_2d.flatten(1), feature, h, joints.flatten(1)), 1)).unflatten(1, (21, 2))


def _identity_at_first(inputs: int) -> nn.Linear:
    """f_Ref before training: it hands j2D(t) through, so that untrained it does no harm."""
    layer = nn.Linear(inputs, JOINTS_2D)
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(JOINTS_2D, inputs))
    return layer
