"""Make datasets/sample: two small blurry images with their truths and kernels.

The sharp images are crops of scikit-image's own photographs, which lie inside that package:
`camera` (by Lav Varshney) and `coffee` (by Rachel Michetti), both CC0. They are blurred by kernels
of random camera shake and named in the scheme of Levin's benchmark. The same files come out every
time, bit for bit.

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
from datasets.formation import as_stored, blur, crop_to_blurry, expose
from datasets.output import write_new
from utils.images.kernels import scale_kernel
from utils.images.writing import encode_png, to_uint8
from utils.terminal.program import Parser, run_program

SIZE = 128  # height and width of the blurry images
NOISE = 0.5  # in gray levels


@dataclass(frozen=True)
class Sample:
    """One blurry image: where its truth lies in which photograph, and its kernel."""

    image: int
    photograph: str
    row: int
    column: int
    kernel: int
    kernel_size: int
    extent: int  # of the motion, so that a size is no tighter a fit than in real life
    seed: int


# The sizes are those that the script reads from a Levin kernel's number.
SAMPLES = (
    Sample(1, "camera", 100, 205, kernel=5, kernel_size=11, extent=9, seed=12),
    Sample(2, "coffee", 195, 280, kernel=3, kernel_size=13, extent=11, seed=46),
)


def make_sample(sample: Sample, folder: Path) -> None:
    """Write the blurry image, its truth and its kernel.

    Parameters
    ----------
    sample : Sample
        What to make.
    folder : Path
        Gets ``imI_kernelK_img.png``, ``gt/imI.png`` and ``gt/kernelK.png``.
    """
    rng = np.random.default_rng(sample.seed)
    motion = camera_shake((sample.extent, sample.extent), rng)
    kernel = as_stored(np.pad(motion, (sample.kernel_size - sample.extent) // 2))

    photograph = getattr(skimage.data, sample.photograph)()
    if photograph.ndim == 3:
        photograph = to_uint8(skimage.color.rgb2gray(photograph))
    margin = (sample.kernel_size - 1) // 2
    top, left = sample.row - margin, sample.column - margin
    side = SIZE + sample.kernel_size - 1
    sharp = photograph[top : top + side, left : left + side] / 255

    name = f"im{sample.image}_kernel{sample.kernel}_img.png"
    blurry = expose(blur(sharp, kernel), NOISE, rng)
    write_new(folder / name, encode_png(blurry))
    truth = crop_to_blurry(sharp, kernel.shape)
    write_new(folder / "gt" / f"im{sample.image}.png", encode_png(truth))
    kernel_file = encode_png(scale_kernel(kernel))
    write_new(folder / "gt" / f"kernel{sample.kernel}.png", kernel_file)


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument(
        "--save_path",
        type=Path,
        default=Path("datasets/sample"),
        metavar="FOLDER",
        help="where to write (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    for sample in SAMPLES:
        make_sample(sample, options.save_path)
    print(f"{len(SAMPLES)} images with truth and kernel are in {options.save_path}")
    return 0


if __name__ == "__main__":
    run_program(main)
