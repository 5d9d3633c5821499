"""The kernel step: the non-negative kernel that takes a sharp image to the blurry one."""

from collections.abc import Callable

import numpy as np
from scipy import fft, ndimage

# Kernel entries under this share of the largest, and islands under this share of the sum, go.
FAINT = 0.02
ISLAND = 0.02

# Levels from which on a pixel may be a highlight that the sensor cut off.
CLIPPED = 0.98

# Pixels within half a kernel of a doubtful one stay out of the kernel step, if this share is left.
LEAST_LEFT = 0.2

# The share of a kernel's mass that may lie beyond either end of its extent.
BEYOND = 0.003

_REFILLS = 3
_NNLS_STEPS = 40
_RIDGE = 1e-3


class Observation:
    """The blurry image of one scale on a periodic grid with room for what it does not show.

    On the grid a sharp image x and a kernel k give the blurry one as ``y[i] = sum_a k[a] x[i + a]``
    with the seen pixels in the upper left corner and nothing known of the others. Of a pixel whose
    highlight the sensor cut off, only a lower bound is seen. Of a doubtful one the image is
    restored as if it were right, but the kernel is fitted to none within half a kernel of it.
    """

    def __init__(
        self,
        blurry: np.ndarray,
        kernel_size: tuple[int, int],
        doubtful: np.ndarray | None = None,
    ) -> None:
        height, width = blurry.shape
        reach = [side + extent - 1 for side, extent in zip(blurry.shape, kernel_size, strict=True)]
        self.shape = tuple(fft.next_fast_len(side, real=True) for side in reach)
        self.reach = slice(reach[0]), slice(reach[1])
        self.seen = np.zeros(self.shape, np.float32)
        self.seen[:height, :width] = 1
        self.blurry = self.place(blurry)
        self.clipped = self.blurry >= CLIPPED
        self.exact = self.seen * ~self.clipped
        if doubtful is not None and doubtful.any():
            near = ndimage.maximum_filter(doubtful, kernel_size)
            if near.mean() > 1 - LEAST_LEFT:
                near = doubtful
            self.exact[:height, :width] *= ~near
        exact = self.exact
        self.gradients_seen = np.zeros((2, *self.shape), np.float32)
        self.gradients_seen[0, :-1] = exact[:-1] * exact[1:]
        self.gradients_seen[1, :, :-1] = exact[:, :-1] * exact[:, 1:]
        self.gradients = gradients_of(self.blurry) * self.gradients_seen
        margins = [
            ((extent - 1) // 2, side - seen - (extent - 1) // 2)
            for side, seen, extent in zip(self.shape, blurry.shape, kernel_size, strict=True)
        ]
        self.start = np.pad(blurry, margins, "edge").astype(np.float32)
        rows, columns = (
            2 - 2 * np.cos(2 * np.pi * np.arange(count) / side)
            for count, side in zip((self.shape[0], self.shape[1] // 2 + 1), self.shape, strict=True)
        )
        self.gradient_power = (rows[:, None] + columns).astype(np.float32)

    def place(self, image: np.ndarray) -> np.ndarray:
        """Put an image into the grid's upper left corner, zeros elsewhere."""
        placed = np.zeros(self.shape, np.float32)
        placed[: image.shape[0], : image.shape[1]] = image
        return placed

    def seen_below(self, blurred: np.ndarray) -> np.ndarray:
        """What is seen, except clipped pixels that a blurred image rightly exceeds."""
        return self.seen * ~(self.clipped & (blurred > self.blurry))


def fit_edges(
    edges: np.ndarray,
    observation: Observation,
    kernel: np.ndarray,
    *,
    variance: np.ndarray | None = None,
    toward: np.ndarray | None = None,
    pull: float = 0,
) -> np.ndarray:
    """Fit the kernel that takes a sharp image's gradients to the blurry one's.

    Gradients of a smoothed image lack power at high frequencies. A kernel fitted to them as if they
    were exact has too much there and breaks into dots, unless what they may lack counts as well.

    Parameters
    ----------
    edges : (2, H, W) array
        The sharp image's gradients, on the observation's grid.
    observation : Observation
        The blurry image.
    kernel : (kh, kw) array
        What to start from.
    variance : (H, W // 2 + 1) array, optional
        By how much the sharp image may deviate from the one given, where edges were kept: the
        variance of a pixel due to each frequency, times the share of pixels.
    toward : (kh, kw) array, optional
        Another kernel, which the fitted one should be near.
    pull : float
        By how much: the weight of the squared distance, to be compared with ``sum(edges**2)``.

    References
    ----------
    Levin, Weiss, Durand, Freeman: Efficient marginal likelihood optimization in blind
    deconvolution. CVPR 2011 (the deviations' part in the kernel's fit).
    """
    more: np.ndarray | float = pull
    if variance is not None:
        pixels = edges[0][observation.reach].size
        more = more + pixels * observation.gradient_power * variance
    gain = 0 if toward is None else pull * toward
    return _fit(edge_equations(edges, observation, kernel.shape, more), kernel, gain)


def fit_posterior(solution: np.ndarray, observation: Observation, kernel: np.ndarray) -> np.ndarray:
    """Fit the kernel to an uncertain sharp image, given as its mean and one deviation from it."""
    targets = np.stack([observation.blurry, np.zeros_like(observation.blurry)])
    seen = np.stack([observation.exact] * 2)
    return _fit(Equations(solution, targets, seen, kernel.shape, 0), kernel)


class Equations:
    """The quadratic form of a kernel's fit to images and what they are blurred to.

    That is ``sum ||seen * (k * image - target)||^2 + ||k * image'||^2``, where image' stands for
    what the images are missing, of which the power spectrum is known. A constant one is a ridge.

    What is not seen is filled with what a present kernel predicts. So the quadratic form is the
    images' autocorrelation, and to apply it costs no more than the kernel's own size.
    """

    def __init__(
        self,
        images: np.ndarray,
        targets: np.ndarray,
        seen: np.ndarray,
        kernel_size: tuple[int, int],
        missing: np.ndarray | float,
    ) -> None:
        self.shape = images.shape[1:]
        self.spectra = fft.rfft2(images)
        self.targets, self.seen = targets, seen
        power = np.sum(np.abs(self.spectra) ** 2, axis=0)
        self.small = tuple(fft.next_fast_len(2 * side - 1, real=True) for side in kernel_size)
        self.near = np.ix_(*(np.arange(1 - side, side) for side in kernel_size))
        self.crop = tuple(slice(side) for side in kernel_size)
        self.explained, self.form = self._form_of(power), self._form_of(power + missing)

    def apply(self, kernel: np.ndarray) -> np.ndarray:
        """Apply the quadratic form."""
        return self._apply(kernel, self.form)

    def linear(self, kernel: np.ndarray) -> np.ndarray:
        """The linear term, what is not seen being as a kernel predicts."""
        residual = fft.irfft2(self.spectra * spectrum_of(kernel, self.shape), self.shape)
        residual -= self.targets
        residual *= self.seen
        slope = fft.irfft2(np.sum(self.spectra * fft.rfft2(residual).conj(), axis=0), self.shape)
        return self._apply(kernel, self.explained) - slope[self.crop]

    def _apply(self, kernel: np.ndarray, form: np.ndarray) -> np.ndarray:
        return fft.irfft2(form * fft.rfft2(kernel, self.small), self.small)[self.crop]

    def _form_of(self, power: np.ndarray) -> np.ndarray:
        form = np.zeros(self.small)
        form[self.near] = fft.irfft2(power, self.shape)[self.near]
        return fft.rfft2(form)


def edge_equations(
    edges: np.ndarray,
    observation: Observation,
    kernel_size: tuple[int, int],
    more: np.ndarray | float = 0,
) -> Equations:
    """The equations of the kernel that takes a sharp image's gradients to the blurry one's.

    Parameters
    ----------
    edges : (2, H, W) array
        The sharp image's gradients, on the observation's grid.
    observation : Observation
        The blurry image.
    kernel_size : (int, int)
        Height and width of the kernel.
    more : (H, W // 2 + 1) array or float
        Power that the gradients are missing, beside a small ridge.
    """
    missing = _RIDGE * float(np.sum(edges**2, dtype=np.float64)) + more
    return Equations(edges, observation.gradients, observation.gradients_seen, kernel_size, missing)


def _fit(equations: Equations, kernel: np.ndarray, gain: np.ndarray | float = 0) -> np.ndarray:
    """Fit a non-negative kernel k, minimising the quadratic form less ``2 * gain . k``."""
    kernel = kernel.astype(np.float64)
    step = gradient_step(equations.apply, np.ones_like(kernel))
    for _ in range(_REFILLS):
        linear = equations.linear(kernel) + gain
        kernel = minimise(equations.apply, linear, kernel, step, _NNLS_STEPS)
    return kernel


def gradient_step(apply: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> float:
    """The length of a gradient step that a quadratic form allows."""
    largest = start
    for _ in range(12):
        largest = apply(largest / np.linalg.norm(largest))
    return 0.95 / float(np.linalg.norm(largest))


def minimise(
    apply: Callable[[np.ndarray], np.ndarray],
    linear: np.ndarray,
    start: np.ndarray,
    step: float,
    steps: int,
) -> np.ndarray:
    """Minimise ``k . A k / 2 - linear . k`` over k >= 0 by accelerated gradient steps."""
    kernel = ahead = start
    momentum = 1.0
    for _ in range(steps):
        following = np.maximum(ahead - step * (apply(ahead) - linear), 0)
        if np.vdot(ahead - following, following - kernel) > 0:
            momentum = 1.0
        grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = following + (momentum - 1) / grown * (following - kernel)
        kernel, momentum = following, grown
    return kernel


def prune(kernel: np.ndarray) -> np.ndarray:
    """Drop faint entries and small islands, and scale the sum to 1."""
    kernel = np.where(kernel < FAINT * kernel.max(), 0, kernel)
    islands, count = ndimage.label(kernel, np.ones((3, 3)))
    sums = ndimage.sum(kernel, islands, np.arange(count + 1))
    kept = sums >= min(ISLAND * sums.sum(), sums.max())
    kernel = kernel * kept[islands]
    total = kernel.sum()
    return kernel / total if total > 0 else np.full(kernel.shape, 1 / kernel.size)


def centre(kernel: np.ndarray, *, by_extent: bool = False) -> np.ndarray:
    """Move the centre of mass to within half a pixel of the middle, once, and scale the sum to 1.

    What leaves the frame by that is lost, so a frame should have room for the kernel about its
    centre of mass. If most of that lies at one end of a kernel that fills its frame, the other end
    has none: `by_extent` moves the middle of what holds nearly all mass to the middle instead.
    """
    moved = np.zeros_like(kernel)
    source, target = [], []
    for axis, side in enumerate(kernel.shape):
        if by_extent:
            middle = float(np.mean(_ends(kernel, axis)))
        else:
            profile = _profile(kernel, axis)
            middle = float(profile @ np.arange(side)) / float(profile.sum())
        shift = round((side - 1) / 2 - middle)
        source.append(slice(max(-shift, 0), side - max(shift, 0)))
        target.append(slice(max(shift, 0), side - max(-shift, 0)))
    moved[tuple(target)] = kernel[tuple(source)]
    return moved / moved.sum()


def make_room(kernel: np.ndarray) -> np.ndarray:
    """Centre a kernel by its extent if it ends at the frame on one side and has room on the other.

    There the frame may have cut it off, and what is missing can be fitted once it has room. A
    kernel that is not moved is returned itself.
    """
    for axis, side in enumerate(kernel.shape):
        first, last = _ends(kernel, axis)
        room = first, side - 1 - last
        if min(room) == 0 and max(room) >= 2:
            return centre(kernel, by_extent=True)
    return kernel


def _ends(kernel: np.ndarray, axis: int) -> tuple[int, int]:
    """The first and the last row or column of what holds nearly all of a kernel's mass."""
    profile = _profile(kernel, axis)
    reached = np.cumsum(profile) / profile.sum()
    first, last = np.searchsorted(reached, (BEYOND, 1 - BEYOND))
    return int(first), int(last)


def _profile(kernel: np.ndarray, axis: int) -> np.ndarray:
    """The sums of a kernel's rows (axis 0) or columns."""
    return kernel.sum(axis=tuple(other for other in range(kernel.ndim) if other != axis))


def keep_strongest(gradients: np.ndarray, share: float, reach: tuple[slice, slice]) -> np.ndarray:
    """Keep the gradients of a share of the pixels, zeros elsewhere."""
    power = np.sum(gradients**2, axis=0)
    return gradients * (power >= np.quantile(power[reach], 1 - share))


def gradients_of(image: np.ndarray) -> np.ndarray:
    """Differences to the next row and the next column, periodic, stacked."""
    gradients = np.empty((2, *image.shape), np.float32)
    np.subtract(image[1:], image[:-1], out=gradients[0, :-1])
    np.subtract(image[0], image[-1], out=gradients[0, -1])
    np.subtract(image[:, 1:], image[:, :-1], out=gradients[1, :, :-1])
    np.subtract(image[:, 0], image[:, -1], out=gradients[1, :, -1])
    return gradients


def gradients_adjoint(gradients: np.ndarray) -> np.ndarray:
    """Apply the adjoint of `gradients_of`."""
    image = -gradients[0] - gradients[1]
    image[1:] += gradients[0, :-1]
    image[0] += gradients[0, -1]
    image[:, 1:] += gradients[1, :, :-1]
    image[:, 0] += gradients[1, :, -1]
    return image


def spectrum_of(kernel: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Spectrum by which to multiply an image's for its correlation with a kernel."""
    return fft.rfft2(kernel.astype(np.float32), shape).conj()
