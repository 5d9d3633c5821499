"""The report: a page that shows tables, plots and every image, opened from disk by any browser."""

import filecmp
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from statistic.reblur import orient_kernel
from statistic.summary import FIGURES, Statistics
from statistic.tables import TITLES, footnotes, json_number, table_cells
from utils.errors import DataError
from utils.images.files import write_json, write_whole
from utils.images.kernels import scale_kernel
from utils.images.reading import read_image, read_kernel
from utils.images.writing import encode_png
from utils.terminal.progress import image_bar

# A benchmark's part of the page that an older program left behind may lack what this one shows.
FORMAT = 2

_PLOTS = {
    "error_ratio": "Share of images whose error ratio stays below a threshold",
    "psnr": "PSNR of each image and kernel",
    "subsets": "Average PSNR and SSIM of each subset",
}
_TEMPLATES = Path(__file__).resolve().parent / "templates"
_SHOWN_BY_BROWSERS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".svg")


def report_folder(results: Path) -> Path:
    """Where the report on a results folder goes.

    Parameters
    ----------
    results : Path
        The results folder.

    Returns
    -------
    Path
        ``report`` for ``results``; ``RESULTS/report`` for any other folder, so that scoring other
        results leaves the usual report alone.
    """
    return Path("report") if results == Path("results") else results / "report"


def write_report(statistics: Statistics, results: Path, plots: Sequence[Path]) -> Path:
    """Write a benchmark's part of the report, and the page with all parts that there are.

    Parameters
    ----------
    statistics : Statistics
        What to report.
    results : Path
        The results folder that was scored, see `report_folder`.
    plots : sequence of Path
        The plots' SVG files; each has a PNG file beside it.

    Returns
    -------
    Path
        ``index.html``. What it shows lies beside it in a folder with the benchmark's name, from
        which ``part.json`` goes into later pages when another benchmark is scored.

    Raises
    ------
    OSError
        If a file cannot be written, or one that was scored has gone.
    """
    folder = report_folder(results)
    pictures = _Pictures(folder, statistics.benchmark.name)
    part = {
        "format": FORMAT,
        "name": statistics.benchmark.name,
        "results": str(results),
        "time": datetime.now().isoformat(" ", "minutes"),
        "figures": [
            {"name": figure, "title": TITLES[figure]}
            for figure in FIGURES
            if any(getattr(score, figure) is not None for score in statistics.scores)
        ],
        "table": _table(statistics),
        "plots": [
            {
                "title": _PLOTS.get(plot.stem, plot.stem),
                "svg": pictures.add(plot, f"plots/{plot.stem}"),
                "png": pictures.add(plot.with_suffix(".png"), f"plots/{plot.stem}"),
            }
            for plot in plots
        ],
        **_images(statistics, pictures),
    }
    write_json(folder / statistics.benchmark.name / "part.json", part)
    page = folder / "index.html"
    write_whole(page, render(_parts(folder, set(part))).encode())
    return page


def render(parts: Sequence[dict[str, Any]]) -> str:
    """Fill the page's template.

    Parameters
    ----------
    parts : sequence of dict
        What `write_report` puts into the ``part.json`` of each benchmark.

    Returns
    -------
    str
        HTML with its style and its program inside; only pictures are files of their own.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(parts=parts)


class _Pictures:
    """The pictures beside the page.

    Parameters
    ----------
    folder : Path
        The page's folder.
    name : str
        The folder in it that the pictures go to.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name

    def add(self, file: Path, name: str) -> str:
        """Put a file under a name without suffix beside the page, and tell its address there."""
        if file.suffix.lower() not in _SHOWN_BY_BROWSERS:
            return self.draw(read_image(file), name)
        target = self._target(name + file.suffix.lower())
        # A link would take no space, but whoever edits one file then changes both.
        same = target.is_file() and filecmp.cmp(file, target, shallow=False)
        if not same or target.samefile(file):
            write_whole(target, file.read_bytes())
        return self._address(target)

    def draw(self, image: np.ndarray, name: str) -> str:
        """Put an array under a name without suffix beside the page, and tell its address there."""
        target = self._target(name + ".png")
        content = encode_png(image)
        if not (target.is_file() and target.read_bytes() == content):
            write_whole(target, content)
        return self._address(target)

    def _target(self, name: str) -> Path:
        target = self.folder / self.name / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _address(self, target: Path) -> str:
        return quote(target.relative_to(self.folder).as_posix())


def _parts(folder: Path, keys: set[str]) -> list[dict[str, Any]]:
    """The parts of all benchmarks that were scored so far, without what is no part of this format.

    What is passed over comes back with the next scoring of its benchmark.
    """
    parts = []
    for file in sorted(folder.glob("*/part.json")):
        try:
            part = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(part, dict) and part.get("format") == FORMAT and keys <= part.keys():
            parts.append(part)
    return parts


def _table(statistics: Statistics) -> dict[str, Any]:
    header, *rows = table_cells(statistics)
    measured = len(statistics.rows)
    return {
        "header": header,
        "rows": [
            {"published": number >= measured, "cells": [cell.strip() for cell in row]}
            for number, row in enumerate(rows)
        ],
        "notes": footnotes(statistics),
    }


def _images(statistics: Statistics, pictures: _Pictures) -> dict[str, Any]:
    kernels = _true_kernels(statistics, pictures)
    scores = {(score.method, score.image): score for score in statistics.scores}
    images = []
    with image_bar(len(statistics.benchmark.images)) as bar:
        for image in statistics.benchmark.images:
            given = statistics.given[image.name]
            blurry = _add_readable(pictures, given.blurry, f"blurry/{image.name}")
            entries = []
            for method in statistics.methods:
                score = scores[method.name, image.name]
                place = f"restored/{method.name}/{image.name}"
                if method.kind == "blurry":
                    picture = blurry
                elif score.psnr is not None:
                    picture = pictures.add(score.file, place)
                else:
                    picture = _add_readable(pictures, score.file, place)
                kernel = method.kernels.get(image.name)
                entries.append(
                    {
                        **{name: json_number(getattr(score, name)) for name in FIGURES},
                        "shift": score.shift,
                        "problem": score.problem if score.file else "missing",
                        "picture": picture,
                        "kernel": (shown := _add_readable(pictures, kernel, f"{place}_k")),
                        "kernel_problem": "unreadable" if kernel and not shown else "not saved",
                    }
                )
            images.append(
                {
                    "name": image.name,
                    "truth": _add_readable(pictures, given.truth, f"truth/{image.truth}"),
                    "blurry": blurry,
                    "kernel": kernels.get(image.kernel),
                    "scores": entries,
                }
            )
            bar.update()
    methods = [{"name": method.name, "kind": method.kind} for method in statistics.methods]
    return {"methods": methods, "images": images}


def _add_readable(pictures: _Pictures, file: Path | None, name: str) -> str | None:
    if file is None:
        return None
    try:
        read_image(file)
    except (DataError, OSError):
        return None  # the page says that it is lacking
    return pictures.add(file, name)


def _true_kernels(statistics: Statistics, pictures: _Pictures) -> dict[int, str]:
    """Addresses of the true kernels by their numbers, turned as the networks estimate them."""
    kernels: dict[int, np.ndarray] = {}
    turned: set[int] = set()
    for image in statistics.benchmark.images:
        given = statistics.given[image.name]
        if image.kernel in turned or not given.kernel:
            continue
        try:
            kernel = kernels[image.kernel] = read_kernel(given.kernel)
            if given.truth and given.blurry:
                luma = statistics.benchmark.luma_range.luminance
                truth, blurry = luma(read_image(given.truth)), luma(read_image(given.blurry))
                kernels[image.kernel] = orient_kernel(kernel, truth, blurry)
                turned.add(image.kernel)
        except (DataError, OSError, ValueError):
            continue  # another image with this kernel may tell
    return {
        number: pictures.draw(scale_kernel(kernel), f"kernel/{number}")
        for number, kernel in kernels.items()
    }
