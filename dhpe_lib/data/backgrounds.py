"""Background photos for rendered hands: the rooms of NYU depth v2, or any folder of images.

NYU depth v2 is one MATLAB 7.3 file (HDF5) of 2.8 GB, `nyu_depth_v2_labeled.mat`. Its array `images` is 480 x 640 x 3 x
1449 in MATLAB; HDF5 reverses the order of the axes. The pictures have a white frame, which is cut off.

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

from dhpe_lib.data.checks import DatasetError, Finding, evenly_spaced, failure, require
from dhpe_lib.data.photos import FORMATS, PhotoError, read_photo

NYU_FILE = "nyu_depth_v2_labeled.mat"
NYU_SHAPE = (3, 640, 480)
NYU_COUNT = 1_449
NYU_FRAME = 16  # pixels cut off at each side
HOMEPAGE = "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"
REMEDY = f"get {NYU_FILE} from {HOMEPAGE} again, or name a folder of images"


class NyuDepth:
    """The 1,449 labelled rooms of NYU depth v2, 608 x 448 pixels without the frame.

    Attributes:
        paths: List with the path of the file.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and check the shape of its pictures.

        Args:
            path: Path of `nyu_depth_v2_labeled.mat`.

        Raises:
            FileNotFoundError: The file does not exist.
            DatasetError: The file is damaged or is not NYU depth v2.
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
        """Apply `take` to the array `images`. The file is opened each time, so data loader workers share no handle."""
        try:
            with h5py.File(self._path, "r") as file:
                return take(file["images"])
        except (OSError, KeyError, AttributeError) as error:
            raise DatasetError(f"{self._path}: images cannot be read ({error}); {REMEDY}") from error


class ImageFolder:
    """Every image in a folder and its subfolders, sorted by path.

    Attributes:
        paths: Paths of the images.
    """

    def __init__(self, directory: Path) -> None:
        """List the images.

        Args:
            directory: A folder; its subfolders are searched too.

        Raises:
            FileNotFoundError: The folder does not exist or has no image in it.
        """
        suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
        found = require(Path(directory), REMEDY).rglob("*")
        self.paths = sorted(path for path in found if path.suffix.lower() in suffixes and path.is_file())
        if not self.paths:
            raise FileNotFoundError(f"{directory}: no images in it; {REMEDY}")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> UInt8[ndarray, "height width 3"]:
        return read_photo(self.paths[index])


def open_backgrounds(path: Path) -> NyuDepth | ImageFolder:
    """Open NYU depth v2 or a folder of images, depending on the path.

    Args:
        path: The `.mat` file, the folder that holds it, or a folder of images.

    Returns:
        The pictures.

    Raises:
        FileNotFoundError: The path does not exist or has no image in it.
        DatasetError: The file is damaged.
    """
    path = Path(path)
    nyu = path / NYU_FILE
    if path.is_file() or nyu.is_file():
        return NyuDepth(path if path.is_file() else nyu)
    return ImageFolder(path)


def fingerprint(path: Path) -> str:
    """Compute a fingerprint of the pictures that does not depend on the path of their folder.

    Every byte is read, which takes a few seconds for NYU depth v2.

    Args:
        path: The `.mat` file, the folder that holds it, or a folder of images.

    Returns:
        16 hexadecimal digits of a SHA-256 over the files, in the order of their indices.

    Raises:
        FileNotFoundError: The path does not exist or has no image in it.
        DatasetError: The file is damaged.
    """
    digest = hashlib.sha256()
    for file in open_backgrounds(path).paths:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def check(path: Path) -> list[Finding]:
    """Count the pictures and open a few of them.

    Args:
        path: The `.mat` file, the folder that holds it, or a folder of images.

    Returns:
        A list with one finding.
    """
    try:
        pictures = open_backgrounds(path)
        for index in evenly_spaced(range(len(pictures))):
            pictures[index]
    except (OSError, DatasetError, PhotoError) as error:
        return [failure(Path(path), error, REMEDY)]
    if isinstance(pictures, NyuDepth) and len(pictures) != NYU_COUNT:
        return [Finding(Path(path), f"{len(pictures)} pictures, {NYU_COUNT} were published", len(pictures), REMEDY)]
    return [Finding(Path(path), None, len(pictures), "")]
