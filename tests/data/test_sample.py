"""The sample: projection, half a pixel, mirroring, palm and wrist."""

from dataclasses import replace

import numpy as np
import pytest
from fake_datasets import canonical, noise, points, projected

from dhpe_lib.data.sample import Sample, as_right_hand, from_pixel_centers, mirror, project, with_wrist
from dhpe_lib.hand.skeleton import JOINT_NAMES

K = np.array([[300.0, 2.0, 171.0], [0, 310.0, 95.0], [0, 0, 1]])


def sample(side: str = "left") -> Sample:
    joints = canonical(points())
    image = noise((320, 200))
    return Sample(
        id="a/0",
        image=image,
        k=K,
        joints_2d=project(joints, K),
        joints_3d=joints,
        visible=np.arange(21) % 2 == 0,
        mask=image[..., 0] > 200,
        side=side,
        joint_0="wrist",
    )


def test_projection_is_the_pinhole_camera():
    joints = canonical(points())
    np.testing.assert_allclose(project(joints, K), projected(joints, K), rtol=1e-12)


def test_unknown_points_stay_unknown():
    joints = canonical(points())
    joints[3] = np.nan
    assert np.flatnonzero(np.isnan(project(joints, K)).all(1)).tolist() == [3]
    one = replace(sample(), joints_3d=joints)
    assert np.flatnonzero(~one.known).tolist() == [3]
    assert np.isnan(replace(one, joints_3d=joints * np.nan).root).all()


def test_half_a_pixel():
    """A point at the centre of the pixel in row 7, column 3 is (3, 7) there and (3.5, 7.5) here."""
    ray = np.linalg.inv(K) @ np.array([3.0, 7, 1])
    np.testing.assert_allclose(project(ray[None], K), [[3, 7]], atol=1e-12)
    np.testing.assert_allclose(project(ray[None], from_pixel_centers(K)), [[3.5, 7.5]], atol=1e-12)


def test_mirror_keeps_projection_and_what_lies_under_the_joints():
    before, after = sample(), mirror(sample())
    np.testing.assert_allclose(projected(after.joints_3d, after.k), after.joints_2d, atol=1e-9)
    for (u, v), (u2, v2) in zip(before.joints_2d, after.joints_2d, strict=True):
        np.testing.assert_array_equal(before.image[int(v), int(u)], after.image[int(v2), int(u2)])
        assert before.mask[int(v), int(u)] == after.mask[int(v2), int(u2)]
    assert not np.allclose(before.image, after.image)
    np.testing.assert_allclose(after.joints_3d[:, 0], -before.joints_3d[:, 0])
    assert after.image.flags.c_contiguous
    assert after.mask.flags.c_contiguous


def test_mirror_turns_handedness_round():
    """Mirroring changes the sign of the volume that thumb, index and little finger span, but not its size."""
    corners = [JOINT_NAMES.index(name) for name in ("thumb_1", "index_1", "little_1")]

    def volume(one):
        return np.linalg.det(one.joints_3d[corners] - one.joints_3d[0])

    assert volume(mirror(sample())) == pytest.approx(-volume(sample()))


def test_mirror_twice_is_nothing():
    before, after = sample(), mirror(mirror(sample()))
    for name in ("image", "k", "joints_2d", "joints_3d", "visible", "mask"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-12, err_msg=name)
    assert mirror(replace(before, mask=None)).mask is None


def test_only_left_hands_are_mirrored():
    assert as_right_hand(sample("right")).joints_2d[0, 0] == sample().joints_2d[0, 0]
    left = as_right_hand(sample("left"))
    assert left.joints_2d[0, 0] == 320 - sample().joints_2d[0, 0]
    assert left.side == "left"


@pytest.mark.parametrize("visible", [False, True])
def test_wrist_from_palm(visible):
    """The palm is the midpoint of the ring finger's MCP and the wrist."""
    palm = replace(sample(), joint_0="palm", visible=np.full(21, visible))
    after = with_wrist(palm)
    ring = palm.joints_3d[JOINT_NAMES.index("ring_1")]
    np.testing.assert_allclose((after.joints_3d[0] + ring) / 2, palm.joints_3d[0])
    np.testing.assert_allclose(after.joints_2d, project(after.joints_3d, K))
    assert after.joint_0 == "wrist"
    np.testing.assert_array_equal(after.visible, palm.visible)
    assert with_wrist(after) is after
