"""How well kernels explain the power spectrum of a blurry image: a judge that needs no truth.

Sharp images differ, but the spectra of nearly all fall smoothly with the frequency. A kernel puts
lines and rings of little power into the blurry one's, which only a kernel much like it explains.
"""

from collections.abc import Sequence

import numpy as np
from scipy import fft, optimize

# Side of the segments whose spectra are averaged, in pixels, and the least that tells something.
SEGMENT, SMALLEST_SEGMENT = 256, 200

# Frequencies that count, in cycles per pixel. Below them lies what is in the picture, above them
# noise and what demosaicking and compression leave.
FREQUENCIES = 0.01, 0.25

# The sharp image's spectrum: the degree of its logarithm in that of the frequency, and how many
# harmonics it has of the direction.
_DEGREE = 2
_HARMONICS = 2

# Even images without noise are rounded to 8 bits. Compression and demosaicking leave more than the
# noise that is estimated at the finest scale: its power may be up to so many times the estimate.
_LEAST_NOISE = 0.002
_MORE_NOISE = 4.0


NO_BLUR = np.ones((1, 1))


def can_judge(image_size: tuple[int, int], kernel_size: tuple[int, int]) -> bool:
    """Whether an image is large enough for `spectral_misfits` of kernels of a size."""
    side = min(SEGMENT, *image_size)
    return side >= SMALLEST_SEGMENT and max(kernel_size) <= side // 2


def spectral_misfits(
    blurry: np.ndarray, kernels: Sequence[np.ndarray], noise: float
) -> list[float]:
    """Measure how badly each kernel explains a blurry image's power spectrum.

    The spectrum of the blurry image is that of the kernel times that of the sharp image, plus that
    of white noise. Of the sharp image's it is assumed that it is a quadratic in logarithms, times a
    smooth function of the direction. These seven numbers and the noise, within bounds, are fitted
    for each kernel, by the likelihood of independent exponential values (Whittle's). Tapers blur
    the spectra of the segments, which is accounted for: else the zeros of a large kernel's would
    look filled.

    Parameters
    ----------
    blurry : (H, W) array
        The blurry image in [0, 1].
    kernels : sequence of (kh, kw) array
        Non-negative, sum 1. A single pixel stands for no blur at all.
    noise : float
        Lower bound of the noise's standard deviation, in [0, 1] units.

    Returns
    -------
    list of float
        For each kernel the negative logarithm of the likelihood, per frequency, less what it would
        be on average if the assumed spectrum were the true one. Right kernels have 0 to 0.1, and
        more only with images whose spectra are unusual. No blur at all has mostly 0.1 to 0.4, and
        wrong kernels lie between or above. A small or smooth kernel, such as a Gaussian, is hardly
        told from no blur.

    References
    ----------
    Whittle: Estimation and information in stationary time series. Arkiv för Matematik 2(5), 1953.
    Goldstein, Fattal: Blur-kernel estimation from spectral irregularities. ECCV 2012 (kernels from
    the same regularity).
    """
    side = min(SEGMENT, *blurry.shape)
    down, across = fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None]
    frequency = np.hypot(down, across)
    lowest, highest = FREQUENCIES
    seen = (frequency > lowest) & (frequency < highest)
    logarithm = np.log(frequency[seen])
    direction = np.arctan2(*np.broadcast_arrays(down, across))[seen]
    terms = [logarithm**power for power in range(_DEGREE + 1)]
    for harmonic in range(1, _HARMONICS + 1):
        terms += [wave(2 * harmonic * direction) for wave in (np.cos, np.sin)]
    basis = np.linalg.qr(np.stack(terms, axis=1))[0].T
    power = _power_spectrum(blurry, side)[seen]
    floor = max(noise, _LEAST_NOISE) ** 2
    least = _least_misfit(power, blurry.shape, side)
    return [
        _misfit(power, _transfer(kernel, side)[seen], basis, floor) - least for kernel in kernels
    ]


def is_trusted(misfit: float, of_no_blur: float) -> bool:
    """Whether a kernel explains the spectrum so well that no other need be looked for.

    Right kernels have a misfit of up to 0.1, and half of what no blur has. Below 0.05, which chance
    can make, it always suffices, or else a blur of next to nothing would never be trusted.
    """
    return misfit <= min(0.1, max(0.05, of_no_blur / 2))


def _least_misfit(power: np.ndarray, image_size: tuple[int, int], side: int) -> float:
    """The mean of ``log(s) + power / s`` to expect with the true `s` of averaged segments.

    The average is a sum of independent exponential values with shares of `s`. The mean of a sum's
    logarithm is the integral of ``(exp(-t) - E exp(-t sum)) / t``.
    """
    shares = np.outer(*(_shares(extent, side) for extent in image_size)).ravel()
    steps = np.linspace(-30, 30, 1201)
    transform = np.exp(-np.sum(np.log1p(np.outer(np.exp(steps), shares)), axis=1))
    mean_logarithm = np.trapezoid(np.exp(-np.exp(steps)) - transform, steps)
    return float(np.mean(np.log(power)) - mean_logarithm + 1)


def _shares(length: int, side: int) -> np.ndarray:
    """The shares of independent values in the mean of what overlapping segments of an axis have."""
    starts = _starts(length, side)
    taper = np.hanning(side)
    overlap = np.zeros(max(length, 2 * side))
    overlap[:side] = np.correlate(taper, taper, "full")[side - 1 :] / np.sum(taper**2)
    shares = np.linalg.eigvalsh(overlap[np.abs(starts[:, None] - starts)]) / len(starts)
    return np.maximum(shares, 0)


def _misfit(power: np.ndarray, transfer: np.ndarray, basis: np.ndarray, floor: float) -> float:
    """The least mean of ``log(s) + power / s`` over ``s = transfer * exp(c basis) + n floor``."""

    def mean_and_gradient(unknown: np.ndarray) -> tuple[float, np.ndarray]:
        blurred = transfer * np.exp(np.clip(unknown[:-1] @ basis, -40, 20))
        noise = floor * np.exp(unknown[-1])
        expected = blurred + noise
        ratio = power / expected
        slope = (1 - ratio) / expected
        gradient = np.append(basis @ (slope * blurred) / power.size, np.mean(slope * noise))
        return float(np.mean(np.log(expected) + ratio)), gradient

    coefficients = basis @ np.log(np.maximum(power / (transfer + 1e-3), 1e-9))
    found = optimize.minimize(
        mean_and_gradient,
        np.append(coefficients, 0.0),
        jac=True,
        method="L-BFGS-B",
        bounds=[(None, None)] * len(basis) + [(0, np.log(_MORE_NOISE))],
        options={"maxiter": 300},
    )
    return float(found.fun)


def _power_spectrum(image: np.ndarray, side: int) -> np.ndarray:
    """The power spectrum of an image, averaged over tapered segments that overlap."""
    taper = np.hanning(side)[:, None] * np.hanning(side)
    taper /= np.sqrt(np.sum(taper**2))
    powers = []
    for top in _starts(image.shape[0], side):
        for left in _starts(image.shape[1], side):
            segment = image[top : top + side, left : left + side]
            powers.append(np.abs(fft.rfft2(taper * (segment - segment.mean()))) ** 2)
    return np.mean(powers, axis=0)


def _starts(length: int, side: int) -> np.ndarray:
    count = 1 if length == side else max(2, int(np.ceil(1.5 * length / side)))
    return np.linspace(0, length - side, count).astype(int)


def _transfer(kernel: np.ndarray, side: int) -> np.ndarray:
    """The power spectrum of a kernel, blurred as the taper blurs that of a segment."""
    correlation = fft.irfft2(np.abs(fft.rfft2(kernel, (side, side))) ** 2, (side, side))
    spread = fft.irfft(np.abs(fft.rfft(np.hanning(side), 2 * side)) ** 2, 2 * side)[:side]
    offset = np.arange(side)
    spread = (spread / spread[0])[np.minimum(offset, side - offset)]
    return np.maximum(fft.rfft2(correlation * spread[:, None] * spread).real, 0)
