"""A blur that varies over the image: a kernel for every part of it, each near its neighbors'."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from scipy.signal import fftconvolve

from utils.engine.deconvolution import EXPONENT, deconvolve, noise_weight
from utils.engine.estimate_kernel import (
    WINDOW,
    Scaled,
    blob,
    edges_under,
    resample,
    weights_at,
)
from utils.engine.kernel_fit import (
    CLIPPED,
    Observation,
    centre,
    fit_edges,
    prune,
)
from utils.engine.kernel_size import similarity
from utils.engine.windows import best_window
from utils.images.kernels import crop_to_blurry

GRID = 3, 3

# Rounds of the two steps a scale, as many as the search for the kernel's size takes.
ROUNDS = 10

# A window is as large as its part of the image, but at least this many pixels a side more than the
# kernel, so that those of coarse scales overlap.
_LEAST = 100

# How much a kernel is drawn to its neighbors' mean, in units of what the edges of an average window
# weigh. A window with few edges takes over its neighbors' kernel. In outline, differences are to
# show; in detail, a kernel has more ways to be wrong.
OUTLINE_PULL = 0.1
PULL = 0.5


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
    start: KernelField | None = None,
    pull: float = PULL,
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
    start : KernelField, optional
        What was found at a coarser scale, from which to go on.
    pull : float
        How strongly a kernel is drawn to those of its neighbors, relative to the edges of an
        average part.
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
    if start is None:
        kernels, scale_before = np.stack([blob(scales[0][1])] * (rows * columns)), scales[0][0]
    else:
        kernels, scale_before = start.kernels.reshape(-1, *start.kernels.shape[2:]), start.scale
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
            is_first = start is None and scale == scales[0][0]
            for weight in weights_at(scale, ROUNDS, is_first=is_first):
                edges = list(pool.map(edges_under, observations, kernels, repeat(weight)))
                evidence = np.array([np.sum(each**2, dtype=np.float64) for each in edges]) + 1e-12
                means = [
                    np.average(kernels[near], axis=0, weights=evidence[near]) for near in neighbors
                ]
                pulls = repeat(pull * float(evidence.mean()))
                kernels = np.stack(list(pool.map(_fit, edges, observations, kernels, means, pulls)))
                on_round()
    return KernelField(
        kernels.reshape(rows, columns, *kernels.shape[1:]),
        scale_before,
        (evidence / evidence.mean()).reshape(rows, columns),
    )


def keep_better(
    at: Scaled, kernels: np.ndarray, shared: np.ndarray, noise: float, *, workers: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Keep those kernels of a field that restore their part better than a shared one does.

    The judge is what the sparse deconvolution minimises: the error and the gradients' sum. A wrong
    kernel makes ringing, which costs more than it explains.

    Parameters
    ----------
    at : callable
        See `estimate_field`.
    kernels : (R, C, kh, kw) array
        The field, at full scale.
    shared : (kh, kw) array
        The other kernel.
    noise : float
        Standard deviation of the blurry image's noise, including what an inexact kernel adds.
    workers : int
        Threads.

    Returns
    -------
    kernels : (R, C, kh, kw) array
        The field, with the shared kernel in place of those that are worse.
    own : (R, C) bool array
        Which are better.
    """
    shared = centre(shared)
    weight = noise_weight(noise)
    windows = [window for window, _ in _windows(at, 1.0, shared.shape)]
    own = kernels.reshape(-1, *shared.shape)
    with ThreadPoolExecutor(workers) as pool:
        of_own = list(pool.map(_energy, windows, own, repeat(weight)))
        of_shared = list(pool.map(_energy, windows, repeat(shared), repeat(weight)))
    better = np.less(of_own, of_shared).reshape(kernels.shape[:2])
    return np.where(better[..., None, None], kernels, shared), better


def _energy(blurry: np.ndarray, kernel: np.ndarray, weight: float) -> float:
    """What `deconvolve` minimises, at its solution, for a pixel of the blurry image."""
    clipped = blurry >= CLIPPED
    sharp = deconvolve(blurry.astype(np.float32), kernel, weight, clipped=clipped, full=True)
    error = fftconvolve(sharp, kernel[::-1, ::-1], "valid") - blurry
    error[clipped & (error > 0)] = 0
    image = crop_to_blurry(sharp, kernel.shape)
    gradients = sum(np.sum(np.abs(np.diff(image, axis=axis)) ** EXPONENT) for axis in (0, 1))
    return float(weight / 2 * np.sum(error**2) + gradients) / blurry.size


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
    rows, columns = (
        [_part(side, count, number, _LEAST + extent) for number in range(count)]
        for side, count, extent in zip(image.shape, GRID, kernel_size, strict=True)
    )
    windows = []
    for place in ((row, column) for row in rows for column in columns):
        best = best_window(image[place], (WINDOW + kernel_size[0], WINDOW + kernel_size[1]))
        doubt = None if doubtful is None else doubtful[place][best]
        windows.append((image[place][best], doubt))
    return windows


def _part(side: int, count: int, number: int, least: int) -> slice:
    """One of so many equal parts of a side, enlarged to a least length if the side allows it."""
    length = min(side, max(-(-side // count), least))
    start = round((number + 0.5) * side / count - length / 2)
    start = min(max(start, 0), side - length)
    return slice(start, start + length)
