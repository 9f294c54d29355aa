"""Fit the joint regressor: each joint is a weighted mean of the vertices around it, in every shape and pose.

MANO regresses joints from the mesh at rest, and f_Reg of the paper from the posed mesh. The weights are fitted to both,
so one regressor serves both.
"""

import numpy as np
from scipy.optimize import nnls
from scipy.spatial.transform import Rotation

from .correctives import bone_motions, linear_blend

NEAREST = 120  # vertices that may have a weight for a joint
POSES = 48  # random poses in the fit
SUM_WEIGHT = 10.0  # weight of the equation that the weights of a joint sum to 1


def posed(hand: dict[str, np.ndarray], rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute vertices and joints of the mean shape for local rotations `[16, 3, 3]`, metres."""
    turn, move = bone_motions(rotations, hand["J"])
    vertices = hand["v_template"] + hand["posedirs"] @ (rotations[1:] - np.eye(3)).ravel()
    matrix, shift = linear_blend(turn, move, hand["weights"])
    joints = np.einsum("jab,jb->ja", turn, hand["J"]) + move
    return np.einsum("vab,vb->va", matrix, vertices) + shift, joints


def random_rotations(hand: dict[str, np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Sample local rotations `[16, 3, 3]` with every angle uniform within its limits."""
    bounds = hand["joint_limits"]
    vectors = np.einsum("jac,ja->jc", hand["joint_axes"], random.uniform(bounds[..., 0], bounds[..., 1]))
    return np.concatenate([np.eye(3)[None], Rotation.from_rotvec(vectors).as_matrix()])


def fit(hand: dict[str, np.ndarray], joint_dirs: np.ndarray, seed: int) -> np.ndarray:
    """Fit the regressor `[16, 778]` by non-negative least squares.

    Args:
        hand: Arrays of the model without its regressor.
        joint_dirs: `[16, 3, 10]` displacement of the joints by each shape direction, metres.
        seed: Random seed of the poses.

    Returns:
        Non-negative weights; each row sums to 1.
    """
    random = np.random.default_rng(seed)
    pairs = [posed(hand, random_rotations(hand, random)) for _ in range(POSES)]
    surface = np.concatenate(
        [hand["v_template"][None], hand["shapedirs"].transpose(2, 0, 1), np.stack([v for v, _ in pairs])]
    )
    target = np.concatenate([hand["J"][None], joint_dirs.transpose(2, 0, 1), np.stack([j for _, j in pairs])])
    regressor = np.zeros((16, len(hand["v_template"])))
    for j in range(16):
        near = np.argsort(np.linalg.norm(hand["v_template"] - hand["J"][j], axis=1))[:NEAREST]
        rows = surface[:, near].transpose(0, 2, 1).reshape(-1, NEAREST)
        system = np.concatenate([rows, np.full((1, NEAREST), SUM_WEIGHT)])
        weights, _ = nnls(system, np.append(target[:, j].ravel(), SUM_WEIGHT))
        regressor[j, near] = weights / weights.sum()
    return regressor
