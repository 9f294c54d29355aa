"""Looks at a crop give the angle and the centre, and the network's view shows the hand upright."""

from dataclasses import replace

import pytest
import torch
from small_nets import CONFIG, SIZE

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.views import plain_view, upright_angle
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.network import upright
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.evidence import Evidence2D
from dhpe_lib.network.upright import NEAR, network_view, turns_upright
from dhpe_lib.synthetic.engine import SyntheticHands
from dhpe_lib.synthetic.views import render_crops


@pytest.fixture(scope="module")
def crops():
    return render_crops(SyntheticHands(), 4, 3)


@pytest.fixture
def network(monkeypatch, crops) -> Estimator:
    """A network whose f_J2D finds the true joints of every view."""
    network, views = Estimator(replace(CONFIG, upright=True)).train(), []

    def view_of(make):
        def call(*args):
            views.append(make(*args))
            return views[-1]

        return call

    def find(images: torch.Tensor) -> Evidence2D:
        assert not network.training
        assert images is views[-1].images
        joints = views[-1].targets.joints_2d
        return Evidence2D(images.new_zeros(len(images), 512), None, None, joints, images.new_ones(joints.shape[:2]))

    for name in ("plain_view", "jittered_view"):
        monkeypatch.setattr(upright, name, view_of(getattr(upright, name)))
    monkeypatch.setattr(network, "find_evidence", find)
    return network


def test_the_view_shows_the_hand_upright(network, crops):
    view = network_view(network, crops)
    assert upright_angle(view.targets.joints_2d).abs().max() < 1e-4
    assert network.training
    assert view.frame.angle.abs().max() > 0.3
    torch.testing.assert_close(view.frame.center, crops.center)  # they are near the hand's centre already


def test_a_crop_beside_the_hand_is_moved_to_it_as_far_as_the_training_does(network, crops):
    aside = torch.tensor([[0.2, -0.02], [-0.15, 0.1], [0.05, 0.3], [0.0, 0.0]])
    moved = replace(crops.frame, center=crops.center + crops.side[:, None] * aside)
    view = network_view(network, replace(crops, center=moved.center, joints_2d=moved.to_crop(pixels_of(crops))))
    assert upright_angle(view.targets.joints_2d).abs().max() < 1e-4
    torch.testing.assert_close(view.frame.side, crops.side)
    middle = (pixels_of(crops)[:, MIDDLE_MCP] - view.frame.center) / crops.side[:, None]
    was = crops.joints_2d[:, MIDDLE_MCP] - aside
    torch.testing.assert_close(middle, was.clamp(-NEAR, NEAR), rtol=0, atol=1e-4)
    assert (was.abs() > NEAR).sum() > 3


def pixels_of(crops):
    """Joints in the photo, pixels."""
    return crops.frame.to_image(crops.joints_2d)


def test_results_come_back_to_the_photo(network, crops):
    """The joints of the turned view are the same points of the photo as those of the paper's crop."""
    plain, turned = plain_view(crops), network_view(network, crops)
    both = [view.frame.to_image(view.targets.joints_2d) for view in (plain, turned)]
    torch.testing.assert_close(both[1], both[0], rtol=0, atol=1e-2)
    frame = CropFrame(crops.center, crops.side, turned.frame.angle)
    torch.testing.assert_close(
        frame.denormalise(turned.targets.joints, crops.k, crops.z_root), crops.joints_3d, rtol=0, atol=0.5
    )


def test_without_f_j2d_or_the_option_the_view_is_the_papers_crop(crops):
    for config in (CONFIG, replace(CONFIG, upright=True, without_2d_losses=True)):
        network = Estimator(config)
        assert not turns_upright(network)
        assert torch.equal(network_view(network, crops).images, plain_view(crops).images)
    assert SIZE == 64
