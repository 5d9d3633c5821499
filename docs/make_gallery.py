"""Draw the crops of docs/gallery.md: blurry, kernel and restored, from a run over the photographs.

python docs/make_gallery.py PHOTOGRAPHS... RESULTS    # folders of both
"""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils.images.files import write_whole
from utils.images.opencv import cv2
from utils.images.reading import read_color, read_gray

SIDE = 240  # of a crop, 1:1
GAP = 8
# Where each crop's middle lies, as a share of height and width.
CROPS = {
    "house": (0.48, 0.5), "wall": (0.35, 0.45), "boat1": (0.45, 0.45), "flower": (0.5, 0.5),
    "fishes": (0.4, 0.45), "roma": (0.5, 0.6), "coke": (0.5, 0.5), "pietro": (0.45, 0.65),
    "lyndsey": (0.45, 0.5), "mukta": (0.35, 0.45), "statue1": (0.5, 0.5), "face2": (0.4, 0.5),
    "toy": (0.6, 0.3), "bird": (0.4, 0.4), "text1": (0.5, 0.5), "text8": (0.5, 0.5),
    "car4": (0.45, 0.4), "street4": (0.6, 0.45),
}  # fmt: skip


def crop(image: np.ndarray, place: tuple[float, float]) -> np.ndarray:
    top, left = (
        int(min(max(share * side - SIDE / 2, 0), side - SIDE))
        for share, side in zip(place, image.shape, strict=False)
    )
    return image[top : top + SIDE, left : left + SIDE]


def main(folders: list[str]) -> int:
    *sources, results = map(Path, folders)
    for name, place in CROPS.items():
        source = next(path for folder in sources for path in folder.glob(f"{name}.jpg"))
        kernel = read_gray(results / f"{name}_k.png")
        factor = max(1, SIDE // max(kernel.shape) // 2)
        drawn = np.zeros((SIDE, SIDE // 2 + 1, 3))
        large = np.kron(kernel / kernel.max(), np.ones((factor, factor)))[..., None]
        top, left = (
            (outer - inner) // 2 for outer, inner in zip(drawn.shape[:2], large.shape, strict=False)
        )
        drawn[top : top + large.shape[0], left : left + large.shape[1]] = large
        gap = np.ones((SIDE, GAP, 3))
        parts = (
            crop(read_color(source), place),
            drawn,
            crop(read_color(results / f"{name}_x.png"), place),
        )
        row = np.hstack([parts[0], gap, parts[1], gap, parts[2]])
        pixels = np.rint(255 * row[..., ::-1]).astype(np.uint8)
        content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
        folder = ROOT / "docs/gallery"
        folder.mkdir(exist_ok=True)
        write_whole(folder / f"{name}.jpg", content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
