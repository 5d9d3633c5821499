"""Read image and kernel files as arrays in [0, 1]."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from utils.errors import DataError
from utils.images.colors import FULL_RANGE
from utils.images.decoding import HEIF_SUFFIXES, RAW_SUFFIXES, decode
from utils.images.metadata import usable_profile

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


def list_images(folder: str | Path) -> list[Path]:
    """List the files in a folder with one of `SUFFIXES`, in either case, sorted; no hidden ones."""
    return sorted(
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def list_unsupported(folder: str | Path) -> list[Path]:
    """List a folder's photographs of formats that are not read: HEIC, AVIF, and cameras' raw files.

    One that lies there as an image as well, as cameras store raw and JPEG, is not listed.
    """
    names = {path.stem for path in list_images(folder)}
    return sorted(
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in HEIF_SUFFIXES | RAW_SUFFIXES
        and path.stem not in names
        and not path.name.startswith(".")
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
    profile : bytes
        An ICC profile that says which colors the pixels are; empty if the file has none.
    exif : bytes
        What a camera recorded, as in the file (see `utils.images.metadata.kept_exif`).
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    depth: np.dtype
    profile: bytes = b""
    exif: bytes = b""


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
        image, exif, profile = decode(path)
        return make_photograph(upright(image, exif), exif, profile)
    except MemoryError as error:
        raise DataError(f"{path}: needs more memory than is free; crop or shrink it") from error


def make_photograph(image: np.ndarray, exif: bytes = b"", profile: bytes = b"") -> Photograph:
    """Scale pixels as `decode` returns them to [0, 1], and separate color from alpha."""
    depth, alpha = image.dtype, None
    image = image / float(np.iinfo(depth).max)
    if image.ndim == 3:
        pixels, alpha = image[..., 2::-1], image[..., 3] if image.shape[2] == 4 else None
        # OpenCV returns gray with alpha as color.
        is_gray = alpha is not None and (pixels == pixels[..., :1]).all()
        # A profile for color cannot describe gray, though the colors may all be gray.
        color = not is_gray or bool(usable_profile(profile, color=True))
        image = pixels if color else pixels[..., 0]
    profile = usable_profile(profile, color=image.ndim == 3)
    return Photograph(image, alpha, depth, profile, exif)


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
