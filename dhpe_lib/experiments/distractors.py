"""Hands among things that look like a hand: bare arms, a second hand behind, and held things in the colour of the skin.

Segmentation looks for what looks like skin, and a mesh cannot have the form of an arm. To measure this, each hand is
rendered twice, and only what is not the labelled hand differs. So the true masks are all but equal: the cuff of a
sleeve and the light of a pixel on the outline may differ.
"""

import math
from dataclasses import replace

import torch

from dhpe_lib.common.devices import one_thread
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.crops import MARGIN, Crops
from dhpe_lib.synthetic.arm import Arms
from dhpe_lib.synthetic.engine import Look, Style, SyntheticHands, draw_look
from dhpe_lib.synthetic.hands import draw_poses, draw_shots, place_hands
from dhpe_lib.synthetic.sampling import Sampler, seed_of
from dhpe_lib.synthetic.scenery import draw_backgrounds

STYLE = Style(jitter=False, new_people=True, crossing=1.0)
POOL = 64
"""Number of backgrounds."""
CUFF_AT = 0.012
"""Distance from the wrist to the edge of a sleeve that covers the arm, metres."""


def distractor_pairs(n: int, seed: int) -> tuple[Crops, Crops]:
    """Render hands without distractors and with them.

    Args:
        n: Number of hands.
        seed: Random seed.

    Returns:
        Crops without and with distractors, hand by hand.
    """
    engine = SyntheticHands()
    with one_thread():
        pool = engine.backgrounds(POOL, seed_of(seed, "distractors", "pool"), STYLE)
        sampler = Sampler.from_seed(seed_of(seed, "distractors"), n)
        behind = draw_backgrounds(pool, sampler, SIZE + 2 * MARGIN)
        pose, shape = draw_poses(sampler), sampler.normal(1.0, 10)
        hands = place_hands(engine.model, pose, shape, draw_shots(sampler, STYLE.jitter), STYLE.fingertips)
        look, noise = draw_look(sampler, STYLE, behind.mean((2, 3))), seed_of(seed, "noise")

        def crops(look: Look) -> Crops:
            return engine.render(hands, look, behind, torch.Generator().manual_seed(noise)).crops()

        return crops(undisturbed(look)), crops(disturbed(look))


def undisturbed(look: Look) -> Look:
    """Cover the arm, and remove the second hand."""
    covered = replace(
        look.arms,
        sleeve=torch.full_like(look.arms.sleeve, CUFF_AT),
        length=torch.ones_like(look.arms.length),
    )
    alone = replace(look.companions, present=torch.zeros_like(look.companions.present))
    return replace(look, arms=covered, companions=alone)


def disturbed(look: Look) -> Look:
    """Bare both arms, put the second hand behind the first, and paint held things in the colour of the skin."""
    second = replace(look.companions, front=torch.zeros_like(look.companions.front), arms=bare(look.companions.arms))
    painted = replace(
        look.materials,
        thing=look.skin.tone[:, None].expand_as(look.materials.thing),
        gloss=torch.zeros_like(look.materials.gloss),
    )
    return replace(look, arms=bare(look.arms), companions=second, materials=painted)


def bare(arms: Arms) -> Arms:
    """Remove the sleeves."""
    return replace(arms, sleeve=torch.full_like(arms.sleeve, math.inf))
