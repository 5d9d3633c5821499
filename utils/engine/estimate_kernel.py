"""A blur kernel from one blurry image: coarse to fine, by classical means."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import fft, ndimage

from utils.engine.conjugate_gradients import solve
from utils.engine.deconvolution import deconvolve
from utils.engine.kernel_fit import (
    CLIPPED,
    Observation,
    centre,
    fit_edges,
    fit_posterior,
    gradients_adjoint,
    gradients_of,
    keep_strongest,
    prune,
    spectrum_of,
)
from utils.engine.likelihood import SEGMENT, Spectrum, can_judge
from utils.engine.noise import estimate_noise
from utils.engine.windows import Place, best_window, part_of

# Scales: from where the kernel's longer side has about this many pixels, by this factor.
COARSEST = 5
FACTOR = 2**0.5

ROUNDS = 20  # of the two steps, a scale
FLATTEN_STEPS = 30

# Refinement at full size, first by posterior mean and sample, then on sharp gradients.
REFINE_ROUNDS = 20
REFINE_FLATTEN_WEIGHT = 8000.0
SOLVER_STEPS = 20
PRIOR_WEIGHT = 4.0
DATA_NOISE = 0.01
POLISH_ROUNDS = 4
POLISH_STRONGEST = 0.3
POLISH_WEIGHT = 8000.0

# Where the spectrum counts, each round takes a few steps toward it. An image of fewer pixels a side
# than this tells too little.
SPECTRAL_STEPS = 15
SMALLEST_SPECTRUM = 100

# Kernels from this scale on may turn out better than the last one.
CANDIDATE_SCALE = 0.5

# Progress counts the work in tenths of a round of the two steps at full size. One of the refinement
# and one of the polish take this many times as long; each as if its image had 8000 pixels more,
# and many more where the spectrum of a whole segment counts.
TENTHS = 10
REFINE_TIME, POLISH_TIME = 1.6, 7.0
PIXELS_AT_LEAST = 8000
SPECTRAL_PIXELS = 120_000

# Pixels a side that a round sees beside the kernel's own. With 512 of them three of Lai's images
# came out 0.3 dB worse on average, and took twice as long.
WINDOW = 300

Scaled = Callable[[float], tuple[np.ndarray, np.ndarray | None]]
Start = tuple[float, np.ndarray]

SMALLEST_IMAGE = 64
SMALLEST_KERNEL, LARGEST_KERNEL = 3, 151


@dataclass(frozen=True)
class EdgeSelection:
    """Which edges of the flattened image show the kernel, from coarse to fine.

    Parameters
    ----------
    weights : (float, float)
        The data's weight in the first round of a scale and in the last, between which it grows
        geometrically: first only the strongest edges can stand, later finer ones too.
    strongest : float
        The share of the pixels, those with the largest gradients, to which the kernel is fitted.
    """

    weights: tuple[float, float] = (500.0, 8000.0)
    strongest: float = 0.2


USUAL = EdgeSelection()


def estimate_kernel(
    blurry: np.ndarray,
    kernel_size: tuple[int, int],
    *,
    start: Start | None = None,
    spectral_weight: float = 0.0,
    by_extent: bool = False,
    doubtful: np.ndarray | None = None,
    on_step: Callable[[int, int, str], None] | None = None,
    on_candidate: Callable[[np.ndarray], None] | None = None,
) -> np.ndarray:
    """Estimate the kernel of a uniform blur from the blurry image alone.

    From coarse scales to fine, two steps alternate: an image with few edges that explains the
    blurry one under the present kernel, and the non-negative kernel that best takes that image's
    strongest edges to the blurry gradients. At full size the kernel is refined by expectation
    maximisation, the image being known up to its posterior's spread, and last on the edges of the
    sparse deconvolution.

    Parameters
    ----------
    blurry : (H, W) float array
        The blurry image in [0, 1].
    kernel_size : (int, int)
        Height and width to confine the kernel to, 3 to 151 and smaller than the image. It may
        be larger than the blur.
    start : (float, (h, w) array), optional
        A scale and the kernel there, sum 1, to go on from; at scale 1 it is only refined.
    spectral_weight : float
        How much it counts in the rounds at smaller scales that the kernel explains the image's
        power spectrum (see `utils.engine.likelihood.Spectrum.improve`). Those at full size and the
        refinement go without, so that the spectrum may judge what they make of it.
    by_extent : bool
        Whether to keep the middle of the kernel's extent in the frame's middle, not its centre of
        mass (see `utils.engine.kernel_fit.centre`).
    doubtful : (H, W) bool array, optional
        Pixels whose luminance may be wrong, as where a color's channel was cut off.
    on_step : callable, optional
        Called as ``on_step(done, total, detail)`` after every round, with what is done of the
        work, so that progress is even.
    on_candidate : callable, optional
        Called with the (kh, kw) kernels on the way, of sum 1 and enlarged where they are of a
        smaller scale. Of a noisy image one of them is often better than the last. Where the
        spectrum counts, by which such kernels may be chosen, those of smaller scales are left out.

    Returns
    -------
    (kh, kw) float64 array
        The kernel for valid correlation, non-negative, sum 1, its centre of mass or its extent's
        middle in the frame's, as far as there is room. The same arguments give the same kernel.

    Raises
    ------
    ValueError
        If an argument is not as described.

    References
    ----------
    Xu, Zheng, Jia: Unnatural L0 sparse representation for natural image deblurring. CVPR 2013.
    Pan, Hu, Su, Yang: Deblurring text images via L0-regularized intensity and gradient prior.
    CVPR 2014.
    Levin, Weiss, Durand, Freeman: Efficient marginal likelihood optimization in blind
    deconvolution. CVPR 2011.
    Papandreou, Yuille: Efficient variational inference in large-scale Bayesian compressed
    sensing. ICCV Workshops 2011.
    Almeida, Figueiredo: Deconvolving images with unknown boundaries using the alternating
    direction method of multipliers. IEEE Transactions on Image Processing 22(8), 2013.
    """
    blurry = np.asarray(blurry, np.float64)
    check_arguments(blurry, kernel_size)
    scales = [each for each in list_scales(kernel_size) if start is None or each[0] > start[0]]
    rounds = time_of_rounds(blurry.shape, kernel_size, scales, spectral=spectral_weight > 0)
    refinement = np.repeat([REFINE_TIME, POLISH_TIME], [REFINE_ROUNDS, POLISH_ROUNDS])
    done = np.rint(TENTHS * np.cumsum([*rounds, *refinement])).astype(int)
    steps = iter(done.tolist())

    def tell(detail: str) -> None:
        step = next(steps)
        if on_step:
            on_step(step, int(done[-1]), detail)

    def offer(kernel: np.ndarray, scale: float = 1.0) -> None:
        if on_candidate:
            enlarged = resize_kernel(kernel, kernel_size, 1 / scale)
            on_candidate(centre(enlarged, by_extent=by_extent))

    def offer_large(scale: float, kernel: np.ndarray) -> None:
        if scale == 1 or (scale > CANDIDATE_SCALE - 1e-9 and not spectral_weight):
            offer(kernel, scale)

    at = at_scales(blurry, doubtful)
    kernel = coarse_to_fine(
        at,
        scales,
        rounds=ROUNDS,
        start=start,
        spectral_weight=spectral_weight,
        by_extent=by_extent,
        on_round=tell,
        on_scale=offer_large,
    )
    window, _, doubt = _window_at(at, 1.0, kernel_size)
    observation = Observation(window, kernel_size, doubt)
    kernel = _refine(observation, kernel, tell)
    offer(kernel)
    for _ in range(POLISH_ROUNDS):
        edges = polished_edges(observation, window, kernel)
        kernel = prune(fit_edges(edges, observation, kernel))
        tell("polish")
    return centre(kernel, by_extent=by_extent)


def at_scales(blurry: np.ndarray, doubtful: np.ndarray | None) -> Scaled:
    """Make the function that reduces an image, and what is doubtful of it, to a scale.

    It remembers each, for those who estimate more than one kernel.
    """

    @cache
    def at(scale: float) -> tuple[np.ndarray, np.ndarray | None]:
        return shrink_image(blurry, scale), (
            None if doubtful is None else _shrink_mask(doubtful, scale)
        )

    return at


def coarse_to_fine(
    at: Scaled,
    scales: list[tuple[float, tuple[int, int]]],
    *,
    rounds: int,
    selection: EdgeSelection = USUAL,
    start: Start | None = None,
    spectral_weight: float = 0.0,
    by_extent: bool = False,
    on_round: Callable[[str], None],
    on_scale: Callable[[float, np.ndarray], None] | None = None,
) -> np.ndarray:
    """Estimate the kernel scale by scale, each time from where the last one ended.

    Parameters
    ----------
    at : callable
        Takes a scale, returns the blurry image and what is doubtful of it (see `at_scales`).
    scales : list of (float, (int, int))
        The scales and the kernel's sizes there (see `list_scales`).
    rounds : int
        Rounds of the two steps a scale.
    selection : EdgeSelection
        Which edges show the kernel.
    start : (float, (h, w) array), optional
        A scale and the kernel there; by default a blob at the first of `scales`.
    spectral_weight : float
        See `estimate_kernel`.
    by_extent : bool
        See `utils.engine.kernel_fit.centre`.
    on_round : callable
        Takes a description of the scale, after every round.
    on_scale : callable, optional
        Takes each scale and the kernel there.

    Returns
    -------
    (kh, kw) array
        The kernel at the last scale.
    """
    previous_scale, kernel = start or (scales[0][0], blob(scales[0][1]))
    for scale, size in scales:
        observation = Observation(*_window_at(at, scale, size))
        # Left to sum to more than 1 for a round: scaled to 1, the refinement ends 0.2 dB lower.
        kernel = resample(kernel, size, scale / previous_scale)
        is_first = start is None and scale == previous_scale
        previous_scale = scale
        spectrum = None
        image, _ = at(scale)
        if spectral_weight and scale < 1 and spectrum_counts(image.shape, size):
            spectrum = Spectrum(image, estimate_noise(image))
        for weight in weights_at(scale, rounds, selection, is_first=is_first):
            edges = edges_under(observation, kernel, weight, selection.strongest)
            kernel = prune(fit_edges(edges, observation, kernel))
            kernel = centre(kernel, by_extent=by_extent)
            if spectrum:
                kernel = prune(spectrum.improve(kernel, spectral_weight, SPECTRAL_STEPS))
                kernel = centre(kernel, by_extent=by_extent)
            on_round(f"scale {scale:.2f}, kernel {size[0]} x {size[1]}")
        if on_scale:
            on_scale(scale, kernel)
    return kernel


def spectrum_counts(image_size: tuple[int, int], kernel_size: tuple[int, int]) -> bool:
    """Whether an image's spectrum tells enough of a kernel of a size to be fitted to."""
    return can_judge(image_size, kernel_size, SMALLEST_SPECTRUM)


def spectrum_ever_counts(image_size: tuple[int, int], kernel_size: tuple[int, int]) -> bool:
    """Whether it does so at any scale but full size."""
    *smaller, _ = list_scales(kernel_size)
    return any(spectrum_counts(reduced_size(image_size, scale), size) for scale, size in smaller)


def weights_at(
    scale: float, rounds: int, selection: EdgeSelection = USUAL, *, is_first: bool
) -> np.ndarray:
    """The data's weights in the rounds of a scale, of which the first knows nothing yet.

    At full size, where the kernel is known, the lowest is a quarter of the highest at least. With
    less a right kernel of 75 pixels was lost where the few strongest edges did not show it.
    """
    lowest, highest = selection.weights
    if scale == 1 and not is_first:
        lowest = max(lowest, highest / 4)
    return np.geomspace(lowest, highest, rounds)


def edges_under(
    observation: Observation,
    kernel: np.ndarray,
    weight: float,
    strongest: float = USUAL.strongest,
) -> np.ndarray:
    """The strongest gradients, (2, H, W), of an image with few edges that explains the blurry one.

    Parameters
    ----------
    observation : Observation
        The blurry image.
    kernel : (kh, kw) array
        Its kernel, as far as it is known.
    weight : float
        How well to explain it (see `weights_at`).
    strongest : float
        See `EdgeSelection`.
    """
    image = _flatten(observation, kernel, weight)
    return keep_strongest(gradients_of(image), strongest, observation.reach)


def polished_edges(observation: Observation, blurry: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The strongest gradients, (2, H, W), of the sparse deconvolution, on an observation's grid."""
    sharp = deconvolve(blurry, kernel, POLISH_WEIGHT, clipped=blurry >= CLIPPED, full=True)
    edges = gradients_of(observation.place(sharp))
    return keep_strongest(edges, POLISH_STRONGEST, observation.reach)


def check_arguments(blurry: np.ndarray, kernel_size: tuple[int, int]) -> None:
    """Raise a ValueError that names the first argument of `estimate_kernel` that is wrong."""
    if blurry.ndim != 2 or min(blurry.shape) < SMALLEST_IMAGE or not np.isfinite(blurry).all():
        raise ValueError(
            f"the kernel's estimate takes images of at least {SMALLEST_IMAGE} x {SMALLEST_IMAGE} "
            f"pixels, gray and finite, not of shape {blurry.shape}; other methods take smaller ones"
        )
    if len(kernel_size) != 2 or any(
        side not in range(SMALLEST_KERNEL, LARGEST_KERNEL + 1) or side >= extent
        for side, extent in zip(kernel_size, blurry.shape, strict=False)
    ):
        raise ValueError(
            f"the kernel's estimate takes sizes from {SMALLEST_KERNEL} to {LARGEST_KERNEL} that "
            f"are smaller than the image, {blurry.shape[0]} x {blurry.shape[1]}, not "
            f"{' x '.join(map(str, kernel_size))}"
        )


def window_for(image: np.ndarray, kernel_size: tuple[int, int]) -> Place:
    """The window of an image that shows a kernel of a size best (see `best_window`)."""
    height, width = kernel_size
    return best_window(image, (WINDOW + height, WINDOW + width))


def _window_at(
    at: Scaled, scale: float, kernel_size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int], np.ndarray | None]:
    """What an `Observation` takes: an image's window at a scale, and what is doubtful of it."""
    image, doubtful = at(scale)
    place = window_for(image, kernel_size)
    return image[place], kernel_size, part_of(doubtful, place)


def list_scales(kernel_size: tuple[int, int]) -> list[tuple[float, tuple[int, int]]]:
    """Image scales from coarse to fine, the last being 1, and the kernel's size at each.

    Examples
    --------
    >>> [size for _, size in list_scales((15, 9))]
    [(5, 3), (7, 5), (11, 7), (15, 9)]
    """
    scales = [(1.0, kernel_size)]
    while max(scales[-1][1]) > COARSEST:
        scale = scales[-1][0] / FACTOR
        height, width = (max(3, round(side * scale) | 1) for side in kernel_size)
        scales.append((scale, (height, width)))
    return scales[::-1]


def time_of_rounds(
    image_size: tuple[int, int],
    kernel_size: tuple[int, int],
    scales: list[tuple[float, tuple[int, int]]],
    *,
    spectral: bool = False,
) -> np.ndarray:
    """What each round at some scales takes, about, in units of a usual one at full size."""

    def pixels(scale: float, size: tuple[int, int], spectral: bool) -> float:
        sides = zip(image_size, size, strict=True)
        number = PIXELS_AT_LEAST + math.prod(
            min(scale * side, WINDOW + extent) + extent for side, extent in sides
        )
        reduced = reduced_size(image_size, scale)
        if spectral and scale < 1 and spectrum_counts(reduced, size):
            number += SPECTRAL_PIXELS * (min(SEGMENT, *reduced) / SEGMENT) ** 2
        return number

    usual = pixels(1, kernel_size, False)
    return np.repeat([pixels(*each, spectral) / usual for each in scales], ROUNDS)


def _flatten(observation: Observation, kernel: np.ndarray, weight: float) -> np.ndarray:
    """Minimise ``weight / 2 * ||k * x - y||^2`` plus the number of pixels with a gradient."""
    shape = observation.shape
    blur = spectrum_of(kernel, shape)
    blur_power = np.abs(blur) ** 2
    image = observation.start
    spectrum = fft.rfft2(image)
    multiplier = np.zeros(shape, np.float32)
    weights = np.float32(weight) * observation.seen
    target = weights * observation.blurry
    penalties = np.geomspace(40, 1e4, FLATTEN_STEPS).astype(np.float32)
    data_penalties = (weight * np.geomspace(0.01, 1, FLATTEN_STEPS)).astype(np.float32)
    for step, (penalty, data_penalty) in enumerate(zip(penalties, data_penalties, strict=True)):
        if step:
            multiplier *= data_penalties[step - 1] / data_penalty
        gradients = gradients_of(image)
        gradients *= np.sum(gradients**2, axis=0) > 2 / penalty
        multiplier += fft.irfft2(blur * spectrum, shape)
        data = (target + data_penalty * multiplier) / (weights + data_penalty)
        above = observation.clipped & (multiplier > observation.blurry)
        data[above] = multiplier[above]
        multiplier -= data
        spectrum = penalty * fft.rfft2(gradients_adjoint(gradients))
        spectrum += data_penalty * blur.conj() * fft.rfft2(data - multiplier)
        spectrum /= penalty * observation.gradient_power + data_penalty * blur_power
        image = fft.irfft2(spectrum, shape)
    return image


def _refine(
    observation: Observation, kernel: np.ndarray, tell: Callable[[str], None]
) -> np.ndarray:
    """Refine the kernel by expectation maximisation under a sparse prior on the gradients.

    Given weights of the gradients, the sharp image's posterior is Gaussian; its mean and one
    sample of its deviations, each the solution of a linear system, stand for it. The deviations
    keep the kernel from fitting what the mean only seems to show.
    """
    shape = observation.shape
    random = np.random.default_rng(0)
    data_noise = random.standard_normal(shape, dtype=np.float32)
    gradient_noise = random.standard_normal((2, *shape), dtype=np.float32)
    precision = np.float32(DATA_NOISE**-2)
    solution = np.stack([_flatten(observation, kernel, REFINE_FLATTEN_WEIGHT), np.zeros(shape)])
    solution = solution.astype(np.float32)
    for _ in range(REFINE_ROUNDS):
        blur = spectrum_of(kernel, shape)
        below = observation.seen_below(fft.irfft2(blur * fft.rfft2(solution[0]), shape))
        seen = below * precision
        mean, deviation = (gradients_of(part) for part in solution)
        energy = np.sum(mean**2, axis=0)
        energy += ndimage.gaussian_filter(np.sum(deviation**2, axis=0), 1.5, mode="wrap")
        weights = PRIOR_WEIGHT / np.maximum(energy, 1e-6)
        preconditioner = 1 / (
            precision * np.abs(blur) ** 2
            + np.exp(np.mean(np.log(weights))) * observation.gradient_power
            + 1e-3
        )

        def normal(
            images: np.ndarray,
            blur: np.ndarray = blur,
            seen: np.ndarray = seen,
            weights: np.ndarray = weights,
        ) -> np.ndarray:
            product = fft.irfft2(
                blur.conj() * fft.rfft2(seen * fft.irfft2(blur * fft.rfft2(images), shape)), shape
            )
            for part, image in zip(product, images, strict=True):
                part += gradients_adjoint(weights * gradients_of(image))
            return product

        def precondition(
            images: np.ndarray, preconditioner: np.ndarray = preconditioner
        ) -> np.ndarray:
            return fft.irfft2(preconditioner * fft.rfft2(images), shape)

        data = np.stack([seen * observation.blurry, np.sqrt(precision) * below * data_noise])
        target = fft.irfft2(blur.conj() * fft.rfft2(data), shape)
        target[1] += gradients_adjoint(np.sqrt(weights) * gradient_noise)
        solution = solve(normal, precondition, target, solution, SOLVER_STEPS)
        kernel = prune(fit_posterior(solution, observation, kernel))
        tell("refine")
    return kernel


def blob(size: tuple[int, int]) -> np.ndarray:
    """A small Gaussian in the middle: neither a point, which is a solution, nor any direction."""
    rows, columns = (
        np.exp(-((np.arange(side) - (side - 1) / 2) ** 2) / 2 / 0.8**2) for side in size
    )
    blob = np.outer(rows, columns)
    return blob / blob.sum()


def resample(image: np.ndarray, size: tuple[int, int], scale: float, order: int = 1) -> np.ndarray:
    """Sample an image at a pitch of 1 / scale about its middle."""
    places = [
        (side - 1) / 2 + (np.arange(count) - (count - 1) / 2) / scale
        for side, count in zip(image.shape, size, strict=True)
    ]
    mode = "constant" if order == 1 else "nearest"
    return ndimage.map_coordinates(
        image, np.meshgrid(*places, indexing="ij"), order=order, mode=mode
    )


def resize_kernel(kernel: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
    """Sample a kernel at a pitch of 1 / scale about its middle, and scale its sum to 1."""
    resized = resample(kernel, size, scale)
    return resized / resized.sum()


def reduced_size(image_size: tuple[int, int], scale: float) -> tuple[int, int]:
    """The size of an image that is reduced to a scale."""
    return round(image_size[0] * scale), round(image_size[1] * scale)


def shrink_image(image: np.ndarray, scale: float) -> np.ndarray:
    """Reduce an image to a scale of at most 1, smoothed so that nothing aliases."""
    if scale == 1:
        return image
    smooth = ndimage.gaussian_filter(image, 0.5 * (scale**-2 - 1) ** 0.5, mode="nearest")
    return resample(smooth, reduced_size(image.shape, scale), scale, order=3)


def _shrink_mask(mask: np.ndarray, scale: float) -> np.ndarray:
    """Reduce a mask, keeping the pixels of which a marked one has a twentieth."""
    return mask if scale == 1 else shrink_image(mask.astype(np.float64), scale) > 0.05
