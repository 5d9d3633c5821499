"""Kernels by phase retrieval: of those that share a power spectrum, those with the sparsest image.

An estimate that has lost the kernel's outline still knows much of its power spectrum, and a large
image's own spectrum tells the rest. Which of the kernels with that spectrum is the right one, the
sharp image decides, whose gradients are sparse: it also tells a kernel from its mirror image.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter

import numpy as np
from scipy import fft

from utils.engine.deconvolution import EXPONENT, deconvolve, noise_weight
from utils.engine.estimate_kernel import window_for
from utils.engine.kernel_fit import CLIPPED, centre, prune
from utils.engine.likelihood import SEGMENT, Spectrum, is_trusted
from utils.engine.noise import estimate_residual
from utils.images.kernels import crop_to_blurry

# An image needs this many pixels for phase retrieval. A single segment's spectrum does not say
# enough: on crops of 255 x 255 pixels wrong kernels of 41 explain it better than the true one.
LEAST_PIXELS = 2 * SEGMENT**2

# How many kernels share the power spectrum of each given one, from as many random starts.
TRIES = 10

# Right kernels of images with unusual spectra may leave this share of no blur's misfit, if they
# give an image that is sparser by this factor than their mirror image does. On images too small for
# phase retrieval even wrong kernels reached 1.19.
UNUSUAL = 0.5
SPARSER = 1.1
SPARSER_IF_SMALL = 1.25

# How much the image's spectrum counts when kernels are bent to it, and in how many steps.
_WEIGHT = 10.0
_BENDING_STEPS = 100

# Of hybrid input and output, its feedback, and how many in each fifty are of error reduction, as
# the last ones are.
_STEPS = 300
_FEEDBACK = 0.8
_CYCLE, _REDUCING, _LAST_REDUCING = 50, 10, 20

# Most of a random start lies in few pixels.
_CONCENTRATION = 4


def find_by_phases(
    blurry: np.ndarray,
    spectrum: Spectrum,
    kernels: Sequence[np.ndarray],
    generator: np.random.Generator,
    on_try: Callable[[int], None] | None = None,
) -> list[np.ndarray]:
    """Find kernels that explain an image's power spectrum, from others that partly do.

    Each given kernel is bent to the spectrum. From random starts phases are then found with which
    the same spectrum is that of another non-negative kernel in the same frame. Each of these is
    bent to the spectrum in turn, and either it or its mirror image is kept, whose image is sparser.

    Parameters
    ----------
    blurry : (H, W) float array
        The blurry image in [0, 1].
    spectrum : Spectrum
        Its power spectrum.
    kernels : sequence of (kh, kw) array
        Kernels to begin with: non-negative, sum 1.
    generator : numpy.random.Generator
        Of the random starts.
    on_try : callable, optional
        Called with how many kernels have been found, after each.

    Returns
    -------
    list of (kh, kw) float64 array
        `TRIES` for each given one, non-negative, sum 1, the middle of the extent in the frame's;
        that with the sparsest image first.

    References
    ----------
    Fienup: Phase retrieval algorithms: a comparison. Applied Optics 21(15), 1982.
    Goldstein, Fattal: Blur-kernel estimation from spectral irregularities. ECCV 2012.
    """
    window, weight = _window(blurry, kernels[0].shape)
    found: list[tuple[float, np.ndarray]] = []
    for kernel in kernels:
        bent = _bend(spectrum, kernel)
        for _ in range(TRIES):
            other = _bend(spectrum, retrieve_phases(bent, generator))
            other = centre(prune(other), by_extent=True)
            either = [(density(window, each, weight), each) for each in (other, other[::-1, ::-1])]
            found.append(min(either, key=itemgetter(0)))
            if on_try:
                on_try(len(found))
    return [kernel for _, kernel in sorted(found, key=itemgetter(0))]


def retrieve_phases(kernel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Find a kernel that has the power spectrum of another, from a random start.

    By hybrid input and output with some steps of error reduction, non-negative and in the same
    frame. The result may be the same kernel, its mirror image, or another one.

    Parameters
    ----------
    kernel : (kh, kw) array
        The other kernel: non-negative, sum 1.
    generator : numpy.random.Generator
        Of the random start.

    Returns
    -------
    (kh, kw) float64 array
        Non-negative, sum 1.

    References
    ----------
    Fienup: Phase retrieval algorithms: a comparison. Applied Optics 21(15), 1982.
    """
    height, width = kernel.shape
    shape = (
        fft.next_fast_len(2 * height - 1, real=True),
        fft.next_fast_len(2 * width - 1, real=True),
    )
    magnitude = np.abs(fft.rfft2(kernel, shape))
    frame = np.zeros(shape, bool)
    frame[:height, :width] = True
    found = np.zeros(shape)
    found[frame] = generator.random(kernel.size) ** _CONCENTRATION
    for step in range(_STEPS):
        phases = np.exp(1j * np.angle(fft.rfft2(found)))
        nearest = fft.irfft2(magnitude * phases, shape)
        reduces = step % _CYCLE >= _CYCLE - _REDUCING or step >= _STEPS - _LAST_REDUCING
        otherwise = 0.0 if reduces else found - _FEEDBACK * nearest
        found = np.where(frame & (nearest > 0), nearest, otherwise)
    cut = found[:height, :width]
    return cut / cut.sum()


def density(blurry: np.ndarray, kernel: np.ndarray, weight: float) -> float:
    """How far from sparse the gradients of the image are that a kernel makes of a blurry one.

    Parameters
    ----------
    blurry : (H, W) array
        The blurry image in [0, 1].
    kernel : (kh, kw) array
        Non-negative, sum 1.
    weight : float
        Of the data, in the sparse deconvolution.

    Returns
    -------
    float
        The mean of the gradients' magnitudes to the power of 0.8, over that of their root mean
        square; whatever the contrast, at most 1. Of kernels with the same power spectrum the right
        one has the least.
    """
    sharp = deconvolve(blurry, kernel, weight, clipped=blurry >= CLIPPED, full=True)
    image = crop_to_blurry(sharp, kernel.shape)
    gradients = np.abs(
        np.concatenate([np.diff(image, axis=axis).ravel() for axis in (0, 1)]), dtype=np.float64
    )
    return float(np.mean(gradients**EXPONENT) / np.mean(gradients**2) ** (EXPONENT / 2))


def mirror_ratio(blurry: np.ndarray, kernel: np.ndarray) -> float:
    """How much sparser an image a kernel gives than its mirror image does.

    Both have the same power spectrum, so this tells what that does not.

    Parameters
    ----------
    blurry : (H, W) float array
        The blurry image in [0, 1].
    kernel : (kh, kw) array
        Non-negative, sum 1.

    Returns
    -------
    float
        The ratio of the mirror image's `density` to the kernel's. Right kernels mostly have 1.1 to
        1.5 on large images, symmetric ones 1, and those with wrong phases 0.95 to 1.05; on small
        images wrong ones have up to 1.19.
    """
    window, weight = _window(blurry, kernel.shape)
    return density(window, kernel[::-1, ::-1], weight) / density(window, kernel, weight)


def is_proven(blurry: np.ndarray, kernel: np.ndarray, misfit: float, of_no_blur: float) -> bool:
    """Whether a kernel is trusted for its phases though it leaves somewhat much of the spectrum.

    Parameters
    ----------
    blurry : (H, W) float array
        The blurry image in [0, 1]; of a small one more is asked.
    kernel : (kh, kw) array
        Non-negative, sum 1.
    misfit, of_no_blur : float
        See `utils.engine.likelihood.spectral_misfits`.
    """
    if misfit > UNUSUAL * of_no_blur:
        return False
    asked = SPARSER if blurry.size >= LEAST_PIXELS else SPARSER_IF_SMALL
    return mirror_ratio(blurry, kernel) >= asked


def is_trusted_or_proven(
    blurry: np.ndarray, kernel: np.ndarray, misfit: float, of_no_blur: float
) -> bool:
    """Whether a kernel is trusted, by the spectrum or for its phases (see `is_proven`)."""
    return is_trusted(misfit, of_no_blur) or is_proven(blurry, kernel, misfit, of_no_blur)


def _window(blurry: np.ndarray, kernel_size: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """The window of an image to compare kernels in, and the data's weight there."""
    height, width = kernel_size
    window = blurry[window_for(blurry, (height, width))].astype(np.float32)
    return window, noise_weight(estimate_residual(blurry))


def _bend(spectrum: Spectrum, kernel: np.ndarray) -> np.ndarray:
    """Change a kernel so that it explains the spectrum better."""
    spectrum.fitted = None  # what it knows is of another kernel
    return spectrum.improve(kernel, _WEIGHT, _BENDING_STEPS)
