"""Rendered hands with labels, and the open benchmarks ORH, ORH-S and ORH-O."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "engine": ["Style", "SyntheticHands"],
        "views": ["NEW_PEOPLE", "render_crops", "render_hands"],
        "orh": ["Recipe", "make"],
        "sampling": ["seed_of"],
    },
)
