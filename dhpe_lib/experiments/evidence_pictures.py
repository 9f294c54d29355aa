"""Pictures of Figs. 4 and 6: some crops with the masks and the hands that were found in them, small enough for a file.

Images are data URLs, masks are black and white PNGs, and hands are lists of 63 numbers.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from PIL import Image
from torch import Tensor

from dhpe_lib.common.records import take_rows, to_numpy
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.photos import open_image
from dhpe_lib.experiments.cached_evidence import TESTED_MASK, CachedEvidence, same_view
from dhpe_lib.figures.data_urls import data_url
from dhpe_lib.figures.gallery import mask_comparison, mesh_over
from dhpe_lib.figures.html_records import Html
from dhpe_lib.figures.picture_rows import picture_row
from dhpe_lib.hand.model import HandModel
from dhpe_lib.rendering.renderer import silhouette

Masks = Mapping[str, Bool[Tensor, "n s s"]]
QUALITY, DECIMALS = 85, 4


def shown_images(evidence: CachedEvidence, crops: Crops, rows: Sequence[int]) -> Float[Tensor, "n 3 s s"]:
    """Return some images of a test in the views that the shipped network sees, at the size of the masks."""
    chosen = torch.tensor(rows)
    return same_view(crops[chosen], take_rows(evidence.frame, chosen), TESTED_MASK).images


def mesh_masks(hand: HandModel, h: Float[Tensor, "n 63"]) -> Bool[Tensor, "n s s"]:
    """Return the masks of meshes."""
    with torch.no_grad():
        return silhouette(hand.forward_h(h).vertices, hand.faces, TESTED_MASK) > 0.5


def stored_image(image: Float[Tensor, "3 s s"]) -> str:
    """Encode an image in [0, 1]."""
    levels = to_numpy((255 * image).round().clamp(0, 255).byte().permute(1, 2, 0))
    return data_url(Image.fromarray(levels), "JPEG", quality=QUALITY)


def stored_mask(mask: Bool[Tensor, "s s"]) -> str:
    """Encode a mask with one bit a pixel."""
    return data_url(Image.fromarray(to_numpy(mask)), "PNG", optimize=True)


def loaded(address: str) -> ndarray:
    """Decode a data URL to the pixels of its image, in [0, 1]."""
    file = io.BytesIO(base64.b64decode(address.partition(",")[2]))
    pixels = np.asarray(open_image(file))
    return pixels.astype(np.float32) / (1 if pixels.dtype == bool else 255)


def stored_masks(images: Float[Tensor, "n 3 s s"], masks: Masks) -> list[dict[str, str]]:
    """Encode images and their masks of several methods."""
    return [
        {"image": stored_image(image)} | {name: stored_mask(some[k]) for name, some in masks.items()}
        for k, image in enumerate(images)
    ]


def stored_hands(images: Float[Tensor, "n 3 s s"], hands: Mapping[str, Float[Tensor, "n 63"]]) -> list[dict[str, Any]]:
    """Encode images and the hands of several variants."""
    return [
        {"image": stored_image(image)}
        | {name: [round(value, DECIMALS) for value in h[k].tolist()] for name, h in hands.items()}
        for k, image in enumerate(images)
    ]


def mask_pictures(stored: Sequence[Mapping[str, str]], truth: str = "true mask") -> Html:
    """Draw Fig. 4: for each image a row with the image and each method's mask, compared with the true one."""

    def mask(one: Mapping[str, str], name: str) -> Bool[Tensor, "s s"]:
        return torch.from_numpy(loaded(one[name])) > 0.5

    return picture_rows(
        stored, lambda image, one, name: mask_comparison(image, mask(one, name), mask(one, truth)), truth
    )


def hand_pictures(stored: Sequence[Mapping[str, Any]], hand: HandModel) -> Html:
    """Draw Fig. 6: for each image a row with the image and the mesh of each variant over it."""

    def draw(image: Tensor, one: Mapping[str, Any], name: str) -> ndarray:
        with torch.no_grad():
            return mesh_over(image, hand.forward_h(torch.tensor([one[name]])).vertices[0], hand)

    return picture_rows(stored, draw)


def picture_rows(
    stored: Sequence[Mapping[str, Any]], draw: Callable[[Tensor, Mapping[str, Any], str], ndarray], *hidden: str
) -> Html:
    """Draw a row for each stored image: the image, and what `draw` makes of image, record and each name not hidden."""
    rows = []
    for number, one in enumerate(stored, 1):
        image = torch.from_numpy(loaded(one["image"])).permute(2, 0, 1)
        drawn = {name: draw(image, one, name) for name in one if name not in ("image", *hidden)}
        pictures = {f"image {number}": to_numpy(image.permute(1, 2, 0))} | drawn
        rows.append(picture_row(pictures, TESTED_MASK, QUALITY).html)
    return Html("".join(rows))
