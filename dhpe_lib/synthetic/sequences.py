"""Sequences of a moving hand: one person, room and camera; pose, viewpoint and distance change smoothly.

Between two key poses the joint angles follow a cubic ease. Several candidates are tried for each key pose, and the
motion to each candidate is checked at a few moments. The candidate whose fingers pass through each other at the fewest
moments is used.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.records import take_rows
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import collides
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.synthetic import scenery
from dhpe_lib.synthetic.engine import Style, SyntheticBatch, SyntheticHands, draw_look
from dhpe_lib.synthetic.hands import Shots, draw_poses, draw_shots, place_hands
from dhpe_lib.synthetic.sampling import Sampler, seed_of

KEY_EVERY = 30
"""Number of frames from one key pose to the next: a second of video."""
CANDIDATES, CHECKS = 6, 5
"""Number of candidates for a key pose, and of moments at which the motion to a candidate is checked."""
WAVES = 4
"""Number of waves of each quantity that wanders."""


@lru_cache(maxsize=2)
def key_poses(n: int, seed: int) -> Float[Tensor, "n 45"]:
    """Sample key poses such that fingers do not pass through each other between them, if possible.

    Args:
        n: Number of key poses.
        seed: Random seed; equal seeds give equal poses.

    Returns:
        Poses relative to the flat hand, axis-angle in radians.
    """
    model, drawn = HandModel.open_hand(), draw_poses(Sampler.from_seed(seed, n * CANDIDATES))
    tried = drawn.view(n, CANDIDATES, 45)
    chosen = [tried[0, 0]]
    share = (torch.arange(CHECKS) + 1) / (CHECKS + 1)
    for candidates in tried[1:]:
        path = chosen[-1] + share[:, None, None] * (candidates - chosen[-1])
        hits = collides(model(pose=path.flatten(0, 1)).joints).view(CHECKS, CANDIDATES).sum(0)
        chosen.append(candidates[hits.argmin()])
    return torch.stack(chosen)


def poses_at(keys: Float[Tensor, "n 45"], frames: Int64[Tensor, " f"]) -> Float[Tensor, "f 45"]:
    """Interpolate key poses at some frames, with zero velocity at each key pose; poses are in radians."""
    position = frames / KEY_EVERY
    before = position.long()
    share = position - before
    share = (share * share * (3 - 2 * share))[:, None]
    return keys[before] + share * (keys[before + 1] - keys[before])


@dataclass(frozen=True)
class Wander:
    """Smooth random motions around zero: sums of slow sine waves.

    Attributes:
        amplitude: Amplitude of each wave of each quantity, in the unit of the quantity.
        frequency: Angular frequency of each wave, radians per frame.
        phase: Phase of each wave, radians.
    """

    amplitude: Float[Tensor, "waves c"]
    frequency: Float[Tensor, "waves c"]
    phase: Float[Tensor, "waves c"]

    @classmethod
    def draw(cls, sampler: Sampler, deviation: float, quantities: int) -> "Wander":
        """Sample waves with periods from 2 to 40 seconds at 30 frames per second."""
        amplitude = sampler.normal(deviation * math.sqrt(2 / WAVES), WAVES, quantities)[0]
        period = sampler.log_uniform(60.0, 1200.0, WAVES, quantities)[0]
        return cls(amplitude, 2 * math.pi / period, sampler.uniform(0.0, 2 * math.pi, WAVES, quantities)[0])

    def at(self, frames: Int64[Tensor, " f"]) -> Float[Tensor, "f c"]:
        """Compute the values at some frames."""
        angle = self.frequency * frames.to(self.phase)[:, None, None] + self.phase
        return (self.amplitude * angle.sin()).sum(1)


def sequence_batch(
    engine: SyntheticHands, seed: int, length: int, frames: Int64[Tensor, " f"], style: Style, margin: int
) -> SyntheticBatch:
    """Render some frames of a sequence.

    Args:
        engine: Engine that renders the frames.
        seed: Random seed of the sequence.
        length: Number of frames of the whole sequence.
        frames: Indices of the frames to render, from 0.
        style: Kind of pictures.
        margin: Margin around the 224 x 224 view, pixels.

    Returns:
        The frames. A frame does not depend on the other requested frames, except for the noise of its pixels.
    """
    n, sampler = len(frames), Sampler.from_seed(seed, 1, engine.device)
    keys = key_poses(length // KEY_EVERY + 2, seed_of("poses", seed)).to(engine.device)
    at = frames.to(engine.device)
    first = draw_shots(sampler, jitter=False)
    turn, nearer, aside = Wander.draw(sampler, 0.35, 3), Wander.draw(sampler, 0.12, 1), Wander.draw(sampler, 0.05, 2)
    shots = Shots(
        axis_angle_to_matrix(turn.at(at)) @ first.rotation,
        first.distance * nearer.at(at)[:, 0].exp(),
        first.aside + aside.at(at),
        torch.ones(n).to(turn.phase),
        torch.zeros(n, 2).to(turn.phase),
    )
    shape = sampler.normal(1.0, 10).expand(n, -1)
    hands = place_hands(engine.model, poses_at(keys, at), shape, shots, fingertips=False)
    wall = engine.backgrounds(1, seed_of("wall", seed), style).float() / 255
    behind = _wall_crops(wall, hands.axis, SIZE + 2 * margin)
    look = take_rows(draw_look(sampler, style, wall.mean((2, 3))), torch.zeros_like(at))
    noise = torch.Generator(engine.device).manual_seed(seed_of("noise", seed, int(frames[0])))
    return engine.render(hands, look, behind, noise)


def _wall_crops(wall: Float[Tensor, "1 3 288 288"], axis: Float[Tensor, "f 2"], size: int) -> Float[Tensor, "f 3 s s"]:
    """Return the part of the wall that each crop shows; the wall does not move when the hand moves."""
    ticks = (torch.arange(size, device=wall.device) + 0.5) / SIZE - 0.5 * size / SIZE
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    offset = torch.stack((x, y), -1) - axis[:, None, None]
    grid = offset * (SIZE / scenery.SIZE)
    wide = wall.expand(len(axis), -1, -1, -1)
    return functional.grid_sample(wide, grid, padding_mode="reflection", align_corners=False)
