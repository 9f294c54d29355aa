"""Hands that move: one person, one room, one camera, and a pose, a viewpoint and a distance that change smoothly.

Between key poses the joints' angles follow a cubic ease. A key pose is taken only if no finger passes through another
on the way to it; of those tried the one with the fewest such moments is taken if all have some.
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
from dhpe_lib.hand.poses import collides, sample_poses
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.synthetic import scenery
from dhpe_lib.synthetic.engine import Style, SyntheticBatch, SyntheticHands, draw_look
from dhpe_lib.synthetic.hands import Shots, draw_shots, place_hands
from dhpe_lib.synthetic.sampling import Dice, seed_of

KEY_EVERY = 30
"""Frames from one key pose to the next: a second of video."""
CANDIDATES, LOOKS = 6, 5
"""Key poses that are tried, and moments on the way at which fingers are looked at."""
WAVES = 4


@lru_cache(maxsize=2)
def key_poses(n: int, seed: int) -> Float[Tensor, "n 45"]:
    """Key poses, each reached from the one before without fingers passing through each other, if that can be.

    Args:
        n: How many.
        seed: The same seed gives the same poses.
    """
    model, drawn = HandModel.open_hand(), sample_poses(n * CANDIDATES, torch.Generator().manual_seed(seed))
    tried = drawn.view(n, CANDIDATES, 45)
    chosen = [tried[0, 0]]
    share = (torch.arange(LOOKS) + 1) / (LOOKS + 1)
    for candidates in tried[1:]:
        way = chosen[-1] + share[:, None, None] * (candidates - chosen[-1])
        hits = collides(model(pose=way.flatten(0, 1)).joints).view(LOOKS, CANDIDATES).sum(0)
        chosen.append(candidates[hits.argmin()])
    return torch.stack(chosen)


def poses_at(keys: Float[Tensor, "n 45"], frames: Int64[Tensor, " f"]) -> Float[Tensor, "f 45"]:
    """Poses on the way from key to key."""
    place = frames / KEY_EVERY
    before = place.long()
    share = place - before
    share = (share * share * (3 - 2 * share))[:, None]
    return keys[before] + share * (keys[before + 1] - keys[before])


@dataclass(frozen=True)
class Wander:
    """Smooth motions around zero: sums of slow waves.

    Attributes:
        amplitude, frequency, phase: Of each wave of each quantity; frequency in radians for a frame.
    """

    amplitude: Float[Tensor, "waves c"]
    frequency: Float[Tensor, "waves c"]
    phase: Float[Tensor, "waves c"]

    @classmethod
    def draw(cls, dice: Dice, deviation: float, quantities: int) -> "Wander":
        """Draw waves that take from two to forty seconds at thirty frames a second."""
        amplitude = dice.normal(deviation * math.sqrt(2 / WAVES), WAVES, quantities)[0]
        period = dice.log_uniform(60.0, 1200.0, WAVES, quantities)[0]
        return cls(amplitude, 2 * math.pi / period, dice.uniform(0.0, 2 * math.pi, WAVES, quantities)[0])

    def at(self, frames: Int64[Tensor, " f"]) -> Float[Tensor, "f c"]:
        """Values at some frames."""
        angle = self.frequency * frames.to(self.phase)[:, None, None] + self.phase
        return (self.amplitude * angle.sin()).sum(1)


def sequence_batch(
    engine: SyntheticHands, seed: int, length: int, frames: Int64[Tensor, " f"], style: Style, margin: int
) -> SyntheticBatch:
    """Some frames of a sequence.

    Args:
        engine: Draws them.
        seed: Of the sequence.
        length: Frames that it has in all.
        frames: Which ones, from 0.
        style: What kind of pictures.
        margin: Pixels around the 224 x 224 view.

    Returns:
        The frames; each is the same whichever others are asked for, up to the noise of its pixels.
    """
    n, dice = len(frames), Dice.from_seed(seed, 1, engine.device)
    keys = key_poses(length // KEY_EVERY + 2, seed_of("poses", seed)).to(engine.device)
    at = frames.to(engine.device)
    first = draw_shots(dice, jitter=False)
    turn, nearer, aside = Wander.draw(dice, 0.35, 3), Wander.draw(dice, 0.12, 1), Wander.draw(dice, 0.05, 2)
    shots = Shots(
        axis_angle_to_matrix(turn.at(at)) @ first.rotation,
        first.distance * nearer.at(at)[:, 0].exp(),
        first.aside + aside.at(at),
        torch.ones(n).to(turn.phase),
        torch.zeros(n, 2).to(turn.phase),
    )
    shape = dice.normal(1.0, 10).expand(n, -1)
    hands = place_hands(engine.model, poses_at(keys, at), shape, shots, fingertips=False)
    wall = engine.backgrounds(1, seed_of("wall", seed), style).float() / 255
    behind = _passing_by(wall, hands.axis, SIZE + 2 * margin)
    look = take_rows(draw_look(dice, style, wall.mean((2, 3))), torch.zeros_like(at))
    noise = torch.Generator(engine.device).manual_seed(seed_of("noise", seed, int(frames[0])))
    return engine.render(hands, look, behind, noise)


def _passing_by(wall: Float[Tensor, "1 3 288 288"], axis: Float[Tensor, "f 2"], size: int) -> Float[Tensor, "f 3 s s"]:
    """The part of the wall that a crop shows: it stays where it is when the hand moves."""
    ticks = (torch.arange(size, device=wall.device) + 0.5) / SIZE - 0.5 * size / SIZE
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    place = torch.stack((x, y), -1) - axis[:, None, None]
    grid = place * (SIZE / scenery.SIZE)
    wide = wall.expand(len(axis), -1, -1, -1)
    return functional.grid_sample(wide, grid, padding_mode="reflection", align_corners=False)
