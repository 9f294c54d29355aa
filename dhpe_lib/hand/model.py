"""The hand as a function: pose and shape in, mesh and skeleton out (MANO's model, PAPER.md Secs. 3 and 9.1).

A model is data in MANO's format: the open hand that comes with the project, or a MANO file of the reader. Vertices are
blended and skinned in the model's own frame with the wrist at rest, then moved as a whole:
``v' = scale R v + translation``, about the origin of the model's frame (smplx and manopth turn about the wrist joint
instead: see :func:`about_wrist`). Metres and radians. The chapter is *MANO*.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dhpe_lib.hand.io import Side, mirror_hand, read_hand, side_of
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.hand.rotations import axis_angle_to_matrix, quaternion_to_matrix
from dhpe_lib.hand.skeleton import FINGERTIP_VERTICES, MANO_PARENTS, build_joint_regressor, regress_joints
from dhpe_lib.hand.skinning import blend_shape, joint_transforms, pose_features, skin

OPEN_HAND = Path(__file__).parent / "assets" / "open_hand.npz"
BUFFERS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "hands_mean", "hands_components")


@dataclass(frozen=True)
class HandMesh:
    """A posed hand: the v and j of the paper's Table 1.

    Attributes:
        vertices: Mesh, metres times scale.
        joints: f_Reg of the vertices, 21 joints in canonical order.
    """

    vertices: Float[Tensor, "b 778 3"]
    joints: Float[Tensor, "b 21 3"]


def about_wrist(
    translation: Float[Tensor, "b 3"], rotation: Float[Tensor, "b 3 3"], wrist: Float[Tensor, "b 3"]
) -> Float[Tensor, "b 3"]:
    """Turn smplx's and manopth's translation into ours: t' = t + J_0 - R J_0.

    They rotate about the wrist joint at rest, we rotate about the origin of the model's frame.

    Args:
        translation: Translation in their convention, metres.
        rotation: Global rotation R, the same in both.
        wrist: Wrist joint at rest J_0 of each hand's shape, from :meth:`HandModel.rest_joints`.

    Returns:
        Translation for :class:`HandModel`, at scale 1.

    Source: R (v - J_0) + J_0 + t = R v + t'.
    """
    return translation + wrist - (rotation @ wrist[..., None]).squeeze(-1)


class HandModel(nn.Module):
    """A hand in MANO's format as a differentiable function from 45 + 10 parameters to mesh and joints.

    Attributes:
        hand: The fields of the file, extras included, as numpy arrays; what exporting writes.
        side: "right" or "left".
        tips: The vertices that count as fingertips, thumb to little.
        parents: Parent of each of MANO's 16 joints, -1 for the wrist.
    """

    # Buffers are not saved with a network's weights: a checkpoint must not carry a licensed hand.
    v_template: Float[Tensor, "778 3"]
    shapedirs: Float[Tensor, "778 3 10"]
    posedirs: Float[Tensor, "778 3 135"]
    J_regressor: Float[Tensor, "16 778"]
    weights: Float[Tensor, "778 16"]
    hands_mean: Float[Tensor, " 45"]
    hands_components: Float[Tensor, "45 45"]
    faces: Int64[Tensor, "1538 3"]
    regressor: Float[Tensor, "21 778"]
    _directions: Float[Tensor, "145 2334"]

    def __init__(
        self,
        hand: Mapping[str, np.ndarray],
        tips: tuple[int, ...] = FINGERTIP_VERTICES,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.hand = dict(hand)
        self.side = side_of(hand)
        self.tips = tips
        self.parents = MANO_PARENTS
        for name in BUFFERS:
            self._keep(name, torch.from_numpy(hand[name]).to(dtype))
        self._keep("faces", torch.from_numpy(hand["f"].astype(np.int64)))
        self._keep("regressor", build_joint_regressor(self.J_regressor, tips))
        # One matrix from [shape, pose features] to all offsets, with vertices last: see forward.
        directions = torch.cat((self.shapedirs, self.posedirs), dim=2)
        self._keep("_directions", directions.permute(2, 1, 0).flatten(1).contiguous())

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    @classmethod
    def open_hand(cls, side: Side = "right") -> "HandModel":
        """Load the hand that comes with the project.

        Args:
            side: Which hand.

        Returns:
            The model, float32 on the CPU.

        Source: ``data_scripts/build_open_hand.py``.
        """
        return cls.load(OPEN_HAND, side)

    @classmethod
    def load(cls, path: str | Path, side: Side | None = None) -> "HandModel":
        """Load a hand in MANO's format.

        Args:
            path: ``.pkl`` or ``.npz``.
            side: Which hand it is to be; a file of the other hand is mirrored. By default, the file's own.

        Returns:
            The model, float32 on the CPU.

        Raises:
            FileNotFoundError: There is no such file.
            HandFileError: The file is not a hand; the message names the field and the remedy.

        Source: :func:`dhpe_lib.hand.io.read_hand`.
        """
        model = cls(read_hand(path))
        return model.mirrored() if side is not None and side != model.side else model

    def mirrored(self) -> "HandModel":
        """Make the other hand.

        Returns:
            A model whose mesh, for a pose with the y and z of every axis-angle vector negated and the same shape, is
            this one's with x negated; same dtype and device.

        Source: :func:`dhpe_lib.hand.io.mirror_hand`.
        """
        return type(self)(mirror_hand(self.hand), self.tips, self.v_template.dtype).to(self.v_template.device)

    def rest_joints(self, shape: Float[Tensor, "b 10"]) -> Float[Tensor, "b 16 3"]:
        """Regress MANO's 16 joints of the flat hand: J = J_regressor (template + B_S(shape)).

        Args:
            shape: Shape coefficients, standard deviations.

        Returns:
            Joints in MANO's order, metres.

        Source: SMPL (Loper et al. 2015), Eq. 10.
        """
        # The sum over vertices does not depend on the hand: take it once for the directions, not for each mesh.
        mean = self.J_regressor @ self.v_template
        return mean + blend_shape(shape, torch.einsum("jv,vcs->jcs", self.J_regressor, self.shapedirs))

    def pose_from_pca(self, coefficients: Float[Tensor, "b n"]) -> Float[Tensor, "b 45"]:
        """Mix the leading principal components of the pose.

        Args:
            coefficients: One for each of the first n components, n at most 45.

        Returns:
            Axis-angle pose relative to the mean: pass it on with ``relative_to="mean"``.

        Source: MANO (Romero et al. 2017), Sec. 3.
        """
        return coefficients @ self.hands_components[: coefficients.shape[1]]

    def forward(
        self,
        pose: Float[Tensor, "b 45"] | None = None,
        shape: Float[Tensor, "b 10"] | None = None,
        rotation: Float[Tensor, "b 3 3"] | None = None,
        scale: Float[Tensor, " b"] | None = None,
        translation: Float[Tensor, "b 3"] | None = None,
        relative_to: Literal["flat", "mean"] = "flat",
    ) -> HandMesh:
        """Pose the hand: blend, skin, move as a whole (v' = scale R v + translation), regress the joints.

        Args:
            pose: Axis-angle vectors of the 15 finger joints in MANO's order, radians.
            shape: Shape coefficients, standard deviations.
            rotation: Global rotation R about the origin of the model's frame.
            scale: Global scale.
            translation: Global translation, metres times scale.
            relative_to: What a zero pose is: the flat hand or the mean pose.

        Returns:
            Mesh and joints; whatever is left out is zero (scale one, rotation the identity).

        Raises:
            ValueError: The batch sizes differ.

        Source: SMPL (Loper et al. 2015), Eqs. 1-10; global motion as in PAPER.md Sec. 3.
        """
        batch = _batch_size(pose, shape, rotation, scale, translation)
        zeros, n_vertices = self.v_template.new_zeros, len(self.v_template)
        pose = zeros(batch, 45) if pose is None else pose
        shape = zeros(batch, 10) if shape is None else shape
        local = axis_angle_to_matrix((pose + self.hands_mean if relative_to == "mean" else pose).unflatten(1, (15, 3)))
        features = torch.cat((shape, pose_features(local)), dim=1)
        blended = torch.addmm(self.v_template.mT.flatten(), features, self._directions)
        transforms = joint_transforms(local, self.rest_joints(shape))
        transforms = _moved(transforms, rotation, scale, translation)
        vertices = skin(blended.view(batch, 3, n_vertices).transpose(1, 2), transforms, self.weights)
        return HandMesh(vertices, regress_joints(vertices, self.regressor))

    def forward_h(self, h: Float[Tensor, "b 63"]) -> HandMesh:
        """Pose the hand by the paper's vector h, whose camera part is an offset from the identity.

        Rotation = normalise((1, 0, 0, 0) + c_q), scale = 1 + c_s (kept positive), pose relative to the flat hand.

        Args:
            h: [pose 45, shape 10, c_q 4, c_s 1, c_t 3].

        Returns:
            Mesh and joints.

        Source: Eq. 4 and PAPER.md Sec. 9.1.
        """
        parts = split_h(h)
        identity = h.new_tensor((1.0, 0.0, 0.0, 0.0))
        rotation = quaternion_to_matrix(identity + parts.quaternion)
        return self(parts.pose, parts.shape, rotation, positive_scale(parts.scale[:, 0]), parts.translation)


def _batch_size(*inputs: Tensor | None) -> int:
    sizes = {len(given) for given in inputs if given is not None}
    if len(sizes) > 1:
        raise ValueError(
            f"pose, shape, rotation, scale, translation have batch sizes {sorted(sizes)}; give all the same"
        )
    return sizes.pop() if sizes else 1


def _moved(
    transforms: Float[Tensor, "b 16 3 4"],
    rotation: Float[Tensor, "b 3 3"] | None,
    scale: Float[Tensor, " b"] | None,
    translation: Float[Tensor, "b 3"] | None,
) -> Float[Tensor, "b 16 3 4"]:
    """Put the global motion behind each joint's: weights sum to 1, so moving 16 matrices moves all vertices."""
    if rotation is not None:
        transforms = rotation[:, None] @ transforms
    if scale is not None:
        transforms = scale[:, None, None, None] * transforms
    if translation is not None:
        shift = translation[:, None, :, None].expand(-1, transforms.shape[1], -1, -1)
        transforms = torch.cat((transforms[..., :3], transforms[..., 3:] + shift), dim=-1)
    return transforms


def neutral_h(model: HandModel) -> Float[Tensor, "1 63"]:
    """Give h(0), where the iterations start: zeros, and MANO's mean pose.

    Args:
        model: The hand whose mean pose is meant.

    Returns:
        One parameter vector.

    Source: PAPER.md Secs. 3 and 9.1.
    """
    return torch.cat((model.hands_mean, model.hands_mean.new_zeros(18)))[None]


def wrist_ring(faces: Int64[Tensor, "f 3"]) -> list[int]:
    """The vertices around the hand's one hole, in order: the edges that have a face on one side only."""
    edges = {(int(face[k]), int(face[(k + 1) % 3])) for face in faces.cpu() for k in range(3)}
    following = {a: b for a, b in edges if (b, a) not in edges}
    ring = [min(following)]
    while following[ring[-1]] != ring[0]:
        ring.append(following[ring[-1]])
    return ring
