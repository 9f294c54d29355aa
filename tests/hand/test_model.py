"""The hand model equals MANO's formulas in plain numpy, smplx, manopth, and its own mirror image."""

import sys
from pathlib import Path

import fake_chumpy
import numpy as np
import pytest
import torch
from fake_mano import random_hand, write_mano_pickle
from scipy.spatial.transform import Rotation

from dhpe_lib.hand.io import write_hand
from dhpe_lib.hand.model import OPEN_HAND, HandModel, about_wrist, neutral_h
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_to_axis_angle, random_rotations
from dhpe_lib.hand.skeleton import FINGERTIP_VERTICES, JOINT_NAMES, MANO_PARENTS
from dhpe_lib.hand.skinning import HANDS_IN_CACHE, blend_shape, joint_transforms, pose_features, skin

F64 = torch.float64
FLIP = torch.tensor([-1.0, 1.0, 1.0], dtype=F64)


@pytest.fixture(scope="module")
def hand() -> dict[str, np.ndarray]:
    return random_hand()


@pytest.fixture(scope="module")
def model(hand) -> HandModel:
    return HandModel(hand, dtype=F64)


def inputs(n: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {
        "pose": 0.5 * torch.randn(n, 45, generator=generator, dtype=F64),
        "shape": torch.randn(n, 10, generator=generator, dtype=F64),
        "rotation": random_rotations(n, generator, F64),
        "scale": 0.5 + torch.rand(n, generator=generator, dtype=F64),
        "translation": torch.randn(n, 3, generator=generator, dtype=F64),
    }


def by_hand(hand, pose, shape, rotation, scale, translation):
    """Pose one hand with loops over joints and vertices, as in the SMPL paper."""
    shaped = hand["v_template"] + hand["shapedirs"] @ shape
    joints = hand["J_regressor"] @ shaped
    local = Rotation.from_rotvec(pose.reshape(15, 3)).as_matrix()
    posed = shaped + hand["posedirs"] @ (local - np.eye(3)).ravel()
    world = [np.eye(4)]
    for j in range(1, 16):
        step = np.eye(4)
        step[:3, :3] = local[j - 1]
        step[:3, 3] = joints[j] - joints[MANO_PARENTS[j]]
        if MANO_PARENTS[j] == 0:
            step[:3, 3] = joints[j]
        world.append(world[MANO_PARENTS[j]] @ step)
    out = np.empty((778, 3))
    for v in range(778):
        moved = [w[:3, :3] @ (posed[v] - joint) + w[:3, 3] for w, joint in zip(world[1:], joints[1:], strict=True)]
        out[v] = hand["weights"][v] @ np.array([posed[v], *moved])
    return scale * out @ rotation.T + translation


def test_equals_the_formulas_by_hand(hand, model, generator):
    given = inputs(3, generator)
    found = model(**given).vertices
    for i in range(3):
        expected = by_hand(hand, *(value[i].numpy() for value in given.values()))
        np.testing.assert_allclose(found[i].numpy(), expected, rtol=1e-9, atol=1e-11)


def test_parts_compose_to_the_whole(model, tol, generator):
    given = inputs(4, generator)
    local = axis_angle_to_matrix(given["pose"].unflatten(1, (15, 3)))
    blended = (
        model.v_template
        + blend_shape(given["shape"], model.shapedirs)
        + torch.einsum("bp,vcp->bvc", pose_features(local), model.posedirs)
    )
    posed = skin(blended, joint_transforms(local, model.rest_joints(given["shape"])), model.weights)
    torch.testing.assert_close(model(given["pose"], given["shape"]).vertices, posed, **tol[F64])


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_device_and_dtype_follow_the_model(hand, dtype, device, tol, generator):
    given = inputs(70, generator)  # more than one slice of the skinning
    exact = HandModel(hand, dtype=F64)(**given)
    moved = HandModel(hand).to(device, dtype)(**{k: v.to(device, dtype) for k, v in given.items()})
    assert moved.vertices.dtype == moved.joints.dtype == dtype
    assert moved.joints.device.type == device.type
    torch.testing.assert_close(moved.vertices.cpu().double(), exact.vertices, **tol[torch.float32])


def test_nothing_given_is_the_template(model, tol):
    mesh = model()
    torch.testing.assert_close(mesh.vertices[0], model.v_template, **tol[F64])
    torch.testing.assert_close(mesh.joints[0, 0], model.J_regressor[0] @ model.v_template, **tol[F64])
    torch.testing.assert_close(mesh.joints[0, 4::4], model.v_template[list(FINGERTIP_VERTICES)], **tol[F64])


def test_pose_relative_to_the_mean_and_by_components(model, tol, generator):
    coefficients = torch.randn(2, 6, generator=generator, dtype=F64)
    pose = model.pose_from_pca(coefficients)
    torch.testing.assert_close(pose, coefficients @ model.hands_components[:6], **tol[F64])
    torch.testing.assert_close(
        model(pose, relative_to="mean").vertices, model(pose + model.hands_mean).vertices, **tol[F64]
    )


def test_zero_h_is_the_identity_camera(model, tol):
    start = neutral_h(model)
    assert start.shape == (1, 63)
    torch.testing.assert_close(model.forward_h(start).vertices, model(model.hands_mean[None]).vertices, **tol[F64])
    assert model.forward_h(torch.zeros(1, 63, dtype=F64)).vertices.allclose(model().vertices)


def test_h_has_the_papers_parts(model, tol, generator):
    h = 0.3 * torch.randn(3, 63, generator=generator, dtype=F64)
    parts = split_h(h)
    sizes = {"pose": 45, "shape": 10, "quaternion": 4, "scale": 1, "translation": 3}
    assert {name: getattr(parts, name).shape[1] for name in sizes} == sizes
    assert torch.equal(torch.cat([getattr(parts, name) for name in sizes], 1), h)
    quaternion = parts.quaternion + torch.tensor((1.0, 0, 0, 0), dtype=F64)
    rotation = torch.from_numpy(Rotation.from_quat(quaternion[:, [1, 2, 3, 0]].numpy()).as_matrix())
    expected = model(parts.pose, parts.shape, rotation, 1 + parts.scale[:, 0], parts.translation)
    torch.testing.assert_close(model.forward_h(h).vertices, expected.vertices, **tol[F64])


def test_scale_stays_positive_and_smooth():
    offsets = torch.tensor([-50.0, -1.0, -0.5 - 1e-9, -0.5 + 1e-9, 0.0, 3.0], dtype=F64, requires_grad=True)
    scales = positive_scale(offsets)
    assert (scales > 0).all()
    torch.testing.assert_close(scales[2:].detach(), 1 + offsets[2:].detach())
    (slope,) = torch.autograd.grad(scales.sum(), offsets)
    torch.testing.assert_close(slope[2:], torch.ones(4, dtype=F64))
    assert (slope > 0).all()


@pytest.mark.parametrize("name", ["pose", "shape", "rotation", "scale", "translation"])
def test_gradient_of_the_whole_by_finite_differences(model, name, generator):
    given = inputs(2, generator)
    cotangent = torch.randn(2, 778, 3, generator=generator, dtype=F64)
    joint_cotangent = torch.randn(2, 21, 3, generator=generator, dtype=F64)

    def contraction(value: torch.Tensor) -> torch.Tensor:
        mesh = model(**{**given, name: value})
        return (mesh.vertices * cotangent).sum() + (mesh.joints * joint_cotangent).sum()

    assert torch.autograd.gradcheck(contraction, given[name].requires_grad_(), atol=1e-6)
    (gradient,) = torch.autograd.grad(contraction(given[name]), given[name])
    assert (gradient != 0).double().mean() > 0.95


def test_gradcheck_skin_and_joint_transforms(generator):
    def rand(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=F64)

    weights = torch.softmax(rand(7, 4), 1)
    assert torch.autograd.gradcheck(skin, (rand(2, 7, 3).requires_grad_(), rand(2, 4, 3, 4).requires_grad_(), weights))
    local = random_rotations(30, generator, F64).unflatten(0, (2, 15)).requires_grad_()
    assert torch.autograd.gradcheck(joint_transforms, (local, rand(2, 16, 3).requires_grad_()))


def test_many_hands_are_skinned_as_one_formula_says(device, tol, generator):
    """Values and gradients equal the plain sum for a batch of several slices."""
    hands = 2 * HANDS_IN_CACHE + 3
    sizes = {"vertices": (hands, 30, 3), "transforms": (hands, 16, 3, 4)}
    leaves = [torch.randn(*s, generator=generator, dtype=F64).to(device).requires_grad_() for s in sizes.values()]
    weights = torch.softmax(torch.randn(30, 16, generator=generator, dtype=F64), 1).to(device)
    cotangent = torch.randn(hands, 30, 3, generator=generator, dtype=F64).to(device)
    homogeneous = torch.cat((leaves[0], torch.ones_like(leaves[0][..., :1])), -1)
    plain = torch.einsum("vj,bjrc,bvc->bvr", weights, leaves[1], homogeneous)
    found = skin(*leaves, weights)
    torch.testing.assert_close(found, plain, **tol[F64])
    expected_gradients = torch.autograd.grad(plain, leaves, cotangent)
    for gradient, expected in zip(torch.autograd.grad(found, leaves, cotangent), expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected, **tol[F64])
        assert (gradient != 0).double().mean() > 0.95


def test_skin_has_no_second_derivative_and_says_so(generator):
    vertices = torch.randn(1, 5, 3, generator=generator, requires_grad=True)
    motion = torch.randn(1, 2, 3, 4, generator=generator, requires_grad=True)
    moved = skin(vertices, motion, torch.full((5, 2), 0.5)).square().sum()
    (gradient,) = torch.autograd.grad(moved, vertices, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("side", ["right", "left"])
def test_mirror_of_one_hand_is_the_other(side, model, tol, generator):
    one = model if side == "right" else model.mirrored()
    other = one.mirrored()
    assert (one.side, other.side) == (("right", "left") if side == "right" else ("left", "right"))
    assert other.v_template.dtype == F64
    given = inputs(3, generator)
    mirrored = {
        **given,
        "pose": (given["pose"].unflatten(1, (15, 3)) * -FLIP).flatten(1),
        "rotation": FLIP[:, None] * given["rotation"] * FLIP,
        "translation": given["translation"] * FLIP,
    }
    for relative_to in ("flat", "mean"):
        expected = one(**given, relative_to=relative_to)
        found = other(**mirrored, relative_to=relative_to)
        torch.testing.assert_close(found.vertices, expected.vertices * FLIP, **tol[F64])
        torch.testing.assert_close(found.joints, expected.joints * FLIP, **tol[F64])
    torch.testing.assert_close(
        other.pose_from_pca(torch.eye(45, dtype=F64)).unflatten(1, (15, 3)),
        one.pose_from_pca(torch.eye(45, dtype=F64)).unflatten(1, (15, 3)) * -FLIP,
    )
    assert torch.equal(other.faces, one.faces.flip(1))


def test_mirroring_twice_changes_nothing(model):
    again = model.mirrored().mirrored()
    for name, value in model.named_buffers():
        assert torch.equal(dict(again.named_buffers())[name], value), name


def test_load_gives_the_side_asked_for(hand, tmp_path):
    write_hand(tmp_path / "hand.npz", hand)
    assert HandModel.load(tmp_path / "hand.npz").side == "right"
    left = HandModel.load(tmp_path / "hand.npz", "left")
    assert left.side == "left"
    write_hand(tmp_path / "left.npz", left.hand)
    assert HandModel.load(tmp_path / "left.npz").side == "left"
    assert torch.equal(HandModel.load(tmp_path / "left.npz", "right").v_template, HandModel(hand).v_template)


def test_left_mano_file_is_the_mirror_of_the_right_one(hand, tmp_path):
    left = HandModel.load(write_mano_pickle(tmp_path / "MANO_LEFT.pkl", random_hand(side="left")))
    assert left.side == "left"
    expected = HandModel.load(write_mano_pickle(tmp_path / "MANO_RIGHT.pkl", hand), "left")
    for name, value in left.named_buffers():
        assert torch.equal(dict(expected.named_buffers())[name], value), name


POSES, SHAPES_10, TURNS = torch.zeros(2, 45, dtype=F64), torch.zeros(2, 10, dtype=F64), torch.eye(3, dtype=F64)
WRONG_CALLS = {
    "axis-angle rotation": (
        {"rotation": torch.zeros(1, 3, dtype=F64)},
        r"rotation has shape \[1, 3\]; give a tensor \[b, 3, 3\]: axis-angle vectors go in as rotation_axis_angle",
    ),
    "48 numbers": ({"pose": torch.zeros(1, 48, dtype=F64)}, r"pose has shape \[1, 48\]; .*: a pose of 48 starts with"),
    "one pose": ({"pose": POSES[0]}, r"pose has shape \[45\]; .*: a batch of one is pose\[None\]$"),
    "components": ({"pose": POSES[:, :6]}, r"pose has shape \[2, 6\]; .*: pose_from_pca makes it"),
    "one matrix": ({"rotation": TURNS}, r"rotation has shape \[3, 3\]; .*: a batch of one is rotation\[None\]$"),
    "quaternions": ({"rotation": POSES[:, :4]}, r"rotation has shape \[2, 4\]; .*by quaternion_to_matrix$"),
    "16 betas": (
        {"shape": torch.zeros(1, 16, dtype=F64)},
        r"shape has shape \[1, 16\]; .* leave out those after the tenth",
    ),
    "matrices": ({"pose": TURNS.expand(1, 15, 3, 3)}, r"pose has shape \[1, 15, 3, 3\].*pose_matrices"),
    "5 betas": ({"shape": torch.zeros(1, 5, dtype=F64)}, r"shape has shape \[1, 5\]; .*\[b, 10\]: fill.* zeros"),
    "no batch": ({"translation": torch.zeros(3, dtype=F64)}, r"translation has shape \[3\].*is translation\[None\]"),
    "a number": ({"scale": 2.0}, r"scale is 2\.0 \(float\); give a tensor \[b\]"),
    "numpy": ({"pose": np.zeros((1, 45))}, r"pose is a numpy array \[1, 45\]; give a tensor \[b, 45\]"),
    "batches": (
        {"pose": POSES, "shape": SHAPES_10[:1]},
        r"shape has shape \[1, 10\]; .*\[b, 10\] with b = 2: repeat its",
    ),
    "whole numbers": ({"pose": torch.zeros(1, 45, dtype=torch.int64)}, "pose is torch.int64; give floating-point"),
    "precision": ({"pose": torch.zeros(1, 45)}, r"pose is torch.float32, the hand model torch.float64; convert"),
    "choice": ({"pose": POSES, "relative_to": "Mean"}, r"relative_to = 'Mean'; use \"flat\" or \"mean\""),
    "two rotations": (
        {"rotation": TURNS[None], "rotation_axis_angle": torch.zeros(1, 3, dtype=F64)},
        "rotation and rotation_axis_angle are both given",
    ),
    "two poses": ({"pose": POSES, "pose_matrices": TURNS.expand(2, 15, 3, 3)}, "pose and pose_matrices are both"),
    "mean of matrices": (
        {"pose_matrices": TURNS.expand(2, 15, 3, 3), "relative_to": "mean"},
        "relative_to and pose_matrices are both",
    ),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_wrong_arguments_are_named_with_their_remedy(model, case):
    arguments, message = WRONG_CALLS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        model(**arguments)


def test_half_precision_is_refused(hand):
    with pytest.raises(TypeError, match=r"the hand model is torch\.float16; use float32 or float64"):
        HandModel(hand).half()()


def test_a_side_must_be_one_of_two():
    with pytest.raises(ValueError, match=r"side = 'Right'; use \"right\" or \"left\""):
        HandModel.open_hand("Right")


def test_a_hand_without_a_field_is_refused(hand):
    with pytest.raises(ValueError, match="hand: lacks weights"):
        HandModel({name: value for name, value in hand.items() if name != "weights"})


def test_axis_angle_and_matrices_give_the_same_mesh(model, generator, tol):
    pose, turn = (torch.randn(3, n, generator=generator, dtype=F64) for n in (45, 3))
    expected = model(pose, rotation=axis_angle_to_matrix(turn))
    matrices = axis_angle_to_matrix(pose.unflatten(1, (15, 3)))
    found = model(rotation_axis_angle=turn, pose_matrices=matrices)
    torch.testing.assert_close(found.vertices, expected.vertices, **tol[F64])
    assert found.vertices.std() > 0.01


def test_more_components_than_a_hand_has_are_refused(model):
    with pytest.raises(ValueError, match=r"coefficients has shape \[1, 46\]; a hand has 45 components"):
        model.pose_from_pca(torch.zeros(1, 46, dtype=F64))


def test_empty_batch(model):
    assert model(torch.zeros(0, 45, dtype=F64)).joints.shape == (0, 21, 3)


def test_a_checkpoint_holds_no_hand(model):
    assert not model.state_dict()


@pytest.mark.skipif(not OPEN_HAND.exists(), reason="the open hand is not built yet: data_scripts/build_open_hand.py")
@pytest.mark.parametrize("side", ["right", "left"])
def test_open_hand_bends_the_way_fingers_bend(side):
    model = HandModel.open_hand(side)
    assert model.side == side
    flat = model().joints[0]
    pose = torch.zeros(1, 15, 3)
    pose[:, :12, 2] = 0.6 if side == "right" else -0.6  # flexion is about +z on the right hand
    bent = model(pose.flatten(1)).joints[0]
    tips = [JOINT_NAMES.index(f"{finger}_tip") for finger in ("index", "middle", "ring", "little")]
    assert (bent[tips, 1] < flat[tips, 1] - 0.02).all()  # towards the palm, which faces -y
    assert (flat[0, 0] - flat[9, 0]) * (1 if side == "right" else -1) > 0.07
    length = (flat[JOINT_NAMES.index("middle_tip")] - flat[0]).norm()
    assert 0.15 < length < 0.23


def test_about_wrist_turns_the_hand_about_its_wrist(model, tol, generator):
    given = inputs(3, generator)
    wrist = model.rest_joints(given["shape"])[:, :1]
    still = model(given["pose"], given["shape"]).vertices
    expected = (still - wrist) @ given["rotation"].mT + wrist + given["translation"][:, None]
    moved = about_wrist(given["translation"], given["rotation"], wrist[:, 0])
    found = model(given["pose"], given["shape"], given["rotation"], None, moved).vertices
    torch.testing.assert_close(found, expected, **tol[F64])


# Comparison with smplx and manopth, which read exported hands; CONTRIBUTING.md says how to install them.


def exported(tmp_path: Path, model: HandModel) -> Path:
    write_hand(tmp_path / f"MANO_{model.side.upper()}.pkl", model.hand)
    return tmp_path


def peer_inputs(generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    pose, shape, rotation, _, translation = (v.float() for v in inputs(100, generator).values())
    return pose, shape, rotation, translation


def exports() -> list[HandModel]:
    hands = [HandModel(random_hand(7)), HandModel(random_hand(7)).mirrored()]
    return [*hands, HandModel.open_hand(), HandModel.open_hand("left")] if OPEN_HAND.exists() else hands


@pytest.mark.parametrize("flat", [True, False])
def test_smplx_gives_the_same_vertices(flat, tmp_path, generator):
    smplx = pytest.importorskip("smplx", reason="smplx is not installed: pip install smplx")
    for model in exports():
        peer = smplx.MANO(
            str(exported(tmp_path, model)), is_rhand=model.side == "right", use_pca=False, flat_hand_mean=flat
        )
        pose, shape, rotation, translation = peer_inputs(generator)
        expected = peer(shape, matrix_to_axis_angle(rotation), pose, translation)
        moved = about_wrist(translation, rotation, model.rest_joints(shape)[:, 0])
        found = model(pose, shape, rotation, None, moved, relative_to="flat" if flat else "mean")
        assert (found.vertices - expected.vertices).norm(dim=2).max() < 1e-5


@pytest.mark.filterwarnings("ignore")  # current Python warns about the old code of manopth and chumpy
@pytest.mark.parametrize("flat", [True, False])
def test_manopth_gives_the_same_vertices(flat, tmp_path, generator, monkeypatch):
    manolayer = pytest.importorskip("manopth.manolayer", reason="manopth is not on the path: see CONTRIBUTING.md")
    for name, module in fake_chumpy.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    for model in exports():
        peer = manolayer.ManoLayer(
            mano_root=str(exported(tmp_path, model)), side=model.side, use_pca=False, flat_hand_mean=flat, ncomps=45
        )
        pose, shape, rotation, translation = peer_inputs(generator)
        full = torch.cat((matrix_to_axis_angle(rotation), pose), 1)
        expected = peer(full, shape, translation)[0] / 1000
        moved = about_wrist(translation, rotation, model.rest_joints(shape)[:, 0])
        found = model(pose, shape, rotation, None, moved, relative_to="flat" if flat else "mean")
        assert (found.vertices - expected).norm(dim=2).max() < 1e-5
