"""Draw the crops of docs/gallery.md: blurry, kernel and restored, from a run over the photographs.

python docs/make_gallery.py ../shared/data/real ../shared/data/real_lai results/gallery
"""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils.errors import DataError
from utils.images.files import write_whole
from utils.images.kernels import scale_kernel
from utils.images.opencv import cv2
from utils.images.reading import find_image, read_color, read_gray
from utils.images.writing import to_uint8
from utils.terminal.program import Parser, run_program

SIDE = 240  # of a crop, 1:1
GAP = 8
FOLDER = ROOT / "docs/gallery"
# Where each crop's middle lies, as a share of height and width.
CROPS = {
    "house": (0.48, 0.5), "wall": (0.35, 0.45), "boat1": (0.45, 0.45), "flower": (0.5, 0.5),
    "fishes": (0.4, 0.45), "roma": (0.5, 0.6), "coke": (0.5, 0.5), "pietro": (0.45, 0.65),
    "lyndsey": (0.45, 0.5), "mukta": (0.35, 0.45), "statue1": (0.5, 0.5), "face2": (0.4, 0.5),
    "toy": (0.6, 0.3), "bird": (0.4, 0.4), "text1": (0.5, 0.5), "text8": (0.5, 0.5),
    "car4": (0.45, 0.4), "street4": (0.6, 0.45), "book1": (0.25, 0.25), "family": (0.35, 0.55),
}  # fmt: skip


def crop(image: np.ndarray, place: tuple[float, float]) -> np.ndarray:
    top, left = (
        int(min(max(share * side - SIDE / 2, 0), side - SIDE))
        for share, side in zip(place, image.shape, strict=False)
    )
    return image[top : top + SIDE, left : left + SIDE]


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("photographs", type=Path, nargs="+", help="folders of the photographs")
    parser.add_argument("results", type=Path, help="folder of the run over them")
    given = parser.parse_args(arguments)
    gap = np.ones((SIDE, GAP, 3))
    for name, place in CROPS.items():
        found = [find_image(folder, name) for folder in given.photographs]
        source = next((path for path in found if path), None)
        if source is None:
            raise DataError(f"{given.photographs[0]}: no {name} in it; name the folders of all")
        blurry, restored = (
            crop(read_color(path), place) for path in (source, given.results / f"{name}_x.png")
        )
        kernel = read_gray(given.results / f"{name}_k.png")
        times = max(1, SIDE // 2 // max(kernel.shape))
        large = np.kron(scale_kernel(kernel), np.ones((times, times)))
        panel = np.zeros((SIDE, SIDE // 2 + 1))
        top, left = ((p - k) // 2 for p, k in zip(panel.shape, large.shape, strict=True))
        panel[top : top + large.shape[0], left : left + large.shape[1]] = large
        row = np.hstack([blurry, gap, np.dstack([panel] * 3), gap, restored])
        content = cv2.imencode(".jpg", to_uint8(row[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
        FOLDER.mkdir(exist_ok=True)
        write_whole(FOLDER / f"{name}.jpg", content.tobytes())
    return 0


if __name__ == "__main__":
    run_program(main)
