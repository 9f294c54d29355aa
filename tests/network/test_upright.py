"""The first look gives the angle, and the second look shows the hand upright."""

from dataclasses import replace

import pytest
import torch
from small_nets import CONFIG, SIZE

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.views import plain_view, upright_angle
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.evidence import Evidence2D
from dhpe_lib.network.upright import find_angle, network_view, turns_upright
from dhpe_lib.synthetic.engine import SyntheticHands
from dhpe_lib.synthetic.views import render_crops


@pytest.fixture(scope="module")
def crops():
    return render_crops(SyntheticHands(), 4, 3)


@pytest.fixture
def network(monkeypatch, crops) -> Estimator:
    """A network whose f_J2D finds the true joints of the paper's crops."""
    network = Estimator(replace(CONFIG, upright=True)).train()
    truth = plain_view(crops).targets.joints_2d

    def find(images: torch.Tensor) -> Evidence2D:
        assert not network.training
        return Evidence2D(images.new_zeros(4, 512), None, None, truth, images.new_ones(4, 21))

    monkeypatch.setattr(network, "find_evidence", find)
    return network


def test_the_view_shows_the_hand_upright(network, crops):
    view = network_view(network, crops)
    assert upright_angle(view.targets.joints_2d).abs().max() < 1e-4
    assert network.training
    angle = find_angle(network, plain_view(crops).images)
    torch.testing.assert_close(view.frame.angle, angle)
    assert angle.abs().max() > 0.3


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
