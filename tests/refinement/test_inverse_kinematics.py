from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.parameters import mirror_h
from dhpe_lib.hand.poses import joint_limits, limit_penalty, pose_from_angles, sample_poses
from dhpe_lib.hand.rotations import axis_angle_to_matrix, random_rotations
from dhpe_lib.hand.skeleton import JOINT_PARENTS
from dhpe_lib.refinement.energy import Observations
from dhpe_lib.refinement.fitting import fit_hands
from dhpe_lib.refinement.inverse_kinematics import LandmarkOptions, check_joints, fit_to_joints_3d, fit_to_landmarks
from dhpe_lib.refinement.landmark_energy import Deviations

EXACT = LandmarkOptions(
    Deviations(joint=1e-4, direction=0.02, pose=2.0, shape=1.25, outlier=100.0), wide_steps=10, steps=30
)
"""For evidence without noise: the priors hardly count."""
NOISE_2D, NOISE_3D = 0.008, 0.008
"""Noise of a landmark network: in units of g (1.2 % of the hand's size), and in metres."""


@dataclass(frozen=True)
class Truth:
    """Hands whose answer is known, in the crop frame and in space."""

    h: Tensor
    crop: Tensor  # joints in the crop frame
    space: Tensor  # joints in metres
    g: Tensor  # side of the crop, metres

    @property
    def picture(self) -> Tensor:
        return self.crop[..., :2]

    @property
    def ones(self) -> Tensor:
        return torch.ones_like(self.crop[..., 0])

    def error_2d(self, joints: Tensor) -> Tensor:
        """Distances over the larger side of the hand's box (g is 1.5 of it)."""
        return 1.5 * (joints[..., :2] - self.picture).norm(dim=-1)

    def error_mm(self, joints: Tensor) -> Tensor:
        """Distances in space; both middle MCPs lie at z = 0."""
        return 1000 * (joints - self.crop).norm(dim=-1) * self.g[:, None]


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def truth(model: HandModel) -> Truth:
    n, generator = 8, torch.Generator().manual_seed(4)
    pose, shape = sample_poses(n, generator), 0.7 * torch.randn(n, 10, generator=generator)
    space = model(pose=pose, shape=shape, rotation=random_rotations(n, generator)).joints
    frame = CropFrame.from_joints(space[..., :2], torch.ones(n, 21, dtype=torch.bool))  # metres stand for pixels
    depth = (space - space[:, 9:10])[..., 2:] / frame.side[:, None, None]
    return Truth(torch.cat((pose, shape), 1), torch.cat((frame.to_crop(space[..., :2]), depth), -1), space, frame.side)


def noisy(truth: Truth, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    picture = truth.picture + NOISE_2D * torch.randn(truth.picture.shape, generator=generator)
    return picture, truth.space + NOISE_3D * torch.randn(truth.space.shape, generator=generator)


def test_a_known_hand_is_recovered(model: HandModel, truth: Truth) -> None:
    fit = fit_to_landmarks(model, truth.picture, truth.ones, truth.space, EXACT)
    assert truth.error_2d(fit.joints).mean(1).max() < 1e-3
    assert truth.error_mm(fit.joints).mean(1).max() < 0.5
    mesh = model.forward_h(fit.h)
    torch.testing.assert_close(fit.joints, mesh.joints, rtol=0, atol=1e-5)
    torch.testing.assert_close(fit.joints[:, 9, 2], torch.zeros(len(truth.h)), rtol=0, atol=1e-6)
    assert (limit_penalty(fit.h[:, :45], joint_limits()) < 0.01).all()
    assert fit.trust.min() > 0.99


def test_noise_is_reduced_not_copied(model: HandModel, truth: Truth) -> None:
    picture, space = noisy(truth)
    fit = fit_to_landmarks(model, picture, truth.ones, 2.5 * space)  # the scale of the joints in space does not matter
    given_2d, given_mm = truth.error_2d(picture).mean(), 1000 * (space - truth.space).norm(dim=-1).mean()
    assert truth.error_2d(fit.joints).mean() < given_2d
    assert truth.error_mm(fit.joints).mean() < 0.6 * given_mm
    torch.testing.assert_close(fit.distance, (fit.joints[..., :2] - picture).norm(dim=-1))
    assert (fit.steps > 3).all()


def test_the_joints_in_space_decide_between_two_readings(model: HandModel, truth: Truth) -> None:
    """The reflection in depth has the same picture; as a left hand it is excluded, but each finger alone is not."""
    picture, space = noisy(truth)
    fit = fit_to_landmarks(model, picture, truth.ones, space)
    bones, known = (x[:, 1:] - x[:, list(JOINT_PARENTS[1:])] for x in (fit.joints, truth.crop))
    steep = known[..., 2].abs() > 0.5 * known.norm(dim=-1)
    assert steep.sum() > 40
    assert (bones[..., 2].sign() == known[..., 2].sign())[steep].float().mean() > 0.98


def test_without_joints_in_space_it_is_as_good_as_the_slow_fit(model: HandModel, truth: Truth) -> None:
    few = Truth(truth.h[:2], truth.crop[:2], truth.space[:2], truth.g[:2])
    fast = fit_to_landmarks(model, few.picture, few.ones)
    slow = fit_hands(model, Observations(few.picture, few.ones))
    assert few.error_2d(fast.joints).mean() < 0.01
    depth = slow.mesh.joints - slow.mesh.joints[:, 9:10] * torch.tensor([0, 0, 1])
    assert few.error_mm(fast.joints).mean() < 1.3 * few.error_mm(depth).mean()


def test_a_bad_joint_moves_the_others_little(model: HandModel, truth: Truth) -> None:
    clean = fit_to_landmarks(model, truth.picture, truth.ones, truth.space)
    for joint in (0, 8, 17):
        picture = truth.picture.clone()
        picture[:, joint] += 0.2 * torch.tensor([0.6, -0.8])  # 0.2 g is 30 % of the hand's size
        fit = fit_to_landmarks(model, picture, truth.ones, truth.space)
        others = [k for k in range(21) if k != joint]
        moved = 1.5 * (fit.joints - clean.joints)[..., :2].norm(dim=-1)
        assert moved[:, others].mean(1).max() < 0.01
        assert fit.trust[:, joint].max() < 0.1
        assert fit.trust[:, others].median() > 0.9


def test_a_joint_without_confidence_does_not_matter(model: HandModel, truth: Truth) -> None:
    confidence = truth.ones.clone()
    confidence[:, [3, 12]] = 0
    results = []
    for value in (torch.nan, 50.0):
        picture = truth.picture.clone()
        picture[:, [3, 12]] = value
        results.append(fit_to_landmarks(model, picture, confidence, truth.space))
    assert torch.equal(results[0].h, results[1].h)
    assert (results[0].distance[:, [3, 12]] == 0).all()
    assert (results[0].trust[:, [3, 12]] == 0).all()
    assert truth.error_2d(results[0].joints).mean() < 0.02


def test_a_doubtful_joint_pulls_less(model: HandModel, truth: Truth) -> None:
    picture, confidence = truth.picture.clone(), truth.ones.clone()
    picture[:, 8] += 0.03
    sure = fit_to_landmarks(model, picture, confidence, truth.space)
    confidence[:, 8] = 0.05
    doubtful = fit_to_landmarks(model, picture, confidence, truth.space)
    assert truth.error_2d(doubtful.joints)[:, 8].mean() < 0.6 * truth.error_2d(sure.joints)[:, 8].mean()


def test_a_batch_equals_single_hands(model: HandModel, truth: Truth) -> None:
    exact = HandModel(model.hand, dtype=torch.float64)
    picture, space = (x.double() for x in noisy(truth))
    together = fit_to_landmarks(exact, picture, truth.ones.double(), space)
    for k in (0, 5):
        row = slice(k, k + 1)
        alone = fit_to_landmarks(exact, picture[row], truth.ones[row].double(), space[row])
        torch.testing.assert_close(alone.joints[0], together.joints[k], rtol=0, atol=1e-6)


def test_a_turn_and_shift_of_the_picture_turns_and_shifts_the_hand(model: HandModel, truth: Truth) -> None:
    picture, space = noisy(truth)
    options = LandmarkOptions(wide_steps=10, steps=20)
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 2.1]))
    shift = torch.tensor([0.2, -0.1])
    before = fit_to_landmarks(model, picture, truth.ones, space, options)
    after = fit_to_landmarks(model, picture @ turn[:2, :2].mT + shift, truth.ones, space @ turn.mT, options)
    expected = before.joints @ turn.mT
    expected[..., :2] += shift
    assert (after.joints - expected).norm(dim=-1).max() < 2e-3


def test_the_scale_of_the_picture_scales_the_hand(model: HandModel, truth: Truth) -> None:
    picture, space = noisy(truth)
    options = LandmarkOptions(wide_steps=10, steps=20)
    unit, pixels = (fit_to_landmarks(model, f * picture, truth.ones, space, options) for f in (1.0, 300.0))
    assert (pixels.joints / 300 - unit.joints).norm(dim=-1).max() < 2e-3


def test_a_left_hand_by_mirroring(model: HandModel, truth: Truth) -> None:
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    left_picture, left_space = truth.picture * mirror[:2], truth.space * mirror
    fit = fit_to_landmarks(model, left_picture * mirror[:2], truth.ones, left_space * mirror)
    joints = model.mirrored().forward_h(mirror_h(fit.h)).joints
    torch.testing.assert_close(joints, fit.joints * mirror, rtol=0, atol=1e-5)
    assert 1.5 * (joints[..., :2] - left_picture).norm(dim=-1).mean() < 0.01


def test_joints_in_metres_give_the_hand_in_metres(model: HandModel, truth: Truth) -> None:
    fit = fit_to_joints_3d(model, truth.space, options=EXACT)
    assert (fit.h[:, 59] == 0).all()
    assert 1000 * fit.distance.mean(1).max() < 0.5
    mesh = model.forward_h(fit.h)
    torch.testing.assert_close(mesh.joints, fit.joints, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", ["metres", "any"])
def test_exact_joints_of_any_pose_are_met(model: HandModel, size: str, generator: torch.Generator) -> None:
    """Angles anywhere in the limits: the prior alone would keep the joints 2.8 mm away."""
    bounds = joint_limits().bounds
    share = torch.rand(16, 15, 3, generator=generator, dtype=bounds.dtype)
    angles = bounds[..., 0] + share * (bounds[..., 1] - bounds[..., 0])
    pose, shape = pose_from_angles(angles, joint_limits()).float(), torch.randn(16, 10, generator=generator)
    joints = model(pose, shape, random_rotations(16, generator)).joints
    fit = fit_to_joints_3d(model, joints, size=size)
    assert 1000 * fit.distance.mean() < 0.5
    assert 1000 * fit.distance.mean(1).max() < 1
    assert fit.trust.min() > 0.95


def test_noise_in_space_is_smoothed(model: HandModel, truth: Truth) -> None:
    noise = 0.005 * torch.randn(truth.space.shape, generator=torch.Generator().manual_seed(3))
    fit = fit_to_joints_3d(model, truth.space + noise)
    off = (fit.joints - truth.space).norm(dim=-1)
    assert off.mean() < 0.65 * noise.norm(dim=-1).mean()
    assert fit.h[:, 45:55].abs().max() < 3.5


def test_joints_up_to_a_similarity(model: HandModel, truth: Truth) -> None:
    fit = fit_to_joints_3d(model, 40 * truth.space + 7, size="any", options=EXACT)
    assert 1000 / 40 * fit.distance.mean(1).max() < 0.5
    with_gaps = truth.ones.clone()
    with_gaps[:, 7] = 0
    joints = truth.space.clone()
    joints[:, 7] = torch.nan
    fit = fit_to_joints_3d(model, joints, with_gaps, size="any")
    assert 1000 * (fit.joints - truth.space)[:, 7].norm(dim=-1).mean() < 5


def test_device_and_dtype_follow_the_inputs(device: torch.device, truth: Truth) -> None:
    for dtype in (torch.float32, torch.float64):
        model = HandModel(HandModel.open_hand().hand, dtype=dtype).to(device)
        picture, ones, space = (x[:2].to(device, dtype) for x in (truth.picture, truth.ones, truth.space))
        for fit in (fit_to_landmarks(model, picture, ones, space), fit_to_joints_3d(model, space)):
            assert fit.h.dtype == dtype
            assert fit.h.device.type == device.type
            assert fit.h.isfinite().all()


def test_bad_evidence_is_refused(model: HandModel, truth: Truth) -> None:
    picture, ones, space = truth.picture, truth.ones, truth.space
    one_place, broken, few = picture.clone(), space.clone(), ones.clone()
    one_place[2] = 0.1
    broken[1, 4, 2] = torch.nan
    few[3, 3:] = 0
    with pytest.raises(ValueError, match=r"joints_2d, of shape \(8, 21, 2\): hand 2 has all its joints in one place"):
        fit_to_landmarks(model, one_place, ones, space)
    with pytest.raises(ValueError, match=r"joints_3d, of shape \(8, 21, 3\): hand 1 has a joint that is not finite"):
        fit_to_landmarks(model, picture, ones, broken)
    with pytest.raises(ValueError, match=r"joints_3d, of shape \(8, 21, 3\): hand 0 has all its joints in one place"):
        fit_to_landmarks(model, picture, ones, 0 * space)
    with pytest.raises(ValueError, match=r"joints_2d.*: hand 3 has fewer than 4 joints with confidence"):
        fit_to_landmarks(model, picture, few, space)
    with pytest.raises(ValueError, match=r"confidence, of shape .* must be finite and at least 0"):
        fit_to_landmarks(model, picture, ones - 2, space)
    few = ones.clone()
    few[5, [0, 5, 9]] = 0
    with pytest.raises(ValueError, match="hand 5 has fewer than 3 known joints among wrist and MCPs"):
        fit_to_joints_3d(model, space, few)


@pytest.mark.parametrize(
    ("joints", "confidence", "message"),
    [
        ((2, 20, 2), (2, 20), r"joints_2d has shape \(2, 20, 2\); give \(hands, 21, 2\)"),
        ((21, 2), (21,), r"joints_2d has shape \(21, 2\); give \(hands, 21, 2\)"),
        ((2, 21, 2), (3, 21), r"joints_2d has shape \(2, 21, 2\).*\(3, 21\); give \(2, 21, 2\) and \(2, 21\)"),
    ],
)
def test_wrong_shapes_are_refused(joints: tuple[int, ...], confidence: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_joints("joints_2d", torch.rand(joints), torch.ones(confidence), 2)


def test_no_hands_give_no_fits(model: HandModel) -> None:
    fit = fit_to_landmarks(model, torch.zeros(0, 21, 2), torch.zeros(0, 21), torch.zeros(0, 21, 3))
    assert fit.h.shape == (0, 63)
