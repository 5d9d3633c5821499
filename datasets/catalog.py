"""The data sets: names, kernel sizes, true images, true kernels and luminance, each stated once.

A *name* is a file's name without its suffix. The name of a blurry image says what it was made
from: ``im1_kernel5_img`` is Levin's image ``im1`` blurred by ``kernel5``, ``manmade_01_kernel_03``
is Lai's ``manmade_01`` blurred by ``kernel_03``. Photographs have no truth, and any name.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from utils.errors import DataError
from utils.images.colors import FULL_RANGE, MATLAB_GRAY, STUDIO_RANGE, Luma
from utils.images.reading import find_image


@dataclass(frozen=True)
class DataSet:
    """A benchmark: sharp images, each of them blurred by the same kernels.

    Parameters
    ----------
    name : str
        Name of the data set, and of its folder in ``datasets/``.
    truths : tuple of str
        Names of the sharp images.
    kernel_sizes : dict of int to int
        Side in pixels of each square kernel, by the kernel's number.
    kernel_format, image_format : str
        How a kernel's name follows from its ``number``, and a blurry image's from ``truth`` and
        ``kernel``.
    blurry_folder, truth_folder, kernel_folder : str
        Where the files lie inside the data set's folder. `blurry_folder` is what the scripts
        restore.
    color_folder : str
        Where the blurry images lie in color; empty if they are gray.
    luma : Luma
        The luminance of a color image that is restored.
    scored_luma : Luma
        The luminance of a color image that published scores compare.
    """

    name: str
    truths: tuple[str, ...]
    kernel_sizes: dict[int, int]
    kernel_format: str
    image_format: str
    blurry_folder: str
    truth_folder: str
    kernel_folder: str
    color_folder: str
    luma: Luma
    scored_luma: Luma

    @property
    def images(self) -> tuple[str, ...]:
        """Names of all blurry images, in the order of the published tables."""
        return tuple(
            self.image_name(truth, number) for truth in self.truths for number in self.kernel_sizes
        )

    def kernel_name(self, number: int) -> str:
        """Name of the kernel with this number: ``kernel5`` or ``kernel_01``."""
        return self.kernel_format.format(number=number)

    def image_name(self, truth: str, number: int) -> str:
        """Name of the sharp image `truth` blurred by the kernel with this number."""
        return self.image_format.format(truth=truth, kernel=self.kernel_name(number))

    def kernel_size(self, name: str) -> tuple[int, int]:
        """Height and width of the kernel that blurred an image, from the image's name alone.

        Raises
        ------
        DataError
            If the name contains none of the data set's kernels.

        Examples
        --------
        >>> LEVIN.kernel_size("im1_kernel5_img"), LAI.kernel_size("manmade_01_kernel_03")
        ((11, 11), (55, 55))
        """
        sides = {self.kernel_name(number): side for number, side in self.kernel_sizes.items()}
        kernel = true_kernel_name(name)
        if kernel not in sides:
            first, *_, last = sides
            raise DataError(f"the name {name} has no {first} to {last} in it; give --kernel_size")
        return sides[kernel], sides[kernel]


LEVIN = DataSet(
    name="levin",
    truths=("im1", "im2", "im3", "im4"),
    # Of the kernels' supports; the files of the true kernels are larger.
    kernel_sizes={1: 17, 2: 15, 3: 13, 4: 27, 5: 11, 6: 19, 7: 21, 8: 21},
    kernel_format="kernel{number}",
    image_format="{truth}_{kernel}_img",
    blurry_folder=".",
    truth_folder="gt",
    kernel_folder="gt",
    color_folder="",
    luma=FULL_RANGE,  # all images are gray, and a gray file saved as RGB gives the same gray
    scored_luma=FULL_RANGE,
)
"""Levin et al., CVPR 2009: 4 gray images, 8 kernels, 32 blurry images."""

LAI = DataSet(
    name="lai",
    truths=tuple(
        f"{subset}_{number:02}"
        for subset in ("manmade", "natural", "people", "saturated", "text")
        for number in range(1, 6)
    ),
    kernel_sizes={1: 31, 2: 51, 3: 55, 4: 75},
    kernel_format="kernel_{number:02}",
    image_format="{truth}_{kernel}",
    blurry_folder="uniform_ycbcr",
    truth_folder="ground_truth",
    kernel_folder="kernel",
    color_folder="uniform",
    luma=MATLAB_GRAY,
    scored_luma=STUDIO_RANGE,
)
"""Lai et al., CVPR 2016, the uniformly blurred part: 25 color images, 4 kernels, 100 blurry images.

The folder's name notwithstanding, the luminance in ``uniform_ycbcr/`` is MATLAB's rgb2gray.
"""

PHOTOGRAPH_KERNEL_SIZES = {
    "fish": 41,
    "fishes": 41,
    "flower": 25,
    "flowers": 25,
    "house": 51,
    "houses": 51,
}
"""The authors' kernel sizes for their three photographs, by a word of the photograph's name."""

OTHER_PHOTOGRAPHS_KERNEL_SIZE = 31


def photograph_kernel_size(name: str) -> tuple[int, int]:
    """Height and width of the kernel that is estimated for a photograph, from its name alone.

    Only whole words count, in either case; anything but a letter separates words. Other names get
    `OTHER_PHOTOGRAPHS_KERNEL_SIZE`, as in the authors' script.

    Examples
    --------
    >>> photograph_kernel_size("fishes"), photograph_kernel_size("my-house2")
    ((41, 41), (51, 51))
    >>> photograph_kernel_size("warehouse"), photograph_kernel_size("selfish")
    ((31, 31), (31, 31))
    """
    side = known_photograph_kernel_size(name) or OTHER_PHOTOGRAPHS_KERNEL_SIZE
    return side, side


def known_photograph_kernel_size(name: str) -> int | None:
    """The side in pixels that a photograph's name tells; None if it tells nothing."""
    words = re.findall(r"[^\W\d_]+", name.lower())
    sides = [side for word, side in PHOTOGRAPH_KERNEL_SIZES.items() if word in words]
    return sides[0] if sides else None


def truth_name(name: str) -> str:
    """Name of the sharp image that a blurry or restored image was made from.

    It is what precedes ``_kernel``, or the whole name where that does not occur.

    Examples
    --------
    >>> truth_name("im1_kernel5_img"), truth_name("manmade_01_kernel_03"), truth_name("fishes")
    ('im1', 'manmade_01', 'fishes')
    """
    return name.split("_kernel")[0]


def true_kernel_name(name: str) -> str | None:
    """Name of the true kernel that blurred an image, which is part of the image's name.

    None where the name has no such part.

    Examples
    --------
    >>> true_kernel_name("im1_kernel5_img"), true_kernel_name("manmade_01_kernel_03")
    ('kernel5', 'kernel_03')
    """
    kernels = re.findall(r"kernel_?\d+", name)
    return kernels[-1] if kernels else None


def find_truth(path: str | Path) -> Path | None:
    """Find the sharp image that a blurry image's file was made from, if it is there.

    It has the name of `truth_name`, and lies in ``gt/`` in the same folder or, as in Lai's data
    set, in ``ground_truth/`` beside that folder.
    """
    folder, name = Path(path).parent, truth_name(Path(path).stem)
    beside = folder.absolute().parent
    return find_image(folder / LEVIN.truth_folder, name) or find_image(
        beside / LAI.truth_folder, name
    )


def find_kernel(name: str, path: str | Path) -> Path:
    """Find the file of the kernel that belongs to an image.

    Parameters
    ----------
    name : str
        The blurry image's name.
    path : str or Path
        The folder to search, or the kernel's file itself.

    Returns
    -------
    Path
        The first that exists of ``NAME_k.png`` and the true kernel's ``kernel5.png`` or
        ``kernel_01.png``, each of them in the folder, in ``gt/`` or ``kernel/`` inside it, and in
        ``kernel/`` beside it. The suffix may be that of any image format.

    Raises
    ------
    DataError
        If there is none.
    """
    folder = Path(path)
    if folder.is_file():
        return folder
    names = [f"{name}_k"]
    if true_kernel := true_kernel_name(name):
        names.append(true_kernel)
    folders = [
        folder,
        folder / LEVIN.kernel_folder,
        folder / LAI.kernel_folder,
        folder.absolute().parent / LAI.kernel_folder,
    ]
    for candidate in names:
        for place in folders:
            if found := find_image(place, candidate):
                return found
    files = " or ".join(f"{candidate}.png" for candidate in names)
    raise DataError(
        f"no kernel for {name}: looked for {files} in {folder}, its {LEVIN.kernel_folder}/ and "
        f"{LAI.kernel_folder}/, and {folders[-1]}; give --kernel_path"
    )
