"""A turned parameter vector gives the turned mesh."""

import torch

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.parameters import turn_h


def test_turned_parameters_turn_the_mesh_about_z(generator):
    model = HandModel.open_hand()
    h = 0.4 * torch.randn(5, 63, generator=generator)
    angle = torch.tensor([0.0, 0.5, -2.0, 3.0, 7.0])
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    before, after = model.forward_h(h).vertices, model.forward_h(turn_h(h, angle)).vertices
    x, y, z = before.unbind(-1)
    expected = torch.stack((cos * x - sin * y, sin * x + cos * y, z), -1)
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(turn_h(h, torch.zeros(5)), h)
