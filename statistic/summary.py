"""The statistics of a benchmark: every score, and averages over images and over runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from statistic.benchmark import Benchmark
from statistic.methods import Given, Method
from statistic.scoring import Score

FIGURES = ("psnr", "ssim", "error_ratio", "error_ratio_levin")


@dataclass(frozen=True)
class Average:
    """An average over images.

    Parameters
    ----------
    mean : float
        The average; of several runs, the mean of the runs' averages.
    images : int
        Over how many images.
    deviation : float or None
        Of several runs, the standard deviation of their averages (divided by one less than runs).
    """

    mean: float
    images: int
    deviation: float | None = None


@dataclass(frozen=True)
class Row:
    """One row of the table of methods.

    Parameters
    ----------
    name : str
        What the row is called.
    methods : tuple of str
        The method's name, or those of several that are runs of one.
    averages : dict of str to Average
        By the names in `FIGURES`; without what is not known. Those of several runs are over the
        images that all of them have.
    """

    name: str
    methods: tuple[str, ...]
    averages: dict[str, Average]


@dataclass(frozen=True)
class Statistics:
    """All that is known about a benchmark's results.

    Parameters
    ----------
    benchmark : Benchmark
        Which benchmark.
    maxshift : int
        Up to how many pixels images were shifted.
    given : dict of str to Given
        Sharp and blurry images and true kernels, by the blurry images' names.
    known : Path or None
        The folder of the images restored with the true kernels; None where there is none.
    methods : tuple of Method
        The methods, in the order of the tables.
    scores : tuple of Score
        One for each image and method, missing ones too, by methods and then images.
    rows : tuple of Row
        See `summarise`.
    """

    benchmark: Benchmark
    maxshift: int
    given: dict[str, Given]
    known: Path | None
    methods: tuple[Method, ...]
    scores: tuple[Score, ...]
    rows: tuple[Row, ...]

    def scores_of(self, method: str) -> list[Score]:
        """The scores of one method, in the benchmark's order."""
        return [score for score in self.scores if score.method == method]


def summarise(methods: Sequence[Method], scores: Iterable[Score]) -> list[Row]:
    """Average each method's scores, and those of runs that differ in nothing but their seeds.

    Parameters
    ----------
    methods : sequence of Method
        The methods.
    scores : iterable of Score
        The scores of all of them.

    Returns
    -------
    list of Row
        One for each method, in their order, and one more after the last of several runs of one.
    """
    by_method: dict[str, list[Score]] = {method.name: [] for method in methods}
    for score in scores:
        by_method[score.method].append(score)
    runs: dict[tuple[str, frozenset[str]], list[str]] = {}
    for method in methods:
        runs.setdefault((method.run_of, method.made_with), []).append(method.name)

    rows = []
    for method in methods:
        averages = _averages([by_method[method.name]])
        rows.append(Row(method.name, (method.name,), averages))
        names = runs[method.run_of, method.made_with]
        if len(names) > 1 and method.name == names[-1]:
            averages = _averages([by_method[name] for name in names])
            rows.append(Row(f"{method.run_of}, {len(names)} runs", tuple(names), averages))
    return rows


def _averages(runs: list[list[Score]]) -> dict[str, Average]:
    averages = {}
    for figure in FIGURES:
        by_image = [
            {s.image: getattr(s, figure) for s in run if getattr(s, figure) is not None}
            for run in runs
        ]
        common = set.intersection(*map(set, by_image))
        if common:
            means = [np.mean([run[image] for image in sorted(common)]) for run in by_image]
            # An infinite PSNR, of an image equal to the truth, leaves no deviation to speak of.
            several = len(means) > 1 and np.isfinite(means).all()
            averages[figure] = Average(
                mean=float(np.mean(means)),
                images=len(common),
                deviation=float(np.std(means, ddof=1)) if several else None,
            )
    return averages
