"""Limits of each joint about its own axes, degrees from the rest pose: flexion, abduction (towards the thumb), twist.

The limits of finger flexion follow measured active ranges: MCP 87 +- 10, PIP 97 +- 17, DIP 82-85 degrees (Indian J.
Plast. Surg., 2024, doi 10.1055/s-0044-1788593). They are about one standard deviation above the mean. All other limits
are choices of this project.
"""

import numpy as np

MCP, PIP, DIP = (-25, 95), (-5, 112), (-8, 85)
NONE, PLAY = (-3, 3), (-6, 6)
FINGER = {"index": (-14, 20), "middle": (-14, 14), "little": (-28, 18), "ring": (-18, 12)}
THUMB = (((-25, 40), (-35, 45), (-35, 35)), ((-15, 60), (-12, 12), (-12, 12)), ((-25, 85), NONE, PLAY))

DEGREES = [
    bounds
    for finger in ("index", "middle", "little", "ring")
    for bounds in ((MCP, FINGER[finger], (-12, 12)), (PIP, NONE, PLAY), (DIP, NONE, PLAY))
] + list(THUMB)


def limits() -> np.ndarray:
    """Return the smallest and largest angle about each axis of each joint, `[15, 3, 2]`, radians."""
    return np.radians(np.array(DEGREES, dtype=float))
