"""Pictures without hands, to put rendered hands in front of: the rooms of NYU depth v2, or any folder of images.

NYU depth v2 comes as one MATLAB file of version 7.3 (HDF5), `nyu_depth_v2_labeled.mat`, 2.8 GB: `images` is 480 x 640
x 3 x 1449 in MATLAB's order of axes, which HDF5 turns round. Its pictures have a white frame, which is cut off.

Source: Silberman et al., Indoor Segmentation and Support Inference from RGBD Images, ECCV 2012; the paper's Sec. 3.5.
"""

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from dhpe_lib.data.checks import DatasetError, Finding, failure, require, spread
from dhpe_lib.data.photos import PhotoError, read_photo

NYU_FILE = "nyu_depth_v2_labeled.mat"
NYU_SHAPE = (3, 640, 480)
NYU_COUNT = 1_449
NYU_FRAME = 16  # pixels cut off at each side
HOMEPAGE = "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"
REMEDY = f"get {NYU_FILE} from {HOMEPAGE} again, or name a folder of images"


class NyuDepth:
    """The 1,449 labelled rooms of NYU depth v2, 608 x 448 without the frame.

    Attributes:
        paths: The one file.
    """

    def __init__(self, path: Path) -> None:
        """Look into the file.

        Args:
            path: `nyu_depth_v2_labeled.mat`.

        Raises:
            FileNotFoundError: There is no such file.
            DatasetError: It is damaged, or no such file.
        """
        self._path = require(Path(path), REMEDY)
        self.paths = [self._path]
        shape, dtype = self._read(lambda images: (images.shape, images.dtype))
        if len(shape) != 4 or shape[1:] != NYU_SHAPE or dtype != np.uint8:
            raise DatasetError(f"{self._path}: images has shape {shape}, not (n, {NYU_SHAPE}) bytes; {REMEDY}")
        self._count = shape[0]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> UInt8[ndarray, "height width 3"]:
        number = range(self._count)[index]
        image = self._read(lambda images: images[number]).transpose(2, 1, 0)
        return np.ascontiguousarray(image[NYU_FRAME:-NYU_FRAME, NYU_FRAME:-NYU_FRAME])

    def _read(self, take: Any) -> Any:
        """Open the file anew each time, so that workers of a loader do not share a handle."""
        try:
            with h5py.File(self._path, "r") as file:
                return take(file["images"])
        except (OSError, KeyError, AttributeError) as error:
            raise DatasetError(f"{self._path}: images cannot be read ({error}); {REMEDY}") from error


class ImageFolder:
    """Every image below a folder, in the order of the paths.

    Attributes:
        paths: Its files.
    """

    def __init__(self, directory: Path) -> None:
        """List the images.

        Args:
            directory: A folder; those in it are looked into as well.

        Raises:
            FileNotFoundError: There is no such folder, or no image in it.
        """
        suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
        found = require(Path(directory), REMEDY).rglob("*")
        self.paths = sorted(path for path in found if path.suffix.lower() in suffixes and path.is_file())
        if not self.paths:
            raise FileNotFoundError(f"{directory}: no images in it; {REMEDY}")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> UInt8[ndarray, "height width 3"]:
        return read_photo(self.paths[index])


def open_backgrounds(path: Path) -> NyuDepth | ImageFolder:
    """Open NYU depth v2 or a folder of images, whichever is there.

    Args:
        path: The `.mat` file, the folder that holds it, or a folder of images.

    Returns:
        The pictures.

    Raises:
        FileNotFoundError: There is nothing.
        DatasetError: The file is damaged.
    """
    path = Path(path)
    nyu = path / NYU_FILE
    if path.is_file() or nyu.is_file():
        return NyuDepth(path if path.is_file() else nyu)
    return ImageFolder(path)


def fingerprint(path: Path) -> str:
    """Say which pictures these are, wherever they lie: two folders have one fingerprint if they give equal pictures.

    Every byte is read: a few seconds for NYU depth v2.

    Args:
        path: The `.mat` file, the folder that holds it, or a folder of images.

    Returns:
        16 hexadecimal digits of a SHA-256 over the files, in the order in which they are numbered.

    Raises:
        FileNotFoundError: There is nothing.
        DatasetError: The file is damaged.
    """
    found = hashlib.sha256()
    for file in open_backgrounds(path).paths:
        with file.open("rb") as stream:
            found.update(hashlib.file_digest(stream, "sha256").digest())
    return found.hexdigest()[:16]


def check(path: Path) -> list[Finding]:
    """Say what is there, looking into a few of the pictures.

    Args:
        path: The `.mat` file, the folder that holds it, or a folder of images.

    Returns:
        One finding.
    """
    try:
        pictures = open_backgrounds(path)
        for index in spread(range(len(pictures))):
            pictures[index]
    except (OSError, DatasetError, PhotoError) as error:
        return [failure(Path(path), error, REMEDY)]
    if isinstance(pictures, NyuDepth) and len(pictures) != NYU_COUNT:
        return [Finding(Path(path), f"{len(pictures)} pictures, {NYU_COUNT} were published", len(pictures), REMEDY)]
    return [Finding(Path(path), None, len(pictures), "")]
