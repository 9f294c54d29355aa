"""Beyond the border of a photo a crop is black, without mask, and no joint is visible; the other labels are kept."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.cropping import crop_sample
from dhpe_lib.data.sample import Sample
from dhpe_lib.synthetic.borders import Borders, draw_borders, first_pixels, in_limits, inside_photo
from dhpe_lib.synthetic.engine import TRAINING, Style, SyntheticHands
from dhpe_lib.synthetic.sampling import Sampler

N = 8


def test_borders_are_drawn_as_often_as_asked_for():
    some = draw_borders(Sampler.from_seed(0, 4000), 0.17)
    near = some.beyond.isfinite()
    assert 0.15 < near.float().mean() < 0.19
    assert 0.08 < (some.beyond > 0).float().mean() < 0.12  # about one picture in ten shows a cut hand
    assert set(some.side.tolist()) == {0, 1, 2, 3}
    assert not draw_borders(Sampler.from_seed(0, 100), 0.0).beyond.isfinite().any()


@pytest.mark.parametrize(("side", "expected"), [(0, 62), (1, 62), (2, 162), (3, 162)])
def test_a_border_cuts_its_share_of_the_box(side, expected):
    joints = torch.zeros(1, 21, 3)
    joints[0, 1, :2], joints[0, 2, :2] = -0.25, 0.25  # 56 pixels on each side of the centre
    shown = Borders(torch.tensor([side]), torch.tensor([6 / 112]))
    limits = first_pixels(shown, joints, SIZE)[0].tolist()
    assert limits[side] == expected
    assert [limit for k, limit in enumerate(limits) if k != side] == [
        limit for k, limit in enumerate((0, 0, SIZE, SIZE)) if k != side
    ]
    inside = inside_photo(torch.tensor([limits]), SIZE)[0]
    assert inside.sum() == SIZE * (SIZE - 62)
    seen = in_limits(torch.tensor([limits]), joints, SIZE)[0]
    assert seen.sum() == 20
    assert not seen[1 if side < 2 else 2]


def test_without_a_border_the_whole_picture_is_photo():
    far = Borders(torch.tensor([2]), torch.tensor([-math.inf]))
    limits = first_pixels(far, torch.randn(1, 21, 3, generator=torch.Generator().manual_seed(0)), SIZE)
    assert limits.tolist() == [[0, 0, SIZE, SIZE]]
    assert inside_photo(limits, SIZE).all()


def test_cut_pictures_are_black_beyond_the_border_and_keep_their_labels():
    engine = SyntheticHands()
    pool = engine.backgrounds(2, 0)
    style = Style(jitter=False, things=0.0)
    whole, cut = (engine.batch(N, 3, pool, replace(style, borders=often), 16) for often in (0.0, 1.0))
    for name in ("h", "joints_crop", "joints_mm", "k", "kappa", "axis"):
        assert torch.equal(getattr(cut, name), getattr(whole, name)), name
    beyond = (cut.images != whole.images).any(-1)
    assert (cut.images[beyond] == 0).all()
    assert not cut.masks[beyond].any()
    assert torch.equal(cut.masks | (whole.masks & beyond), whole.masks)
    assert (cut.depth[~beyond] <= whole.depth[~beyond]).all()
    assert not (cut.visible & ~whole.visible).any()
    assert (whole.masks & ~cut.masks).flatten(1).any(1).sum() >= 2
    assert (cut.masks.sum((1, 2)) > 0.3 * whole.masks.sum((1, 2))).all()


def test_a_cut_picture_is_like_the_crop_of_a_photo_that_ends_there():
    """The crop of a grey photo is black where the photo ends, as a rendered picture with a border is."""
    joints = np.random.default_rng(0).uniform(20, 80, (21, 2))
    joints[9] = (12, 50)  # the crop's centre is near the photo's left border
    photo = np.full((100, 100, 3), 128, np.uint8)
    unknown = np.full((21, 3), np.nan)
    k = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    sample = Sample(
        id="grey", image=photo, side="right", joint_0="wrist", joints_2d=joints, joints_3d=unknown, k=k,
        visible=np.ones(21, bool), mask=np.ones((100, 100), bool),
    )  # fmt: skip
    crop = crop_sample(sample, margin=0)
    black = (crop.images[0] == 0).all(-1)
    assert black[:, 0].all()
    assert not crop.masks[0][black].any()
    assert crop.joints_2d.isfinite().all()


def test_training_pictures_have_second_hands_and_borders_and_other_styles_have_none():
    assert TRAINING.crossing > 0
    assert TRAINING.borders > 0
    assert Style().crossing == Style().borders == 0
