"""The statistics as plots, in PNG and SVG, that remain legible in black and white.

Each function draws one plot into a folder. It returns the SVG file, which has a PNG file beside it,
or None if there is nothing to draw.
"""

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
LARGEST_RATIO = 5  # usual right end of such plots; results beyond it count as failures

# Okabe and Ito's colors for the color-blind, without yellow, which is too faint on paper.
_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (9, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----")


def draw_error_ratios(folder: Path, statistics: Statistics) -> Path | None:
    """Draw the share of images whose error ratio stays below a threshold, over the threshold."""
    panels = {
        "error_ratio": "as published (largest singular values)",
        "error_ratio_levin": "as defined by Levin et al. (sums of squares)",
    }
    known = {method.name for method in statistics.methods if method.kind == "known"}
    curves = [
        (label, scores)
        for label, scores in _scored(statistics, "error_ratio")
        if scores[0].method not in known
    ]
    if not curves:
        return None
    # The best first, so that the legend has the order of the curves.
    curves.sort(key=lambda curve: float(np.median([s.error_ratio for s in curve[1]])))
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    for ax, (name, title) in zip(figure.subplots(1, 2, sharey=True), panels.items(), strict=True):
        smallest = min(getattr(score, name) for _, scores in curves for score in scores)
        left = min(1.0, np.floor(10 * smallest) / 10)
        styles = zip(curves, cycle(_COLORS), cycle(_DASHES), cycle(_MARKERS), strict=False)
        for number, ((label, scores), color, dashes, marker) in enumerate(styles):
            ratios = np.sort([min(getattr(s, name), 2 * LARGEST_RATIO) for s in scores])
            share = 100 * np.arange(len(ratios) + 1) / len(ratios)
            x = np.concatenate([[left], ratios, [2 * LARGEST_RATIO]])
            y = np.concatenate([share, share[-1:]])
            ax.step(
                x, y, where="post", label=label, color=color, linestyle=dashes,
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
        figure.axes[0].get_lines(), [label for label, _ in curves], loc="outside right upper",
        fontsize=8, frameon=False, handlelength=3.2,
    )  # fmt: skip
    return _save(figure, folder / "error_ratio")


def draw_heatmaps(folder: Path, statistics: Statistics) -> Path | None:
    """Draw each method's PSNR as a table of images by kernels, all on one scale."""
    images = list(dict.fromkeys(image.label for image in statistics.benchmark.images))
    kernels = list(dict.fromkeys(image.kernel for image in statistics.benchmark.images))
    place = {
        image.name: (images.index(image.label), kernels.index(image.kernel))
        for image in statistics.benchmark.images
    }
    scored = _scored(statistics, "psnr")
    if not scored:
        return None
    values = np.array([score.psnr for _, scores in scored for score in scores])
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 1)

    columns = min(2, len(scored))
    rows = -(-len(scored) // columns)
    figure = Figure(figsize=(4.6 * columns + 0.6, 2.3 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (label, scores) in zip(grid, scored, strict=False):
        table = np.full((len(images), len(kernels)), np.nan)
        for score in scores:
            table[place[score.image]] = score.psnr
        drawn = ax.imshow(table, cmap="viridis", vmin=low, vmax=high, aspect="auto")
        for (row, column), value in np.ndenumerate(table):
            dark = value < (low + high) / 2
            ax.text(
                column, row, "–" if np.isnan(value) else f"{value:.1f}",
                ha="center", va="center", fontsize=7, color="white" if dark else "black",
            )  # fmt: skip
        ax.set_title(f"{label}: {np.nanmean(table):.2f} dB on average", fontsize=9)
        ax.set_xticks(range(len(kernels)), kernels, fontsize=7)
        ax.set_yticks(range(len(images)), images, fontsize=7)
        ax.set_xlabel("kernel", fontsize=7)
        ax.set_ylabel("image", fontsize=7)
    for ax in grid[len(scored) :]:
        ax.set_axis_off()
    figure.colorbar(drawn, ax=list(grid), label="PSNR [dB]", shrink=min(1, 2 / rows), aspect=30)
    return _save(figure, folder / "psnr")


def draw_subsets(folder: Path, statistics: Statistics) -> Path | None:
    """Draw the average PSNR and SSIM of each subset, such as ``manmade`` of ``manmade_01``."""
    subset_of = {
        image.name: image.truth.rpartition("_")[0] for image in statistics.benchmark.images
    }
    subsets = [*dict.fromkeys(subset_of.values()), "all"]
    scored = _scored(statistics, "psnr")
    if not scored:
        return None
    width = 0.84 / len(scored)
    shades = matplotlib.colormaps["viridis"](np.linspace(0.95, 0.15, len(scored)))
    figure = Figure(figsize=(max(7.2, 0.9 + 0.13 * len(scored) * 8), 5.4), layout="constrained")
    panels = (("psnr", "PSNR [dB]", "{:.1f}"), ("ssim", "SSIM", "{:.2f}"))
    for ax, (name, title, style) in zip(figure.subplots(2, 1, sharex=True), panels, strict=True):
        handles = []
        for number, (label, scores) in enumerate(scored):
            values = {
                place: [getattr(s, name) for s in scores if subset in (subset_of[s.image], "all")]
                for place, subset in enumerate(subsets)
            }
            means = {place: np.mean(of_subset) for place, of_subset in values.items() if of_subset}
            # There is no bar of infinite height.
            means = {place: mean for place, mean in means.items() if np.isfinite(mean)}
            bars = ax.bar(
                np.array(list(means)) + (number - (len(scored) - 1) / 2) * width,
                list(means.values()), width, color=shades[number], edgecolor="black",
                linewidth=0.4, hatch=_HATCHES[number % len(_HATCHES)], label=label,
            )  # fmt: skip
            handles.append(bars)
            ax.bar_label(bars, fmt=style, fontsize=5.5, rotation=90, padding=2)
        ax.set_ylabel(title, fontsize=8)
        ax.set_xticks(range(len(subsets)), subsets)
        ax.tick_params(labelsize=8)
        ax.margins(y=0.15)
        ax.spines[["top", "right"]].set_visible(False)
    labels = [label for label, _ in scored]
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return _save(figure, folder / "subsets")


def _scored(statistics: Statistics, figure: str) -> list[tuple[str, list[Score]]]:
    """Each method's label and its scores that have a figure, without methods that have none."""
    total = len(statistics.benchmark.images)
    scored = []
    for method in statistics.methods:
        scores = [s for s in statistics.scores_of(method.name) if getattr(s, figure) is not None]
        if scores:
            label = method.name.replace("$", r"\$")  # no formula
            label += "" if len(scores) == total else f" ({len(scores)} of {total})"
            scored.append((label, scores))
    return scored


def _save(figure: Figure, stem: Path) -> Path:
    for suffix in (".png", ".svg"):
        content = io.BytesIO()
        # Fixed names and no date, so that the same statistics give the same file.
        with matplotlib.rc_context({"svg.hashsalt": stem.name}):
            metadata = {"Date": None} if suffix == ".svg" else None
            figure.savefig(content, format=suffix[1:], dpi=DOTS_PER_INCH, metadata=metadata)
        write_whole(stem.with_suffix(suffix), content.getvalue())
    return stem.with_suffix(".svg")
