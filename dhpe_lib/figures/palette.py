"""Colours and outlines that several figures share."""

SKIN = "#e0ac8a"
PALM_COLOR = "#9aa3ad"
FINGER_COLORS = ("#e63946", "#f4a224", "#3fa34d", "#2f7fe0", "#9b4fd0")
"""One hue for each finger, thumb to little: the customary red, yellow, green, blue, violet."""
JOINT_COLORS = (PALM_COLOR, *(color for color in FINGER_COLORS for _ in range(4)))
"""Colour of each joint in canonical order."""

PAPER, INK, FAINT = (247, 248, 250), (52, 60, 72), (122, 130, 142)
"""Background, text and secondary text of a sheet, RGB in [0, 255]."""
DOUBT = (196, 92, 12)
"""Text and outline of a doubtful result, RGB in [0, 255]."""
MASK_COLOR = (0, 190, 255)
"""Colour of a ground-truth or estimated mask on a sheet, RGB in [0, 255]."""

# Mesh colours, RGB in [0, 1]. The opaque mesh is shaded and needs a light colour. Over a photo a mesh is see-through,
# and a strong colour keeps it apart from the skin below.
MESH_OPAQUE = (0.56, 0.73, 0.92)
MESH_OPAQUE_LEFT = (0.96, 0.73, 0.52)
MESH_OF_SIDE = {"right": MESH_OPAQUE, "left": MESH_OPAQUE_LEFT}
MESH_SEE_THROUGH = (0.30, 0.55, 0.95)
MESH_FLAT = (0.19, 0.5, 0.88)
"""Colour of a mask that stands in for a rendered mesh, unshaded."""

STAYED, MOVED = (0.78, 0.74, 0.7), (0.85, 0.25, 0.1)
"""Colours of the smallest and the largest value or motion of a mesh; both show on white and on black."""

OUTLINE_DARK, OUTLINE_LIGHT = (40, 44, 52), (255, 255, 255)
"""A light line on a wider dark one shows on any picture."""
SQUARE = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5))
"""Outline of the crop in the crop frame, units of g; the first corner is repeated."""
