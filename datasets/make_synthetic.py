"""Make a benchmark from sharp images, in Levin's layout (gray) or Lai's (color and luminance).

Every image is blurred by the same kernels of random camera shake, with the valid correlation that
the paper assumes; noise, clipping and rounding to 8 bits follow. Truths are cropped to what the
blurry images show. Without --data_path, the photographs of scikit-image are used. The same seed
gives the same files.

Examples:
    python datasets/make_synthetic.py levin --crop_size 255
    python datasets/make_synthetic.py lai --data_path ~/photos --saturation 3 --noise 2.5
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy
import skimage.color
import skimage.data
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets.camera_shake import camera_shake
from datasets.catalog import LAI, LEVIN
from datasets.formation import as_stored, blur, expose, saturate
from utils.errors import DataError, printable
from utils.images.files import write_new
from utils.images.kernels import crop_to_blurry, scale_kernel
from utils.images.reading import list_images, read_color
from utils.images.writing import encode_png
from utils.terminal.program import (
    HeightWidth,
    Parser,
    integer,
    kernel_side,
    nonempty_path,
    real,
    run_program,
)

LAYOUTS = {"levin": LEVIN, "lai": LAI}
# Photographs in the scikit-image package, all CC0 or in the public domain.
PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "rocket")
SMALLEST_BLURRY = 33


@dataclass(frozen=True)
class Settings:
    """What a synthetic benchmark depends on, besides its sharp images."""

    layout: str
    kernel_sizes: list[tuple[int, int]]
    crop_size: tuple[int, int] | None
    noise: float
    saturation: float
    seed: int

    @property
    def largest_kernel(self) -> tuple[int, int]:
        """Height and width that hold all kernels."""
        heights, widths = zip(*self.kernel_sizes, strict=True)
        return max(heights), max(widths)


def list_sharp(folder: Path | None) -> dict[str, Path | None]:
    """List the sharp images by name, sorted; None stands for a photograph of scikit-image.

    Raises
    ------
    DataError
        If the folder has no image, two of the same name, or one whose name contains ``_kernel``,
        where a blurry image's name ends that of its truth.
    """
    if folder is None:
        return dict.fromkeys(PHOTOGRAPHS)
    paths = list_images(folder) if folder.is_dir() else []
    if not paths:
        raise DataError(f"{folder}: no folder with images; give --data_path one of sharp images")
    sources: dict[str, Path | None] = {}
    for path in paths:
        if "_kernel" in path.stem:
            raise DataError(f"{path}: _kernel in a sharp image's name; rename the file")
        if path.stem in sources:
            raise DataError(f"{path}: same name as {sources[path.stem]}; rename one of them")
        sources[path.stem] = path
    return sources


def read_sharp(name: str, path: Path | None, settings: Settings) -> np.ndarray:
    """Read a sharp image of `list_sharp` and crop it to its middle.

    Returns
    -------
    (h + kh - 1, w + kw - 1, 3) float64 array
        RGB in [0, 1], with the margin that the largest kernel needs.

    Raises
    ------
    DataError
        If the image is unreadable, or too small; the message says which size is needed.
    """
    sharp = read_color(path) if path else getattr(skimage.data, name)() / 255
    if sharp.ndim == 2:
        sharp = np.dstack([sharp] * 3)
    blurry = settings.crop_size or (SMALLEST_BLURRY, SMALLEST_BLURRY)
    kernel = settings.largest_kernel
    needed = tuple(side + k - 1 for side, k in zip(blurry, kernel, strict=True))
    height, width = sharp.shape[:2]
    if height < needed[0] or width < needed[1]:
        raise DataError(
            f"{path or name}: {height} x {width} pixels; {needed[0]} x {needed[1]} are needed for "
            f"{blurry[0]} x {blurry[1]} after a blur of {kernel[0]} x {kernel[1]}"
        )
    if settings.crop_size is None:
        return sharp
    top, left = (height - needed[0]) // 2, (width - needed[1]) // 2
    return sharp[top : top + needed[0], left : left + needed[1]]


def make_benchmark(settings: Settings, sources: dict[str, Path | None], folder: Path) -> None:
    """Write blurry images, truths and kernels, and the settings as ``synthetic.json``.

    Parameters
    ----------
    settings : Settings
        What to make.
    sources : dict of str to Path or None
        The sharp images (see `list_sharp`).
    folder : Path
        Where to write; created if necessary.

    Raises
    ------
    DataError
        If an image is unreadable or too small, or if a file to be written exists with different
        content.
    """
    layout, levin = LAYOUTS[settings.layout], settings.layout == "levin"
    names = [f"im{i}" for i in range(1, len(sources) + 1)] if levin else list(sources)
    origins = [path.name if path else source for source, path in sources.items()]
    record = asdict(settings) | {
        "sharp": dict(zip(names, origins, strict=True)),
        "versions": {module.__name__: module.__version__ for module in (np, scipy, skimage)},
    }
    # Before anything else is written, all images are checked, and the record of an earlier run.
    for source, path in sources.items():
        read_sharp(source, path, settings)
    write_new(folder / "synthetic.json", (json.dumps(record, indent=2) + "\n").encode())

    kernels = [
        as_stored(camera_shake(size, np.random.default_rng((settings.seed, number))))
        for number, size in enumerate(settings.kernel_sizes, 1)
    ]
    for number, kernel in enumerate(kernels, 1):
        file = folder / layout.kernel_folder / f"{layout.kernel_name(number)}.png"
        write_new(file, encode_png(scale_kernel(kernel)))

    largest = settings.largest_kernel
    progress = tqdm(total=len(names) * len(kernels), unit="image", dynamic_ncols=True)
    for index, (name, (source, path)) in enumerate(zip(names, sources.items(), strict=True)):
        sharp = read_sharp(source, path, settings)
        sharp = saturate(skimage.color.rgb2gray(sharp) if levin else sharp, settings.saturation)
        truth = encode_png(crop_to_blurry(sharp, largest))
        write_new(folder / layout.truth_folder / f"{name}.png", truth)
        for number, kernel in enumerate(kernels, 1):
            # A smaller kernel needs a smaller margin around the common truth.
            spare = tuple(most - side + 1 for most, side in zip(largest, kernel.shape, strict=True))
            light = blur(crop_to_blurry(sharp, spare), kernel)
            rng = np.random.default_rng((settings.seed, number, index))
            blurry = expose(light, settings.noise, rng)
            image = f"{layout.image_name(name, number)}.png"
            if layout.color_folder:
                write_new(folder / layout.color_folder / image, encode_png(blurry))
            luminance = encode_png(layout.luma.luminance(blurry))
            write_new(folder / layout.blurry_folder / image, luminance)
            progress.update()
    progress.close()


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("layout", choices=LAYOUTS, help="names, folders and colors")
    add("--data_path", type=nonempty_path, metavar="FOLDER", help="sharp images (scikit-image's)")
    folders = "where to write (datasets/synthetic_LAYOUT)"
    add("--save_path", type=nonempty_path, metavar="FOLDER", help=folders)
    count = "number of kernels (levin: 8, lai: 4)"
    add("--num_kernels", type=integer(1), metavar="N", help=count)
    size = "one or two sizes for all kernels (the benchmark's, by number)"
    add("--kernel_size", type=kernel_side, nargs="+", action=HeightWidth, metavar="N", help=size)
    crop_side = integer(SMALLEST_BLURRY)
    size = "one or two sizes of a blurry image (the largest possible)"
    add("--crop_size", type=crop_side, nargs="+", action=HeightWidth, metavar="N", help=size)
    noise = "standard deviation in gray levels (%(default)s)"
    add("--noise", type=real(0, 255), default=1.0, metavar="SIGMA", help=noise)
    gain = "light of a white pixel before the blur (%(default)s)"
    add("--saturation", type=real(1, 100), default=1.0, metavar="GAIN", help=gain)
    add("--seed", type=integer(0), default=0, metavar="N", help="random seed (%(default)s)")
    given = parser.parse_args(arguments)
    known = list(LAYOUTS[given.layout].kernel_sizes.values())
    number = given.num_kernels or len(known)
    if number > len(known) and not given.kernel_size:
        parser.error(
            f"--num_kernels {number}: {given.layout} has sizes for {len(known)}; give more with "
            "--kernel_size"
        )
    settings = Settings(
        layout=given.layout,
        kernel_sizes=[given.kernel_size or (side, side) for side in (known * number)[:number]],
        crop_size=given.crop_size,
        noise=given.noise,
        saturation=given.saturation,
        seed=given.seed,
    )
    folder = given.save_path or Path(f"datasets/synthetic_{settings.layout}")
    sources = list_sharp(given.data_path)
    make_benchmark(settings, sources, folder)

    images = folder / LAYOUTS[settings.layout].blurry_folder
    command = f"python selfdeblur_{settings.layout}.py --data_path {images}"
    if given.kernel_size:
        command += " --kernel_size {} {}".format(*given.kernel_size)
    count = f"{len(sources) * len(settings.kernel_sizes)} images are in {folder}"
    print(printable(f"{count}; restore them with: {command}"))
    return 0


if __name__ == "__main__":
    run_program(main)
