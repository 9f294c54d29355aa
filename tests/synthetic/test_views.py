"""Views in one call are those that the engine and the crops give step by step."""

import pytest
import torch

from dhpe_lib.data.views import plain_view
from dhpe_lib.synthetic.engine import Style, SyntheticHands
from dhpe_lib.synthetic.views import NEW_PEOPLE, render_hands


@pytest.fixture(scope="module")
def engine() -> SyntheticHands:
    return SyntheticHands()


@pytest.mark.parametrize("style", [NEW_PEOPLE, Style(jitter=True, things=1.0)])
def test_views_are_the_engines_pictures_before_a_pool_of_their_own(engine, style):
    views = render_hands(engine, 3, 5, style)
    expected = plain_view(engine.batch(3, 5, engine.backgrounds(3, 5, style), style).crops())
    assert torch.equal(views.images, expected.images)
    assert views.images.shape == (3, 3, 224, 224)
    for name, value in vars(views.targets).items():
        torch.testing.assert_close(value, getattr(expected.targets, name), rtol=0, atol=0, equal_nan=True)


def test_another_seed_gives_other_hands(engine):
    one, other = render_hands(engine, 2, 5), render_hands(engine, 2, 6)
    assert not torch.equal(one.targets.joints, other.targets.joints)


def test_by_default_people_are_new_and_crops_exact(engine):
    views = render_hands(engine, 2, 5)
    assert torch.equal(views.images, render_hands(engine, 2, 5, Style(jitter=False, new_people=True)).images)
    assert not torch.equal(views.images, render_hands(engine, 2, 5, Style(jitter=False)).images)
    middle = views.targets.joints_2d[:, 9]
    assert middle.abs().max() < 0.02  # the middle finger's knuckle is at the crop's centre
