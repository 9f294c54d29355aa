"""Step sizes that change over the steps of an optimisation."""

import math


def half_cosine(step: int, steps: int) -> float:
    """Factor of a step size that decays along half a cosine, from 1 at step 0 to 0 after the last of `steps` steps."""
    return 0.5 + 0.5 * math.cos(math.pi * step / steps)
