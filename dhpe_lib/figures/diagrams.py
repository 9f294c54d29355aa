"""Diagrams of the book's chapters, as drawings with a text for readers who do not see them."""

import math
import random

from dhpe_lib.figures.palette import FINGER_COLORS
from dhpe_lib.figures.svg import FAINT, Drawing, Number, Point, box, dot, line, words
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.skeleton import FINGERS, JOINT_NAMES, JOINT_PARENTS, MANO_JOINT_NAMES

RED, GREEN, BLUE = FINGER_COLORS[0], FINGER_COLORS[2], FINGER_COLORS[3]
DASHED = 'stroke-dasharray="5 4"'


def bone_tree(model: HandModel) -> Drawing:
    """Draw the kinematic tree of a hand: MANO's numbers at its 16 joints, and the five fingertips without a number."""
    places = [(170 + 1900 * z, 245 + 1900 * x) for x, _, z in model().joints[0].tolist()]
    parts = []
    for joint, parent in enumerate(JOINT_PARENTS):
        if parent >= 0:
            color = FINGER_COLORS[(joint - 1) // 4]
            parts.append(line([places[parent], places[joint]], f'stroke="{color}" stroke-width="4"'))
    for joint, name in enumerate(JOINT_NAMES):
        if name in MANO_JOINT_NAMES:
            color = FINGER_COLORS[(joint - 1) // 4] if joint else "#6b7280"
            parts.append(dot(places[joint], 11, f'fill="{color}" stroke="none"'))
            x, y = places[joint]
            parts.append(words((x, y + 4.5), str(MANO_JOINT_NAMES.index(name)), size=12.5, color="#fff"))
        else:
            parts.append(dot(places[joint], 5, f'fill="{FINGER_COLORS[(joint - 1) // 4]}" stroke="none"'))
    for finger, name in enumerate(FINGERS):
        x, y = places[4 + 4 * finger]
        parts.append(words((x, y - 12), name))
    return Drawing(
        parts, 400, 440,
        "Tree of bones: from the wrist, joint 0, a chain of three joints runs along each finger to a fingertip.",
    )  # fmt: skip


def method_parts() -> Drawing:
    """Draw the parts of the method: estimator, hand model and projection, and the way back of the refinement."""
    parts = [
        box((115, 60), (70, 40), "f_E2D"),
        box((265, 60), (70, 40), "f_E3D"),
        box((435, 60), (110, 40), "hand model"),
    ]
    parts += [box((620, 30), (60, 40), "f_Reg"), box((620, 90), (60, 40), "f_Ren")]
    ways = [(30, 78), (150, 228), (300, 378)]
    parts += [line([(start, 60), (end, 60)], arrow=True) for start, end in ways]
    for y in (30, 90):
        parts += [line([(490, 60), (545, 60), (588, y)], arrow=True), line([(650, y), (694, y)], arrow=True)]
    parts += [line([(712, 104), (712, 150), (337, 150), (337, 68)], DASHED, arrow=True)]
    parts += [words((x, 50), name) for name, x in {"x": 50, "z": 187, "h": 337, "v": 520}.items()]
    parts += [words((712, 35), "j"), words((712, 95), "m")]
    parts += [words((525, 172), "refinement (Eq. 13): the gradient with respect to h")]
    return Drawing(
        parts, 730, 180,
        "From the crop x by f E2D to z, by f E3D to h, by the hand model to the mesh v, by f Reg and f Ren to j and m.",
    )  # fmt: skip


def kato_sweep() -> Drawing:
    """Draw how Kato's gradient spreads the jump of one pixel over the distance of an edge."""
    left, cell, edge, wanted = 60, 40, 4.3, 9
    x_edge, x_pixel = left + cell * edge, left + cell * (wanted + 0.5)
    parts = [f'<path d="M{left} 40H{x_edge:g}V80H{left}z" fill="{BLUE}" fill-opacity="0.35" stroke="none"/>']
    parts += [line([(left + cell * k, 40), (left + cell * k, 80)], f'opacity="{FAINT}"') for k in range(13)]
    parts += [line([(left, y), (left + 12 * cell, y)], f'opacity="{FAINT}"') for y in (40, 80)]
    parts += [
        line([(x_edge, 30), (x_edge, 90)], f'stroke="{BLUE}" stroke-width="3"'),
        words((x_edge, 22), "edge"),
        f'<rect x="{left + cell * wanted}" y="40" width="{cell}" height="40" stroke="{RED}" stroke-width="3"/>',
        words((x_pixel, 22), "a pixel that should be covered"),
        dot((x_pixel, 60), 3.5),
        line([(x_edge + 4, 60), (x_pixel - 8, 60)], f'stroke="{RED}"', arrow=True),
        words(((x_edge + x_pixel) / 2, 54), "distance", size=13),
        line([(left, 210), (left + 12 * cell, 210)], "", arrow=True),
        words((left + 12 * cell, 232), "position of the edge", "end", 13),
        line([(left, 210), (x_pixel, 210), (x_pixel, 130), (left + 11.8 * cell, 130)], 'stroke-width="3"'),
        line([(x_edge, 210), (x_pixel, 130)], f'stroke="{RED}" stroke-width="3" {DASHED}'),
        words((left - 8, 215), "0", "end", 13),
        words((left - 8, 135), "1", "end", 13),
        words((x_pixel + 12, 170), "what is drawn", "start", 13),
        words((x_edge + 60, 165), "Kato's ramp: slope 1 / distance", "end", 13, RED),
    ]
    return Drawing(
        parts, 600, 245,
        "Above, a row of pixels, covered up to an edge, and a pixel to its right that should be covered. Below, the "
        "value of that pixel as the edge moves: a jump when the edge passes its centre, and a ramp in its place.",
    )  # fmt: skip


def pose_machine() -> Drawing:
    """Draw a pose machine of three stages: each later one sees the encoding and the maps before it."""
    y, stages = 120, (300, 450, 600)
    parts = [words((18, y + 5), "x"), line([(28, y), (58, y)], arrow=True), box((105, y), (90, 46), "trunk")]
    parts += [words((205, y + 20), "encoding", size=12)]
    parts += [line([(180, y), (180, 45), (stages[-1] - 20, 45)], f'opacity="{FAINT + 0.2}"')]
    for k, x in enumerate(stages, 1):
        maps = (x + 75, y)
        if k > 1:
            parts.append(line([(x - 20, 45), (x - 20, y - 25)], f'opacity="{FAINT + 0.2}"', arrow=True))
        parts.append(line([(150 if k == 1 else x - 63, y), (x - 42, y)], arrow=True))
        parts.append(box((x, y), (80, 46), f"stage {k}"))
        parts += [line([(x + 40, y), (maps[0] - 8, y)]), dot(maps, 9, f'fill="{GREEN}" stroke="none"')]
        parts += [words((maps[0], y - 16), "21 maps", size=12), line([(maps[0], y + 9), (maps[0], 185)], DASHED, True)]
        parts.append(words((maps[0], 203), "L_J2D"))
    return Drawing(
        parts, 720, 215,
        "From the crop x a trunk makes an encoding. Stage 1 makes 21 maps of it. Stages 2 and 3 take the encoding and "
        "the maps of the stage before. Each stage's maps are compared with the target.",
    )  # fmt: skip


def light_network() -> Drawing:
    """Draw the light network: one trunk, the feature and the heat maps, and the way to the hand."""
    faint = f'opacity="{FAINT + 0.2}"'
    parts = [words((18, 115), "x"), line([(28, 110), (58, 110)], arrow=True), box((105, 110), (90, 46), "trunk")]
    parts += [line([(150, 110), (180, 110), (180, 40), (212, 40)], arrow=True), box((262, 40), (96, 40), "F: mean")]
    parts += [line([(180, 110), (180, 180), (212, 180)], arrow=True), box((262, 180), (96, 40), "f_J2D")]
    parts += [line([(310, 180), (345, 180)]), dot((354, 180), 9, f'fill="{GREEN}" stroke="none"')]
    parts += [words((354, 206), "21 maps", size=12), line([(363, 180), (400, 180)], arrow=True)]
    parts += [words((420, 185), "j_2D"), line([(420, 168), (420, 133)], faint, True)]
    parts += [line([(180, 110), (341, 110)], faint, True), box((420, 110), (150, 40), "maps at the joints")]
    parts += [line([(310, 40), (590, 40), (590, 84)], arrow=True), words((450, 32), "F(x): 1,152 numbers", size=12)]
    parts += [line([(495, 110), (542, 110)], arrow=True), line([(442, 180), (590, 180), (590, 136)], arrow=True)]
    parts += [box((590, 110), (90, 46), "f_J3D, f_Ref"), words((662, 140), "3 rounds", size=12)]
    parts += [line([(635, 110), (680, 110)], arrow=True), words((695, 115), "h")]
    return Drawing(
        parts, 720, 220,
        "From the crop x a trunk makes maps. Their mean is F(x). f J2D makes 21 heat maps of them, and these give the "
        "2D joints. The trunk's maps at the joints, F(x) and the joints go to f J3D and f Ref, which give h.",
    )  # fmt: skip


def unrolled_regressor() -> Drawing:
    """Draw the three rounds of the regressor side by side, with what goes from one to the next."""
    parts = [words((60, 35), "F(x)"), line([(85, 30), (640, 30)], f'opacity="{FAINT + 0.2}"')]
    parts += [words((60, 115), "h(0)"), words((60, 245), "j_2D(0)")]
    for t in range(3):
        x = 150 + 200 * t
        before = 82 if t == 0 else x - 78
        parts += [box((x, 110), (76, 42), "f_J3D"), line([(before, 110), (x - 40, 110)], arrow=True)]
        parts += [line([(x, 30), (x, 87)], f'opacity="{FAINT + 0.2}"', arrow=True)]
        parts += [line([(90 if t == 0 else x - 48, 240), (x - 15, 240), (x - 15, 133)], arrow=True)]
        parts += [line([(x + 38, 110), (x + 78, 110)], arrow=True), words((x + 102, 115), f"h({t + 1})")]
        parts += [line([(x + 102, 122), (x + 102, 148)], arrow=True), box((x + 102, 168), (96, 36), "mesh, joints")]
        parts += [line([(x + 102, 186), (x + 102, 217)], arrow=True), box((x + 90, 240), (60, 42), "f_Ref")]
        parts += [line([(x - 15, 240), (x + 58, 240)], arrow=True)]
        parts += [line([(x + 50, 30), (x + 50, 228), (x + 58, 228)], f'opacity="{FAINT}"', arrow=True)]
        parts += [line([(x + 120, 240), (x + 152, 240)], arrow=t == 2)]
        if t < 2:
            parts.append(words((x + 148, 258), f"j_2D({t + 1})"))
    parts.append(words((706, 245), "j_2D(3)", "start"))
    return Drawing(
        parts, 760, 280,
        "Three equal rounds. In each, f J3D takes F(x), the 2D joints and h, and gives the next h. The hand model "
        "makes joints of it. f Ref takes the 2D joints, F(x), h and these joints, and gives the next 2D joints.",
    )  # fmt: skip


def gradient_reach() -> Drawing:
    """Draw which term of the loss trains which weights of the paper's network."""
    terms = {"L_Feat": 40, "L_Art": 95, "L_Lap": 135, "λ L_Sh": 175, "L_Ref": 215, "L_J2D": 275}
    weights = {"F": 60, "f_J3D": 135, "f_Ref": 205, "f_J2D": 275}
    parts = [box((110, y), (90, 32), name) for name, y in terms.items()]
    parts += [box((570, y), (90, 36), name) for name, y in weights.items()]
    parts += [box((350, 155), (130, 60), "mesh and joints"), words((350, 108), "no weights", size=12)]
    for name in ("L_Art", "L_Lap", "λ L_Sh", "L_Ref"):
        parts.append(line([(155, terms[name]), (282, 130 + (terms[name] - 95) * 0.42)], f'stroke="{BLUE}"', arrow=True))
    for name in ("F", "f_J3D", "f_Ref"):
        parts.append(
            line([(415, 130 + (weights[name] - 60) * 0.34), (522, weights[name])], f'stroke="{BLUE}"', arrow=True)
        )
    parts.append(line([(155, 40), (522, 52)], f'stroke="{GREEN}"', arrow=True))
    parts.append(line([(155, 275), (522, 275)], f'stroke="{RED}"', arrow=True))
    return Drawing(
        parts, 680, 310,
        "L Art, L Lap, lambda L Sh and L Ref reach F, f J3D and f Ref through the mesh and its joints. L Feat reaches "
        "F alone. L J2D reaches f J2D alone.",
    )  # fmt: skip


def viewpoint_spheres() -> Drawing:
    """Draw directions of the fingers on a sphere, by the paper's law and by the uniform one."""
    draw = random.Random(4)
    parts: list[str] = []
    for x, title, uniform in ((160, "uniform about each axis", False), (460, "uniform on all rotations", True)):
        centre, radius = (x, 170), 120
        parts += [dot(centre, radius, f'opacity="{FAINT + 0.2}"'), words((x, 32), title)]
        parts += [f'<ellipse cx="{x}" cy="170" rx="{radius / 3:g}" ry="{radius}" opacity="{FAINT}"/>']
        parts += [line([(x - 140, 170), (x + 145, 170)], f'opacity="{FAINT}"', arrow=True)]
        parts += [dot(_seen(draw, uniform, centre, radius), 2.6, f'fill="{BLUE}" stroke="none"') for _ in range(220)]
        for k in range(12):  # the share of each twelfth of the axis
            low, high = -1 + k / 6, -1 + (k + 1) / 6
            share = 1 / 12 if uniform else (math.asin(high) - math.asin(max(low, -1))) / math.pi
            bar = f'x="{x + radius * low:g}" y="{390 - 400 * share:.5g}" width="18" height="{400 * share:.5g}"'
            parts.append(f'<rect {bar} fill="{BLUE}" fill-opacity="0.55" stroke="none"/>')
        parts.append(words((x, 408), "share at each depth", size=13))
    return Drawing(
        parts, 620, 420,
        "Two spheres with points for the fingers' directions, and a bar chart of their depths below each. Left, the "
        "points crowd at the two ends of the camera's axis; right, all bars are alike.",
    )  # fmt: skip


def augmentation_loop() -> Drawing:
    """Draw the way from a batch to its novel views and back into the next batch."""
    left, middle, right, top, bottom = 120, 350, 590, 105, 250
    places = {
        "batch": ((left, top), "a batch", "photos, novel views"),
        "network": ((middle, top), "network", "estimates h"),
        "views": ((right, top), "three novel views", "keep p; draw s and R"),
        "set": ((right, bottom), "growing set", "h, colours, light"),
        "render": ((middle, bottom), "f_TRen, f_Ren, f_Reg", "render them"),
        "children": ((left, bottom), "novel views", "picture, mask, joints"),
    }
    parts: list[str] = []
    for (x, y), name, note in places.values():
        parts += [box((x, y), (170, 58), ""), words((x, y - 3), name), words((x, y + 17), note, size=12)]
    parts += [
        words((left, 30), "photos"),
        line([(left, 38), (left, top - 32)], arrow=True),
        line([(left + 85, top), (middle - 88, top)], f'stroke="{BLUE}"', arrow=True),
        words(((left + middle) / 2, top - 8), "x", color=BLUE),
        line([(middle + 85, top), (right - 88, top)], f'stroke="{BLUE}"', arrow=True),
        words(((middle + right) / 2, top - 8), "source", color=BLUE),
        line([(left + 60, top - 29), (left + 60, 55), (right, 55), (right, top - 32)], 'opacity="0.65"', arrow=True),
        words(((left + right) / 2 + 30, 47), "skin and light of the photo", size=12),
        line([(right, top + 29), (right, bottom - 32)], f'stroke="{BLUE}"', arrow=True),
        words((right + 10, (top + bottom) / 2 + 5), "add", "start", 13, BLUE),
        line([(right - 85, bottom), (middle + 88, bottom)], f'stroke="{GREEN}"', arrow=True),
        words(((middle + right) / 2, bottom - 8), "draw", color=GREEN),
        line([(middle - 85, bottom), (left + 88, bottom)], f'stroke="{GREEN}"', arrow=True),
        line([(left, bottom - 29), (left, top + 32)], f'stroke="{GREEN}"', arrow=True),
        words((left + 10, (top + bottom) / 2 + 5), "half of the next batch", "start", 13, GREEN),
    ]
    return Drawing(
        parts, 700, 295,
        "A loop. The network estimates h for a batch. Each estimate of a photo gives three novel views, which a set "
        "keeps. Some of them are rendered with their labels, and they fill half of the next batch.",
    )  # fmt: skip


def energy_line() -> Drawing:
    """Sketch an energy and an error along a line of hands, and the short way that fifty steps go."""
    begin, end, evidence, truth = 215, 268, 330, 405
    curve = [(x, 60 + 150 * _depth(x)) for x in range(60, 581, 5)]
    error = [(x, 225 - 0.5 * abs(x - truth)) for x in (120, truth, 580)]
    steps = [(x, 52 + 150 * _depth(x)) for x in range(begin, end, 4)]
    parts = [
        line([(60, 245), (600, 245)], "", arrow=True),
        words((600, 264), "hands along a line", "end", 13),
        line(curve, f'stroke="{BLUE}" stroke-width="3"'),
        words((66, 50), "energy: known at test time", "start", 13, BLUE),
        line(error, f'stroke="{RED}" stroke-width="2" {DASHED}'),
        words((66, 132), "error: not known", "start", 13, RED),
        line(steps, 'stroke-width="3"', arrow=True),
        dot((begin, 60 + 150 * _depth(begin)), 6),
        words((begin + 10, 50 + 150 * _depth(begin)), "the estimate", "start", 13),
        line([(evidence, 70), (evidence, 245)], f'opacity="{FAINT}"'),
        words((evidence, 62), "evidence", size=13),
        line([(truth, 90), (truth, 245)], f'opacity="{FAINT}"'),
        words((truth, 82), "truth", size=13),
        words((552, 206), "another valley", size=13),
    ]
    return Drawing(
        parts, 640, 275,
        "A curve of the energy has its deepest valley at the evidence and a second one farther on. The error is least "
        "at the truth, beside the first valley. From the estimate an arrow goes a short way down.",
    )  # fmt: skip


def _seen(draw: random.Random, uniform: bool, centre: Point, radius: Number) -> Point:
    """Return the place of a drawn direction on a sphere whose poles lie left and right."""
    depth = draw.uniform(-1, 1) if uniform else -math.sin(draw.uniform(0, 2 * math.pi))
    across = math.sqrt(1 - depth**2) * math.cos(draw.uniform(0, math.pi))
    return centre[0] + radius * depth, centre[1] + radius * across


def _depth(x: Number) -> float:
    """Return the depth of the sketched energy: a wide valley at the evidence and a narrow one beside it."""
    return 0.95 * math.exp(-(((x - 330) / 95) ** 2)) + 0.65 * math.exp(-(((x - 530) / 32) ** 2))
