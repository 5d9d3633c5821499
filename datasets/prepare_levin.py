"""Convert Levin's release (32 .mat files) into the files that selfdeblur_levin.py reads.

Give the folder with `im05_flit01.mat` to `im08_flit08.mat`, each of which has x (sharp), y (blurry)
and f (kernel). Image im05 becomes im1, ..., im08 becomes im4; truths and kernels go to `gt/`.
Kernels keep the orientation of their files, which is not the same for all eight kernels.

Example:
    python datasets/prepare_levin.py --data_path ~/Downloads/LevinEtalCVPR09Data
"""

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import scipy.io
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets.catalog import LEVIN
from utils.errors import DataError, printable
from utils.images.files import read_bounded, write_new
from utils.images.kernels import scale_kernel
from utils.images.writing import encode_png
from utils.terminal.program import Parser, run_program
from utils.terminal.progress import say

FIRST_IMAGE = 5  # the number of im1 in the release
MAX_BYTES = 2**26  # of a .mat file; those of the release have about 1 MB


def release_name(image: int, kernel: int) -> str:
    """Name of the release's file for an image 1..4 and a kernel 1..8."""
    return f"im{image + FIRST_IMAGE - 1:02}_flit{kernel:02}.mat"


def read_release_file(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the sharp image, the blurry image and the kernel of one file.

    Returns
    -------
    sharp, blurry : (H, W) float64 arrays
        In [0, 1], except for a little noise.
    kernel : (kh, kw) float64 array
        As in the file.

    Raises
    ------
    DataError
        If the file cannot be read, or lacks one of the three, or has something else in its place.
    """
    content = BytesIO(read_bounded(path, MAX_BYTES))
    try:
        matrices = scipy.io.loadmat(content, variable_names=("x", "y", "f"))
    except Exception as error:  # of many types, for SciPy does not check a damaged file
        raise DataError(f"{path}: not a readable MATLAB file ({error})") from error
    arrays = {}
    for key in ("x", "y", "f"):
        if key not in matrices:
            raise DataError(f"{path}: has no {key}; Levin's files have x, y and f")
        array = matrices[key]
        if array.dtype.kind not in "fiu" or array.ndim != 2 or array.size < 2:
            raise DataError(f"{path}: {key} is not a matrix of real numbers")
        array = array / (255.0 if array.dtype == np.uint8 and key != "f" else 1.0)
        if not np.isfinite(array).all():
            raise DataError(f"{path}: {key} has values that are not finite")
        arrays[key] = array
    sharp, blurry, kernel = arrays.values()
    if sharp.shape != blurry.shape:
        raise DataError(f"{path}: x is {sharp.shape} and y {blurry.shape}, but they should agree")
    if max(sharp.max(), blurry.max()) > 2:
        raise DataError(f"{path}: x and y reach {max(sharp.max(), blurry.max()):g}, not about 1")
    if kernel.max() <= 0:
        raise DataError(f"{path}: f is nowhere positive, so not a kernel")
    return sharp, blurry, kernel


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data_path", type=Path, required=True, metavar="FOLDER", help="the 32 .mat files")
    help = "where to write (%(default)s)"
    folder = Path("datasets/levin")
    add("--save_path", type=Path, default=folder, metavar="FOLDER", help=help)
    given = parser.parse_args(arguments)

    paths = {
        (truth, number): given.data_path / release_name(image, number)
        for image, truth in enumerate(LEVIN.truths, 1)
        for number in LEVIN.kernel_sizes
    }
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise DataError(
            f"{given.data_path}: lacks {len(missing)} of Levin's {len(paths)} files, "
            f"the first of them {missing[0]}"
        )

    # Each truth is in eight files and each kernel in four; the first one counts.
    truths: dict[str, np.ndarray] = {}
    kernels: dict[int, np.ndarray] = {}
    for (truth, number), path in tqdm(paths.items(), unit="image", dynamic_ncols=True):
        sharp, blurry, kernel = read_release_file(path)
        if not np.array_equal(truths.setdefault(truth, sharp), sharp):
            say(f"{path}: x differs from that of an earlier file, which is used")
        if not np.array_equal(kernels.setdefault(number, kernel), kernel):
            say(f"{path}: f differs from that of an earlier file, which is used")
        file = given.save_path / f"{LEVIN.image_name(truth, number)}.png"
        write_new(file, encode_png(blurry))

    for truth, sharp in truths.items():
        file = given.save_path / LEVIN.truth_folder / f"{truth}.png"
        write_new(file, encode_png(sharp))
    for number, kernel in kernels.items():
        file = given.save_path / LEVIN.kernel_folder / f"{LEVIN.kernel_name(number)}.png"
        write_new(file, encode_png(scale_kernel(kernel)))
    counts = f"{len(paths)} images, {len(truths)} truths and {len(kernels)} kernels"
    print(printable(f"{counts} are in {given.save_path}"))
    return 0


if __name__ == "__main__":
    run_program(main)
