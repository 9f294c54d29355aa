"""Each protocol ignores exactly the errors that its alignment removes."""

import numpy as np
import pytest
import torch

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.evaluation.alignment import (
    align_palm_and_bone,
    align_scale_translation,
    align_similarity,
    from_crop_frame,
    place_at_root,
    wrist_to_palm,
)
from dhpe_lib.evaluation.metrics import joint_errors
from dhpe_lib.hand.skeleton import MIDDLE_MCP

PIP = MIDDLE_MCP + 1


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 21, 3)) * 50 + [30, -40, 600]


@pytest.fixture
def predicted(truth) -> np.ndarray:
    return truth + np.random.default_rng(1).normal(size=truth.shape) * 10


def rotations(n: int, mirrored: bool = False) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(n, 3, 3)))
    wrong = (np.linalg.det(q) < 0) != mirrored
    q[wrong, :, 0] *= -1
    return q


def views(truth: np.ndarray) -> tuple[CropFrame, torch.Tensor, torch.Tensor]:
    """Crops, cameras and root depths of some hands."""
    k = torch.tensor([[500.0, 0, 320], [0, 520, 240], [0, 0, 1]]).double().repeat(len(truth), 1, 1)
    joints = torch.from_numpy(truth)
    pixels = joints @ k.mT
    frame = CropFrame.from_joints(pixels[..., :2] / pixels[..., 2:], torch.ones(len(truth), 21, dtype=torch.bool))
    return frame, k, joints[:, MIDDLE_MCP, 2]


def test_protocol_a8_is_the_inverse_of_equation_8(truth):
    frame, k, z_root = views(truth)
    crop = frame.normalise(torch.from_numpy(truth), k)
    back = from_crop_frame(crop, frame, k, z_root)
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, truth, rtol=1e-12)
    narrow = CropFrame(frame.center.float(), frame.side.float(), frame.angle.float())  # float32, as a network's output
    np.testing.assert_allclose(from_crop_frame(crop.float(), narrow, k.float(), z_root.float()), truth, atol=1e-3)


def test_protocol_a8_ignores_a_size_error_at_equal_projection(truth):
    frame, k, z_root = views(truth)
    farther = frame.normalise(torch.from_numpy(1.3 * truth), k)  # larger and farther away, with an equal image
    np.testing.assert_allclose(from_crop_frame(farther, frame, k, z_root), truth, rtol=1e-12)


def test_protocol_a8_counts_the_roots_error_in_the_image(truth):
    frame, k, z_root = views(truth)
    crop = frame.normalise(torch.from_numpy(truth), k)
    moved = from_crop_frame(crop + torch.tensor([0.1, 0, 0]), frame, k, z_root)
    expected = 0.1 * frame.side.numpy() * z_root.numpy() / 500  # a tenth of the crop at the root's depth
    np.testing.assert_allclose((moved - truth)[:, MIDDLE_MCP, 0], expected)


@pytest.mark.parametrize("distance", [1.0, 30.0])
def test_protocol_a_places_a_rigid_hand(truth, distance):
    """The form does not change, the root has its depth, and from afar the result is the true hand."""
    far = truth + (distance - 1) * truth[:, [MIDDLE_MCP]] * [0, 0, 1]
    _, k, z_root = views(far)
    k[:, 0, 0] = k[:, 1, 1] = 500 * distance
    pixels = torch.from_numpy(far) @ k.mT
    frame = CropFrame.from_joints(pixels[..., :2] / pixels[..., 2:], torch.ones(len(far), 21, dtype=torch.bool))
    frame = CropFrame(frame.center, frame.side, frame.angle + 0.3)
    crop = frame.normalise(torch.from_numpy(far), k)
    placed = place_at_root(crop, crop, crop[:, MIDDLE_MCP], frame, k, z_root)
    gaps = [np.linalg.norm(points[:, None] - points[:, :, None], axis=-1) for points in (placed, crop.numpy())]
    unit = frame.depth_unit(k, z_root).numpy()[:, None, None]
    np.testing.assert_allclose(gaps[0], unit * gaps[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(placed[:, MIDDLE_MCP, 2], z_root, rtol=1e-12)
    off = np.linalg.norm(placed - far, axis=-1).mean()
    assert off < 0.6 if distance > 1 else 2 < off < 20
    moved = place_at_root(crop + torch.tensor([0.1, 0, 0]), crop, crop[:, MIDDLE_MCP], frame, k, z_root) - placed
    np.testing.assert_allclose(np.linalg.norm(moved, axis=-1), 0.1 * unit[..., 0].repeat(21, 1), rtol=1e-6)


def test_palm_is_halfway_to_the_middle_knuckle(truth):
    palm = wrist_to_palm(truth)
    np.testing.assert_allclose(palm[:, 0], 0.5 * (truth[:, 0] + truth[:, MIDDLE_MCP]))
    np.testing.assert_array_equal(palm[:, 1:], truth[:, 1:])
    assert not np.array_equal(truth[:, 0], palm[:, 0])  # only the copy was changed


def test_protocol_b_ignores_position_and_size(truth, predicted):
    np.testing.assert_allclose(align_palm_and_bone(0.01 * truth + 3, truth), truth, rtol=1e-9)
    placed = align_palm_and_bone(predicted, truth)
    np.testing.assert_allclose(placed[:, 0], truth[:, 0])
    bones = [np.linalg.norm(joints[:, PIP] - joints[:, MIDDLE_MCP], axis=-1) for joints in (placed, truth)]
    np.testing.assert_allclose(*bones)
    np.testing.assert_allclose(align_palm_and_bone(7 * predicted - 2, truth), placed)


def test_protocol_b_counts_a_rotation(truth):
    turned = align_palm_and_bone(truth @ rotations(6), truth)
    assert np.linalg.norm(turned - truth, axis=-1).mean() > 20


def test_protocol_b_names_the_hand_that_it_cannot_align(truth, predicted):
    incomplete = truth.copy()
    incomplete[4, PIP] = np.nan
    with pytest.raises(ValueError, match="hand 4 cannot be aligned by joint 0 and the bone from middle_1 to middle_2"):
        align_palm_and_bone(predicted, incomplete)
    predicted[2, PIP] = predicted[2, MIDDLE_MCP]
    with pytest.raises(ValueError, match="hand 2 cannot"):
        align_palm_and_bone(predicted, truth)
    unseen = truth.copy()
    unseen[1, PIP] = np.nan
    assert np.isnan(align_palm_and_bone(unseen, truth)[1]).all()


@pytest.mark.parametrize("joints", [[0], [PIP], [MIDDLE_MCP], [MIDDLE_MCP, PIP], range(21)])
def test_protocol_b_returns_nan_for_an_infinite_palm_or_bone(truth, predicted, joints):
    expected = align_palm_and_bone(predicted, truth)
    far = predicted.copy()
    far[2, joints, 1] = np.inf
    found = align_palm_and_bone(far, truth)
    assert np.isnan(found[2]).all()
    np.testing.assert_array_equal(np.delete(found, 2, 0), np.delete(expected, 2, 0))
    assert np.isinf(joint_errors(found, truth)[2]).all()
    far = truth.copy()
    far[2, joints, 1] = np.inf
    with pytest.raises(ValueError, match="hand 2 cannot be aligned"):
        align_palm_and_bone(predicted, far)


def test_another_infinite_joint_is_the_only_missing_joint(truth, predicted):
    far = predicted.copy()
    far[2, 4, 1] = -np.inf
    missed = np.zeros((6, 21), bool)
    missed[2, 4] = True
    errors = joint_errors(align_palm_and_bone(far, truth), truth)
    np.testing.assert_array_equal(np.isinf(errors), missed)
    np.testing.assert_array_equal(errors[~missed], joint_errors(align_palm_and_bone(predicted, truth), truth)[~missed])
    unknown = np.where(missed[..., None], np.nan, predicted)
    np.testing.assert_array_equal(align_similarity(far, truth), align_similarity(unknown, truth))


def test_ho3d_aligns_the_wrist_and_the_bone_to_the_middle_knuckle(truth, predicted):
    np.testing.assert_allclose(align_scale_translation(0.01 * truth + 3, truth), truth, rtol=1e-9)
    placed = align_scale_translation(predicted, truth)
    for hand, goal, found in zip(predicted, truth, placed, strict=True):  # HO-3D's definition, joint by joint
        scale = np.linalg.norm(goal[MIDDLE_MCP] - goal[0]) / np.linalg.norm(hand[MIDDLE_MCP] - hand[0])
        np.testing.assert_allclose(found, [goal[0] + scale * (joint - hand[0]) for joint in hand])
    assert np.abs(placed - align_palm_and_bone(predicted, truth)).max() > 10  # another bone than in protocol B
    turned = align_scale_translation(truth @ rotations(6), truth)
    assert np.linalg.norm(turned - truth, axis=-1).mean() > 20


def test_ho3d_names_the_hand_that_it_cannot_align(truth, predicted):
    incomplete = truth.copy()
    incomplete[3, MIDDLE_MCP] = np.nan
    with pytest.raises(ValueError, match="hand 3 cannot be aligned by joint 0 and the bone from wrist to middle_1"):
        align_scale_translation(predicted, incomplete)
    assert np.isnan(align_scale_translation(incomplete, truth)[3]).all()
    predicted[2, 0] = predicted[2, MIDDLE_MCP]
    with pytest.raises(ValueError, match="hand 2 cannot"):
        align_scale_translation(predicted, truth)


def test_protocol_c_ignores_a_similarity(truth, predicted):
    moved = 0.02 * truth @ rotations(6) + [1, 2, 3]
    np.testing.assert_allclose(align_similarity(moved, truth), truth, rtol=1e-9)
    placed = align_similarity(predicted, truth)
    np.testing.assert_allclose(align_similarity(5 * predicted @ rotations(6) - 9, truth), placed, rtol=1e-9)


@pytest.mark.parametrize("mirror", [1, -1])
def test_protocol_c_is_the_least_squared_distance(truth, predicted, mirror):
    """No small rotation, scale or shift reduces the distance, and the result is not a reflection of the prediction."""
    predicted = predicted * [mirror, 1, 1]
    placed = align_similarity(predicted, truth)
    least = np.square(placed - truth).sum((1, 2))
    center = placed.mean(1, keepdims=True)
    for axis in np.eye(3):
        for step in (-1e-3, 1e-3):
            q, _ = np.linalg.qr(np.eye(3) + step * np.cross(axis, np.eye(3)))
            turned = (placed - center) @ (q * np.sign(np.diag(q))) + center
            for other in (turned, placed + 1e3 * step * axis, center + (1 + step) * (placed - center)):
                assert (np.square(other - truth).sum((1, 2)) > least).all()
    frames = [joints[:, 1:4] - joints[:, :1] for joints in (predicted, placed)]
    np.testing.assert_array_equal(*(np.sign(np.linalg.det(frame)) for frame in frames))


def test_reflections_are_ignored_only_on_request(truth):
    mirrored = truth @ rotations(6, mirrored=True)
    np.testing.assert_allclose(align_similarity(mirrored, truth, reflections=True), truth, rtol=1e-9)
    assert np.linalg.norm(align_similarity(mirrored, truth) - truth, axis=-1).mean() > 10


def test_protocol_c_leaves_unknown_points_out(truth, predicted):
    known = np.random.default_rng(3).random((6, 21)) < 0.6
    expected = align_similarity(predicted[:1, known[0]], truth[:1, known[0]])
    found = align_similarity(predicted, np.where(known[..., None], truth, np.nan))
    np.testing.assert_allclose(found[:1, known[0]], expected)
    holes = align_similarity(np.where(known[..., None], predicted, np.nan), truth)
    np.testing.assert_array_equal(np.isnan(holes).any(-1), ~known)


def test_degenerate_hands_can_be_aligned(truth):
    point = np.zeros((1, 21, 3))
    centroid = truth[:1].mean(1, keepdims=True)
    np.testing.assert_allclose(align_similarity(point, truth[:1]), np.repeat(centroid, 21, axis=1))
    line = np.linspace(0, 1, 21)[None, :, None] * [[[1.0, 2, 3]]]
    np.testing.assert_allclose(align_similarity(line, 4 * line + 1), 4 * line + 1)
    assert np.isfinite(align_similarity(truth[:1], np.full((1, 21, 3), np.nan))).all()  # no known point
