"""Pose correctives: offsets that let linear blend skinning keep the volume of a bent knuckle.

Linear blending of matrices shrinks the surface at a joint: at a bend by t, to cos(t/2) of its radius. Blending rigid
motions as dual quaternions (Kavan et al., 2007) does not shrink it. The correctives are offsets in the rest pose,
linear in R - I of each joint as in SMPL. They are fitted to bring linear blending as close as possible to dual
quaternion blending.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from .anthropometry import PARENTS

SAMPLES = 400  # random rotations of each joint
RIDGE = 1e-2  # weight of the ridge regression


def bone_motions(rotations: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the rigid motion `x -> R x + t` of each of the 16 bones for local rotations `[16, 3, 3]`."""
    turn, move = np.empty((16, 3, 3)), np.empty((16, 3))
    for j, p in enumerate(PARENTS):
        before, shift = (np.eye(3), np.zeros(3)) if p < 0 else (turn[p], move[p])
        turn[j] = before @ rotations[j]
        move[j] = shift + before @ joints[j] - turn[j] @ joints[j]
    return turn, move


def linear_blend(turn: np.ndarray, move: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the matrix and the shift of each vertex for linear blend skinning."""
    return np.einsum("vj,jab->vab", weights, turn), weights @ move


def dual_quaternion_blend(turn: np.ndarray, move: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the rotation and the shift of each vertex for dual quaternion skinning."""
    real = Rotation.from_matrix(turn).as_quat()  # x, y, z, w
    real *= np.where(real @ real[0] < 0, -1, 1)[:, None]
    vector, scalar = real[:, :3], real[:, 3:]
    dual = 0.5 * np.concatenate(
        [scalar * move + np.cross(move, vector), -np.sum(move * vector, axis=1, keepdims=True)], axis=1
    )
    q, e = weights @ real, weights @ dual
    norm = np.linalg.norm(q, axis=1, keepdims=True)
    q, e = q / norm, e / norm
    shift = 2 * (q[:, 3:] * e[:, :3] - e[:, 3:] * q[:, :3] + np.cross(q[:, :3], e[:, :3]))
    return Rotation.from_quat(q).as_matrix(), shift


def rest_offsets(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Compute the offsets `[V, 3]` in the rest pose with which linear blending equals dual quaternion blending."""
    motions = bone_motions(rotations, joints)
    matrix, shift = linear_blend(*motions, weights)
    turn, move = dual_quaternion_blend(*motions, weights)
    target = np.einsum("vab,vb->va", turn, vertices) + move - shift
    return np.linalg.solve(matrix, target[:, :, None])[:, :, 0] - vertices


def pose_directions(
    vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, axes: np.ndarray, limits: np.ndarray, seed: int
) -> np.ndarray:
    """Fit `posedirs` `[V, 3, 135]`, each joint separately, to rotations with angles uniform within its limits.

    Args:
        vertices: `[V, 3]` rest pose, metres.
        weights: `[V, 16]` skinning weights.
        joints: `[16, 3]` rest joints, metres.
        axes: `[15, 3, 3]` flexion, abduction and twist axis (rows) of each joint.
        limits: `[15, 3, 2]` smallest and largest angle about each axis, radians.
        seed: Random seed of the rotations.
    """
    random = np.random.default_rng(seed)
    out = np.zeros((*vertices.shape, 135))
    for j in range(15):
        angles = random.uniform(limits[j, :, 0], limits[j, :, 1], (SAMPLES, 3))
        turns = Rotation.from_rotvec(angles @ axes[j]).as_matrix()
        rotations = np.tile(np.eye(3), (SAMPLES, 16, 1, 1))
        rotations[:, j + 1] = turns
        target = np.stack([rest_offsets(vertices, weights, joints, r) for r in rotations])
        features = (turns - np.eye(3)).reshape(SAMPLES, 9)
        gram = features.T @ features + RIDGE * np.eye(9)
        fit = np.linalg.solve(gram, features.T @ target.reshape(SAMPLES, -1))
        out[:, :, 9 * j : 9 * j + 9] = fit.reshape(9, *vertices.shape).transpose(1, 2, 0)
    return np.where(np.abs(out) < 1e-6, 0.0, out)
