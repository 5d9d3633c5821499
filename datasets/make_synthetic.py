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
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy
import skimage.color
import skimage.data
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets.camera_shake import SMALLEST_SIZE, camera_shake
from datasets.catalog import LAI, LEVIN
from datasets.formation import as_stored, blur, expose, saturate
from datasets.output import write_new
from utils.errors import DataError, UsageError, printable
from utils.images.kernels import crop_to_blurry, scale_kernel
from utils.images.reading import list_images, read_color
from utils.images.writing import encode_png
from utils.terminal.program import Parser, run_program

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


def list_sharp(folder: Path | None) -> dict[str, Path | None]:
    """List the sharp images to start from.

    Parameters
    ----------
    folder : Path or None
        A folder of image files, or None for scikit-image's photographs.

    Returns
    -------
    dict of str to Path or None
        The files by their names without suffix, sorted. None stands for a photograph of
        scikit-image.

    Raises
    ------
    DataError
        If the folder has no image, two of the same name, or one whose name contains ``_kernel``:
        the truth's name could not be told from the blurry image's.
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


def read_sharp(name: str, path: Path | None) -> np.ndarray:
    """Read a sharp image of `list_sharp` as an (H, W, 3) float64 array, RGB in [0, 1]."""
    if path is not None:
        return read_color(path)
    photograph = getattr(skimage.data, name)()
    return (photograph if photograph.ndim == 3 else np.dstack([photograph] * 3)) / 255


def crop_centre(
    sharp: np.ndarray, source: Path | str, kernel: tuple[int, int], crop: tuple[int, int] | None
) -> np.ndarray:
    """Crop a sharp image to its middle, with the margin that the largest kernel needs.

    Parameters
    ----------
    sharp : (H, W, ...) array
        The whole image.
    source : Path or str
        The image's name in the error message.
    kernel : (kh, kw)
        Size of the largest kernel.
    crop : (h, w) or None
        Height and width after the blur; None for the largest possible.

    Returns
    -------
    (h + kh - 1, w + kw - 1, ...) array
        A view of the middle.

    Raises
    ------
    DataError
        If the image is too small; the message says which size is needed.
    """
    blurry = crop or (SMALLEST_BLURRY, SMALLEST_BLURRY)
    needed = tuple(side + k - 1 for side, k in zip(blurry, kernel, strict=True))
    height, width = sharp.shape[:2]
    if height < needed[0] or width < needed[1]:
        raise DataError(
            f"{source}: {height} x {width} pixels; {needed[0]} x {needed[1]} are needed for "
            f"{blurry[0]} x {blurry[1]} after a blur of {kernel[0]} x {kernel[1]}"
        )
    if crop is None:
        return sharp
    top, left = (height - needed[0]) // 2, (width - needed[1]) // 2
    return sharp[top : top + needed[0], left : left + needed[1]]


def draw_kernels(sizes: list[tuple[int, int]], seed: int) -> list[np.ndarray]:
    """Draw one camera-shake kernel of each size; each depends on its number and the seed alone."""
    return [
        as_stored(camera_shake(size, np.random.default_rng((seed, number))))
        for number, size in enumerate(sizes, 1)
    ]


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
    origins = {name: path.name if path else name for name, path in sources.items()}
    record = asdict(settings) | {
        "sharp": dict(zip(names, origins.values(), strict=True)),
        "versions": {module.__name__: module.__version__ for module in (np, scipy, skimage)},
    }
    largest = tuple(max(sides) for sides in zip(*settings.kernel_sizes, strict=True))
    # Before anything else is written, every image is read, and the record of an earlier run is
    # compared.
    for source, path in sources.items():
        crop_centre(read_sharp(source, path), path or source, largest, settings.crop_size)
    write_new(folder / "synthetic.json", (json.dumps(record, indent=2) + "\n").encode())

    kernels = draw_kernels(settings.kernel_sizes, settings.seed)
    for number, kernel in enumerate(kernels, 1):
        file = folder / layout.kernel_folder / f"{layout.kernel_name(number)}.png"
        write_new(file, encode_png(scale_kernel(kernel)))

    progress = tqdm(total=len(names) * len(kernels), unit="image", dynamic_ncols=True)
    for index, (name, (source, path)) in enumerate(zip(names, sources.items(), strict=True)):
        sharp = read_sharp(source, path)
        if levin:
            sharp = skimage.color.rgb2gray(sharp)
        sharp = saturate(
            crop_centre(sharp, path or source, largest, settings.crop_size), settings.saturation
        )
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


def parse_settings(options: Namespace) -> Settings:
    """Check the numbers of a command line and fill in the missing ones.

    Raises
    ------
    UsageError
        If a number is out of range; the message names the option.
    """
    kernel_size = _pair(options.kernel_size, "--kernel_size")
    if kernel_size and any(side < SMALLEST_SIZE or side % 2 == 0 for side in kernel_size):
        raise UsageError(
            f"--kernel_size {kernel_size[0]} {kernel_size[1]}: must be odd, from {SMALLEST_SIZE} up"
        )
    crop_size = _pair(options.crop_size, "--crop_size")
    if crop_size and min(crop_size) < SMALLEST_BLURRY:
        raise UsageError(
            f"--crop_size {crop_size[0]} {crop_size[1]}: must be at least {SMALLEST_BLURRY}"
        )
    known = tuple(LAYOUTS[options.layout].kernel_sizes.values())
    count = len(known) if options.num_kernels is None else options.num_kernels
    if count < 1:
        raise UsageError(f"--num_kernels {count}: must be at least 1")
    if count > len(known) and not kernel_size:
        raise UsageError(
            f"--num_kernels {count}: {options.layout} has sizes for {len(known)}; give more with "
            "--kernel_size"
        )
    # In this form, NaN fails too.
    if not 0 <= options.noise < 256:
        raise UsageError(f"--noise {options.noise:g}: must be from 0 to 255")
    if not 1 <= options.saturation <= 100:
        raise UsageError(f"--saturation {options.saturation:g}: must be from 1 to 100")
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed}: must not be negative")
    return Settings(
        layout=options.layout,
        kernel_sizes=[kernel_size or (side, side) for side in (known * count)[:count]],
        crop_size=crop_size,
        noise=options.noise,
        saturation=options.saturation,
        seed=options.seed,
    )


def _pair(values: list[int] | None, option: str) -> tuple[int, int] | None:
    if values is None:
        return None
    if len(values) > 2:
        raise UsageError(f"{option}: takes one or two numbers, not {len(values)}")
    return values[0], values[-1]


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("layout", choices=LAYOUTS, help="names, folders and colors")
    parser.add_argument(
        "--data_path", type=Path, metavar="FOLDER", help="sharp images (scikit-image's)"
    )
    parser.add_argument(
        "--save_path", type=Path, metavar="FOLDER", help="(datasets/synthetic_LAYOUT)"
    )
    parser.add_argument("--num_kernels", type=int, metavar="N", help="(levin: 8, lai: 4)")
    parser.add_argument(
        "--kernel_size", type=int, nargs="+", metavar="N", help="(the benchmark's, by number)"
    )
    parser.add_argument(
        "--crop_size", type=int, nargs="+", metavar="N", help="of a blurry image (the largest)"
    )
    parser.add_argument(
        "--noise", type=float, default=1.0, metavar="SIGMA", help="in gray levels (%(default)s)"
    )
    parser.add_argument(
        "--saturation", type=float, default=1.0, metavar="GAIN", help="light of white (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(%(default)s)")
    options = parser.parse_args(arguments)
    settings = parse_settings(options)
    folder = options.save_path or Path(f"datasets/synthetic_{settings.layout}")
    sources = list_sharp(options.data_path)
    make_benchmark(settings, sources, folder)

    count = len(sources) * len(settings.kernel_sizes)
    images = folder / LAYOUTS[settings.layout].blurry_folder
    command = f"python selfdeblur_{settings.layout}.py --data_path {images}"
    if options.kernel_size:
        command += f" --kernel_size {' '.join(map(str, options.kernel_size))}"
    print(printable(f"{count} images are in {folder}; restore them by: {command}"))
    return 0


if __name__ == "__main__":
    run_program(main)
