"""The report: a page with tables, plots and every image, which any browser opens from disk."""

import filecmp
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from statistic.methods import Method
from statistic.reblur import orient_kernel
from statistic.scoring import FIGURES, Score
from statistic.summary import Statistics
from statistic.tables import TITLES, footnotes, json_number, table_cells
from utils.errors import DataError, describe
from utils.images.files import read_json, write_json, write_whole
from utils.images.kernels import scale_kernel
from utils.images.reading import read_image, read_kernel
from utils.images.writing import encode_png
from utils.pages import fill_template
from utils.terminal.progress import image_bar, say

# The version of part.json; an earlier program's may lack what today's page shows.
FORMAT = 2
PART_BYTES = 2**26  # of a part.json: a hundred times what a hundred images of ten methods take

_PLOTS = {
    "error_ratio": "Share of images whose error ratio stays below a threshold",
    "psnr": "PSNR of each image and kernel",
    "subsets": "Average PSNR and SSIM of each subset",
}
_TEMPLATES = Path(__file__).resolve().parent / "templates"
_SHOWN_BY_BROWSERS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".svg")
# The entries of part.json that are addresses of files beside the page.
_ADDRESSES = ("svg", "png", "truth", "blurry", "picture", "kernel")


def report_folder(results: Path) -> Path:
    """Where the report on a results folder goes: ``report``, or for others ``RESULTS/report``.

    So scoring other results leaves the usual report alone.
    """
    return Path("report") if results == Path("results") else results / "report"


def write_report(statistics: Statistics, results: Path, plots: Sequence[Path]) -> Path:
    """Write a benchmark's part of the report, and the page with all parts that exist.

    Everything that the page shows is copied to a folder beside it with the benchmark's name. From
    there, ``part.json`` also goes into later pages, when another benchmark is scored. `plots` are
    SVG files, each with a PNG file beside it. Returns the page, ``index.html``.
    """
    folder = report_folder(results)
    pictures = _Pictures(folder, statistics.benchmark.name)
    header, *rows = table_cells(statistics)
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
        "table": {
            "header": header,
            "rows": [
                {"published": number >= len(statistics.rows), "cells": [c.strip() for c in row]}
                for number, row in enumerate(rows)
            ],
            "notes": footnotes(statistics),
        },
        "plots": [
            {
                "title": _PLOTS.get(plot.stem, plot.stem),
                "svg": pictures.add(plot, f"plots/{plot.stem}"),
                "png": pictures.add(plot.with_suffix(".png"), f"plots/{plot.stem}"),
            }
            for plot in plots
        ],
        "methods": [{"name": method.name, "kind": method.kind} for method in statistics.methods],
        "images": _images(statistics, pictures),
    }
    write_json(folder / statistics.benchmark.name / "part.json", part)
    page = folder / "index.html"
    write_whole(page, render(list(_parts(folder))).encode())
    return page


def render(parts: Sequence[dict[str, Any]]) -> str:
    """Fill the page's template with what `write_report` puts into each ``part.json``.

    Style and program lie inside the page; only pictures are files of their own. Raises a
    `DataError` if an address leads anywhere else than to a file in the part's folder.
    """
    for part in parts:
        _check_addresses(part, quote(part["name"]))
    return fill_template(_TEMPLATES, "report.html", parts=parts)


def _check_addresses(value: Any, folder: str) -> None:
    if isinstance(value, list):
        for entry in value:
            _check_addresses(entry, folder)
    elif isinstance(value, dict):
        for name, entry in value.items():
            _check_addresses(entry, folder)
            if name in _ADDRESSES and entry is not None:
                # No scheme such as javascript:, no other host, no quotation mark.
                plain = re.fullmatch(rf"{re.escape(folder)}/[\w.~/%-]+", str(entry), re.ASCII)
                if not plain or ".." in unquote(entry).split("/"):
                    raise DataError(f"{name} is not the address of a file in {folder}/: {entry}")


def _parts(folder: Path) -> Iterator[dict[str, Any]]:
    """The parts of all benchmarks that were scored so far.

    Whatever cannot be shown is skipped; it comes back when its benchmark is scored again.
    """
    for file in sorted(folder.glob("*/part.json")):
        try:
            part = read_json(file, PART_BYTES)
            expected = {"format": FORMAT, "name": file.parent.name}
            if not isinstance(part, dict) or not expected.items() <= part.items():
                raise DataError("of another version of this program, or of another benchmark")
            render([part])
        except Exception as error:  # a part may have been written by anyone
            say(f"{file}: not in the report: {describe(error)}")
        else:
            yield part


class _Pictures:
    """The pictures beside the page: those of one benchmark, in its folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name

    def add(self, file: Path, name: str) -> str:
        """Copy a file to a name without suffix, and return its address in the page."""
        if file.suffix.lower() not in _SHOWN_BY_BROWSERS:
            return self.draw(read_image(file), name)
        target = self._target(name + file.suffix.lower())
        # A link would take no space, but editing one file would then change both.
        same = target.is_file() and filecmp.cmp(file, target, shallow=False)
        if not same or target.samefile(file):
            write_whole(target, file.read_bytes())
        return self._address(target)

    def add_readable(self, file: Path | None, name: str) -> str | None:
        """Likewise; None if there is no such file or it cannot be read, which the page says."""
        if file is None:
            return None
        try:
            read_image(file)
        except (DataError, OSError):
            return None
        return self.add(file, name)

    def draw(self, image: np.ndarray, name: str) -> str:
        """Write an array to a name without suffix, and return its address in the page."""
        target = self._target(name + ".png")
        write_whole(target, encode_png(image))
        return self._address(target)

    def _target(self, name: str) -> Path:
        target = self.folder / self.name / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _address(self, target: Path) -> str:
        return quote(target.relative_to(self.folder).as_posix())


def _images(statistics: Statistics, pictures: _Pictures) -> list[dict[str, Any]]:
    kernels = _true_kernels(statistics, pictures)
    scores = {(score.method, score.image): score for score in statistics.scores}
    images = []
    with image_bar(len(statistics.benchmark.images)) as bar:
        for image in statistics.benchmark.images:
            files = statistics.files[image.name]
            blurry = pictures.add_readable(files.blurry, f"blurry/{image.name}")
            images.append(
                {
                    "name": image.name,
                    "truth": pictures.add_readable(files.truth, f"truth/{image.truth}"),
                    "blurry": blurry,
                    "kernel": kernels.get(image.kernel),
                    "scores": [
                        _score(scores[method.name, image.name], method, blurry, pictures)
                        for method in statistics.methods
                    ],
                }
            )
            bar.update()
    return images


def _score(score: Score, method: Method, blurry: str | None, pictures: _Pictures) -> dict[str, Any]:
    place = f"restored/{method.name}/{score.image}"
    if method.kind == "blurry":
        picture = blurry
    elif score.file and score.psnr is not None:
        picture = pictures.add(score.file, place)
    else:
        picture = pictures.add_readable(score.file, place)
    kernel = method.kernels.get(score.image)
    shown = pictures.add_readable(kernel, f"{place}_k")
    return {
        **{name: json_number(value) for name, value in score.figures.items()},
        "shift": score.shift,
        "problem": score.reason,
        "picture": picture,
        "kernel": shown,
        "kernel_problem": "unreadable" if kernel and not shown else "not saved",
    }


def _true_kernels(statistics: Statistics, pictures: _Pictures) -> dict[int, str]:
    """Addresses of the true kernels by their numbers, turned as the networks estimate them."""
    data = statistics.benchmark.data
    kernels: dict[int, np.ndarray] = {}
    oriented: set[int] = set()
    for image in statistics.benchmark.images:
        files = statistics.files[image.name]
        if image.kernel in oriented or not files.true_kernel:
            continue
        try:
            kernel = kernels[image.kernel] = read_kernel(files.true_kernel)
            if files.truth and files.blurry:
                truth = data.luma.luminance(read_image(files.truth))
                blurry = data.luma.luminance(read_image(files.blurry))
                kernels[image.kernel] = orient_kernel(kernel, truth, blurry)
                oriented.add(image.kernel)
        except (DataError, OSError, ValueError):
            continue  # another image with this kernel may do
    return {
        number: pictures.draw(scale_kernel(kernel), f"kernel/{number}")
        for number, kernel in kernels.items()
    }
