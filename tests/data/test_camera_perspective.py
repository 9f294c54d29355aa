"""The pinhole camera of a photo: its focal length, and the hand's place in metres, against a known scene."""

import struct
from math import atan, degrees, radians, tan

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational
from scipy.optimize import least_squares

from dhpe_lib.data.camera import ASSUMED_FOV, Camera, project
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.exif import ExifFocal, focal_in_pixels, parse_exif_focal
from dhpe_lib.data.perspective import (
    closed_form_translation,
    metric_points,
    place_hand,
    ray_rotation,
    solve_translation,
    weak_perspective,
)
from dhpe_lib.data.photos import read_photo
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.rotations import axis_angle_to_matrix, random_rotations

F64 = torch.float64
TAG = ExifTags.Base


# The camera of a photo


def test_focal_length_and_field_of_view_are_one_thing():
    camera = Camera.from_focal(640, 480, 600.0)
    assert camera.fov == pytest.approx(degrees(2 * atan(320 / 600)))
    assert Camera.from_fov(640, 480, camera.fov).focal == pytest.approx(600)
    assert camera.k.tolist() == [[600, 0, 320], [0, 600, 240], [0, 0, 1]]
    assert camera.source == "given"


def test_matrix_for_a_batch():
    k = Camera.from_focal(640, 480, 600.0).batch(torch.zeros(5, 2))
    assert (k.shape, k.dtype) == ((5, 3, 3), torch.float32)
    assert (k[:, 0, 0] == 600).all()


def test_field_of_view_is_that_of_the_larger_side():
    assert Camera.from_fov(480, 640, 50.0).focal == Camera.from_fov(640, 480, 50.0).focal
    assert Camera.from_fov(480, 640, 90.0).focal == pytest.approx(320)


def test_without_information_a_field_of_view_is_assumed(tmp_path):
    path = tmp_path / "plain.png"
    Image.new("RGB", (60, 40)).save(path)
    for camera in (Camera.choose(60, 40), Camera.choose(60, 40, path=path), Camera.from_photo("nowhere.jpg", 60, 40)):
        assert (camera.source, camera.fov) == ("assumed", pytest.approx(ASSUMED_FOV))


def test_what_is_given_wins_over_the_file(tmp_path):
    path = photo(tmp_path, {TAG.FocalLengthIn35mmFilm: 28})
    assert Camera.choose(400, 300, focal=123.0, path=path).focal == 123
    assert Camera.choose(400, 300, fov=90.0, path=path).focal == pytest.approx(200)
    assert Camera.choose(400, 300, path=path).source == "exif"


@pytest.mark.parametrize("focal", [0.0, -5.0, float("nan"), float("inf")])
def test_bad_focal_lengths_are_refused(focal):
    with pytest.raises(ValueError, match="must be positive and finite"):
        Camera.choose(640, 480, focal=focal)


@pytest.mark.parametrize("fov", [0.0, -5.0, 180.0, float("nan")])
def test_bad_fields_of_view_are_refused(fov):
    with pytest.raises(ValueError, match="between 0 and 180"):
        Camera.choose(640, 480, fov=fov)


def test_other_bad_input_is_refused():
    with pytest.raises(ValueError, match="give one of them"):
        Camera.choose(640, 480, focal=500.0, fov=60.0)
    for make in (Camera.assumed, lambda w, h: Camera.from_focal(w, h, 5.0)):
        with pytest.raises(ValueError, match="both sides must be positive"):
            make(0, 0)


# EXIF


SIZE = {TAG.ExifImageWidth: 400, TAG.ExifImageHeight: 300}


def photo(folder, tags, size=(400, 300), orientation=None):
    """A JPEG with EXIF tags."""
    exif = Image.Exif()
    if orientation:
        exif[TAG.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif).update(tags)
    path = folder / "photo.jpg"
    Image.new("RGB", size, "gray").save(path, exif=exif.tobytes())
    return path


def test_35_mm_focal_length_is_measured_along_the_diagonal(tmp_path):
    # 400 x 300 has a diagonal of 500 pixels, the film one of 43.27 mm.
    camera = Camera.from_photo(photo(tmp_path, {TAG.FocalLengthIn35mmFilm: 26}), 400, 300)
    assert camera.source == "exif"
    assert camera.focal == pytest.approx(26 / 43.2666 * 500, rel=1e-5)
    assert degrees(2 * atan(250 / camera.focal)) == pytest.approx(79.5, abs=0.1)  # of a 26 mm lens, by the diagonal


@pytest.mark.parametrize(("unit", "density"), [(None, 2540.0), (2, 2540.0), (3, 1000.0), (4, 100.0), (5, 0.1)], ids=str)
def test_focal_plane_resolution(tmp_path, unit, density):
    tags = {TAG.FocalLength: IFDRational(42, 10), TAG.FocalPlaneXResolution: IFDRational(density), **SIZE}
    if unit:
        tags[TAG.FocalPlaneResolutionUnit] = unit
    assert Camera.from_photo(photo(tmp_path, tags), 400, 300).focal == pytest.approx(420, rel=1e-5)


def test_35_mm_focal_length_comes_first(tmp_path):
    tags = {TAG.FocalLengthIn35mmFilm: 35, TAG.FocalLength: 4.0, TAG.FocalPlaneXResolution: 2540.0, **SIZE}
    assert Camera.from_photo(photo(tmp_path, tags), 400, 300).focal == pytest.approx(35 / 43.2666 * 500, rel=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_the_image_and_keeps_the_focal_length(tmp_path, orientation):
    tags = {TAG.FocalLengthIn35mmFilm: 26, TAG.ExifImageWidth: 800, TAG.ExifImageHeight: 600}
    path = photo(tmp_path, tags, orientation=orientation)
    height, width = read_photo(path).shape[:2]
    assert (width, height) == ((400, 300) if orientation < 5 else (300, 400))
    camera = Camera.from_photo(path, width, height)
    assert camera.focal == pytest.approx(26 / 43.2666 * 500, rel=1e-5)
    assert camera.k[:2, 2].tolist() == [width / 2, height / 2]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4000, 3000), 3000.0),  # as taken
        ((1000, 750), 750.0),  # resized
        ((750, 1000), 750.0),  # resized and turned
        ((8000, 6000), 6000.0),  # enlarged
        ((3000, 3000), 3000.0),  # cropped to a square
        ((4000, 2250), 3000.0),  # cropped to 16 : 9
        ((3000, 2000), 3000.0),  # the full height, cropped to portrait, turned
        ((1080, 1080), None),  # cropped and resized
        ((5000, 3000), None),  # larger than the picture was
    ],
)
def test_resized_and_cropped_photos(size, expected):
    for exif in (
        ExifFocal(film_mm=3000 / 5000 * 43.26661530556787, width=4000.0, height=3000.0),
        ExifFocal(lens_mm=5.0, pixels_per_mm=600.0, width=4000.0, height=3000.0),
    ):
        found = focal_in_pixels(exif, *size)
        assert found == (expected and pytest.approx(expected))


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {TAG.FocalLengthIn35mmFilm: 0},
        {TAG.FocalLengthIn35mmFilm: 1},  # a field of view of 175 degrees
        {TAG.FocalLengthIn35mmFilm: 60000},
        {TAG.FocalLength: 4.0},
        {TAG.FocalLength: 4.0, TAG.FocalPlaneXResolution: 0.0, **SIZE},
        {TAG.FocalLength: 4.0, TAG.FocalPlaneXResolution: 100.0, TAG.FocalPlaneResolutionUnit: 1, **SIZE},
        {TAG.FocalLength: IFDRational(4, 0), TAG.FocalPlaneXResolution: 100.0, **SIZE},
        {TAG.FocalPlaneXResolution: 100.0},
        {TAG.FocalLength: 4.0, TAG.FocalPlaneXResolution: 2540.0},  # of a picture whose size is not known
    ],
    ids=str,
)
def test_useless_exif_data_is_no_error(tmp_path, tags):
    assert Camera.from_photo(photo(tmp_path, tags), 400, 300).source == "assumed"


@pytest.mark.parametrize("value", ["wide", b"\x00", (1, 2), None, -26, float("nan"), float("inf"), IFDRational(1, 0)])
def test_values_of_any_type_are_no_error(value):
    names = (TAG.FocalLengthIn35mmFilm, TAG.FocalLength, TAG.FocalPlaneXResolution, TAG.ExifImageWidth)
    tags = {int(name): value for name in (*names, TAG.FocalPlaneResolutionUnit)}
    assert focal_in_pixels(parse_exif_focal(tags), 400, 300) is None


def test_garbage_in_the_file_is_no_error(tmp_path):
    good = photo(tmp_path, {TAG.FocalLengthIn35mmFilm: 26}).read_bytes()
    start = good.index(b"Exif\0\0") + 6
    path, outcomes = tmp_path / "bad.jpg", set()
    for seed in range(100):
        rng = np.random.default_rng(seed)
        data = bytearray(good)
        for place in rng.integers(start, start + 60, 3):
            data[place] = rng.integers(256)
        path.write_bytes(data if seed % 4 else data[: rng.integers(start, len(data))])
        outcomes.add(Camera.from_photo(path, 400, 300).source)
    assert outcomes == {"assumed", "exif"}
    path.write_bytes(b"Exif\0\0MM" + struct.pack(">H", 42))
    assert Camera.from_photo(path, 400, 300).source == "assumed"


# From weak perspective to perspective


@pytest.fixture(scope="module")
def hands() -> torch.Tensor:
    """Joints of 12 open hands in all attitudes, metres from the wrist."""
    generator = torch.Generator().manual_seed(4)
    model = HandModel.open_hand()
    pose = 0.2 * torch.randn(12, 45, generator=generator)
    joints = model(pose, rotation=random_rotations(12, generator), relative_to="mean").joints.to(F64)
    return joints - joints[:, :1]


CAMERA = Camera.from_focal(1280, 960, 1000.0)


def cameras(n: int, dtype: torch.dtype = F64) -> torch.Tensor:
    return CAMERA.k.to(dtype).expand(n, 3, 3)


def places(n: int, generator: torch.Generator) -> torch.Tensor:
    """Hands at 0.35 to 1.35 m, all over the image."""
    depth = 0.35 + torch.rand(n, 1, generator=generator, dtype=F64)
    across = (torch.rand(n, 2, generator=generator, dtype=F64) - 0.5) * torch.tensor([1.1, 0.8], dtype=F64)
    return torch.cat((across, torch.ones(n, 1, dtype=F64)), 1) * depth


def test_project_is_what_the_words_say():
    points = torch.tensor([[[0.1, -0.2, 2.0], [0.0, 0.0, 1.0]]], dtype=F64)
    assert project(points, cameras(1)).tolist() == [[[640 + 1000 * 0.05, 480 - 1000 * 0.1], [640, 480]]]
    with pytest.raises(ValueError, match="not in front of the camera"):
        project(-points, cameras(1))


@pytest.mark.parametrize("steps", [0, 2])
def test_exact_joints_give_the_exact_translation(hands, generator, steps, device):
    truth = places(12, generator)
    pixels = project(hands + truth[:, None], cameras(12))
    found = solve_translation(hands.to(device), pixels.to(device), cameras(12).to(device), steps=steps)
    torch.testing.assert_close(found.cpu(), truth, rtol=1e-9, atol=1e-10)


def test_single_precision_is_good_to_a_tenth_of_a_millimetre(hands, generator):
    truth = places(12, generator)
    pixels = project(hands + truth[:, None], cameras(12))
    found = solve_translation(hands.float(), pixels.float(), cameras(12, torch.float32))
    assert (found - truth).norm(dim=1).max() < 1e-4


def test_gauss_newton_minimises_the_distance_in_pixels(hands, generator):
    truth = places(12, generator)
    pixels = project(hands + truth[:, None], cameras(12)) + torch.randn(12, 21, 2, generator=generator, dtype=F64)
    weights = torch.rand(12, 21, generator=generator, dtype=F64)
    found = solve_translation(hands, pixels, cameras(12), weights, steps=5)

    for i in range(3):
        k, root = cameras(1), weights[i].sqrt()[:, None]

        def residual(t, i=i, k=k, root=root):
            image = project(hands[i : i + 1] + torch.from_numpy(t), k)[0]
            return ((image - pixels[i]) * root).flatten().numpy()

        best = least_squares(residual, truth[i].numpy(), xtol=1e-14, ftol=1e-14, gtol=1e-14).x
        np.testing.assert_allclose(found[i].numpy(), best, rtol=1e-6, atol=1e-7)


def test_joints_without_weight_have_no_say(hands, generator):
    truth = places(12, generator)
    pixels = project(hands + truth[:, None], cameras(12))
    pixels[:, 5:] += 500
    weights = torch.ones(12, 21, dtype=F64)
    weights[:, 5:] = 0
    torch.testing.assert_close(solve_translation(hands, pixels, cameras(12), weights), truth)


def test_ray_rotation_turns_the_axis_to_the_ray(generator):
    pixels = torch.rand(30, 2, generator=generator, dtype=F64) * 1000
    k = cameras(30)
    rotation = ray_rotation(pixels, k)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=F64).expand(30, 3, 3))
    torch.testing.assert_close(project(rotation[:, None, :, 2] * 3, k)[:, 0], pixels)
    turn = torch.acos((rotation.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2)  # the smallest one: no twist about the ray
    torch.testing.assert_close(turn, torch.acos(rotation[:, 2, 2]))
    center = ray_rotation(torch.tensor([[640.0, 480.0]], dtype=F64), cameras(1))
    torch.testing.assert_close(center[0], torch.eye(3, dtype=F64))


def weak_fit(joints: torch.Tensor, pixels: torch.Tensor) -> tuple[np.ndarray, float, np.ndarray]:
    """The rotation, scale and translation with which a scaled orthographic camera sees the joints best."""
    spread = float((pixels - pixels.mean(0)).norm() / (joints - joints.mean(0))[:, :2].norm())

    def residual(x):
        turned = joints @ axis_angle_to_matrix(torch.from_numpy(x[:3])).mT
        return (x[3] * spread * turned[:, :2] + torch.from_numpy(x[4:]) - pixels).flatten().numpy()

    x = least_squares(residual, np.r_[np.zeros(3), 1, pixels.mean(0).numpy()]).x
    return axis_angle_to_matrix(torch.from_numpy(x[:3])).numpy(), x[3] * spread, x[4:]


def test_weak_perspective_estimate_is_placed_in_the_camera_frame(hands, generator):
    """The whole way on hands 0.7 m away and 20 to 30 degrees off the axis: fit orthographically, place, compare."""
    truth = torch.tensor([[0.28, 0.18, 0.7], [-0.3, 0.1, 0.7], [0.3, -0.25, 0.7], [0.1, 0.3, 0.7]], dtype=F64)
    joints, k = hands[:4], cameras(4)
    pixels = project(joints + truth[:, None], k)
    frame = CropFrame.from_joints(pixels, torch.ones(4, 21, dtype=torch.bool))
    frame = CropFrame(frame.center, frame.side, torch.tensor([0.0, 0.8, -1.5, 3.0], dtype=F64))
    fits = [weak_fit(joints[i], pixels[i]) for i in range(4)]
    # The estimate as the project writes it: points of the crop frame and their scale.
    turned = joints @ torch.tensor(np.stack([fit[0] for fit in fits])).mT
    sizes = torch.tensor([fit[1] for fit in fits])
    shift = torch.tensor(np.stack([fit[2] for fit in fits]))
    across = frame.to_crop(sizes[:, None, None] * turned[..., :2] + shift[:, None])
    scale = sizes / frame.side
    estimate = torch.cat((across, turned[..., 2:] * scale[:, None, None]), -1)

    placed = place_hand(frame, estimate, scale, k, pixels)
    metric = metric_points(frame, estimate, estimate[:, 0], scale)
    torch.testing.assert_close(metric, turned, rtol=1e-9, atol=1e-9)  # the crop's angle is undone
    found = placed.to_camera(metric)
    rays = (found - (joints + truth[:, None])).norm(dim=-1)
    plain = (metric + truth[:, None] - (joints + truth[:, None])).norm(dim=-1)
    assert (placed.translation - truth).norm(dim=1).max() < 0.012  # of 0.7 m
    assert rays.mean() < 0.01
    # Without the turn to the ray, joints are wrong even if they are put at the true place.
    root_relative = (found - found[:, :1] - joints).norm(dim=-1).mean()
    assert root_relative < 0.2 * plain.mean()
    assert (project(found, k) - pixels).norm(dim=-1).mean() < 0.02 * frame.side.max()


def test_closed_form_errs_by_little_for_a_distant_hand_at_the_centre(hands):
    """The error falls with the distance: the hand's depth becomes small against it."""
    worst = []
    for depth in (0.5, 2.0, 8.0):
        truth = torch.tensor([[0.0, 0.0, depth]], dtype=F64).expand(12, 3)
        pixels = project(hands + truth[:, None], cameras(12))
        across = hands[..., :2] - hands[..., :2].mean(1, keepdim=True)
        offset = pixels - pixels.mean(1, keepdim=True)
        sizes = (across * offset).sum((1, 2)) / (across * across).sum((1, 2))
        frame = CropFrame.from_joints(pixels, torch.ones(12, 21, dtype=torch.bool))
        root = torch.cat((frame.to_crop(pixels[:, :1])[:, 0], torch.zeros(12, 1, dtype=F64)), 1)
        camera = weak_perspective(frame, root, sizes / frame.side)
        found = closed_form_translation(camera, cameras(12))
        worst.append(float(((found - truth).norm(dim=1) / depth).max()))
    assert worst[0] < 0.2
    assert worst[1] < 0.05
    assert worst[2] < 0.0125


def test_weak_perspective_of_the_image_agrees_with_the_crop(generator):
    rand = torch.rand(5, 4, generator=generator, dtype=F64)
    frame = CropFrame(500 * rand[:, :2], 50 + 100 * rand[:, 2], 6 * rand[:, 3])
    points = torch.randn(5, 21, 3, generator=generator, dtype=F64)
    scale = 5 + rand[:, 0]
    camera = weak_perspective(frame, points[:, 0], scale)
    metric = metric_points(frame, points, points[:, 0], scale)
    torch.testing.assert_close(camera.project(metric), frame.to_image(points[..., :2]))


def scene(hands, generator):
    """An estimate of each hand in the crop frame, as an orthographic camera sees it."""
    n = len(hands)
    rand = torch.rand(n, 4, generator=generator, dtype=F64)
    frame = CropFrame(200 + 700 * rand[:, :2], 200 + 100 * rand[:, 2], rand[:, 3])
    scale = 4 + rand[:, 0]
    return frame, hands * scale[:, None, None], scale


def test_an_image_of_twice_the_size_gives_the_same_metres(hands, generator):
    frame, joints, scale = scene(hands, generator)
    twice = CropFrame(2 * frame.center, 2 * frame.side, frame.angle)
    large = Camera.from_fov(2560, 1920, CAMERA.fov).k
    assert large[0, 0] == pytest.approx(2 * CAMERA.focal)
    once, other = (
        place_hand(frame, joints, scale, cameras(12)),
        place_hand(twice, joints, scale, large.expand(12, 3, 3)),
    )
    torch.testing.assert_close(other.translation, once.translation)
    torch.testing.assert_close(other.rotation, once.rotation)


def test_a_hand_of_twice_the_size_is_twice_as_far(hands, generator):
    frame, joints, scale = scene(hands, generator)
    once, other = place_hand(frame, joints, scale, cameras(12)), place_hand(frame, joints, scale / 2, cameras(12))
    torch.testing.assert_close(other.translation, 2 * once.translation)


def test_turning_the_camera_turns_the_result(hands, generator):
    """A quarter turn of the image: the principal point moves with it."""
    frame, joints, scale = scene(hands, generator)
    u, v = frame.center.T
    turned = CropFrame(torch.stack((960 - v, u), -1), frame.side, frame.angle + radians(90))
    k = Camera.from_focal(960, 1280, CAMERA.focal).k.expand(12, 3, 3)
    once, other = place_hand(frame, joints, scale, cameras(12)), place_hand(turned, joints, scale, k)
    x, y, z = once.translation.T
    torch.testing.assert_close(other.translation, torch.stack((-y, x, z), -1))


def test_gradients(hands, generator):
    joints, truth, k = hands[:2, :6].clone(), places(2, generator), cameras(2).clone()
    pixels = project(joints + truth[:, None], k) + torch.randn(2, 6, 2, generator=generator, dtype=F64)
    inputs = (joints.requires_grad_(), pixels.requires_grad_(), k.requires_grad_())
    assert torch.autograd.gradcheck(solve_translation, inputs, rtol=1e-3, atol=1e-6)
    gradients = torch.autograd.grad(solve_translation(*inputs)[:, 2].sum(), inputs)
    assert all((gradient != 0).float().mean() > 0.3 for gradient in gradients)


def test_gradient_of_the_whole_way(hands, generator):
    frame, joints, scale = scene(hands[:2], generator)

    def place(points, size, center, side):
        placed = place_hand(CropFrame(center, side, frame.angle), points, size, cameras(2))
        return placed.translation, placed.rotation

    inputs = tuple(x.detach().clone().requires_grad_() for x in (joints[:, :6], scale, frame.center, frame.side))
    assert torch.autograd.gradcheck(place, inputs, rtol=1e-3, atol=1e-6)


def test_bad_input_is_refused(hands):
    pixels = project(hands + torch.tensor([0, 0, 0.5], dtype=F64), cameras(12))
    alone = torch.zeros(12, 21, dtype=F64)
    alone[:, 3] = 1
    for weights in (torch.zeros_like(alone), alone):
        with pytest.raises(ValueError, match="hand 0 has no size in the image; give two or more distinct joints"):
            solve_translation(hands, pixels, cameras(12), weights)
    with pytest.raises(ValueError, match="hand 3 has no size"):
        solve_translation(hands, torch.where(torch.arange(12)[:, None, None] == 3, 5.0, pixels), cameras(12))
    turned = 2 * pixels.mean(1, keepdim=True) - pixels  # a half turn makes the size negative
    with pytest.raises(ValueError, match="would lie behind the camera"):
        solve_translation(hands, turned, cameras(12))


def test_assumed_camera_is_off_by_the_ratio_of_the_focal_lengths():
    ratio = tan(radians(ASSUMED_FOV / 2)) / tan(radians(67 / 2))
    assert ratio == pytest.approx(1 - 0.13, abs=0.005)  # the figure in the docstring of Camera.assumed
