"""Photos that mislead: how often a hand is claimed with a green mark, claimed as doubtful, or refused.

    python benchmarks/hostile_photos.py --photos DIR --backgrounds DIR --hands DIR [--feet DIR] [--controls N]
        [--sample N] [--sheet FILE.png]

- `--photos`: photos with hands, `labels.json` and `mediapipe.json`, as for `benchmarks/real_photos.py`.
- `--backgrounds`: photos without hands, looked at one by one.
- `--hands`: photos of hands with pseudo-labels (`labels.json`: `file`, `joints_2d`), for the control group.
- `--feet`: photos of bare feet without a hand, looked at one by one. The result is of test photos of the Foot Ulcer
  Segmentation Challenge (Wang et al. 2021, github.com/uwm-bigdata/wound-segmentation): soles, toes and ankles.

A hand has a green mark if nothing in its estimate warns (`HandEstimate.warnings`). If the picture has no hand, every
claim is nonsense. If it has one, a claim is right if its joints lie within .35 of the hand's size, and of the side
of the reference. For each kind of picture:

- `green and wrong`: pictures with a claim that is nonsense, or of the wrong side, and has a green mark. Wanted: none.
- `green`, `doubtful`, `refused`: other pictures, by their best claim.
- `beside`: claims with a green mark in a picture with a hand, whose middle lies outside the boxes of the reference's
  hands. They are not judged: some photos show more hands than the reference names.
- `hands`, `found`: hands of the reference, and those among them for which a claim of the right side is right.

In the row `real hands` the wanted share of `green` is 90 %. The rows `box ...` say where the hand is with a box, as
`--box` does; such a search always answers.

Gloves, paintings, drawings and statues are made from the photos with hands: the hand is tinted blue, or turned to grey
stone; the photo is reduced to patches of eight colours, or to its contours. A hand that is found there counts as right.
In `crossing hands` the mirror image of a hand covers a half of the hand. A `crowd` is twelve photos of hands, some with
their persons, side by side. No photo of a real crowd is a part.

Writes `book/results/hostile_photos.json`; `--sheet` draws the pictures whose claims are green and wrong.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageFilter, ImageOps
from real_photos import SAME_HAND, distance, find, reference, sheet
from reporting import write_result

from dhpe_lib.data.photos import read_photo
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.model import HandModel
from dhpe_lib.prediction.from_photo import Box, predict_hands
from dhpe_lib.prediction.hand_estimate import HandEstimate
from dhpe_lib.prediction.hand_search import load_hand_networks
from dhpe_lib.prediction.hidden_hands import hands_mask
from dhpe_lib.prediction.overlay import photo_figure
from dhpe_lib.synthetic.scenery import paint_backgrounds

SEED = 0
LARGE, SMALL = 40e6, 60
CROWD, CROWDS, CELL = (3, 4), 10, 320
"""Rows and columns of photos in a crowd, number of crowds, and side of each photo in it, pixels."""
GLOVE, STONE = (0.35, 0.6, 1.0), (0.85, 0.85, 0.8)
"""Colours that the brightness of a hand is multiplied with, to make a glove or a statue of it."""
SMALLEST_HAND = 0.05
"""Size of the hand that is shrunk into a large background, over the background's larger side."""

Photo = UInt8[ndarray, "h w 3"]
Joints = Float[ndarray, "21 2"]


@dataclass(frozen=True)
class Case:
    """One picture.

    Attributes:
        photo: The picture.
        joints: Joints of its hands, pixels; none if it has no hand.
        sides: Handedness of each hand.
        box: Box of the hand that somebody gives.
    """

    photo: Photo
    joints: tuple[Joints, ...] = ()
    sides: tuple[Side, ...] = ()
    box: Box | None = None


Change = Callable[[Case], Case]


def real_cases(folder: Path) -> list[Case]:
    """The photos in which MediaPipe finds a hand, with its joints and sides."""
    cases = []
    for entry in json.loads((folder / "mediapipe.json").read_text()):
        hands = entry["hands"]
        if hands:
            joints = tuple(reference(hand["joints_2d"])[0] for hand in hands)
            cases.append(Case(read_photo(folder / entry["file"]), joints, tuple(hand["hand"] for hand in hands)))
    return cases


def control_cases(folder: Path, n: int, rng: np.random.Generator) -> Iterator[Case]:
    """A sample of pseudo-labelled photos, the same number from each set."""
    entries = json.loads((folder / "labels.json").read_text())
    sets = sorted({entry["set"] for entry in entries})
    for name in sets:
        of_set = [entry for entry in entries if entry["set"] == name]
        for k in rng.choice(len(of_set), min(len(of_set), round(n / len(sets))), replace=False):
            entry = of_set[k]
            joints = reference(entry["joints_2d"])[0]
            yield Case(read_photo(folder / entry["file"]), (joints,), (entry["hand"],))


def background_cases(folder: Path, n: int, rng: np.random.Generator) -> Iterator[Case]:
    """Photos without a hand."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".jpg", ".png"))
    for k in rng.choice(len(files), min(n, len(files)), replace=False):
        yield Case(read_photo(files[k]))


def moved(case: Case, photo: Photo, change: Callable[[Joints], Joints], mirrored: bool = False) -> Case:
    """The case with another picture, whose joints are changed alike."""
    other: dict[Side, Side] = {"left": "right", "right": "left"}
    sides = tuple(other[side] if mirrored else side for side in case.sides)
    return Case(np.ascontiguousarray(photo), tuple(change(joints) for joints in case.joints), sides)


def resized(case: Case, scale: float) -> Case:
    """The picture at another size."""
    height, width = (max(1, round(scale * side)) for side in case.photo.shape[:2])
    return moved(case, np.asarray(Image.fromarray(case.photo).resize((width, height))), lambda joints: scale * joints)


def mirrored(case: Case) -> Case:
    """The mirror image: the other hand."""
    width = case.photo.shape[1]
    return moved(case, case.photo[:, ::-1], lambda joints: joints * (-1, 1) + (width, 0), mirrored=True)


def turned(case: Case) -> Case:
    """A quarter turn against the clock."""
    width = case.photo.shape[1]
    return moved(case, np.rot90(case.photo), lambda joints: joints[:, ::-1] * (1, -1) + (0, width))


def upside_down(case: Case) -> Case:
    """Half a turn."""
    return turned(turned(case))


def grey(case: Case) -> Case:
    """The photo without colour."""
    return moved(case, np.asarray(Image.fromarray(case.photo).convert("L").convert("RGB")), lambda joints: joints)


def tinted(color: tuple[float, float, float]) -> Change:
    """Give the hands another colour and keep their light and shade: gloves, or stone."""

    def change(case: Case) -> Case:
        photo = Image.fromarray(case.photo)
        grey = np.asarray(ImageOps.autocontrast(photo.convert("L")))[..., None] * np.array(color)
        coat = Image.fromarray(grey.astype(np.uint8))
        return moved(
            case,
            np.asarray(Image.composite(coat, photo, hands_mask(np.stack(case.joints), *photo.size))),
            lambda joints: joints,
        )

    return change


def painted(case: Case) -> Case:
    """Patches of eight colours, as in a poster or a painting."""
    photo = Image.fromarray(case.photo)
    patches = photo.filter(ImageFilter.ModeFilter(max(3, photo.width // 60))).quantize(8).convert("RGB")
    return moved(case, np.asarray(patches), lambda joints: joints)


def drawn(case: Case) -> Case:
    """Dark contours on white paper."""
    lines = Image.fromarray(case.photo).convert("L").filter(ImageFilter.GaussianBlur(1)).filter(ImageFilter.CONTOUR)
    return moved(case, np.asarray(ImageOps.autocontrast(lines).convert("RGB")), lambda joints: joints)


def small(case: Case) -> Case:
    """A photo whose larger side has 60 pixels."""
    return resized(case, SMALL / max(case.photo.shape[:2]))


def large(case: Case) -> Case:
    """A photo of 40 megapixels."""
    return resized(case, float(np.sqrt(LARGE / case.photo[..., 0].size)))


def cut(side: int) -> Change:
    """Cut the photo through the middle of its first hand and keep one half: 0 left, 1 right, 2 upper, 3 lower."""

    def change(case: Case) -> Case:
        center = middle(case.joints[0]).astype(int)
        axis, after = side // 2, side % 2
        part = [slice(None), slice(None)]
        part[1 - axis] = slice(center[axis], None) if after else slice(0, center[axis])
        start = np.zeros(2)
        start[axis] = center[axis] if after else 0
        return moved(case, case.photo[tuple(part)], lambda joints: joints - start)

    return change


def shrunk_into(background: Photo) -> Change:
    """Lay the crop of the first hand, shrunk, into a large background."""

    def change(case: Case) -> Case:
        first = case.joints[0]
        center, reach = middle(first), np.ptp(first, axis=0).max()
        left, top = (center - reach).clip(0).astype(int)
        right, bottom = (center + reach).astype(int)
        page = np.array(Image.fromarray(background).resize((1600, 1600)))
        crop = Case(case.photo[top:bottom, left:right], (first - (left, top),), case.sides[:1])
        crop = resized(crop, SMALLEST_HAND * 1600 / reach)
        height, width = crop.photo.shape[:2]
        page[900 : 900 + height, 500 : 500 + width] = crop.photo
        return moved(crop, page, lambda joints: joints + np.array((500, 900)))

    return change


def crossed(case: Case) -> Case:
    """Lay the mirror image of the first hand, an eighth of a turn askew, over a half of the hand."""
    photo, joints, other = Image.fromarray(case.photo), case.joints[0], mirrored(case)
    center, size = middle(joints), np.ptp(joints, axis=0).max()
    hand = hands_mask(other.joints[0][None], *photo.size)
    pivot = middle(other.joints[0])
    layer, mask = (one.rotate(45, center=tuple(pivot)) for one in (Image.fromarray(other.photo), hand))
    cos = sin = np.sqrt(0.5)
    askew = (other.joints[0] - pivot) @ np.array(((cos, -sin), (sin, cos)))
    aside = np.array((size / 2 if center[0] < photo.width / 2 else -size / 2, 0.0))
    photo.paste(layer, tuple((center + aside - pivot).round().astype(int).tolist()), mask)
    return Case(np.asarray(photo), (joints, askew + center + aside), (case.sides[0], other.sides[0]))


def crowd(cases: Sequence[Case]) -> Case:
    """Many hands: photos side by side, each in a square of its own."""
    rows, columns = CROWD
    page = np.zeros((rows * CELL, columns * CELL, 3), np.uint8)
    joints: tuple[Joints, ...] = ()
    sides: tuple[Side, ...] = ()
    for k, case in enumerate(cases):
        top, left = k // columns * CELL, k % columns * CELL
        small = resized(case, CELL / max(case.photo.shape[:2]))
        height, width = small.photo.shape[:2]
        page[top : top + height, left : left + width] = small.photo
        joints += tuple(one + np.array((left, top)) for one in small.joints)
        sides += small.sides
    return Case(page, joints, sides)


def middle(joints: Joints) -> Float[ndarray, "2"]:
    """Middle of the box around joints."""
    return (joints.min(0) + joints.max(0)) / 2


def boxed(case: Case) -> Case:
    """A box in the middle of a picture without a hand."""
    height, width = case.photo.shape[:2]
    return Case(case.photo, box=(width / 3, height / 3, width / 3, height / 3))


def plain_cases(rng: np.random.Generator) -> dict[str, list[Case]]:
    """Pictures of nothing."""
    grey = [np.full((240, 320, 3), value, np.uint8) for value in (0, 64, 128, 192, 255)]
    noise = [rng.integers(0, 256, (240, 320, 3)).astype(np.uint8) for _ in range(5)]
    soft = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (n, n, 3)).astype(np.uint8)).resize((320, 320)))
        for n in (4, 8, 16, 32, 64)
    ]
    return {
        "even picture": [Case(one) for one in grey],
        "noise": [Case(one) for one in noise + soft],
        "one pixel": [Case(np.full((1, 1, 3), value, np.uint8)) for value in (0, 128, 255)],
        "box in an even picture": [Case(one, box=(100.0, 60.0, 100.0, 100.0)) for one in grey],
        "box in noise": [Case(one, box=(100.0, 60.0, 100.0, 100.0)) for one in noise + soft],
        "box in one pixel": [
            Case(np.full((1, 1, 3), value, np.uint8), box=(0.0, 0.0, 1.0, 1.0)) for value in (0, 128, 255)
        ],
    }


def crowds(hands: Path) -> list[Case]:
    """Crowds of a sample of pseudo-labelled photos."""
    size, rng = CROWD[0] * CROWD[1], np.random.default_rng(SEED + 1)
    cases = list(control_cases(hands, CROWDS * size, rng))
    order = rng.permutation(len(cases))[: len(cases) // size * size].reshape(-1, size)
    return [crowd([cases[k] for k in page]) for page in order]


def cases_by_kind(photos: Path, backgrounds: Path, hands: Path, controls: int, sample: int) -> dict[str, list[Case]]:
    """All pictures by kind."""
    rng = np.random.default_rng(SEED)
    real, empty = real_cases(photos), {}
    for folder in sorted(path for path in backgrounds.iterdir() if path.is_dir()):
        empty[folder.name] = list(background_cases(folder, sample, rng))
    rooms = [Case(one.permute(1, 2, 0).numpy().copy()) for one in paint_backgrounds(sample, SEED)]
    pages = [case.photo for cases in empty.values() for case in cases]
    kinds = {"real hands": list(control_cases(hands, controls, rng)), "labelled photos": real}
    kinds |= {f"no hand, {name}": cases for name, cases in empty.items()}
    kinds |= {"no hand, painted": rooms} | plain_cases(rng)
    kinds["box without a hand"] = [boxed(case) for cases in empty.values() for case in cases[: sample // 4]]
    kinds["60-pixel photo"] = [small(case) for case in real]
    kinds["40-megapixel photo"] = [large(case) for case in real[:3]]
    kinds["grey photo"] = [grey(case) for case in real]
    kinds["glove"] = [tinted(GLOVE)(case) for case in real]
    kinds["statue"] = [tinted(STONE)(grey(case)) for case in real]
    kinds["painting"] = [painted(case) for case in real]
    kinds["drawing"] = [drawn(case) for case in real]
    kinds["mirrored photo"] = [mirrored(case) for case in real]
    kinds["quarter turn"] = [turned(case) for case in real]
    kinds["half a turn"] = [upside_down(case) for case in real]
    kinds["hand cut by the border"] = [cut(side)(case) for case in real for side in range(4)]
    kinds["crossing hands"] = [crossed(case) for case in real]
    kinds["crowd"] = crowds(hands)
    kinds["very small hand"] = [shrunk_into(page)(case) for case, page in zip(real, pages, strict=False)]
    return kinds


def beside(case: Case, hand: HandEstimate) -> bool:
    """Whether the middle of a claim lies outside the boxes of the picture's known hands."""
    center = middle(hand.joints_px)
    inside = [((center >= joints.min(0)) & (center <= joints.max(0))).all() for joints in case.joints]
    return bool(case.joints) and not any(inside)


def nonsense(case: Case, hand: HandEstimate) -> bool:
    """Whether a claim is no hand of the picture, or has the wrong side."""
    distances = [apart(hand, joints) for joints in case.joints]
    if not distances or min(distances) > SAME_HAND:
        return True
    return hand.model.side != case.sides[int(np.argmin(distances))]


def apart(hand: HandEstimate, joints: Joints) -> float:
    """Mean distance of a claim's joints from the reference's, over the hand's size."""
    return distance(hand.joints_px, joints, np.ones(21, bool))


def found_hands(case: Case, hands: list[HandEstimate]) -> int:
    """Number of known hands for which there is a right claim, with whatever mark."""
    return sum(
        any(hand.model.side == side and apart(hand, joints) <= SAME_HAND for hand in hands)
        for joints, side in zip(case.joints, case.sides, strict=True)
    )


def outcome(case: Case, hands: list[HandEstimate]) -> str:
    """Result of a picture as a user sees it; the worst claim with a green mark counts first."""
    good = [hand for hand in hands if not hand.warnings]
    if any(nonsense(case, hand) and not beside(case, hand) for hand in good):
        return "green and wrong"
    return "green" if good else ("doubtful" if hands else "refused")


def counted(
    kind: str, cases: list[Case], predict: Callable[[Case], list[HandEstimate]], wrong: dict[str, Photo] | None
) -> dict[str, Any]:
    """One row of the result; pictures with a claim that is green and wrong are drawn into `wrong`."""
    counts = dict.fromkeys(("green and wrong", "green", "doubtful", "refused", "beside", "hands", "found"), 0)
    start = time.perf_counter()
    for number, case in enumerate(cases):
        hands = predict(case)
        seen = outcome(case, hands)
        counts[seen] += 1
        counts["beside"] += sum(beside(case, hand) and not hand.warnings for hand in hands)
        counts["hands"] += len(case.joints)
        counts["found"] += found_hands(case, hands)
        if seen == "green and wrong" and wrong is not None:
            wrong[f"{kind} {number}"] = photo_figure(hands, case.photo)
    seconds = (time.perf_counter() - start) / max(1, len(cases))
    row = {"pictures": len(cases)} | counts | {"seconds": round(seconds, 2)}
    print(kind, row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("photos", "backgrounds", "hands"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--feet", type=Path, help="photos of feet without a hand")
    parser.add_argument("--controls", type=int, default=100, help="photos of the control group")
    parser.add_argument("--sample", type=int, default=100, help="pictures of each kind without a hand")
    parser.add_argument("--sheet", type=Path, help="picture of the claims that are green and wrong")
    arguments = parser.parse_args()
    load, model, networks = os.getloadavg()[0], HandModel.open_hand(), load_hand_networks()
    wrong: dict[str, Photo] = {}

    def predict(case: Case) -> list[HandEstimate]:
        if case.box is None:
            return find(model, networks, case.photo)
        return predict_hands(model, networks, case.photo, box=case.box)

    kinds = cases_by_kind(
        arguments.photos, arguments.backgrounds, arguments.hands, arguments.controls, arguments.sample
    )
    if arguments.feet is not None:
        kinds["feet"] = list(background_cases(arguments.feet, arguments.sample, np.random.default_rng(SEED)))
    rows = {kind: counted(kind, cases, predict, wrong if arguments.sheet else None) for kind, cases in kinds.items()}
    write_result("hostile_photos", rows, SEED, load)
    if wrong:
        sheet(wrong).save(arguments.sheet)
        print("the sheet shows, in this order:", *wrong, sep="\n")


if __name__ == "__main__":
    main()
