"""Make the files that selfdeblur_lai.py and statistic_lai.py read from the release of Lai et al.

Give the folder of the release that holds `ground_truth`, `kernel` and `uniform`: 25 sharp images,
4 kernels and their 100 blurry images. Written are `uniform_ycbcr/`, the luminance of the blurry
images (BT.601, studio range), and `ground_truth/`, copied as it is.

Example:
    python datasets/prepare_lai.py --data_path ~/Downloads/cvpr16_deblur_study
"""

import sys
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets.output import write_new
from utils.errors import DataError
from utils.images.colors import STUDIO_RANGE
from utils.images.reading import list_images, read_color
from utils.images.writing import encode_png
from utils.terminal.program import Parser, run_program

SCENES = tuple(
    f"{group}_{number:02}"
    for group in ("manmade", "natural", "people", "saturated", "text")
    for number in range(1, 6)
)
KERNELS = 4
BLURRY = tuple(f"{scene}_kernel_{k:02}" for scene in SCENES for k in range(1, KERNELS + 1))


def check_release(release: Path) -> None:
    """Check that the release is complete.

    Parameters
    ----------
    release : Path
        The folder with ``ground_truth``, ``kernel`` and ``uniform``.

    Raises
    ------
    DataError
        If a folder or an image is missing; the message names it.
    """
    if not release.is_dir():
        raise DataError(f"{release}: no such folder; --data_path is the release of Lai et al.")
    faults = []
    for folder, names in (("ground_truth", SCENES), ("uniform", BLURRY)):
        missing = [name for name in names if not (release / folder / f"{name}.png").is_file()]
        if missing:
            first = ", ".join(f"{name}.png" for name in missing[:3])
            more = ", ..." if len(missing) > 3 else ""
            faults.append(f"{folder}/ lacks {len(missing)} of {len(names)} images ({first}{more})")
    found = len(list_images(release / "kernel")) if (release / "kernel").is_dir() else 0
    if found != KERNELS:
        faults.append(f"kernel/ has {found} images, not {KERNELS}")
    if faults:
        raise DataError(f"{release}: not the whole release of Lai et al.: {'; '.join(faults)}")


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument(
        "--data_path", type=Path, required=True, metavar="FOLDER", help="the unpacked release"
    )
    parser.add_argument(
        "--save_path",
        type=Path,
        default=Path("datasets/lai"),
        metavar="FOLDER",
        help="where to write (default: %(default)s)",
    )
    options = parser.parse_args(arguments)

    check_release(options.data_path)
    for scene in SCENES:
        name = Path("ground_truth", f"{scene}.png")
        content = (options.data_path / name).read_bytes()
        write_new(options.save_path / name, content)
    for name in tqdm(BLURRY, desc="luminance", unit="image", dynamic_ncols=True):
        luma = STUDIO_RANGE.luma(read_color(options.data_path / "uniform" / f"{name}.png"))
        target = options.save_path / "uniform_ycbcr" / f"{name}.png"
        write_new(target, encode_png(luma))
    print(f"{len(BLURRY)} images and {len(SCENES)} truths are in {options.save_path}")
    return 0


if __name__ == "__main__":
    run_program(main)
