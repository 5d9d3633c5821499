"""One picture of a run's results: blurry, restored, truth and kernel of each image in a row."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from utils.errors import printable
from utils.images.files import write_whole
from utils.images.opencv import cv2

matplotlib.use("Agg")

MAX_ROWS = 40  # beyond it the picture would be too tall for most viewers
INCHES = 2.6  # height and width of a panel
DOTS_PER_INCH = 120


@dataclass(frozen=True)
class Panels:
    """A row of the overview.

    Parameters
    ----------
    name : str
        The image's name.
    blurry, restored : (H, W) or (H, W, 3) array
        The images, in [0, 1]; other values are clipped.
    truth : (H, W) or (H, W, 3) array or None
        The sharp image, if it is known.
    kernel : (kh, kw) array
        The kernel, its largest entry 1.
    before, after : tuple of float or None
        PSNR and SSIM of the blurry and of the restored image, if the truth is known.
    """

    name: str
    blurry: np.ndarray
    restored: np.ndarray
    truth: np.ndarray | None
    kernel: np.ndarray
    before: tuple[float, float] | None
    after: tuple[float, float] | None


def shrink(image: np.ndarray) -> np.ndarray:
    """Reduce an image to a panel's pixels, so that many photographs fit into memory at once."""
    factor = INCHES * DOTS_PER_INCH / max(image.shape[:2])
    if factor >= 1:
        return image
    height, width = (max(1, round(factor * side)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return small.clip(0, 1)  # a mean of ones may be slightly more, and Matplotlib would warn


def draw_overview(path: str | Path, rows: list[Panels]) -> None:
    """Draw the rows, at most `MAX_ROWS` of them, into a PNG file."""
    rows = rows[:MAX_ROWS]
    columns = 4 if any(row.truth is not None for row in rows) else 3
    figure = Figure(
        figsize=(columns * INCHES, len(rows) * (INCHES + 0.35)),
        dpi=DOTS_PER_INCH,
        layout="constrained",
    )
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        shown: list[tuple[str, np.ndarray | None, tuple[float, float] | None]] = [
            ("blurry", row.blurry, row.before),
            ("restored", row.restored, row.after),
        ]
        if columns == 4:
            shown.append(("truth", row.truth, None))
        shown.append(("kernel", row.kernel, None))
        for ax, (title, image, score) in zip(axes, shown, strict=True):
            ax.set_axis_off()
            if image is None:
                continue
            ax.imshow(image, cmap="gray", vmin=0, vmax=1)
            if score:
                title += f"  {score[0]:.2f} dB / {score[1]:.3f}"
            elif title == "kernel":
                title += "  {} x {}".format(*image.shape)
            ax.set_title(title, fontsize=8, parse_math=False)
        axes[0].text(
            -0.04, 0.5, printable(row.name), transform=axes[0].transAxes, rotation=90, fontsize=8,
            ha="right", va="center", parse_math=False,
        )  # fmt: skip
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about letters that the font lacks
        figure.savefig(content, format="png")
    write_whole(path, content.getvalue())
