"""Make datasets/sample: two small blurry images with their truths and kernels.

The sharp images are crops of two photographs in the scikit-image package, `camera` (by Lav
Varshney) and `coffee` (by Rachel Michetti), both CC0. They are blurred by kernels of random camera
shake and named as in Levin's benchmark. The files are the same every time, bit for bit.

Example:
    python datasets/make_sample.py --save_path datasets/sample
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.color
import skimage.data

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets.camera_shake import camera_shake
from datasets.catalog import LEVIN
from datasets.formation import as_stored, blur, expose
from utils.errors import printable
from utils.images.files import write_new
from utils.images.kernels import crop_to_blurry, scale_kernel
from utils.images.writing import encode_png, to_uint8
from utils.terminal.program import Parser, run_program

SIZE = 128  # height and width of the blurry images
NOISE = 0.5  # in gray levels


@dataclass(frozen=True)
class Sample:
    """One blurry image: where its truth lies in a photograph, and its kernel."""

    truth: str
    photograph: str
    row: int
    column: int
    kernel: int
    extent: int  # of the motion, smaller than the kernel, as in real life
    seed: int


SAMPLES = (
    Sample("im1", "camera", 100, 205, kernel=5, extent=9, seed=12),
    Sample("im2", "coffee", 195, 280, kernel=3, extent=11, seed=46),
)


def make_sample(sample: Sample, folder: Path) -> None:
    """Write the blurry image, its truth and its kernel into a folder, in Levin's layout."""
    name = LEVIN.image_name(sample.truth, sample.kernel)
    kernel_size, _ = LEVIN.kernel_size(name)
    rng = np.random.default_rng(sample.seed)
    motion = camera_shake((sample.extent, sample.extent), rng)
    kernel = as_stored(np.pad(motion, (kernel_size - sample.extent) // 2))

    photograph = getattr(skimage.data, sample.photograph)()
    if photograph.ndim == 3:
        photograph = to_uint8(skimage.color.rgb2gray(photograph))
    margin = (kernel_size - 1) // 2
    top, left = sample.row - margin, sample.column - margin
    side = SIZE + kernel_size - 1
    sharp = photograph[top : top + side, left : left + side] / 255

    blurry = expose(blur(sharp, kernel), NOISE, rng)
    write_new(folder / f"{name}.png", encode_png(blurry))
    truth = crop_to_blurry(sharp, kernel.shape)
    write_new(folder / LEVIN.truth_folder / f"{sample.truth}.png", encode_png(truth))
    kernel_file = folder / LEVIN.kernel_folder / f"{LEVIN.kernel_name(sample.kernel)}.png"
    write_new(kernel_file, encode_png(scale_kernel(kernel)))


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    folder, help = Path("datasets/sample"), "where to write (%(default)s)"
    parser.add_argument("--save_path", type=Path, default=folder, metavar="FOLDER", help=help)
    given = parser.parse_args(arguments)
    for sample in SAMPLES:
        make_sample(sample, given.save_path)
    print(printable(f"{len(SAMPLES)} images with truth and kernel are in {given.save_path}"))
    return 0


if __name__ == "__main__":
    run_program(main)
