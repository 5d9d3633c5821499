"""The finish of a restoration: what a network left of the blur and the noise is removed."""

from collections.abc import Callable

import numpy as np

from utils.engine.likelihood import BETTER, can_judge, spectral_misfits
from utils.engine.noise import estimate_noise, estimate_residual
from utils.engine.refine import LOWEST, restore_by_levels

# Levels in units of the residual's standard deviation: with the kernel as it is, and refitted.
LEVELS = np.geomspace(5.2, 1.3, 6)
REFIT_LEVELS = np.geomspace(6.0, 3.5, 8)


def finish(
    blurry: np.ndarray,
    sharp: np.ndarray,
    kernel: np.ndarray,
    *,
    fit_kernel: bool = True,
    doubtful: np.ndarray | None = None,
    on_step: Callable[[int, int, str], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Improve a network's image and kernel under collaborative filtering as the prior.

    The image is first restored anew with the kernel as it is. The average of that and the
    network's image, each having its own errors, is then refined, together with the kernel unless
    that is known. Where the blur is exact, as in simulations, that kernel is mostly worse than the
    network's, in photographs mostly better. So if the kernel halfway between the two explains the
    image's power spectrum better, all is done again with that.

    Parameters
    ----------
    blurry : (H, W) float array
        The blurry image in [0, 1].
    sharp : (H + kh - 1, W + kw - 1) array
        The network's image in [0, 1].
    kernel : (kh, kw) array
        Its kernel, non-negative, sum 1.
    fit_kernel : bool
        Whether to fit the kernel anew; not if it is known.
    doubtful : (H, W) bool array, optional
        Pixels to leave out of that.
    on_step : callable, optional
        Called as ``on_step(done, total, detail)`` after every level.

    Returns
    -------
    sharp : (H + kh - 1, W + kw - 1) float32 array
        The finished image, not confined to [0, 1].
    kernel : (kh, kw) array
        The kernel, fitted anew unless it is known.

    References
    ----------
    See `utils.engine.refine.restore_by_levels`.
    """
    residual = estimate_residual(blurry)
    done, total = 0, len(LEVELS) + len(REFIT_LEVELS)

    def tell(image: np.ndarray, kernel: np.ndarray) -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(done, total, "")

    def restore(kernel: np.ndarray, fit_kernel: bool) -> tuple[np.ndarray, np.ndarray]:
        restored, _ = restore_by_levels(blurry, kernel, residual, LEVELS * residual, on_level=tell)
        return restore_by_levels(
            blurry,
            kernel,
            residual,
            REFIT_LEVELS * min(residual, LOWEST / REFIT_LEVELS[-1]),
            sharp=(restored + sharp) / 2,
            fit_kernel=fit_kernel,
            doubtful=doubtful,
            on_level=tell,
        )

    kernel = np.asarray(kernel, np.float64)
    kernel = kernel / kernel.sum()
    found = restore(kernel, fit_kernel)
    if not fit_kernel or not can_judge(blurry.shape, kernel.shape):
        return found
    fitted = found[1]
    between = (kernel + fitted) / 2
    of_fitted, of_between = spectral_misfits(blurry, [fitted, between], estimate_noise(blurry))
    if of_between >= of_fitted - BETTER:
        return found
    total *= 2
    return restore(between, fit_kernel=False)
