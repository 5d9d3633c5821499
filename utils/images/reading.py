"""Read image and kernel files as arrays in [0, 1]."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from utils.errors import DataError
from utils.images.colors import FULL_RANGE
from utils.images.decoding import decode

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


def list_images(folder: str | Path) -> list[Path]:
    """List the files in a folder with one of `SUFFIXES`, in either case, sorted; no hidden ones."""
    return sorted(
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def find_image(folder: str | Path, name: str) -> Path | None:
    """Find an image file by its name without suffix, in a folder that need not exist.

    Of several, it is the one whose suffix, in either case, comes first in `SUFFIXES`.
    """
    folder = Path(folder)
    files = [path for path in folder.iterdir() if path.stem == name] if folder.is_dir() else []
    files = [path for path in files if path.suffix.lower() in SUFFIXES and path.is_file()]
    # a.png before a.PNG
    files.sort(key=lambda path: (SUFFIXES.index(path.suffix.lower()), path.suffix.isupper()))
    return files[0] if files else None


@dataclass(frozen=True)
class Photograph:
    """The content of an image file: its pixels, and what a restored file preserves.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3) float64 array
        Gray, or red, green and blue, in [0, 1].
    alpha : (H, W) float64 array or None
        Opacity in [0, 1], if the file has any.
    depth : dtype
        uint8 or uint16: the file's bits a channel.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    depth: np.dtype


def read_photograph(path: str | Path) -> Photograph:
    """Read an image file with everything that a restored file preserves.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF, BMP or WebP file with 8 or 16 bits a channel, within the limits of
        `utils.images.decoding`. The orientation that a camera recorded is applied.

    Raises
    ------
    DataError
        If the file is not such an image, or memory does not suffice for it.
    OSError
        If it cannot be read at all.
    """
    try:
        image, exif = decode(path)
        return make_photograph(upright(image, exif))
    except MemoryError as error:
        raise DataError(f"{path}: needs more memory than is free; crop or shrink it") from error


def make_photograph(image: np.ndarray) -> Photograph:
    """Scale pixels as `decode` returns them to [0, 1], and separate color from alpha."""
    depth = image.dtype
    image = image / float(np.iinfo(depth).max)
    if image.ndim == 2:
        return Photograph(image, None, depth)
    if image.shape[2] == 3:
        return Photograph(image[..., ::-1], None, depth)
    pixels, alpha = image[..., 2::-1], image[..., 3]
    # OpenCV returns gray with alpha as color.
    is_gray = (pixels == pixels[..., :1]).all()
    return Photograph(pixels[..., 0] if is_gray else pixels, alpha, depth)


def upright(image: np.ndarray, exif: bytes) -> np.ndarray:
    """Rotate or mirror an image as the orientation in its EXIF block says, if there is one."""
    block = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            block.load(exif)
            orientation = block.get(ExifTags.Base.Orientation, 1)
    except Exception:  # about five types, depending on the damage: assume upright
        return image
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file's pixels, gray or in color as it is (see `read_photograph`)."""
    return read_photograph(path).pixels


def read_color(path: str | Path) -> np.ndarray:
    """Read an image file in color; gray becomes three equal channels (see `read_photograph`)."""
    image = read_image(path)
    return image if image.ndim == 3 else np.dstack([image] * 3)


def read_gray(path: str | Path) -> np.ndarray:
    """Read an image file's luminance, of color by `FULL_RANGE` (see `read_photograph`)."""
    return FULL_RANGE.luminance(read_image(path))


def read_kernel(path: str | Path) -> np.ndarray:
    """Read a blur kernel: an 8-bit gray image, normalised to sum 1.

    Parameters
    ----------
    path : str or Path
        The image file, ``NAME_k.png`` for instance.

    Returns
    -------
    (kh, kw) float64 array
        Non-negative, sum 1.

    Raises
    ------
    DataError
        If the file is not an image, or all black.
    """
    kernel = read_gray(path)
    if not kernel.any():
        raise DataError(f"{path}: all black, so not a kernel")
    return kernel / kernel.sum()
