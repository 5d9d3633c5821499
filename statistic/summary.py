"""The statistics of a benchmark: every score, and averages over images and over runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from statistic.benchmark import Benchmark
from statistic.methods import ImageFiles, Method
from statistic.scoring import FIGURES, Score


@dataclass(frozen=True)
class Average:
    """An average over images; for several runs, the mean of the runs' averages."""

    mean: float
    images: int  # over how many; for several runs, those that all runs have
    # The standard deviation of several runs' averages (with runs - 1 in the denominator).
    deviation: float | None = None


@dataclass(frozen=True)
class Row:
    """One row of the table of methods."""

    name: str
    methods: tuple[str, ...]  # one method, or several that are runs of one
    averages: dict[str, Average]  # by the names in `FIGURES`, without those that are not known


@dataclass(frozen=True)
class Statistics:
    """Everything that is known about a benchmark's results."""

    benchmark: Benchmark
    maxshift: int  # see `statistic.metrics.comp_upto_shift`
    files: dict[str, ImageFiles]  # by the blurry images' names
    known: Path | None  # folder of the images restored with the true kernels
    methods: tuple[Method, ...]  # in the order of the tables
    scores: tuple[Score, ...]  # of all methods and all images, missing ones included
    rows: tuple[Row, ...]

    def scores_of(self, method: str) -> list[Score]:
        """The scores of one method, in the benchmark's order."""
        return [score for score in self.scores if score.method == method]


def summarise(methods: Sequence[Method], scores: Iterable[Score]) -> list[Row]:
    """Average the scores of each method, and those of runs that differ only in their seeds.

    There is one row for each method, in their order, and one for several runs after the last.
    """
    by_method: dict[str, list[Score]] = {method.name: [] for method in methods}
    for score in scores:
        by_method[score.method].append(score)
    runs: dict[tuple[str, frozenset[str]], list[str]] = {}
    for method in methods:
        runs.setdefault((method.run_of, method.made_with), []).append(method.name)

    rows = []
    for method in methods:
        rows.append(Row(method.name, (method.name,), _averages([by_method[method.name]])))
        names = runs[method.run_of, method.made_with]
        if len(names) > 1 and method.name == names[-1]:
            averages = _averages([by_method[name] for name in names])
            if averages:  # that is, if there is an image which all runs have
                rows.append(Row(f"{method.run_of}, {len(names)} runs", tuple(names), averages))
    return rows


def _averages(runs: list[list[Score]]) -> dict[str, Average]:
    averages = {}
    for figure in FIGURES:
        by_image = [
            {s.image: getattr(s, figure) for s in run if getattr(s, figure) is not None}
            for run in runs
        ]
        common = sorted(set.intersection(*map(set, by_image)))
        if common:
            means = [np.mean([run[image] for image in common]) for run in by_image]
            # An infinite PSNR, of an image equal to the truth, has no deviation.
            has_deviation = len(means) > 1 and np.isfinite(means).all()
            averages[figure] = Average(
                mean=float(np.mean(means)),
                images=len(common),
                deviation=float(np.std(means, ddof=1)) if has_deviation else None,
            )
    return averages
