"""The statistics as tables: for the terminal, as CSV, as JSON and as Markdown."""

import csv
import io
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from statistic.summary import FIGURES, Average, Statistics

TITLES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "error_ratio": "error ratio",
    "error_ratio_levin": "error ratio (Levin)",
}
# The width keeps decimal points in one column below 100 dB and below a ratio of 100.
_FORMATS = {"psnr": "5.2f", "ssim": "6.4f", "error_ratio": "6.3f", "error_ratio_levin": "6.3f"}


def format_text(statistics: Statistics) -> str:
    """Format the averages of all methods, and those in print, as an aligned table.

    Parameters
    ----------
    statistics : Statistics
        What to show.

    Returns
    -------
    str
        Lines without a last line break.
    """
    header, *rows = table_cells(statistics)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rows.insert(len(statistics.rows), ["-" * width for width in widths])
    rows.insert(0, ["-" * width for width in widths])
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join(lines + ["", *footnotes(statistics)])


def format_markdown(statistics: Statistics) -> str:
    """Format the same table as Markdown.

    Parameters
    ----------
    statistics : Statistics
        What to show.

    Returns
    -------
    str
        Ready to paste.
    """
    header, *rows = table_cells(statistics)
    rule = ["---"] + ["---:"] * (len(header) - 1)
    lines = [f"| {' | '.join(map(_escape, row))} |" for row in [header, rule, *rows]]
    return "\n".join([*lines, "", *(f"{note}  " for note in footnotes(statistics))]) + "\n"


def _escape(cell: str) -> str:
    cell = cell.strip().replace("&", "&amp;").replace("<", "&lt;")
    return cell.replace("\\", r"\\").replace("|", r"\|")


def format_csv(statistics: Statistics) -> str:
    """Format the scores as CSV, one row for each image and method.

    Parameters
    ----------
    statistics : Statistics
        What to show.

    Returns
    -------
    str
        Columns method, image, those of `FIGURES`, and problem. A score that is lacking is an empty
        cell, and the problem tells why.
    """
    content = io.StringIO()
    table = csv.writer(content, lineterminator="\n")
    table.writerow(["method", "image", *FIGURES, "problem"])
    for score in statistics.scores:
        figures = [getattr(score, figure) for figure in FIGURES]
        problem = score.problem if score.file else "missing"
        table.writerow([score.method, score.image, *figures, problem])
    return content.getvalue()


def as_json(statistics: Statistics, folder: Path) -> dict[str, Any]:
    """Put all statistics into what JSON can hold.

    Parameters
    ----------
    statistics : Statistics
        What to show.
    folder : Path
        Where the JSON file will lie: the paths in it are relative to this folder.

    Returns
    -------
    dict
        ``benchmark``, ``maxshift``, ``known_kernel`` (a folder); ``images``, each with the files
        that are given; ``methods``, each with its ``scores``; ``rows`` of averages; ``published``
        rows. What is not known is None. Of infinite figures stands the string ``Infinity``, which
        Python's ``float`` and JavaScript's ``Number`` understand, for JSON has no such number.
    """

    def path(file: Path | None) -> str | None:
        # A path that climbs out of a linked folder must climb where the disk does.
        return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix() if file else None

    def average(value: Average) -> dict[str, Any]:
        return {name: json_number(entry) for name, entry in asdict(value).items()}

    return {
        "benchmark": statistics.benchmark.name,
        "maxshift": statistics.maxshift,
        "known_kernel": path(statistics.known),
        "images": [
            {
                "name": image.name,
                "image": image.image,
                "kernel": image.kernel,
                "truth": path(statistics.given[image.name].truth),
                "blurry": path(statistics.given[image.name].blurry),
                "true_kernel": path(statistics.given[image.name].kernel),
            }
            for image in statistics.benchmark.images
        ],
        "methods": [
            {
                "name": method.name,
                "kind": method.kind,
                "folder": path(method.folder),
                "scores": [
                    {
                        "image": score.image,
                        "file": path(score.file),
                        "estimated_kernel": path(method.kernels.get(score.image)),
                        **{figure: json_number(getattr(score, figure)) for figure in FIGURES},
                        "problem": score.problem if score.file else "missing",
                    }
                    for score in statistics.scores_of(method.name)
                ],
            }
            for method in statistics.methods
        ],
        "rows": [
            {
                "name": row.name,
                "methods": list(row.methods),
                "averages": {figure: average(value) for figure, value in row.averages.items()},
            }
            for row in statistics.rows
        ],
        "published": [asdict(row) for row in statistics.benchmark.published],
    }


def json_number(value: float | None) -> float | str | None:
    """Put a figure into what JSON can hold: an infinite one becomes ``Infinity``."""
    return "Infinity" if value == math.inf else value


def table_cells(statistics: Statistics) -> list[list[str]]:
    """Format the table's header and rows, those in print last."""
    total, published = len(statistics.benchmark.images), statistics.benchmark.published
    figures = [
        figure
        for figure in FIGURES
        if any(figure in row.averages for row in statistics.rows)
        or any(getattr(row, figure, None) is not None for row in published)
    ]
    cells = [["method", "images", *(TITLES[figure] for figure in figures)]]
    for row in statistics.rows:
        images = row.averages["psnr"].images if row.averages else 0
        count = str(images) if images == total else f"{images} of {total}"
        cells.append([row.name, count, *(_cell(row.averages, images, name) for name in figures)])
    for row in published:
        values = [getattr(row, figure, None) for figure in figures]
        # SSIM has one decimal less in print.
        shown = [
            "" if value is None else f"{value:{_FORMATS[name].replace('6.4', '5.3')}}"
            for name, value in zip(figures, values, strict=True)
        ]
        cells.append([f"{row.method} (published)", str(total), *shown])
    return cells


def _cell(averages: dict[str, Average], images: int, figure: str) -> str:
    if figure not in averages:
        return ""
    average, style = averages[figure], _FORMATS[figure]
    cell = f"{average.mean:{style}}"
    if average.deviation is not None:
        cell += f" ± {average.deviation:{style}}".replace("±  ", "± ")
    return cell if average.images == images else f"{cell} (over {average.images})"


def footnotes(statistics: Statistics) -> list[str]:
    """Tell what a reader must know to compare the figures with others."""
    notes = [
        "Averages over the images counted; each was shifted by up to "
        f"{statistics.maxshift} pixels, in quarters, to where it fits the truth best."
    ]
    if any("error_ratio" in row.averages for row in statistics.rows):
        notes.append(
            f"Error ratios refer to the images in {statistics.known}: the published scripts' by "
            "largest singular values, Levin's (CVPR 2009) by sums of squares."
        )
        if statistics.known.name != Path(statistics.benchmark.known_kernel_folders[0]).name:
            notes.append(
                "Those images are our own; published ratios refer to their authors', which are "
                "further from the truth, so that ratios here are larger."
            )
    elif statistics.benchmark.known_kernel_folders:
        notes.append("No error ratios, for there are no images restored with the true kernels.")
    if any(len(row.methods) > 1 for row in statistics.rows):
        notes.append("Several runs: mean and standard deviation of the runs' averages.")
    settings: dict[str, set[frozenset[str]]] = {}
    for method in statistics.methods:
        settings.setdefault(method.run_of, set()).add(method.made_with)
    notes += [
        f"Runs of {name} do not have the same settings on record: no mean over them."
        for name, different in settings.items()
        if len(different) > 1
    ]
    notes += [
        f"{method.name}: {len(method.unfinished)} of {len(method.files)} images are not finished "
        "and were scored as they stand."
        for method in statistics.methods
        if method.unfinished
    ]
    notes.append(
        "PSNR takes 255 as the peak always. The published script takes 1 for a restored image that "
        "nowhere exceeds 2 of 255: a black result then scores 48 dB less."
    )
    by_source: dict[str, list[str]] = {}
    for row in statistics.benchmark.published:
        by_source.setdefault(row.source, []).append(row.method)
    notes += [f"Published, {source}: {', '.join(names)}." for source, names in by_source.items()]
    notes.append("Scripts of the published figures' time shifted by up to 5 pixels.")
    return notes
