"""The open hand has MANO's format and numbering, a sound surface, and plausible shapes and poses."""

import numpy as np
import pytest
import torch
import trimesh

from dhpe_lib.hand.model import OPEN_HAND, HandModel
from dhpe_lib.hand.poses import joint_limits, pose_from_angles, sample_poses
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.hand.skeleton import FINGERTIP_VERTICES
from dhpe_lib.hand.skinning import joint_transforms

# Vertices around MANO's open wrist, as listed in programs that close it.
WRIST_RING = [108, 79, 78, 121, 214, 215, 279, 239, 234, 92, 38, 122, 118, 117, 119, 120]
SHAPES = {
    "v_template": (778, 3),
    "f": (1538, 3),
    "weights": (778, 16),
    "shapedirs": (778, 3, 10),
    "posedirs": (778, 3, 135),
    "J_regressor": (16, 778),
    "J": (16, 3),
    "kintree_table": (2, 16),
    "hands_mean": (45,),
    "hands_components": (45, 45),
    "shape_names": (10,),
    "joint_axes": (15, 3, 3),
    "joint_limits": (15, 3, 2),
}


@pytest.fixture(scope="module")
def hand() -> dict[str, np.ndarray]:
    with np.load(OPEN_HAND, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


def closed(vertices: torch.Tensor, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Close the wrist of a mesh by a fan of triangles around the mean of the wrist ring."""
    ring = torch.tensor(WRIST_RING)
    fan = torch.stack((ring, ring.roll(-1), torch.full_like(ring, len(vertices))), 1)
    return torch.cat((vertices, vertices[ring].mean(0, keepdim=True))), torch.cat((faces, fan))


def volume(vertices: torch.Tensor, faces: torch.Tensor) -> float:
    """Compute the signed volume in cubic centimetres by the divergence theorem."""
    a, b, c = closed(vertices, faces)[0][closed(vertices, faces)[1]].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6 * 1e6)


def winding_numbers(vertices: torch.Tensor, faces: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Compute the winding number of a closed surface about each point (van Oosterom and Strackee's solid angles)."""
    corners = vertices[faces][None] - points[:, None, None]
    length = corners.norm(dim=-1)
    a, b, c = corners.unbind(2)
    spat = (a * torch.linalg.cross(b, c)).sum(-1)
    ab, bc, ca = (a * b).sum(-1), (b * c).sum(-1), (c * a).sum(-1)
    below = length.prod(-1) + ab * length[..., 2] + bc * length[..., 0] + ca * length[..., 1]
    return torch.atan2(spat, below).sum(1) / (2 * torch.pi)


def vertices_inside(vertices: torch.Tensor, faces: torch.Tensor) -> int:
    """Count the vertices that are inside another part of the hand: still inside after a small step outwards."""
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    outside = vertices.double() + 1e-4 * torch.tensor(mesh.vertex_normals.copy())
    whole, all_faces = closed(vertices.double(), faces)
    return int((winding_numbers(whole, all_faces, outside) > 0.5).sum())


@pytest.mark.parametrize("name", SHAPES)
def test_has_manos_arrays(hand: dict[str, np.ndarray], name: str) -> None:
    assert hand[name].shape == SHAPES[name]


def test_is_a_disc_with_a_wrist_of_16_edges_where_mano_has_it(hand: dict[str, np.ndarray]) -> None:
    faces = hand["f"].astype(int)
    edges = {(a, b) for f in faces for a, b in zip(f, np.roll(f, -1), strict=True)}
    assert len(edges) == 3 * len(faces), "an edge is used twice in one sense"
    open_edges = {(a, b) for a, b in edges if (b, a) not in edges}
    # The fan of `closed` runs along the ring, so the surface runs against it.
    assert open_edges == set(zip(np.roll(WRIST_RING, -1), WRIST_RING, strict=True))
    undirected = {tuple(sorted(e)) for e in edges}
    assert 778 - len(undirected) + len(faces) == 1  # Euler: a disc


def test_faces_look_outwards_and_none_is_a_sliver(model: HandModel) -> None:
    assert 250 < volume(model.v_template, model.faces) < 450  # a hand displaces about a third of a litre
    angles = trimesh.Trimesh(model.v_template.numpy(), model.faces.numpy(), process=False).face_angles
    assert np.degrees(angles.min()) > 5


def test_fingertips_are_where_smplx_looks_for_them(hand: dict[str, np.ndarray]) -> None:
    last_bones = (15, 3, 6, 12, 9)  # thumb, index, middle, ring, little
    for tip, bone in zip(FINGERTIP_VERTICES, last_bones, strict=True):
        along = hand["joint_axes"][bone - 1, 2]
        of_bone = hand["weights"][:, bone] > 0.5
        assert of_bone[tip]
        reach = (hand["v_template"] @ along)[of_bone]
        assert hand["v_template"][tip] @ along > reach.max() - 2e-3


def test_fingertips_are_round(model: HandModel) -> None:
    """Nine of ten edges within 18 mm of each fingertip turn by less than 42 degrees; edge collapse alone leaves 53."""
    mesh = trimesh.Trimesh(model.v_template.numpy(), model.faces.numpy(), process=False)
    ends = mesh.vertices[mesh.face_adjacency_edges]
    for tip in FINGERTIP_VERTICES:
        near = (np.linalg.norm(ends - mesh.vertices[tip], axis=2) < 0.018).all(1)
        assert np.degrees(np.quantile(mesh.face_adjacency_angles[near], 0.9)) < 42


def test_skin_weights_and_joint_regressor_are_weighted_means(hand: dict[str, np.ndarray]) -> None:
    for rows in (hand["weights"], hand["J_regressor"]):
        assert rows.min() >= 0
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(hand["J_regressor"] @ hand["v_template"], hand["J"], atol=1e-6)


def test_principal_components_are_orthonormal_and_ordered(hand: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(hand["hands_components"] @ hand["hands_components"].T, np.eye(45), atol=1e-4)
    deviation = hand["hands_coeffs"].std(0)
    assert deviation[0] > 2 * deviation[5] > 4 * deviation[30] > 0


def test_joint_axes_are_orthonormal_and_fingers_bend_towards_the_palm(model: HandModel) -> None:
    limits = joint_limits()
    eye = torch.eye(3, dtype=torch.float64).expand(15, 3, 3)
    torch.testing.assert_close(limits.axes @ limits.axes.mT, eye, atol=1e-5, rtol=0)
    flexed = torch.zeros(1, 15, 3, dtype=torch.float64)
    flexed[:, :12, 0] = 0.5
    tips = model(pose=pose_from_angles(flexed, limits).float()).joints[0, [8, 12, 16, 20]]
    flat = model().joints[0, [8, 12, 16, 20]]
    assert (tips[:, 1] < flat[:, 1] - 0.02).all()  # the palm looks along -y


def test_regressed_joints_follow_the_bones(model: HandModel) -> None:
    """f_Reg of the posed mesh equals forward kinematics within 3 mm, for sampled poses and random shapes."""
    generator = torch.Generator().manual_seed(0)
    pose, shape = sample_poses(32, generator), torch.randn(32, 10, generator=generator)
    regressed = model(pose=pose, shape=shape).joints
    rest = model.rest_joints(shape)
    motion = joint_transforms(axis_angle_to_matrix(pose.unflatten(1, (15, 3))), rest)
    chain = (motion[..., :3] @ rest[..., None]).squeeze(-1) + motion[..., 3]
    canonical = [0, 13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9]
    bases = [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19]
    error = (regressed[:, bases] - chain[:, canonical]).norm(dim=-1)
    assert error.mean() < 5e-4
    assert error.max() < 3e-3


def test_correctives_keep_the_volume_of_a_fist(model: HandModel) -> None:
    angles = torch.zeros(1, 15, 3, dtype=torch.float64)
    for joint, degrees in ((0, 80), (1, 95), (2, 60)):
        angles[:, joint:12:3, 0] = torch.deg2rad(torch.tensor(float(degrees)))
    pose = pose_from_angles(angles, joint_limits()).float()
    rest = volume(model.v_template, model.faces)
    kept = volume(model(pose=pose).vertices[0], model.faces) / rest
    plain = HandModel(model.hand | {"posedirs": np.zeros_like(model.hand["posedirs"])})
    lost = volume(plain(pose=pose).vertices[0], model.faces) / rest
    assert lost < 0.95 < kept < 1.03


def test_shape_directions_are_independent_and_do_what_their_names_say(model: HandModel) -> None:
    names = [str(n) for n in model.hand["shape_names"]]
    flat = model.shapedirs.flatten(0, 1)
    unit = flat / flat.norm(dim=0)
    assert torch.linalg.svdvals(unit)[-1] > 0.1  # no direction is nearly a combination of the others
    base = model().joints[0]
    moved = {name: model(shape=torch.eye(10)[[k]]).joints[0] for k, name in enumerate(names)}

    def length(joints: torch.Tensor, *chain: int) -> float:
        return float((joints[list(chain[1:])] - joints[list(chain[:-1])]).norm(dim=1).sum())

    for finger, first in (("thumb", 1), ("index", 5), ("middle", 9), ("ring", 13), ("little", 17)):
        chain = range(first, first + 4)
        assert length(moved[f"{finger} length"], *chain) > 1.02 * length(base, *chain)
        assert length(moved["palm breadth"], *chain[1:]) == pytest.approx(length(base, *chain[1:]), rel=0.01)
    assert length(moved["thumb base"], 0, 1) > 1.01 * length(base, 0, 1)
    assert length(moved["palm breadth"], 5, 17) > 1.03 * length(base, 5, 17)
    assert length(moved["hand size"], 0, 9, 12) == pytest.approx(1.07 * length(base, 0, 9, 12), rel=0.01)


def test_every_shape_within_three_deviations_keeps_its_faces(model: HandModel) -> None:
    vertices = model(shape=torch.cat((3 * torch.eye(10), -3 * torch.eye(10)))).vertices

    def normals(v: torch.Tensor) -> torch.Tensor:
        a, b, c = v[:, model.faces].unbind(2)
        return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)

    assert ((normals(vertices) * normals(model.v_template[None])).sum(-1) > 0.5).all()
    assert vertices_inside(vertices[0], model.faces) == 0


def test_sampled_poses_hardly_touch_themselves(model: HandModel) -> None:
    """Few vertices lie inside the surface; this check does not use the sampler's capsules."""
    pose = sample_poses(6, torch.Generator().manual_seed(5))
    inside = [vertices_inside(v, model.faces) for v in model(pose=pose).vertices]
    assert np.mean(inside) < 8  # of 778
    assert max(inside) < 40
    crossed = pose.clone()
    crossed[:, 3 * 3 + 1] += 1.0  # the middle finger passes through its neighbour
    assert vertices_inside(model(pose=crossed[:1]).vertices[0], model.faces) > 20
