"""Image and kernel files as arrays in [0, 1], and what their names mean. No torch in here."""

from pathlib import Path

import cv2
import numpy as np

from utils.command import DataError
from utils.files import write_whole

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

# A file that cannot be decoded gets our one line, not a page of OpenCV's log.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def list_images(folder: str | Path) -> list[Path]:
    """List the image files of a folder by name; hidden files and subfolders are passed over.

    Parameters
    ----------
    folder : str or Path
        Where to look.

    Returns
    -------
    list of Path
        The files whose suffix is one of `SUFFIXES`, in any case, sorted.
    """
    return sorted(
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def truth_name(name: str) -> str:
    """Name of the sharp image that a blurry image was made from, by the benchmarks' schemes.

    Parameters
    ----------
    name : str
        A blurry or restored image's name without suffix.

    Returns
    -------
    str
        What stands before ``_kernel``; the name itself where there is no such part.

    Examples
    --------
    >>> truth_name("im1_kernel5_img"), truth_name("manmade_01_kernel_03"), truth_name("fishes")
    ('im1', 'manmade_01', 'fishes')
    """
    return name.split("_kernel")[0]


def find_truth(path: str | Path) -> Path | None:
    """Find the sharp image in the folder ``gt/`` beside a blurry image.

    Parameters
    ----------
    path : str or Path
        The blurry image's file.

    Returns
    -------
    Path or None
        The file whose name is `truth_name`'s, with any suffix; None where there is none.
    """
    return find_image(Path(path).parent / "gt", truth_name(Path(path).stem))


def find_image(folder: str | Path, name: str) -> Path | None:
    """Find an image by its name without suffix.

    Parameters
    ----------
    folder : str or Path
        Where to look; it need not exist.
    name : str
        The name.

    Returns
    -------
    Path or None
        The file with the first of `SUFFIXES` that there is, None where there is none.
    """
    candidates = (Path(folder) / f"{name}{suffix}" for suffix in SUFFIXES)
    return next((file for file in candidates if file.is_file()), None)


def read_gray(path: str | Path) -> np.ndarray:
    """Read an image file as luminance.

    Color becomes gray by BT.601's weights over the full range (`read_luminance` has the studio
    range of the benchmarks' scripts), alpha is dropped, and the orientation that a camera recorded
    is applied.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF, BMP or WebP file with 8 or 16 bits a channel.

    Returns
    -------
    (H, W) float64 array
        Values in [0, 1].

    Raises
    ------
    DataError
        If the file is not such an image.
    OSError
        If it cannot be read at all.
    """
    image = _decode(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    return image / float(np.iinfo(image.dtype).max)


def read_luminance(path: str | Path) -> np.ndarray:
    """Read an image file as the benchmarks' scripts see it: Y of a color file, a gray one as it is.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF, BMP or WebP file with 8 or 16 bits a channel. Alpha is dropped, and the
        orientation that a camera recorded is applied.

    Returns
    -------
    (H, W) float64 array
        Values in [0, 1]; of a color file, those of `rgb_to_luma`.

    Raises
    ------
    DataError
        If the file is not such an image.
    OSError
        If it cannot be read at all.
    """
    image = read_image(path)
    return rgb_to_luma(image) if image.ndim == 3 else image


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file, gray or in color as it is.

    Parameters
    ----------
    path : str or Path
        As for `read_luminance`.

    Returns
    -------
    (H, W) or (H, W, 3) float64 array
        Values in [0, 1]; color in the order red, green, blue.

    Raises
    ------
    DataError
        If the file is not such an image.
    OSError
        If it cannot be read at all.
    """
    image = _decode(path, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    image = image / float(np.iinfo(image.dtype).max)
    return image[..., ::-1] if image.ndim == 3 else image


def read_color(path: str | Path) -> np.ndarray:
    """Read an image file in color; gray becomes three equal channels (see `read_image`)."""
    image = read_image(path)
    return image if image.ndim == 3 else np.dstack([image] * 3)


def rgb_to_luma(image: np.ndarray) -> np.ndarray:
    """Luminance of a color image by BT.601 in studio range, as MATLAB's ``rgb2ycbcr`` gives it.

    Parameters
    ----------
    image : (H, W, 3) float array
        Red, green, blue in [0, 1].

    Returns
    -------
    (H, W) float64 array
        Y, from 16/255 for black to 235/255 for white.

    References
    ----------
    ITU-R Recommendation BT.601.
    """
    red, green, blue = np.moveaxis(np.asarray(image, np.float64), -1, 0)
    return (16 + 65.481 * red + 128.553 * green + 24.966 * blue) / 255


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
        If the file is no image, or black all over.
    """
    kernel = read_gray(path)
    if not kernel.any():
        raise DataError(f"{path}: black all over, so no kernel; give the image of one")
    return kernel / kernel.sum()


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Round an image in [0, 1] to 8 bits; what lies outside is clipped."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def encode_png(image: np.ndarray) -> bytes:
    """Encode an image in [0, 1] as an 8-bit PNG.

    Parameters
    ----------
    image : (H, W) or (H, W, 3) float array
        Gray, or color in the order red, green, blue.

    Returns
    -------
    bytes
        The PNG file's content.
    """
    pixels = to_uint8(image)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", pixels)[1].tobytes()


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write an image in [0, 1] as an 8-bit PNG (see `encode_png` and `utils.files.write_whole`)."""
    write_whole(path, encode_png(image))


def scale_kernel(kernel: np.ndarray) -> np.ndarray:
    """Scale a kernel for display so that its largest entry is 1 (255 in the file)."""
    return kernel / kernel.max()


def _decode(path: str | Path, flags: int) -> np.ndarray:
    content = np.frombuffer(Path(path).read_bytes(), np.uint8)
    try:
        image = cv2.imdecode(content, flags) if content.size else None
    except cv2.error:
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path}: not an image that can be read; give an intact PNG, JPEG, TIFF, BMP or WebP "
            "file with 8 or 16 bits a channel"
        )
    return image
