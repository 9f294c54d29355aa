"""Label a folder of photos with the hand landmark network, for a training with 2D labels.

A hand is kept where several looks at it agree (:mod:`dhpe_lib.prediction.hand_looks`). The labels are as good as that
network: they teach what it knows. :mod:`dhpe_lib.data.readers.photos` reads the folder.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dhpe_lib.common.files import write_json
from dhpe_lib.data.photos import PhotoError, read_photo
from dhpe_lib.data.readers.photos import LABELS
from dhpe_lib.prediction.find_hands import FoundHand, find_hands
from dhpe_lib.prediction.hand_estimate import NoHandError
from dhpe_lib.prediction.hand_looks import SPREAD_UNIT
from dhpe_lib.prediction.hand_search import HandNetworks

LEAST_PRESENCE, MOST_SPREAD = 0.8, 0.05
"""Smallest presence of a hand, and largest mean spread of its joints over the hand's size, that are kept."""


@dataclass
class Labelled:
    """Labels of a folder, and the photos without a label.

    Attributes:
        rows: One object for each hand, as `labels.json` holds them.
        doubtful: Number of hands that were found but not kept.
        empty: Photos without a hand.
        unreadable: Photos that cannot be read, with the problem.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    doubtful: int = 0
    empty: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)


def label_photos(
    networks: HandNetworks,
    folder: Path,
    photos: Sequence[Path],
    advance: Callable[[], None] = lambda: None,
) -> Labelled:
    """Find the hands of photos, and keep those that the looks agree on.

    Args:
        networks: From :func:`dhpe_lib.prediction.hand_search.load_hand_networks`.
        folder: The folder that will hold the labels.
        photos: Photos in the folder.
        advance: Called after each photo.

    Returns:
        The labels and the photos without one.
    """
    result = Labelled()
    for path in photos:
        try:
            hands = find_hands(networks, read_photo(path))
        except NoHandError:
            result.empty.append(path)
            hands = []
        except (PhotoError, OSError) as error:
            result.unreadable[path] = str(error)
            hands = []
        kept = [hand for hand in hands if hand.presence >= LEAST_PRESENCE and spread_of(hand) <= MOST_SPREAD]
        result.doubtful += len(hands) - len(kept)
        result.rows += [label(folder, path, hand) for hand in kept]
        advance()
    return result


def spread_of(hand: FoundHand) -> float:
    """Return the mean spread of the looks at a hand's joints, over the hand's size."""
    return float(-SPREAD_UNIT * (hand.confidence / max(hand.presence, 1e-6)).clamp(1e-6, 1).log().mean())


def label(folder: Path, path: Path, hand: FoundHand) -> dict[str, Any]:
    """Return the label of a hand; the folder inside `folder`, or `folder` itself, names the set."""
    inner = path.relative_to(folder)
    name = inner.parts[0] if len(inner.parts) > 1 else folder.resolve().name
    return {
        "file": inner.as_posix(),
        "set": re.sub(r"[^\w.+-]", "_", name, flags=re.ASCII),
        "group": inner.as_posix(),
        "hand": hand.side,
        "joints_2d": [[round(value, 1) for value in point] for point in hand.joints_px.tolist()],
        "joints_3d_mm": [[round(1000 * value, 1) for value in point] for point in hand.joints_world.tolist()],
        "presence": round(hand.presence, 3),
        "spread": round(spread_of(hand), 4),
    }


def write_labels(folder: Path, labelled: Labelled) -> Path:
    """Write `labels.json` atomically, and return its path."""
    write_json(folder / LABELS, labelled.rows)
    return folder / LABELS
