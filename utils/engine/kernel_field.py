"""Whether a blur varies over the image: a kernel in outline for every part of it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from utils.engine.estimate_kernel import (
    WINDOW,
    Scaled,
    blob,
    edges_under,
    resample,
    weights_at,
)
from utils.engine.kernel_fit import Observation, centre, fit_edges, prune
from utils.engine.kernel_size import similarity
from utils.engine.windows import part_of, windows_of_parts

GRID = 3, 3

# Rounds of the two steps a scale, as many as the search for the kernel's size takes.
ROUNDS = 10

# A window is as large as its part of the image, but at least this many pixels a side more than the
# kernel, so that those of coarse scales overlap.
_LEAST = 100

# How much a kernel is drawn to its neighbors' mean, in units of what the edges of an average window
# weigh. A window with few edges takes over its neighbors' kernel.
_PULL = 0.1


@dataclass(frozen=True)
class KernelField:
    """The kernels of an image's equal parts.

    Parameters
    ----------
    kernels : (R, C, kh, kw) array
        One for each part, for valid correlation, centred, with sum 1.
    scale : float
        The image's scale that they are for, at most 1.
    evidence : (R, C) array
        What the edges of each part weigh, on average 1.
    """

    kernels: np.ndarray
    scale: float
    evidence: np.ndarray

    def similarities(self) -> tuple[float, float]:
        """How alike the kernels are: medians over neighbors, and over those far from each other.

        Each is a correlation (see `utils.engine.kernel_size.similarity`). Far are two parts from
        each other if no fewer steps lead from one to the other than the grid's longer side counts.
        """
        rows, columns = self.evidence.shape
        places = [(row, column) for row in range(rows) for column in range(columns)]
        neighbors: list[float] = []
        distant: list[float] = []
        for number, (row, column) in enumerate(places):
            for other_row, other_column in places[:number]:
                steps = abs(row - other_row) + abs(column - other_column)
                if steps == 1 or steps >= max(rows, columns):
                    value = similarity(
                        self.kernels[row, column], self.kernels[other_row, other_column]
                    )
                    (neighbors if steps == 1 else distant).append(value)
        return float(np.median(neighbors)), float(np.median(distant))


def estimate_field(
    at: Scaled,
    scales: Sequence[tuple[float, tuple[int, int]]],
    *,
    workers: int = 1,
    on_round: Callable[[], None] = lambda: None,
) -> KernelField:
    """Estimate a kernel for each part of an image, from coarse scales to fine.

    All are estimated side by side as `utils.engine.estimate_kernel.coarse_to_fine` does it, but the
    kernel's step draws each to the mean of its neighbors: so the field is smooth, parts without
    edges follow those with edges, and under a uniform blur all become alike.

    Parameters
    ----------
    at : callable
        Takes a scale, returns the blurry image and what is doubtful of it (see
        `utils.engine.estimate_kernel.at_scales`).
    scales : sequence of (float, (int, int))
        The scales and the kernel's sizes there (see `utils.engine.estimate_kernel.list_scales`).
    workers : int
        Threads, each of which takes a part. The result does not depend on their number.
    on_round : callable, optional
        Called after every round.

    Returns
    -------
    KernelField
        The kernels at the last scale.

    References
    ----------
    Whyte, Sivic, Zisserman, Ponce: Non-uniform deblurring for shaken images. CVPR 2010 (how far
    kernels differ under a camera's rotation).
    """
    rows, columns = GRID
    kernels, scale_before = np.stack([blob(scales[0][1])] * (rows * columns)), scales[0][0]
    neighbors = [
        [row * columns + column for row, column in _neighbors(number // columns, number % columns)]
        for number in range(rows * columns)
    ]
    evidence = np.ones(rows * columns)
    with ThreadPoolExecutor(workers) as pool:
        for scale, size in scales:
            observations = [
                Observation(window, size, doubt) for window, doubt in _windows(at, scale, size)
            ]
            kernels = np.stack([resample(each, size, scale / scale_before) for each in kernels])
            scale_before = scale
            is_first = scale == scales[0][0]
            for weight in weights_at(scale, ROUNDS, is_first=is_first):
                edges = list(pool.map(edges_under, observations, kernels, repeat(weight)))
                evidence = np.array([np.sum(each**2, dtype=np.float64) for each in edges]) + 1e-12
                means = [
                    np.average(kernels[near], axis=0, weights=evidence[near]) for near in neighbors
                ]
                pulls = repeat(_PULL * float(evidence.mean()))
                kernels = np.stack(list(pool.map(_fit, edges, observations, kernels, means, pulls)))
                on_round()
    return KernelField(
        kernels.reshape(rows, columns, *kernels.shape[1:]),
        scale_before,
        (evidence / evidence.mean()).reshape(rows, columns),
    )


def _fit(
    edges: np.ndarray, observation: Observation, kernel: np.ndarray, mean: np.ndarray, pull: float
) -> np.ndarray:
    return centre(prune(fit_edges(edges, observation, kernel, toward=mean, pull=pull)))


def _neighbors(row: int, column: int) -> list[tuple[int, int]]:
    """The parts that share a side with a part of the grid."""
    beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return [(i, j) for i, j in beside if 0 <= i < GRID[0] and 0 <= j < GRID[1]]


def _windows(
    at: Scaled, scale: float, kernel_size: tuple[int, int]
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Each part of the image at a scale and what is doubtful of it, or its best window."""
    image, doubtful = at(scale)
    least, most = ([beside + side for side in kernel_size] for beside in (_LEAST, WINDOW))
    return [
        (image[place], part_of(doubtful, place))
        for place in windows_of_parts(image, GRID, least, most)
    ]
