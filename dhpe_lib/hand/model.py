"""The hand model: it turns pose and shape into a mesh and a skeleton (MANO's model, PAPER.md Secs. 3 and 9.1).

The model's data have MANO's format. They are the open hand that comes with the project, or your own MANO file. Vertices
are blended and skinned in the model's frame with the wrist at rest. Then the global motion is applied:
``v' = scale R v + translation``. It rotates about the origin of the model's frame; smplx and manopth rotate about the
wrist joint (see :func:`about_wrist`). Units are metres and radians. The chapter is *MANO*.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dhpe_lib.common.arguments import Hint, check_alike, check_precision, checked
from dhpe_lib.common.precision import full_precision
from dhpe_lib.hand.io import Side, check_layout, mirror_hand, read_hand, side_of
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.hand.rotations import axis_angle_to_matrix, quaternion_to_matrix
from dhpe_lib.hand.skeleton import FINGERTIP_VERTICES, MANO_PARENTS, build_joint_regressor, regress_joints
from dhpe_lib.hand.skinning import blend_shape, joint_transforms, pose_features, skin

OPEN_HAND = Path(__file__).parent / "assets" / "open_hand.npz"
HINTS: dict[str, Hint] = {
    "pose": {
        (48,): "a pose of 48 starts with the global rotation, which goes in as rotation_axis_angle",
        (15, 3): "flatten the vectors of the joints with pose.flatten(-2)",
        (15, 3, 3): "matrices go in as pose_matrices",
        (61,): "from_freihand splits a vector of 61",
        (63,): "forward_h takes a vector of 63",
        (): "pose_from_pca makes it from principal components",
    },
    "pose_matrices": {
        (16, 3, 3): "the first of 16 matrices is the global rotation, which goes in as rotation",
        (45,): "axis-angle vectors go in as pose",
    },
    "shape": "fill missing coefficients with zeros, and leave out those after the tenth",
    "rotation": {
        (3,): "axis-angle vectors go in as rotation_axis_angle",
        (4,): "make matrices of quaternions by quaternion_to_matrix",
        (9,): "make matrices with rotation.unflatten(-1, (3, 3))",
    },
    "rotation_axis_angle": {(3, 3): "matrices go in as rotation"},
}
BUFFERS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "hands_mean", "hands_components")


@dataclass(frozen=True)
class HandMesh:
    """A posed hand: the v and j of the paper's Table 1.

    Attributes:
        vertices: Mesh, metres times scale.
        joints: The 21 joints f_Reg(vertices) in canonical order, metres times scale.
    """

    vertices: Float[Tensor, "b 778 3"]
    joints: Float[Tensor, "b 21 3"]


@checked({"rotation": "make matrices of axis-angle vectors by axis_angle_to_matrix"})
def about_wrist(
    translation: Float[Tensor, "b 3"], rotation: Float[Tensor, "b 3 3"], wrist: Float[Tensor, "b 3"]
) -> Float[Tensor, "b 3"]:
    """Convert a translation of smplx or manopth to this project's convention: t' = t + J_0 - R J_0.

    smplx and manopth rotate about the wrist joint at rest; this project rotates about the origin of the model's frame.

    Args:
        translation: Translation t of smplx or manopth, metres.
        rotation: Global rotation R.
        wrist: Wrist joint at rest J_0 for each hand's shape, metres; from :meth:`HandModel.rest_joints`.

    Returns:
        Translation for :class:`HandModel` at scale 1, metres.

    Source: R (v - J_0) + J_0 + t = R v + t'.
    """
    return translation + wrist - (rotation @ wrist[..., None]).squeeze(-1)


class HandModel(nn.Module):
    """A hand in MANO's format: a differentiable function from 45 + 10 parameters to mesh and joints.

    Attributes:
        hand: All fields of the file as numpy arrays, including extra fields. Export writes them.
        side: "right" or "left".
        tips: Vertex indices of the fingertips, thumb to little finger.
        parents: Parent of each of MANO's 16 joints, -1 for the wrist.
    """

    # The buffers are not saved with a network's weights: a checkpoint must not contain a licensed hand.
    v_template: Float[Tensor, "778 3"]
    shapedirs: Float[Tensor, "778 3 10"]
    posedirs: Float[Tensor, "778 3 135"]
    J_regressor: Float[Tensor, "16 778"]
    weights: Float[Tensor, "778 16"]
    hands_mean: Float[Tensor, " 45"]
    hands_components: Float[Tensor, "45 45"]
    faces: Int64[Tensor, "1538 3"]
    regressor: Float[Tensor, "21 778"]
    identity: Float[Tensor, " 4"]
    _directions: Float[Tensor, "145 2334"]

    def __init__(
        self,
        hand: Mapping[str, np.ndarray],
        tips: tuple[int, ...] = FINGERTIP_VERTICES,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        check_layout("hand", hand)
        self.hand = dict(hand)
        self.side = side_of(hand)
        self.tips = tips
        self.parents = MANO_PARENTS
        for name in BUFFERS:
            self._add_buffer(name, torch.from_numpy(hand[name]).to(dtype))
        self._add_buffer("faces", torch.from_numpy(hand["f"].astype(np.int64)))
        self._add_buffer("regressor", build_joint_regressor(self.J_regressor, tips))
        # A buffer: a tensor made of numbers in `forward_h` would be a copy to the GPU, which no CUDA graph may hold.
        self._add_buffer("identity", torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=dtype))
        # `forward` uses one matrix from [shape, pose features] to all offsets, with vertices as the last axis.
        directions = torch.cat((self.shapedirs, self.posedirs), dim=2)
        self._add_buffer("_directions", directions.permute(2, 1, 0).flatten(1).contiguous())

    def _add_buffer(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    @classmethod
    @checked()
    def open_hand(cls, side: Side = "right") -> "HandModel":
        """Load the open hand, which comes with the project.

        Args:
            side: "right" or "left".

        Returns:
            The model, float32 on the CPU.

        Source: ``data_scripts/build_open_hand.py``.
        """
        return cls.load(OPEN_HAND, side)

    @classmethod
    @checked()
    def load(cls, path: str | Path, side: Side | None = None) -> "HandModel":
        """Load a hand in MANO's format.

        Args:
            path: Path of a ``.pkl`` or ``.npz`` file.
            side: "right" or "left"; a file of the other side is mirrored. The side of the file by default.

        Returns:
            The model, float32 on the CPU.

        Raises:
            FileNotFoundError: The file does not exist.
            HandFileError: The file is not a hand model; the message names the field and the remedy.

        Source: :func:`dhpe_lib.hand.io.read_hand`.
        """
        model = cls(read_hand(path))
        return model.mirrored() if side is not None and side != model.side else model

    def mirrored(self) -> "HandModel":
        """Make the hand of the other side.

        Negate the y and z of every axis-angle vector of a pose and keep the shape: the mesh of the mirrored model is
        then the mesh of this model with x negated.

        Returns:
            The mirrored model, with this model's dtype and device.

        Source: :func:`dhpe_lib.hand.io.mirror_hand`.
        """
        return type(self)(mirror_hand(self.hand), self.tips, self.v_template.dtype).to(self.v_template.device)

    @checked(HINTS)
    def rest_joints(self, shape: Float[Tensor, "b 10"]) -> Float[Tensor, "b 16 3"]:
        """Compute MANO's 16 joints of the flat hand: J = J_regressor (template + B_S(shape)).

        Args:
            shape: Shape coefficients, standard deviations.

        Returns:
            Joints in MANO's order, metres.

        Source: SMPL (Loper et al. 2015), Eq. 10.
        """
        # Apply J_regressor to the template and to the 10 shape directions, not to every mesh of the batch.
        mean = self.J_regressor @ self.v_template
        return mean + blend_shape(shape, torch.einsum("jv,vcs->jcs", self.J_regressor, self.shapedirs))

    @checked()
    def pose_from_pca(self, coefficients: Float[Tensor, "b n"]) -> Float[Tensor, "b 45"]:
        """Compute a pose from coefficients of the first n principal components.

        Args:
            coefficients: Coefficients of the first n components, n at most 45; radians, since components are unit
                vectors.

        Returns:
            Axis-angle pose relative to the mean, radians. Pass it to the model with ``relative_to="mean"``.

        Raises:
            ValueError: There are more than 45 coefficients.

        Source: MANO (Romero et al. 2017), Sec. 3.
        """
        n = coefficients.shape[1]
        if n > len(self.hands_components):
            raise ValueError(
                f"coefficients has shape {list(coefficients.shape)}; a hand has 45 components: give [b, 45] at most"
            )
        return coefficients @ self.hands_components[:n]

    @checked(HINTS)
    @full_precision
    def forward(
        self,
        pose: Float[Tensor, "b 45"] | None = None,
        shape: Float[Tensor, "b 10"] | None = None,
        rotation: Float[Tensor, "b 3 3"] | None = None,
        scale: Float[Tensor, " b"] | None = None,
        translation: Float[Tensor, "b 3"] | None = None,
        relative_to: Literal["flat", "mean"] = "flat",
        rotation_axis_angle: Float[Tensor, "b 3"] | None = None,
        pose_matrices: Float[Tensor, "b 15 3 3"] | None = None,
    ) -> HandMesh:
        """Pose the hand: blend shapes, skinning, global motion (v' = scale R v + translation), joint regression.

        Args:
            pose: Axis-angle vectors of the 15 finger joints in MANO's order, radians.
            shape: Shape coefficients, standard deviations.
            rotation: Global rotation R about the origin of the model's frame.
            scale: Global scale.
            translation: Global translation, metres times scale.
            relative_to: Meaning of a zero pose: "flat" is the flat hand, "mean" is the mean pose.
            rotation_axis_angle: The global rotation as axis-angle vectors, radians, instead of `rotation`.
            pose_matrices: The pose as rotation matrices relative to the flat hand, instead of `pose`.

        Returns:
            Mesh and joints. Omitted arguments are zero; the scale is 1 and the rotation is the identity.

        Raises:
            ValueError: An argument has a wrong shape, device or name of a choice, or two arguments say the same thing.
            TypeError: An argument is no tensor, or its type of numbers is not the model's, float32 or float64.

        Source: SMPL (Loper et al. 2015), Eqs. 1-10; global motion as in PAPER.md Sec. 3.
        """
        given = {"pose": pose, "shape": shape, "rotation": rotation, "scale": scale, "translation": translation}
        given |= {"rotation_axis_angle": rotation_axis_angle, "pose_matrices": pose_matrices}
        check_precision("the hand model", self.v_template)
        check_alike(self.v_template, "the hand model", given)
        batch = next((len(value) for value in given.values() if value is not None), 1)
        local = self._finger_rotations(batch, pose, relative_to, pose_matrices)
        if rotation_axis_angle is not None:
            _refuse_both("rotation", rotation, "rotation_axis_angle")
            rotation = axis_angle_to_matrix(rotation_axis_angle)
        shape = self.v_template.new_zeros(batch, 10) if shape is None else shape
        features = torch.cat((shape, pose_features(local)), dim=1)
        blended = torch.addmm(self.v_template.mT.flatten(), features, self._directions)
        transforms = joint_transforms(local, self.rest_joints(shape))
        transforms = _apply_global_motion(transforms, rotation, scale, translation)
        vertices = skin(blended.view(batch, 3, len(self.v_template)).transpose(1, 2), transforms, self.weights)
        return HandMesh(vertices, regress_joints(vertices, self.regressor))

    def _finger_rotations(
        self, batch: int, pose: Tensor | None, relative_to: str, matrices: Tensor | None
    ) -> Float[Tensor, "b 15 3 3"]:
        """Return the rotations of the finger joints relative to the flat hand."""
        if matrices is not None:
            _refuse_both("pose", pose, "pose_matrices")
            _refuse_both("relative_to", None if relative_to == "flat" else relative_to, "pose_matrices")
            return matrices
        pose = self.v_template.new_zeros(batch, 45) if pose is None else pose
        return axis_angle_to_matrix((pose + self.hands_mean if relative_to == "mean" else pose).unflatten(1, (15, 3)))

    @checked()
    @full_precision
    def forward_h(self, h: Float[Tensor, "b 63"]) -> HandMesh:
        """Pose the hand by the paper's vector h, whose camera part is an offset from the identity.

        The rotation is normalise((1, 0, 0, 0) + c_q). The scale is 1 + c_s, kept positive. The pose is relative to the
        flat hand.

        Args:
            h: [pose 45 in radians, shape 10 in standard deviations, c_q 4, c_s 1, c_t 3 in metres times scale].

        Returns:
            Mesh and joints.

        Source: Eq. 4 and PAPER.md Sec. 9.1.
        """
        parts = split_h(h)
        rotation = quaternion_to_matrix(self.identity + parts.quaternion)
        return self(parts.pose, parts.shape, rotation, positive_scale(parts.scale[:, 0]), parts.translation)


def _refuse_both(name: str, value: object, other: str) -> None:
    if value is not None:
        raise ValueError(f"{name} and {other} are both given; {other} replaces it: give one of them")


def _apply_global_motion(
    transforms: Float[Tensor, "b 16 3 4"],
    rotation: Float[Tensor, "b 3 3"] | None,
    scale: Float[Tensor, " b"] | None,
    translation: Float[Tensor, "b 3"] | None,
) -> Float[Tensor, "b 16 3 4"]:
    """Apply the global motion to the 16 joint transforms; skinning weights sum to 1, so it moves every vertex."""
    if rotation is not None:
        transforms = rotation[:, None] @ transforms
    if scale is not None:
        transforms = scale[:, None, None, None] * transforms
    if translation is not None:
        shift = translation[:, None, :, None].expand(-1, transforms.shape[1], -1, -1)
        transforms = torch.cat((transforms[..., :3], transforms[..., 3:] + shift), dim=-1)
    return transforms


def neutral_h(model: HandModel) -> Float[Tensor, "1 63"]:
    """Return h(0), the start of the iterations: the model's mean pose, then zeros.

    Args:
        model: The hand that holds the mean pose.

    Returns:
        One parameter vector, laid out as in :meth:`HandModel.forward_h`.

    Source: PAPER.md Secs. 3 and 9.1.
    """
    return torch.cat((model.hands_mean, model.hands_mean.new_zeros(18)))[None]


def wrist_ring(faces: Int64[Tensor, "f 3"]) -> list[int]:
    """Return the vertices around the open wrist, in order.

    The wrist is the only hole of the mesh, so its edges are those that belong to one face only.
    """
    edges = {(int(face[k]), int(face[(k + 1) % 3])) for face in faces.cpu() for k in range(3)}
    following = {a: b for a, b in edges if (b, a) not in edges}
    ring = [min(following)]
    while following[ring[-1]] != ring[0]:
        ring.append(following[ring[-1]])
    return ring
