"""Rendered hands in the form in which a network sees them."""

from dhpe_lib.data.crops import Crops
from dhpe_lib.data.views import View, plain_view
from dhpe_lib.synthetic.engine import Style, SyntheticHands

NEW_PEOPLE = Style(jitter=False, new_people=True)
"""Exact crops of hands whose skins no training picture shows."""


def render_crops(engine: SyntheticHands, n: int, seed: int, style: Style = NEW_PEOPLE) -> Crops:
    """Render hands before backgrounds of their own, as a prepared split holds them.

    Args:
        engine: Renderer of the pictures.
        n: Number of hands.
        seed: Random seed; on the CPU a seed gives the same bytes every time.
        style: Kind of pictures.

    Returns:
        The crops, on the engine's device.
    """
    return engine.batch(n, seed, engine.backgrounds(n, seed, style), style).crops()


def render_hands(engine: SyntheticHands, n: int, seed: int, style: Style = NEW_PEOPLE) -> View:
    """Render hands before backgrounds of their own, and cut them as the paper does.

    Args:
        engine: Renderer of the pictures.
        n: Number of hands.
        seed: Random seed; on the CPU a seed gives the same bytes every time.
        style: Kind of pictures.

    Returns:
        The pictures with their labels, on the engine's device.
    """
    return plain_view(render_crops(engine, n, seed, style))
