"""Draw the README's picture, docs/restored.png, from two photographs of scikit-image (CC0).

python datasets/make_synthetic.py lai --crop_size 280 400 --kernel_size 21 --num_kernels 2
python selfdeblur_lai.py --data_path datasets/synthetic_lai/uniform --only 'c[ho]*' \\
    --method fast --kernel_size 21 --save_path results/picture
python docs/make_picture.py
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from datasets.catalog import LAI, true_kernel_name, truth_name
from statistic.metrics import align
from statistic.reblur import orient_kernel
from utils.images.kernels import scale_kernel
from utils.images.reading import read_color, read_kernel
from utils.images.writing import to_uint8
from utils.terminal.program import Parser, run_program

DATA = ROOT / "datasets/synthetic_lai"
RESULTS = ROOT / "results/picture"
PAGE = ROOT / "docs/restored.png"

# Rows of the picture, and the corner of each that is shown.
IMAGES = {"chelsea_kernel_02": (20, 80), "coffee_kernel_01": (55, 110)}
SIDE, GAP, CAPTION, TEXT = 200, 8, 22, 14
FONT = ImageFont.load_default(TEXT)


def cut(image: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    top, left = corner
    return image[top : top + SIDE, left : left + SIDE]


def enlarge(kernel: np.ndarray) -> np.ndarray:
    """Show a kernel as squares, on a panel half as high as an image."""
    times = (SIDE - CAPTION - GAP) // 2 // len(kernel)
    return np.repeat(np.repeat(scale_kernel(kernel), times, 0), times, 1)[..., None].repeat(3, 2)


def main(arguments: list[str]) -> int:
    Parser(__doc__).parse_args(arguments)
    half = (SIDE - CAPTION - GAP) // 2
    height = len(IMAGES) * (SIDE + CAPTION + GAP) - GAP
    picture = Image.new("RGB", (3 * (SIDE + GAP) + half, height), "white")
    draw = ImageDraw.Draw(picture)

    def put(panel: np.ndarray, caption: str, left: int, top: int) -> None:
        draw.text((left, top + 2), caption, "black", FONT)
        picture.paste(Image.fromarray(to_uint8(panel)), (left, top + CAPTION))

    for row, (name, corner) in enumerate(IMAGES.items()):
        top = row * (SIDE + CAPTION + GAP)
        blurry = read_color(DATA / LAI.color_folder / f"{name}.png")
        restored = read_color(RESULTS / f"{name}.png")
        truth = read_color(DATA / LAI.truth_folder / f"{truth_name(name)}.png")
        luma = [LAI.scored_luma.luminance(image) for image in (blurry, restored, truth)]
        before, after = (align(image, luma[2]).psnr for image in luma[:2])
        panels = (
            (blurry, f"blurry, {before:.1f} dB"),
            (restored, f"restored, {after:.1f} dB"),
            (truth, "truth"),
        )
        for column, (image, caption) in enumerate(panels):
            put(cut(image, corner), caption, column * (SIDE + GAP), top)
        true_kernel = read_kernel(DATA / LAI.kernel_folder / f"{true_kernel_name(name)}.png")
        left = 3 * (SIDE + GAP)
        put(enlarge(read_kernel(RESULTS / f"{name}_k.png")), "kernel", left, top)
        true_kernel = orient_kernel(true_kernel, luma[2], luma[0])
        put(enlarge(true_kernel), "true kernel", left, top + CAPTION + GAP + half)
    picture.save(PAGE, optimize=True)
    return 0


if __name__ == "__main__":
    run_program(main)
