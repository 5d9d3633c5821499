"""Make the files that selfdeblur_lai.py and statistic_lai.py read from the release of Lai et al.

Give the folder of the release that has `ground_truth`, `kernel` and `uniform`: 25 sharp images,
4 kernels and their 100 blurry images. It writes `uniform_ycbcr/`, the luminance of the blurry
images as MATLAB's rgb2gray gives it, and `ground_truth/`, an unchanged copy.

Example:
    python datasets/prepare_lai.py --data_path ~/Downloads/cvpr16_deblur_study
"""

import sys
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets.catalog import LAI
from utils.errors import DataError, printable
from utils.images.decoding import MAX_BYTES
from utils.images.files import read_bounded, write_new
from utils.images.reading import list_images, read_color
from utils.images.writing import encode_png
from utils.terminal.program import Parser, run_program


def check_release(release: Path) -> None:
    """Raise a DataError that names what is missing from the folder of the release, if anything."""
    if not release.is_dir():
        raise DataError(f"{release}: no such folder; --data_path is the release of Lai et al.")
    faults = []
    for folder, names in ((LAI.truth_folder, LAI.truths), (LAI.color_folder, LAI.images)):
        missing = [name for name in names if not (release / folder / f"{name}.png").is_file()]
        if missing:
            first = ", ".join(f"{name}.png" for name in missing[:3])
            more = ", ..." if len(missing) > 3 else ""
            faults.append(f"{folder}/ lacks {len(missing)} of {len(names)} images ({first}{more})")
    kernels = release / LAI.kernel_folder
    found = len(list_images(kernels)) if kernels.is_dir() else 0
    if found != len(LAI.kernel_sizes):
        faults.append(f"{LAI.kernel_folder}/ has {found} images, not {len(LAI.kernel_sizes)}")
    if faults:
        raise DataError(f"{release}: not the whole release of Lai et al.: {'; '.join(faults)}")


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data_path", type=Path, required=True, metavar="FOLDER", help="the unpacked release")
    help = "where to write (%(default)s)"
    folder = Path("datasets/lai")
    add("--save_path", type=Path, default=folder, metavar="FOLDER", help=help)
    given = parser.parse_args(arguments)

    check_release(given.data_path)
    for truth in LAI.truths:
        file = Path(LAI.truth_folder, f"{truth}.png")
        write_new(given.save_path / file, read_bounded(given.data_path / file, MAX_BYTES))
    for name in tqdm(LAI.images, desc="luminance", unit="image", dynamic_ncols=True):
        color = read_color(given.data_path / LAI.color_folder / f"{name}.png")
        target = given.save_path / LAI.blurry_folder / f"{name}.png"
        write_new(target, encode_png(LAI.luma.luminance(color)))
    done = f"{len(LAI.images)} images and {len(LAI.truths)} truths are in {given.save_path}"
    print(printable(done))
    return 0


if __name__ == "__main__":
    run_program(main)
