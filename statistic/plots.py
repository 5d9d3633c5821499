"""The statistics as pictures that survive a black and white printer, as PNG and SVG."""

import io
from itertools import cycle
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from statistic.scoring import Score
from statistic.summary import Statistics
from utils.images.files import write_whole

matplotlib.use("Agg")

DOTS_PER_INCH = 200
LARGEST_RATIO = 5  # the right end of the field's plots; beyond it a result counts as a failure

# Okabe and Ito's colors, told apart by the color-blind, from dark to light; yellow fades on paper.
_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (9, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----")


def draw_error_ratios(folder: Path, statistics: Statistics) -> Path | None:
    """Draw the share of images whose error ratio stays below a threshold, over the threshold.

    Parameters
    ----------
    folder : Path
        Where ``error_ratio.png`` and ``error_ratio.svg`` go; none if there is no error ratio.
    statistics : Statistics
        What to draw. A method that lacks images is drawn over those that it has.

    Returns
    -------
    Path or None
        The SVG file.
    """
    panels = (
        ("error_ratio", "as published (largest singular values)"),
        ("error_ratio_levin", "as defined by Levin et al. (sums of squares)"),
    )
    shown = [
        (method.name, scores)
        for method in statistics.methods
        if method.kind != "known"
        and (scores := [s for s in statistics.scores_of(method.name) if s.error_ratio is not None])
    ]
    if not shown:
        return None
    # The best first, so that the legend has the order of the curves.
    shown.sort(key=lambda entry: np.median([score.error_ratio for score in entry[1]]))
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    total = len(statistics.benchmark.images)
    labels = [_label(method, len(scores), total) for method, scores in shown]
    for ax, (name, title) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        smallest = min(getattr(score, name) for _, scores in shown for score in scores)
        left = min(1.0, np.floor(10 * smallest) / 10)
        styles = zip(shown, cycle(_COLORS), cycle(_DASHES), cycle(_MARKERS), strict=False)
        for number, ((_, scores), color, dashes, marker) in enumerate(styles):
            ratios = np.sort([min(getattr(s, name), 2 * LARGEST_RATIO) for s in scores])
            share = 100 * np.arange(len(ratios) + 1) / len(ratios)
            x = np.concatenate([[left], ratios, [2 * LARGEST_RATIO]])
            y = np.concatenate([share, share[-1:]])
            ax.step(
                x, y, where="post", label=labels[number], color=color, linestyle=dashes,
                linewidth=1.3, marker=marker, markersize=4.5, markerfacecolor="white",
                markevery=(number % 4, 4),
            )  # fmt: skip
        ax.set_xlim(left, LARGEST_RATIO)
        ax.set_ylim(0, 102)
        ax.grid(color="0.88", linewidth=0.6)
        ax.set_xlabel(f"error ratio {title}", fontsize=8)
        ax.tick_params(labelsize=8)
    figure.axes[0].set_ylabel("share of images below [%]", fontsize=8)
    figure.legend(
        figure.axes[0].get_lines(), labels, loc="outside right upper",
        fontsize=8, frameon=False, handlelength=3.2,
    )  # fmt: skip
    return _save(figure, folder / "error_ratio")


def draw_heatmaps(folder: Path, statistics: Statistics) -> Path | None:
    """Draw each method's PSNR as a table of images by kernels, all to one scale.

    Parameters
    ----------
    folder : Path
        Where ``psnr.png`` and ``psnr.svg`` go; none if nothing was scored.
    statistics : Statistics
        What to draw.

    Returns
    -------
    Path or None
        The SVG file.
    """
    images = list(dict.fromkeys(image.image for image in statistics.benchmark.images))
    kernels = list(dict.fromkeys(image.kernel for image in statistics.benchmark.images))
    place = {
        image.name: (images.index(image.image), kernels.index(image.kernel))
        for image in statistics.benchmark.images
    }
    tables = {}
    for method in statistics.methods:
        table = np.full((len(images), len(kernels)), np.nan)
        for score in statistics.scores_of(method.name):
            if score.psnr is not None:
                table[place[score.image]] = score.psnr
        if not np.isnan(table).all():
            tables[method.name] = table
    if not tables:
        return None
    values = np.concatenate([table.ravel() for table in tables.values()])
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 1)

    columns = min(2, len(tables))
    rows = -(-len(tables) // columns)
    figure = Figure(figsize=(4.6 * columns + 0.6, 2.3 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (method, table) in zip(grid, tables.items(), strict=False):
        drawn = ax.imshow(table, cmap="viridis", vmin=low, vmax=high, aspect="auto")
        for (row, column), value in np.ndenumerate(table):
            dark = value < (low + high) / 2
            ax.text(
                column, row, "–" if np.isnan(value) else f"{value:.1f}",
                ha="center", va="center", fontsize=7, color="white" if dark else "black",
            )  # fmt: skip
        label = _label(method, np.count_nonzero(~np.isnan(table)), table.size)
        ax.set_title(f"{label}: {np.nanmean(table):.2f} dB on average", fontsize=9)
        ax.set_xticks(range(len(kernels)), kernels, fontsize=7)
        ax.set_yticks(range(len(images)), images, fontsize=7)
        ax.set_xlabel("kernel", fontsize=7)
        ax.set_ylabel("image", fontsize=7)
    for ax in grid[len(tables) :]:
        ax.set_axis_off()
    figure.colorbar(drawn, ax=list(grid), label="PSNR [dB]", shrink=min(1, 2 / rows), aspect=30)
    return _save(figure, folder / "psnr")


def draw_subsets(folder: Path, statistics: Statistics) -> Path | None:
    """Draw the average PSNR and SSIM of each subset of a benchmark as bars.

    The subset is what stands before the number in a sharp image's name: ``manmade_01``.

    Parameters
    ----------
    folder : Path
        Where ``subsets.png`` and ``subsets.svg`` go; none if nothing was scored.
    statistics : Statistics
        What to draw.

    Returns
    -------
    Path or None
        The SVG file.
    """
    subset_of = {
        image.name: image.image.rpartition("_")[0] for image in statistics.benchmark.images
    }
    subsets = [*dict.fromkeys(subset_of.values()), "all"]

    def of(score: Score) -> tuple[str, str]:
        return subset_of[score.image], "all"

    shown = [
        (method.name, scores)
        for method in statistics.methods
        if (scores := [s for s in statistics.scores_of(method.name) if s.psnr is not None])
    ]
    if not shown:
        return None
    width = 0.84 / len(shown)
    shades = matplotlib.colormaps["viridis"](np.linspace(0.95, 0.15, len(shown)))
    labels = [_label(method, len(scores), len(subset_of)) for method, scores in shown]
    figure = Figure(figsize=(max(7.2, 0.9 + 0.13 * len(shown) * 8), 5.4), layout="constrained")
    panels = (("psnr", "PSNR [dB]", "{:.1f}"), ("ssim", "SSIM", "{:.2f}"))
    for ax, (name, title, style) in zip(figure.subplots(2, 1, sharex=True), panels, strict=True):
        handles = []
        for number, (_, scores) in enumerate(shown):
            means = {
                place: mean
                for place, subset in enumerate(subsets)
                if (values := [getattr(s, name) for s in scores if subset in of(s)])
                # There is no bar of infinite height.
                and np.isfinite(mean := np.mean(values))
            }
            bars = ax.bar(
                np.array(list(means)) + (number - (len(shown) - 1) / 2) * width,
                means.values(),
                width,
                color=shades[number],
                edgecolor="black",
                linewidth=0.4,
                hatch=_HATCHES[number % len(_HATCHES)],
                label=labels[number],
            )
            handles.append(bars)
            ax.bar_label(bars, fmt=style, fontsize=5.5, rotation=90, padding=2)
        ax.set_ylabel(title, fontsize=8)
        ax.set_xticks(range(len(subsets)), subsets)
        ax.tick_params(labelsize=8)
        ax.margins(y=0.15)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return _save(figure, folder / "subsets")


def _label(method: str, images: int, total: int) -> str:
    name = method.replace("$", r"\$")  # no formula
    return name if images == total else f"{name} ({images} of {total})"


def _save(figure: Figure, stem: Path) -> Path:
    for suffix in (".png", ".svg"):
        content = io.BytesIO()
        # Fixed names and no date, so that the same statistics give the same file.
        with matplotlib.rc_context({"svg.hashsalt": stem.name}):
            metadata = {"Date": None} if suffix == ".svg" else None
            figure.savefig(content, format=suffix[1:], dpi=DOTS_PER_INCH, metadata=metadata)
        write_whole(stem.with_suffix(suffix), content.getvalue())
    return stem.with_suffix(".svg")
