"""The page of one restored image: before and after, the kernel, and how it came about.

It is one file, which any browser opens from disk, and which asks for nothing else.
"""

import base64
import os
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from utils.engine.stage import Restoration
from utils.errors import printable
from utils.images.kernels import scale_kernel
from utils.images.opencv import cv2
from utils.images.reading import Photograph
from utils.images.writing import encode_png, to_uint8
from utils.log import log
from utils.pages import fill_template
from utils.runs.experiment import Experiment
from utils.runs.results import flatten

RELOAD_SECONDS = 5
JPEG_QUALITY = 92
KERNEL_SIDE = 240  # pixels of the screen, at most
CANDIDATE_SIDE = 120
MAP_SIDE = 640
PLOT_WIDTH, PLOT_HEIGHT = 600, 150

_TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class Page:
    """What the page of an image shows.

    Parameters
    ----------
    name : str
        The image's name.
    before, after : (H, W) or (H, W, 3) array
        The blurry and the restored image, in [0, 1]; other values are clipped.
    kernel : (kh, kw) array
        The kernel, non-negative and not all zero.
    windows : sequence of tuple of int
        Left, top, width and height, in pixels, of parts of the blurry image to outline.
    candidates : sequence of tuple
        Titles and kernels of the contact sheet, such as those of the sizes that were tried.
    kernel_map : (R, C, kh, kw) array, optional
        Of a blur that varies: the kernels of the image's equal parts.
    notes : dict of str to str
        What is to be known of the restoration, in words.
    settings : dict
        What it was made with.
    losses : sequence of float
        The loss of every iteration.
    unfinished : bool
        Whether the page is to reload itself, as there will be another.
    profile : bytes
        The images' color profile, if they have any.
    """

    name: str
    before: np.ndarray
    after: np.ndarray
    kernel: np.ndarray
    windows: Sequence[tuple[int, int, int, int]] = ()
    candidates: Sequence[tuple[str, np.ndarray]] = ()
    kernel_map: np.ndarray | None = None
    notes: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    losses: Sequence[float] = ()
    unfinished: bool = False
    profile: bytes = b""


def page_of(
    experiment: Experiment,
    photograph: Photograph,
    restoration: Restoration,
    record: dict[str, Any],
    *,
    unfinished: bool,
) -> Page:
    """Collect what the page of an image shows.

    Parameters
    ----------
    experiment : Experiment
        How its restoration is shown.
    photograph : Photograph
        The blurry image.
    restoration : Restoration
        What was found so far, at least the sharp image and the kernel.
    record : dict
        The image's record (``NAME.json``).
    unfinished : bool
        See `Page`.
    """
    assert restoration.kernel is not None
    after = experiment.picture(photograph, restoration)
    as_photographed = after.ndim == photograph.pixels.ndim
    return Page(
        name=Path(record["image"]).stem,
        before=photograph.pixels if as_photographed else restoration.blurry,
        after=after,
        kernel=restoration.kernel,
        windows=[restoration.window] if restoration.window else [],
        candidates=restoration.candidates,
        kernel_map=restoration.kernel_map,
        notes=describe_record(record, after.shape, restoration.kernel.shape),
        settings=flatten(record["settings"]),
        losses=restoration.losses,
        unfinished=unfinished,
        profile=photograph.profile if as_photographed else b"",
    )


def describe_record(
    record: dict[str, Any], image_size: tuple[int, ...], kernel_size: tuple[int, ...]
) -> dict[str, str]:
    """Put in words what a record says of a restoration."""
    stages = record["stages"]
    notes = {
        "Image": f"{image_size[1]} × {image_size[0]} pixels",
        "Kernel": f"{kernel_size[1]} × {kernel_size[0]} pixels",
    }
    for stage in stages:
        if "noise" in stage:
            notes["Noise"] = f"{255 * stage['noise']:.2f} gray levels of 255"
    notes["Method"] = f"{record['method']}: {', '.join(stage['stage'] for stage in stages)}"
    notes["Time"] = describe_seconds(record["seconds"])
    if "device" in record:
        notes["Time"] += f" on {record['device']}"
    if "peak_memory" in record:
        notes["Memory"] = f"{record['peak_memory'] / 1e9:.2f} GB at most"
    remarks = [
        f"{stage['stage']}: {stage[word]}"
        for stage in stages
        for word in ("reason", "kept", "doubt")
        if stage.get(word)
    ]
    if remarks:
        notes["Remarks"] = "; ".join(remarks)
    return notes


def describe_seconds(seconds: float) -> str:
    """Put a duration in words, such as ``2 min 5 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def render_page(page: Page) -> bytes:
    """Make the page's HTML, with its pictures, style and program in it.

    The images are in it as JPEGs in full size, the kernels as PNGs.
    """
    height, width = page.before.shape[:2]
    html = fill_template(
        _TEMPLATES,
        "page.html",
        name=printable(page.name),
        width=width,
        height=height,
        before=_photograph_address(page.before, page.profile),
        after=_photograph_address(page.after, page.profile),
        kernel=_kernel_picture(page.kernel, KERNEL_SIDE),
        windows=page.windows,
        candidates=[
            (printable(title), _kernel_picture(kernel, CANDIDATE_SIDE))
            for title, kernel in page.candidates
        ],
        kernel_map=None if page.kernel_map is None else _map_picture(page.kernel_map),
        notes=[(printable(title), printable(text)) for title, text in page.notes.items()],
        settings=[(printable(title), printable(f"{v}")) for title, v in page.settings.items()],
        plot=_plot(page.losses),
        reload_seconds=RELOAD_SECONDS if page.unfinished else None,
    )
    return html.encode()


def open_page(path: Path) -> None:
    """Show a page in the default browser, or say in one line that none can be opened."""
    # Without a screen, the standard library would find text browsers, which take the terminal.
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    has_screen = sys.platform != "linux" or any(os.environ.get(name) for name in screens)
    try:
        opened = has_screen and webbrowser.open(path.resolve().as_uri())
    except (webbrowser.Error, OSError):
        opened = False
    if not opened:
        log.warning("--open: no browser can be opened here; open %s yourself", printable(str(path)))


def _photograph_address(image: np.ndarray, profile: bytes) -> str:
    pixels = to_uint8(image if image.ndim == 2 else image[..., ::-1])
    blocks = [(cv2.IMAGE_METADATA_ICCP, np.frombuffer(profile, np.uint8))] if profile else []
    content = cv2.imencodeWithMetadata(
        ".jpg",
        pixels,
        [kind for kind, _ in blocks],
        [block for _, block in blocks],
        [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
    )[1]
    return _address("jpeg", content.tobytes())


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _kernel_picture(kernel: np.ndarray, side: int) -> dict[str, Any]:
    """A kernel, and the size in which the page shows each of its pixels as a whole square."""
    height, width = kernel.shape
    zoom = max(1, side // max(height, width))
    return {
        "address": _address("png", encode_png(scale_kernel(kernel))),
        "height": height,
        "width": width,
        "shown_width": zoom * width,
        "shown_height": zoom * height,
    }


def _map_picture(kernels: np.ndarray) -> dict[str, Any]:
    """The kernels across an image, (R, C, kh, kw), in one picture with gray lines between."""
    rows, columns, height, width = kernels.shape
    picture = np.full((rows, height + 1, columns, width + 1), 0.35)
    for row, column in np.ndindex(rows, columns):
        picture[row, 1:, column, 1:] = scale_kernel(kernels[row, column])
    picture = picture.reshape(rows * (height + 1), columns * (width + 1))
    picture = np.pad(picture, ((0, 1), (0, 1)), constant_values=0.35)
    zoom = max(1, MAP_SIDE // max(picture.shape))
    return {
        "address": _address("png", encode_png(picture)),
        "rows": rows,
        "columns": columns,
        "shown_width": zoom * picture.shape[1],
        "shown_height": zoom * picture.shape[0],
    }


def _plot(losses: Sequence[float]) -> dict[str, Any] | None:
    """The points of a curve of the losses on a logarithmic scale; None if there are too few."""
    values = np.asarray(losses, np.float64)
    places = np.flatnonzero(np.isfinite(values) & (values > 0))
    if len(places) < 2:
        return None
    # More points than pixels would only make the page larger.
    places = places[np.unique(np.linspace(0, len(places) - 1, PLOT_WIDTH).astype(int))]
    shown = np.log(values[places])
    x = PLOT_WIDTH * (places - places[0]) / np.ptp(places)
    y = PLOT_HEIGHT * (shown.max() - shown) / max(np.ptp(shown), 1e-9)
    return {
        "points": " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)),
        "width": PLOT_WIDTH,
        "height": PLOT_HEIGHT,
        "iterations": len(values),
        "highest": f"{np.exp(shown.max()):.3g}",
        "lowest": f"{np.exp(shown.min()):.3g}",
        "last": f"{values[places[-1]]:.3g}",
    }
