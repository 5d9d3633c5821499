"""A kernel's outlines by many selections of edges: where one fails, the judge draws from a lottery.

What comes of a hard image is chaotic: selections that hardly differ find the kernel or lose it.
At half size an outline takes a fifth of an estimate's time, and its misfit follows how much it is
like the true kernel.
"""

from collections.abc import Sequence

import numpy as np

from utils.engine.estimate_kernel import (
    ROUNDS,
    TENTHS,
    USUAL,
    EdgeSelection,
    Scaled,
    coarse_to_fine,
    list_scales,
    shrink_image,
    time_of_rounds,
)
from utils.engine.kernel_size import similarity
from utils.engine.likelihood import can_judge, spectral_misfits
from utils.engine.noise import estimate_noise

# Outlines are estimated at this scale or the next finer one at which the image is large enough to
# be judged by.
OUTLINE_SCALE = 0.5

# Outlines that are so much alike are one.
_SAME = 0.98

_WEIGHTS = ((500.0, 8000.0), (2000.0, 8000.0), (125.0, 4000.0), (500.0, 16000.0), (50.0, 2000.0))
_STRONGEST = (0.1, 0.2, 0.4)

SELECTIONS = tuple(
    EdgeSelection(weights, strongest) for weights in _WEIGHTS for strongest in _STRONGEST
)
"""Selections of edges for the whole image."""

WINDOW_SELECTIONS = tuple(EdgeSelection(weights, USUAL.strongest) for weights in _WEIGHTS)
"""Selections of edges for each further window."""


def outline_scale(image_size: tuple[int, int], kernel_size: tuple[int, int]) -> float:
    """The scale at which an image's outlines are estimated and judged; 1 if no smaller one will do.

    Examples
    --------
    >>> outline_scale((768, 1024), (51, 51)), outline_scale((255, 255), (51, 51))
    (0.5, 1.0)
    """
    for scale, size in list_scales(kernel_size):
        reduced = (round(image_size[0] * scale), round(image_size[1] * scale))
        if scale > OUTLINE_SCALE - 1e-9 and can_judge(reduced, size):
            return scale
    return 1.0


def estimate_outline(
    at: Scaled, kernel_size: tuple[int, int], scale: float, selection: EdgeSelection
) -> np.ndarray:
    """Estimate a kernel up to a scale (see `utils.engine.estimate_kernel.coarse_to_fine`).

    Parameters
    ----------
    at : callable
        The blurry image (see `utils.engine.estimate_kernel.at_scales`).
    kernel_size : (int, int)
        The kernel's size at full size.
    scale : float
        The last scale, one of `list_scales`.
    selection : EdgeSelection
        Which edges show the kernel.

    Returns
    -------
    (h, w) float64 array
        The kernel at the scale, non-negative, sum 1.
    """
    scales = [each for each in list_scales(kernel_size) if each[0] <= scale]
    return coarse_to_fine(at, scales, rounds=ROUNDS, selection=selection, on_round=lambda _: None)


def work_of_outline(image_size: tuple[int, int], kernel_size: tuple[int, int], scale: float) -> int:
    """The work on an outline as `estimate_kernel` counts its own."""
    scales = [each for each in list_scales(kernel_size) if each[0] <= scale]
    return round(TENTHS * time_of_rounds(image_size, kernel_size, scales).sum())


def rank_outlines(blurry: np.ndarray, outlines: Sequence[np.ndarray], scale: float) -> list[int]:
    """Rank outlines by how well they explain the spectrum of the image at their scale.

    Parameters
    ----------
    blurry : (H, W) float array
        The blurry image in [0, 1], at full size.
    outlines : sequence of (h, w) array
        Kernels at the scale.
    scale : float
        See `outline_scale`.

    Returns
    -------
    list of int
        Their places among the outlines, the likeliest first; without those that are much like a
        likelier one.
    """
    reduced = shrink_image(blurry, scale)
    misfits = spectral_misfits(reduced, outlines, estimate_noise(reduced))
    ranked: list[int] = []
    for place in np.argsort(misfits).tolist():
        if all(similarity(outlines[place], outlines[other]) < _SAME for other in ranked):
            ranked.append(place)
    return ranked
