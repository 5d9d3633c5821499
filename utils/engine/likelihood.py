"""How well kernels explain the power spectrum of a blurry image: a judge that needs no truth.

Sharp images differ, but the spectra of nearly all fall smoothly with the frequency. A kernel puts
lines and rings of little power into the blurry one's, which only a kernel much like it explains.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import fft, optimize

# Side of the segments whose spectra are averaged, in pixels, and the least that tells something.
SEGMENT, SMALLEST_SEGMENT = 256, 200

# Frequencies that count, in cycles per pixel. Below them lies what is in the picture, above them
# noise and what demosaicking and compression leave.
FREQUENCIES = 0.01, 0.25

# The sharp image's spectrum: the degree of its logarithm in that of the frequency, and how many
# harmonics it has of the direction. Walls, roofs and rows of letters concentrate it in few
# directions; kernels do not, as their lines of little power do not run through the origin.
_DEGREE = 2
_HARMONICS = 8

# Even images without noise are rounded to 8 bits. Compression and demosaicking leave more than the
# noise that is estimated at the finest scale: its power may be up to this many times the estimate.
_LEAST_NOISE = 0.002
_MORE_NOISE = 4.0

# How closely sharp spectra follow the smooth one: the shape of a Gamma distribution of their
# inverses. Lines of a building and rows of letters stand far out of it.
_FOLLOWS = 2.0

# The share of no blur's misfit that a trusted kernel leaves at most. Right ones leave more only of
# images whose own spectra are unusual, wrong ones hardly ever less.
TRUSTED = 0.4

# A kernel explains the spectrum better than another if its misfit is less by more than this.
BETTER = 0.001

NO_BLUR = np.ones((1, 1))


def can_judge(
    image_size: tuple[int, int], kernel_size: tuple[int, int], smallest: int = SMALLEST_SEGMENT
) -> bool:
    """Whether an image, of a least side, is large enough for `Spectrum` with kernels of a size."""
    side = min(SEGMENT, *image_size)
    return side >= smallest and max(kernel_size) <= side // 2


class Spectrum:
    """The power spectrum of a blurry image, by which kernels are judged, and improved.

    It is the spectrum of the kernel times that of the sharp image, plus that of white noise. The
    sharp image's is assumed to be a quadratic in logarithms, times a smooth function of the
    direction, about which single frequencies scatter widely. Tapers blur the spectra of the
    segments, which is accounted for: else the zeros of a large kernel's would look filled.

    Parameters
    ----------
    blurry : (H, W) float array
        The blurry image in [0, 1].
    noise : float
        Lower bound of the noise's standard deviation, in [0, 1] units.

    References
    ----------
    Whittle: Estimation and information in stationary time series. Arkiv för Matematik 2(5), 1953.
    Goldstein, Fattal: Blur-kernel estimation from spectral irregularities. ECCV 2012 (kernels from
    the same regularity).
    Röver, Meyer, Christensen: Modelling coloured residual noise in gravitational-wave signal
    processing. Classical and Quantum Gravity 28, 2011 (Whittle's likelihood with heavy tails).
    """

    def __init__(self, blurry: np.ndarray, noise: float) -> None:
        side = min(SEGMENT, *blurry.shape)
        self.shape = side, side
        down, across = fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None]
        frequency = np.hypot(down, across)
        lowest, highest = FREQUENCIES
        self.seen = (frequency > lowest) & (frequency < highest)
        logarithm = np.log(frequency[self.seen])
        direction = np.arctan2(*np.broadcast_arrays(down, across))[self.seen]
        terms = [logarithm**power for power in range(_DEGREE + 1)]
        for harmonic in range(1, _HARMONICS + 1):
            terms += [wave(2 * harmonic * direction) for wave in (np.cos, np.sin)]
        self.basis = np.linalg.qr(np.stack(terms, axis=1))[0].T
        self.power = _power_spectrum(blurry, side)[self.seen]
        self.floor = max(noise, _LEAST_NOISE) ** 2
        self.spread = _spread(side)
        self.least = _least_misfit(self.power, blurry.shape, side)
        self.fitted: np.ndarray | None = None  # what `improve` knows of the sharp spectrum

    def misfit(self, kernel: np.ndarray) -> float:
        """Measure how badly a kernel explains the spectrum (see `spectral_misfits`)."""
        transfer = self._transfer(fft.rfft2(kernel, self.shape))

        def mean_and_gradient(unknown: np.ndarray) -> tuple[float, np.ndarray]:
            mean, _, gradient = self._explain(transfer, unknown)
            return mean, gradient

        found = optimize.minimize(
            mean_and_gradient,
            self._guess(transfer),
            jac=True,
            method="L-BFGS-B",
            bounds=self.bounds(),
            options={"maxiter": 300},
        )
        return float(found.fun) - self.least

    def improve(self, kernel: np.ndarray, weight: float, steps: int) -> np.ndarray:
        """Change a kernel so that it explains the spectrum better.

        Minimises ``weight * misfit(k) + ||k - kernel||^2 / 2 / ||kernel||^2`` over k >= 0 by a few
        steps, the sharp spectrum's numbers along with it.

        Parameters
        ----------
        kernel : (kh, kw) array
            Non-negative.
        weight : float
            How much the spectrum counts.
        steps : int
            Of a quasi-Newton method.

        Returns
        -------
        (kh, kw) float64 array
            Non-negative, sum 1.
        """
        shape = kernel.shape
        improved = improve_together(
            [self],
            kernel.ravel(),
            lambda values: values.reshape(1, *shape),
            lambda slopes: slopes.ravel(),
            weight,
            steps,
        )
        return improved.reshape(shape)

    def slopes(
        self, kernel: np.ndarray, unknown: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """The misfit but for a constant, and its slopes by the kernel and by the unknown numbers.

        Parameters
        ----------
        kernel : (kh, kw) array
            Non-negative.
        unknown : (n,) array
            The sharp spectrum's numbers and the logarithm of the noise (see `guess`).
        """
        side = self.shape[0]
        spectrum = fft.rfft2(kernel, self.shape)
        mean, by_transfer, by_unknown = self._explain(self._transfer(spectrum), unknown)
        # Frequencies across stand for those of the other sign too, except the first and the last.
        halved = np.full((1, self.seen.shape[1]), 0.5)
        halved[0, 0] = 1
        if side % 2 == 0:
            halved[0, -1] = 1
        slope = np.zeros(self.seen.shape)
        slope[self.seen] = by_transfer
        slope = fft.irfft2(slope * halved, self.shape) * self.spread * side**2
        crop = tuple(slice(side) for side in kernel.shape)
        slope = 2 * fft.irfft2(fft.rfft2(slope) * spectrum, self.shape)[crop]
        return mean, slope, by_unknown

    def guess(self, kernel: np.ndarray) -> np.ndarray:
        """What is likely of the unknown numbers, given a kernel."""
        return self._guess(self._transfer(fft.rfft2(kernel, self.shape)))

    def _explain(
        self, transfer: np.ndarray, unknown: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """The mean negative log-likelihood, and its slopes by the transfer and the unknown."""
        sharp = np.exp(np.clip(unknown[:-1] @ self.basis, -40, 20))
        noise = self.floor * np.exp(unknown[-1])
        expected = transfer * sharp + noise
        ratio = self.power / expected
        mean = np.mean(np.log(expected) + (1 + _FOLLOWS) * np.log1p(ratio / _FOLLOWS))
        slope = (1 - (1 + _FOLLOWS) * ratio / (_FOLLOWS + ratio)) / expected / ratio.size
        by_transfer = slope * sharp
        by_unknown = np.append(self.basis @ (by_transfer * transfer), np.sum(slope * noise))
        return float(mean), by_transfer, by_unknown

    def _guess(self, transfer: np.ndarray) -> np.ndarray:
        return np.append(self.basis @ np.log(np.maximum(self.power / (transfer + 1e-3), 1e-9)), 0.0)

    def bounds(self) -> list[tuple[float | None, float | None]]:
        """Between which the unknown numbers lie."""
        return [(None, None)] * len(self.basis) + [(0, float(np.log(_MORE_NOISE)))]

    def _transfer(self, spectrum: np.ndarray) -> np.ndarray:
        """The power spectrum of a kernel, blurred as the taper blurs that of a segment."""
        correlation = fft.irfft2(np.abs(spectrum) ** 2, self.shape)
        return np.maximum(fft.rfft2(correlation * self.spread).real, 0)[self.seen]


def improve_together(
    spectra: Sequence[Spectrum],
    start: np.ndarray,
    kernels: Callable[[np.ndarray], np.ndarray],
    adjoint: Callable[[np.ndarray], np.ndarray],
    weight: float,
    steps: int,
    pool: ThreadPoolExecutor | None = None,
) -> np.ndarray:
    """Change some numbers so that the kernels they make explain the spectra better.

    Minimises ``weight`` times the mean misfit plus ``||k - kernels(start)||^2 / 2 /
    ||kernels(start)||^2`` over numbers of at least 0 by a few steps, the sharp spectra's numbers
    along with them. These are kept for the next time.

    Parameters
    ----------
    spectra : sequence of N Spectrum
        Those to explain.
    start : (n,) array
        The numbers, non-negative.
    kernels : callable
        Takes the numbers, returns the (N, kh, kw) kernels, linear in them.
    adjoint : callable
        Takes slopes by the kernels, (N, kh, kw), and returns those by the numbers, (n,).
    weight : float
        How much the spectra count.
    steps : int
        Of a quasi-Newton method.
    pool : ThreadPoolExecutor, optional
        Threads, each of which takes a spectrum.

    Returns
    -------
    (n,) float64 array
        Non-negative, sum 1.
    """
    begun = kernels(start)
    largest, power, number = start.max(), np.sum(begun**2), len(spectra)
    for spectrum, kernel in zip(spectra, begun, strict=True):
        if spectrum.fitted is None:
            spectrum.fitted = spectrum.guess(kernel)
    run = pool.map if pool else map

    def value_and_gradient(unknown: np.ndarray) -> tuple[float, np.ndarray]:
        made = kernels(largest * unknown[: start.size])
        others = unknown[start.size :].reshape(number, -1)
        means, slopes, by_others = zip(*run(Spectrum.slopes, spectra, made, others), strict=True)
        moved = made - begun
        by_numbers = largest * adjoint(weight / number * np.stack(slopes) + moved / power)
        value = weight * np.mean(means) + np.sum(moved**2) / 2 / power
        return value, np.concatenate([by_numbers, weight / number * np.concatenate(by_others)])

    bounds = [bound for spectrum in spectra for bound in spectrum.bounds()]
    found = optimize.minimize(
        value_and_gradient,
        np.concatenate([start / largest, *(spectrum.fitted for spectrum in spectra)]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * start.size + bounds,
        options={"maxiter": steps},
    ).x
    for spectrum, fitted in zip(spectra, found[start.size :].reshape(number, -1), strict=True):
        spectrum.fitted = fitted
    return found[: start.size] / found[: start.size].sum()


def spectral_misfits(
    blurry: np.ndarray, kernels: Sequence[np.ndarray], noise: float
) -> list[float]:
    """Measure how badly each kernel explains a blurry image's power spectrum (see `Spectrum`).

    The sharp image's numbers and the noise, within bounds, are fitted for each kernel.

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
        be on average if the assumed smooth spectrum were the true one. Right kernels mostly
        have 0 to 0.1 and at most 0.4 of what no blur has, which is 0.1 to 0.4, less with noise;
        wrong kernels lie between or above. A small or smooth kernel, such as a Gaussian, is hardly
        told from no blur.
    """
    spectrum = Spectrum(blurry, noise)
    return [spectrum.misfit(kernel) for kernel in kernels]


def is_trusted(misfit: float, of_no_blur: float) -> bool:
    """Whether a kernel explains the spectrum so well that no other need be looked for."""
    return misfit <= min(TRUSTED * of_no_blur, of_no_blur)


def _least_misfit(power: np.ndarray, image_size: tuple[int, int], side: int) -> float:
    """What the mean negative log-likelihood is, on average, if the smooth spectrum is the true one.

    The mean over segments is a sum of independent exponential values with shares of the spectrum,
    r. Means of logarithms are integrals of its Laplace transform: that of ``log(r)`` is the
    integral of ``(exp(-t) - E exp(-t r)) / t``, that of ``log(1 + r / c)`` the integral of
    ``exp(-t) (1 - E exp(-t r / c)) / t``.
    """
    shares = np.outer(*(_shares(extent, side) for extent in image_size)).ravel()
    shares = shares[shares > 1e-6]
    steps = np.linspace(-30, 30, 1201)
    times = np.exp(steps)

    def transform(times: np.ndarray) -> np.ndarray:
        return np.exp(-np.sum(np.log1p(np.outer(times, shares)), axis=1))

    mean_logarithm = np.trapezoid(np.exp(-times) - transform(times), steps)
    # The fit scales the spectrum so that it is likeliest.
    means = [
        np.log(scale)
        + (1 + _FOLLOWS)
        * np.trapezoid(np.exp(-times) * (1 - transform(times / scale / _FOLLOWS)), steps)
        for scale in np.linspace(0.6, 1, 9)
    ]
    return float(np.mean(np.log(power)) - mean_logarithm + min(means))


def _shares(length: int, side: int) -> np.ndarray:
    """The shares of independent values in the mean of what overlapping segments of an axis have."""
    starts = _starts(length, side)
    taper = np.hanning(side)
    overlap = np.zeros(max(length, 2 * side))
    overlap[:side] = np.correlate(taper, taper, "full")[side - 1 :] / np.sum(taper**2)
    shares = np.linalg.eigvalsh(overlap[np.abs(starts[:, None] - starts)]) / len(starts)
    return np.maximum(shares, 0)


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


def _spread(side: int) -> np.ndarray:
    """By what a taper multiplies the autocorrelation of what it tapers."""
    spread = fft.irfft(np.abs(fft.rfft(np.hanning(side), 2 * side)) ** 2, 2 * side)[:side]
    offset = np.arange(side)
    spread = (spread / spread[0])[np.minimum(offset, side - offset)]
    return spread[:, None] * spread
