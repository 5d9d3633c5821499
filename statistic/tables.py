"""The statistics as tables: for the terminal, as CSV, as JSON and as Markdown."""

import csv
import io
import math
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from statistic.scoring import FIGURES
from statistic.summary import Average, Statistics
from utils import tables
from utils.errors import printable

TITLES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "error_ratio": "error ratio",
    "error_ratio_levin": "error ratio (Levin)",
}
# The width keeps decimal points in one column below 100 dB and below a ratio of 100.
_FORMATS = {"psnr": "5.2f", "ssim": "6.4f", "error_ratio": "6.3f", "error_ratio_levin": "6.3f"}
_PUBLISHED_FORMATS = {**_FORMATS, "ssim": "5.3f"}


def format_text(statistics: Statistics) -> str:
    """Format all methods' averages and the published ones as an aligned table with footnotes."""
    header, *rows = table_cells(statistics)
    measured = len(statistics.rows)
    table = tables.format_table(
        header, [None, *rows[:measured], None, *rows[measured:]], justify=str.ljust
    )
    return "\n".join([table, "", *map(printable, footnotes(statistics))])


def format_markdown(statistics: Statistics) -> str:
    """Format the same table as Markdown."""
    header, *rows = table_cells(statistics)
    notes = [f"{printable(note)}  " for note in footnotes(statistics)]
    return "\n".join([tables.format_markdown(header, rows), "", *notes]) + "\n"


def format_csv(statistics: Statistics) -> str:
    """Format the scores as CSV: one row for each image and method, with the reason of gaps."""
    content = io.StringIO()
    table = csv.writer(content, lineterminator="\n")
    table.writerow(["method", "image", *FIGURES, "problem"])
    for score in statistics.scores:
        table.writerow([score.method, score.image, *score.figures.values(), score.reason])
    return content.getvalue()


def as_json(statistics: Statistics, folder: Path) -> dict[str, Any]:
    """Convert all statistics to values for JSON; unknown ones are None.

    Paths become relative to `folder`, where the JSON file will lie.
    """

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: convert(entry) for name, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [convert(entry) for entry in value]
        if isinstance(value, Path):
            # Links are resolved, for beyond a linked folder ".." is not where the path suggests.
            return Path(os.path.relpath(value.resolve(), folder.resolve())).as_posix()
        return json_number(value)

    content = {
        "benchmark": statistics.benchmark.name,
        "maxshift": statistics.maxshift,
        "known_kernel": statistics.known,
        "images": [
            {"name": image.name, "image": image.label, "kernel": image.kernel}
            | vars(statistics.files[image.name])
            for image in statistics.benchmark.images
        ],
        "methods": [
            {
                "name": method.name,
                "kind": method.kind,
                "folder": method.folder,
                "scores": [
                    {
                        "image": score.image,
                        "file": score.file,
                        "estimated_kernel": method.kernels.get(score.image),
                        **score.figures,
                        "problem": score.reason,
                    }
                    for score in statistics.scores_of(method.name)
                ],
            }
            for method in statistics.methods
        ],
        "rows": [asdict(row) for row in statistics.rows],
        "published": [asdict(row) for row in statistics.benchmark.published],
    }
    return {name: convert(value) for name, value in content.items()}


def json_number(value: Any) -> Any:
    """Turn an infinite number, which JSON lacks, into ``Infinity``.

    Python's ``float`` and JavaScript's ``Number`` understand that string.
    """
    return "Infinity" if value == math.inf else value


def table_cells(statistics: Statistics) -> list[list[str]]:
    """Format the table's header and rows, the published ones last."""
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
    for published_row in published:
        values = [(name, getattr(published_row, name, None)) for name in figures]
        shown = ["" if v is None else f"{v:{_PUBLISHED_FORMATS[name]}}" for name, v in values]
        cells.append([f"{published_row.method} (published)", str(total), *shown])
    return cells


def _cell(averages: dict[str, Average], images: int, figure: str) -> str:
    if figure not in averages:
        return ""
    average, style = averages[figure], _FORMATS[figure]
    cell = f"{average.mean:{style}}"
    if average.deviation is not None:
        cell += f" ± {f'{average.deviation:{style}}'.strip()}"
    return cell if average.images == images else f"{cell} (over {average.images})"


def footnotes(statistics: Statistics) -> list[str]:
    """Say what a reader must know to compare the figures with others."""
    return [
        "Averages are over the images counted. Each image is compared at the shift of at most "
        f"{statistics.maxshift} pixels, in steps of a quarter, that fits the truth best.",
        *_notes_on_error_ratios(statistics),
        *_notes_on_runs(statistics),
        *_notes_on_gray_files(statistics),
        "PSNR always takes 255 as the peak. The published script takes 1 for a restored image that "
        "nowhere exceeds 2 of 255, so that a black result scores 48 dB less.",
        *_notes_on_sources(statistics),
        "The scripts of the time of the published figures shifted by up to 5 pixels.",
    ]


def _notes_on_error_ratios(statistics: Statistics) -> Iterable[str]:
    if not statistics.benchmark.error_ratios:
        return
    if not any("error_ratio" in row.averages for row in statistics.rows) or not statistics.known:
        yield "No error ratios, for there are no images restored with the true kernels."
        return
    yield (
        f"Error ratios refer to the images in {statistics.known}: those of the published scripts "
        "by largest singular values, Levin's (CVPR 2009) by sums of squares."
    )
    if statistics.known.name == "known_kernel":
        yield (
            "Those images are our own. Published ratios refer to their authors' images, which are "
            "further from the truth, so the ratios here are larger."
        )


def _notes_on_runs(statistics: Statistics) -> Iterable[str]:
    if any(len(row.methods) > 1 for row in statistics.rows):
        yield "Several runs: mean and standard deviation of the runs' averages."
    settings: dict[str, set[frozenset[str]]] = {}
    for method in statistics.methods:
        settings.setdefault(method.run_of, set()).add(method.made_with)
    for name, different in settings.items():
        if len(different) > 1:
            yield f"Runs of {name} do not have the same settings on record: no mean over them."
    for method in statistics.methods:
        if method.unfinished:
            yield (
                f"{method.name}: {len(method.unfinished)} of {len(method.files)} images are not "
                "finished and were scored as they are."
            )


def _notes_on_gray_files(statistics: Statistics) -> Iterable[str]:
    """Where the Y of color images is compared, whether gray files are on its scale matters."""
    data = statistics.benchmark.data
    if data.luma == data.scored_luma:
        return
    for method in statistics.methods:
        gray = [score.image for score in statistics.scores_of(method.name) if score.gray]
        converted = sum(method.gray_scale(image) is not None for image in gray)
        if converted:
            yield (
                f"{method.name}, gray images ({converted}): converted from the range on record to "
                "that of rgb2ycbcr's Y (16 to 235), in which color images are compared."
            )
        if len(gray) > converted:
            yield (
                f"{method.name}, gray images without a record ({len(gray) - converted}): taken for "
                "rgb2ycbcr's Y (16 to 235). If they are rgb2gray's (0 to 255), their scores are "
                "too low."
            )


def _notes_on_sources(statistics: Statistics) -> Iterable[str]:
    by_source: dict[str, list[str]] = {}
    for row in statistics.benchmark.published:
        by_source.setdefault(row.source, []).append(row.method)
    for source, names in by_source.items():
        yield f"Published in {source}: {', '.join(names)}."
