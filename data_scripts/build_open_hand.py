"""Build the open hand: a parametric hand model in MANO's format from an MIT-licensed rigged surface.

    python data_scripts/build_open_hand.py right.glb

writes dhpe_lib/hand/assets/open_hand.npz. data_scripts/README.md gives the source and the licence of `right.glb`. All
random numbers come from a fixed seed.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from open_hand import anthropometry as body
from open_hand import correctives, fingertips, joint_limits, joint_regressor, numbering, remesh, source, texture

ASSET = Path(__file__).parent.parent / "dhpe_lib" / "hand" / "assets" / "open_hand.npz"
SEED, POSES_FOR_PCA, POSES_KEPT = 0, 8192, 512


def numbered_surface(path: Path) -> source.Surface:
    """Load the starting surface, give it MANO's counts and vertex numbers, and round its fingertips."""
    surface = source.load(path)
    mesh = remesh.simplify(surface)
    kept, faces = np.unique(np.array(list(mesh.faces.values())), return_inverse=True)
    faces = faces.reshape(-1, 3)
    vertices, weights = surface.vertices[kept], surface.weights[kept]

    fixed: dict[int, int] = {}
    for digit, numbers in numbering.TIPS.items():
        bone = body.DIGITS[digit][2]
        tip = numbering.fingertip(vertices, weights, bone, surface.axes[bone, 2])
        fixed.update(zip(numbering.near_tip(faces, tip, vertices, len(numbers)), numbers, strict=True))
    ring = remesh.wrist_ring(faces)
    start = int(np.argmax(vertices[ring, 2]))
    fixed.update(zip(ring[start:] + ring[:start], numbering.WRIST_RING, strict=True))
    number = numbering.number_vertices(len(kept), fixed, weights @ np.arange(16) - vertices[:, 0])

    order = np.argsort(number)
    uv = {(int(number[np.searchsorted(kept, v)]), c): t for (v, c), t in surface.uv.items() if v in kept}
    charts = surface.charts[list(mesh.faces)]
    hand = replace(surface, vertices=vertices[order], faces=number[faces], charts=charts, uv=uv, weights=weights[order])
    return fingertips.rounded(hand, surface)


def mean_hand(surface: source.Surface) -> source.Surface:
    """Stretch the surface to the published mean bone lengths, and move its middle MCP to the origin."""
    base = surface.joints.copy()
    base[body.THUMB_BASE] -= body.THUMB_BASE_SHIFT * surface.axes[body.THUMB_BASE, 2]
    surface = replace(surface, joints=base)
    vertices, joints = body.stretch(surface, body.mean_hand_maps(surface))
    origin = (base + joints)[body.DIGITS["middle"][0]]
    return replace(surface, vertices=surface.vertices + vertices - origin, joints=base + joints - origin)


def texture_coordinates(hand: source.Surface) -> tuple[np.ndarray, np.ndarray]:
    """Return `vt` `[N, 2]` (origin at the top left) and `ft` `[F, 3]`; a vertex on a seam has two rows of `vt`."""
    keys = sorted({(int(v), int(c)) for face, c in zip(hand.faces, hand.charts, strict=True) for v in face})
    index = {key: k for k, key in enumerate(keys)}
    corners = [[index[int(v), int(c)] for v in face] for face, c in zip(hand.faces, hand.charts, strict=True)]
    return np.array([hand.uv[key] for key in keys]), np.array(corners)


def geometry(hand: source.Surface) -> dict[str, np.ndarray]:
    """Compute all arrays that do not depend on sampled poses, under MANO's names."""
    directions = body.shape_directions(hand)
    limits = joint_limits.limits()
    vt, ft = texture_coordinates(hand)
    texels = texture.texels(hand.vertices, hand.faces, hand.weights, vt, ft)
    arrays = {
        "v_template": hand.vertices,
        "f": hand.faces,
        "weights": hand.weights,
        "J": hand.joints,
        "shapedirs": np.stack([vertices for vertices, _ in directions.values()], 2),
        "posedirs": correctives.pose_directions(hand.vertices, hand.weights, hand.joints, hand.axes[1:], limits, SEED),
        "kintree_table": np.array([[2**32 - 1, *body.PARENTS[1:]], range(16)]),
        "bs_style": np.array("lbs"),
        "bs_type": np.array("lrotmin"),
        "shape_names": np.array(list(directions)),
        "joint_axes": hand.axes[1:],
        "joint_limits": limits,
        "vt": vt,
        "ft": ft,
        "texture": texture.paint(texels, hand.joints, hand.tips, hand.axes, SEED),
    }
    joint_dirs = np.stack([joints for _, joints in directions.values()], 2)
    arrays["J_regressor"] = joint_regressor.fit(arrays, joint_dirs, SEED)
    arrays["J"] = arrays["J_regressor"] @ hand.vertices
    return arrays


def pose_space(poses: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the mean of the poses, their principal components (rows), and the coefficients of the first poses."""
    mean = poses.mean(axis=0)
    _, _, components = np.linalg.svd(poses - mean, full_matrices=False)
    components *= np.sign(components[np.arange(45), np.abs(components).argmax(axis=1)])[:, None]
    coefficients = (poses - mean) @ components.T
    return {"hands_mean": mean, "hands_components": components, "hands_coeffs": coefficients[:POSES_KEPT]}


def save(arrays: dict[str, np.ndarray]) -> None:
    """Write the asset in one step, with floats as float32 and indices as small integers."""
    integers = {"f": np.uint32, "kintree_table": np.uint32, "ft": np.uint16}
    stored = {}
    for name, array in arrays.items():
        stored[name] = array.astype(integers.get(name, np.float32 if array.dtype == float else array.dtype))
    part = ASSET.with_suffix(".part.npz")
    np.savez_compressed(part, **stored)
    part.replace(ASSET)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="right.glb of the WebXR generic hand")
    arrays = geometry(mean_hand(numbered_surface(parser.parse_args().source)))
    unposed = {"hands_mean": np.zeros(45), "hands_components": np.eye(45), "hands_coeffs": np.zeros((1, 45))}
    save(arrays | unposed)

    from dhpe_lib.hand.poses import sample_poses  # it uses the asset that was just saved

    poses = sample_poses(POSES_FOR_PCA, torch.Generator().manual_seed(SEED)).double().numpy()
    save(arrays | pose_space(poses))
    print(f"{ASSET}: {ASSET.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
