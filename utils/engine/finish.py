"""The finish of a restoration: the network's image averaged with a sparse deconvolution."""

from collections.abc import Callable

import numpy as np

from utils.engine.deconvolution import deconvolve


def finish(
    blurry: np.ndarray,
    sharp: np.ndarray,
    kernel: np.ndarray,
    *,
    on_step: Callable[[int, int, str], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    d = deconvolve(blurry, kernel, full=True)
    return (sharp + d.clip(0, 1)) / 2, kernel
