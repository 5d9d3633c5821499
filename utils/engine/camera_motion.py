"""A camera's motion during the exposure, from which a blur that varies over the image follows."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from scipy import ndimage, sparse

from utils.engine.estimate_kernel import (
    Scaled,
    blob,
    edges_under,
    list_scales,
    polished_edges,
    weights_at,
)
from utils.engine.kernel_fit import (
    FAINT,
    Equations,
    Observation,
    centre,
    edge_equations,
    gradient_step,
    minimise,
)
from utils.engine.kernel_size import largest_kernel_size
from utils.engine.likelihood import Spectrum, improve_together, spectral_misfits
from utils.engine.noise import estimate_noise
from utils.engine.windows import Place, part_of, windows_of_parts

# The image is looked at in so many windows. They are small, for within one the kernel is taken to
# be the same: with 4 x 4 the kernels found are less like the true ones (.72 and .80, not .81 and
# .86, on two images).
GRID = 6, 6
LEAST, MOST = 64, 150

# A turn moves an image's corners farther than the window that showed how large the kernel is: the
# frame has so many times its side, but no more than some pixels for this, as time grows with them.
ROOM, ROOMY = 1.5, 59

ROUNDS = 10  # of the two steps, a scale

# In so many more rounds at full size, and in those of the polish, the windows' spectra count, too,
# by so many steps each; before the motion is known at full size they lead astray. In a frame of
# more than a side they count less, for more poses fit more of what is chance in the spectra.
SPECTRAL_ROUNDS, POLISH_ROUNDS = 10, 3
REFINE_ROUNDS = SPECTRAL_ROUNDS + POLISH_ROUNDS
SPECTRAL_WEIGHT, SPECTRAL_SIDE = 0.25, 24
SPECTRAL_STEPS = 15

# Of the fit. With more of them, the poses found are more like the true ones, but scattered, and
# images lose up to 2 dB.
_REFILLS = 2
_STEPS = 30

# At a finer scale, poses within so many steps of those found before are considered.
_NEAR = 3

# Within a part of the image with a kernel of its own, the blur is to change by so many pixels. But
# such a part has at least so many a side, and at least this share of the image's shorter side.
_CHANGE = 3.0
_LEAST_PART = 64
_LEAST_SHARE = 0.1


@dataclass(frozen=True)
class CameraMotion:
    """Which poses a camera took, and for which share of the exposure.

    A pose is a turn about the axis through the image's middle, and a shift. Small turns about other
    axes are shifts, too. On average a camera is unmoved.

    Parameters
    ----------
    shares : (A, kh, kw) array
        By angle, vertical and horizontal shift in pixels, each counted from the middle; sum 1.
    step : float
        From one angle to the next, in radians.
    """

    shares: np.ndarray
    step: float

    def kernels(self, places: np.ndarray) -> np.ndarray:
        """The kernels at some places.

        Parameters
        ----------
        places : (N, 2) array
            Down and to the right of the image's middle, in pixels.

        Returns
        -------
        (N, h, w) array
            For valid correlation, each with sum 1, in a frame that is as much larger than the
            motion's as the farthest place needs.
        """
        angles = np.nonzero(self.shares.any((1, 2)))[0] - (len(self.shares) - 1) / 2
        moved = self.step * np.abs(angles).max() * np.abs(places).max(axis=0)
        shifts = np.nonzero(self.shares.any(0))
        margins = [(0, 0)]
        for shifted, by_turn, side in zip(shifts, moved[::-1], self.shares.shape[1:], strict=True):
            reach = np.abs(shifted - (side - 1) / 2).max() + by_turn
            margins.append((max(0, int(np.ceil(reach - (side - 1) / 2))),) * 2)
        shares = np.pad(self.shares, margins)
        return _Poses(shares > 0, self.step, places).kernels(shares)

    def field(self, image_size: tuple[int, ...], grid: tuple[int, int] | None = None) -> np.ndarray:
        """The kernels in the middles of an image's equal parts, as `restore_tiles` takes them.

        Parameters
        ----------
        image_size : (int, int)
            Height and width in pixels.
        grid : (int, int), optional
            The number of parts, down and across; by default as many as the motion needs.

        Returns
        -------
        (R, C, h, w) array
            See `kernels`.
        """
        if grid is None:
            part = max(_LEAST_PART, _LEAST_SHARE * min(image_size), _CHANGE / max(self.turn, 1e-9))
            grid = -(-image_size[0] // round(part)), -(-image_size[1] // round(part))
        rows, columns = grid
        down, across = (
            ((np.arange(count) + 0.5) / count - 0.5) * side
            for side, count in zip(image_size, grid, strict=True)
        )
        places = np.stack(np.meshgrid(down, across, indexing="ij"), axis=-1).reshape(-1, 2)
        kernels = self.kernels(places)
        return kernels.reshape(rows, columns, *kernels.shape[1:])

    @property
    def turn(self) -> float:
        """By how much the camera turned, in radians, but for a hundredth of the exposure."""
        reached = np.cumsum(self.shares.sum((1, 2)))
        first, last = np.searchsorted(reached / reached[-1], (0.005, 0.995))
        return float(last - first) * self.step


def estimate_motion(
    at: Scaled,
    kernel_size: tuple[int, int],
    *,
    workers: int = 1,
    on_round: Callable[[], None] = lambda: None,
) -> CameraMotion:
    """Estimate how a camera moved, from the image that it blurred.

    As in `utils.engine.estimate_kernel.estimate_kernel`, from coarse scales to fine, two steps
    alternate. The first is the same in each of many windows; the second finds the one motion whose
    kernels best take the edges of all windows to the blurry gradients.

    Parameters
    ----------
    at : callable
        Takes a scale, returns the blurry image and what is doubtful of it (see
        `utils.engine.estimate_kernel.at_scales`).
    kernel_size : (int, int)
        What to confine each window's kernel to.
    workers : int
        Threads, each of which takes a window. The result does not depend on their number.
    on_round : callable, optional
        Called after every round, of which there are `count_rounds`.

    Returns
    -------
    CameraMotion
        The motion. Turns and shifts are such that no window's kernel leaves its frame.

    References
    ----------
    Whyte, Sivic, Zisserman, Ponce: Non-uniform deblurring for shaken images. CVPR 2010 (a blur by
    the shares of poses).
    Hirsch, Schuler, Harmeling, Schölkopf: Fast removal of non-uniform camera shake. ICCV 2011
    (one motion's kernels in the parts of an image).
    """
    scales = list_scales(kernel_size)
    shares, step_before, scale_before = _start(scales[0][1]), 1.0, scales[0][0]
    with ThreadPoolExecutor(workers) as pool:
        for scale, size in scales:
            image, doubtful = at(scale)
            windows = list_windows(image, size)
            observations = [
                Observation(image[place], size, part_of(doubtful, place)) for place in windows
            ]
            places = middles(windows, image.shape)
            # At a coarse scale each window may be the whole image.
            farthest = np.maximum(np.abs(places).max(axis=0), np.array(image.shape) / 4)
            step = 1 / float(np.hypot(*farthest))
            is_first = scale == scales[0][0]
            if not is_first:
                shares = _resample(shares, size, scale / scale_before, step / step_before)
            considered = np.ones(shares.shape, bool) if is_first else _near(shares)
            poses = _Poses(considered, step, places)
            shares, step_before, scale_before = poses.confine(shares), step, scale
            for weight in weights_at(scale, ROUNDS, is_first=is_first):
                kernels = poses.kernels(shares)
                edges = list(pool.map(edges_under, observations, kernels, repeat(weight)))
                shares = poses.fit(shares, edges, observations, pool)
                on_round()
    return CameraMotion(shares, step)


def frame_for(kernel_size: tuple[int, int], image_size: tuple[int, int]) -> tuple[int, int]:
    """The frame to confine an image's kernels to, given the size of one window's, in pixels."""
    most = min(ROOMY, largest_kernel_size(image_size))
    height, width = (max(side, min(int(ROOM * side) | 1, most)) for side in kernel_size)
    return height, width


def count_rounds(kernel_size: tuple[int, int]) -> int:
    """How many rounds `estimate_motion` takes."""
    return ROUNDS * len(list_scales(kernel_size))


def refine_motion(
    at: Scaled,
    motion: CameraMotion,
    *,
    workers: int = 1,
    on_round: Callable[[], None] = lambda: None,
) -> CameraMotion:
    """Refine a camera's motion by what the edges and the spectra of the windows say together.

    After each fit to the edges the motion is changed a little so that its kernels better explain
    the power spectra of all windows. The last rounds are those of the estimate's polish.

    Parameters
    ----------
    at : callable
        See `estimate_motion`.
    motion : CameraMotion
        Its result.
    workers : int
        Threads, each of which takes a window. The result does not depend on their number.
    on_round : callable, optional
        Called after every round, of which there are `REFINE_ROUNDS`.

    Returns
    -------
    CameraMotion
        The motion, in the same frame.

    References
    ----------
    See `utils.engine.likelihood.Spectrum`.
    """
    image, doubtful = at(1)
    size: tuple[int, int] = motion.shares.shape[1:]
    windows = list_windows(image, size)
    parts = [image[place].astype(np.float32) for place in windows]
    observations = [Observation(image[place], size, part_of(doubtful, place)) for place in windows]
    noise = estimate_noise(image)
    spectra = [Spectrum(image[place], noise) for place in windows]
    poses = _Poses(_near(motion.shares), motion.step, middles(windows, image.shape))
    shares = poses.confine(motion.shares)
    weights = weights_at(1, SPECTRAL_ROUNDS, is_first=False)
    with ThreadPoolExecutor(workers) as pool:
        for number in range(REFINE_ROUNDS):
            kernels = poses.kernels(shares)
            if number < SPECTRAL_ROUNDS:
                found = pool.map(edges_under, observations, kernels, repeat(weights[number]))
            else:
                found = pool.map(polished_edges, observations, parts, kernels)
            shares = poses.fit(shares, list(found), observations, pool)
            shares = poses.improve(shares, spectra, pool)
            on_round()
    return CameraMotion(shares, motion.step)


def misfits_of_windows(
    blurry: np.ndarray, motion: CameraMotion, shared: np.ndarray, noise: float, *, workers: int = 1
) -> np.ndarray:
    """How badly a motion's kernels, and a shared one, explain the spectra of an image's windows.

    A single small window's spectrum tells little, but all together tell a motion that is right from
    one that is not, as an image's residual and its gradients do not.

    Parameters
    ----------
    blurry : (H, W) array
        The blurry image in [0, 1].
    motion : CameraMotion
        The motion, at full scale.
    shared : (kh, kw) array
        The other kernel.
    noise : float
        Standard deviation of the blurry image's noise.
    workers : int
        Threads.

    Returns
    -------
    (N, 2) array
        The misfits of motion and shared kernel (see `utils.engine.likelihood.spectral_misfits`).
    """
    windows = list_windows(blurry, shared.shape)
    kernels = motion.kernels(middles(windows, blurry.shape))

    def judge(place: Place, kernel: np.ndarray) -> list[float]:
        return spectral_misfits(blurry[place], [kernel, shared], noise)

    with ThreadPoolExecutor(workers) as pool:
        return np.array(list(pool.map(judge, windows, kernels)))


def list_windows(image: np.ndarray, kernel_size: tuple[int, ...]) -> list[Place]:
    """The windows of an image in which a motion is looked at."""
    least, most = (
        tuple(max(beside, side) + side for side in kernel_size) for beside in (LEAST, MOST)
    )
    return windows_of_parts(image, GRID, least, most)


def middles(windows: Sequence[Place], image_size: tuple[int, ...]) -> np.ndarray:
    """Where windows have their middles, (N, 2), in pixels from the image's."""
    return np.array(
        [
            [
                (part.start + part.stop - side) / 2
                for part, side in zip(place, image_size, strict=True)
            ]
            for place in windows
        ]
    )


class _Poses:
    """The poses to consider, and the kernels that they make at some places."""

    def __init__(self, considered: np.ndarray, step: float, places: np.ndarray) -> None:
        self.size = considered.shape[1:]
        middle = [(count - 1) / 2 for count in considered.shape]
        angles, down, across = (
            axis - half for axis, half in zip(np.nonzero(considered), middle, strict=True)
        )
        # How far each pose moves each place, from the kernel's upper left.
        turned = (step * angles)[None, :, None] * np.stack([places[:, 1], -places[:, 0]], 1)[
            :, None
        ]
        moved = turned + np.stack([down, across], 1) + np.array(middle[1:])
        inside = ((moved >= 0) & (moved <= np.array(self.size) - 1)).all(axis=(0, 2))
        self.considered = considered.copy()
        self.considered[considered] = inside
        self.blur = _interpolation(moved[:, inside], self.size)

    def kernels(self, shares: np.ndarray) -> np.ndarray:
        """The kernels, (N, kh, kw), of a motion's shares, (A, kh, kw)."""
        return self._kernels(shares[self.considered])

    def confine(self, shares: np.ndarray) -> np.ndarray:
        """Drop what is faint or not considered, and scale the sum to 1."""
        shares = np.where(self.considered & (shares >= FAINT * shares.max()), shares, 0)
        return shares / shares.sum()

    def fit(
        self,
        shares: np.ndarray,
        edges: Sequence[np.ndarray],
        observations: Sequence[Observation],
        pool: ThreadPoolExecutor,
    ) -> np.ndarray:
        """Fit a motion to the edges, (2, H, W) each, of all windows, from given shares on."""
        equations = list(pool.map(edge_equations, edges, observations, repeat(self.size)))

        def apply(values: np.ndarray) -> np.ndarray:
            kernels = self._kernels(values)
            return self._adjoint(
                np.stack([each.apply(k) for each, k in zip(equations, kernels, strict=True)])
            )

        found = shares[self.considered]
        length = gradient_step(apply, np.ones_like(found))
        for _ in range(_REFILLS):
            linear = self._adjoint(
                np.stack(list(pool.map(Equations.linear, equations, self._kernels(found))))
            )
            found = minimise(apply, linear, found, length, _STEPS)
        fitted = np.zeros(shares.shape)
        fitted[self.considered] = found
        return self.confine(centre(self.confine(fitted))) if found.any() else shares

    def improve(
        self, shares: np.ndarray, spectra: Sequence[Spectrum], pool: ThreadPoolExecutor
    ) -> np.ndarray:
        """Change a motion so that its kernels explain the spectra of all windows better."""
        improved = np.zeros(shares.shape)
        improved[self.considered] = improve_together(
            spectra,
            shares[self.considered],
            self._kernels,
            self._adjoint,
            SPECTRAL_WEIGHT * min(1, SPECTRAL_SIDE / max(self.size)),
            SPECTRAL_STEPS,
            pool,
        )
        return self.confine(centre(self.confine(improved)))

    def _kernels(self, values: np.ndarray) -> np.ndarray:
        return (self.blur @ values).reshape(-1, *self.size)

    def _adjoint(self, kernels: np.ndarray) -> np.ndarray:
        return self.blur.T @ kernels.ravel()


def _interpolation(moved: np.ndarray, size: tuple[int, ...]) -> sparse.csr_matrix:
    """The matrix from poses' shares to kernels, given where each pose, (N, P, 2), moves a place."""
    number, poses = moved.shape[:2]
    before = np.minimum(moved.astype(int), np.array(size) - 2)
    part = moved - before
    kernel, pose = np.mgrid[:number, :poses]
    rows, columns, values = [], [], []
    for down in (0, 1):
        for across in (0, 1):
            place = before + (down, across)
            rows.append((kernel * size[0] + place[..., 0]) * size[1] + place[..., 1])
            columns.append(pose)
            values.append(np.abs(1 - down - part[..., 0]) * np.abs(1 - across - part[..., 1]))
    entries, at = (np.concatenate([each.ravel() for each in part]) for part in (values, rows))
    columns_at = np.concatenate([each.ravel() for each in columns])
    shape = number * size[0] * size[1], poses
    return sparse.csr_matrix((entries, (at, columns_at)), shape)


def _near(shares: np.ndarray) -> np.ndarray:
    """The poses to consider, given some that the camera took."""
    return ndimage.maximum_filter(shares, 2 * _NEAR + 1) > 0


def _start(size: tuple[int, int]) -> np.ndarray:
    """A small blur of a camera that does not turn."""
    shares = np.zeros((min(size), *size))
    shares[min(size) // 2] = blob(size)
    return shares


def _resample(shares: np.ndarray, size: tuple[int, int], scale: float, step: float) -> np.ndarray:
    """Shares at a scale that is so many times finer, with so many times the step of the angle."""
    places = [
        (before - 1) / 2 + (np.arange(count) - (count - 1) / 2) * pitch
        for before, count, pitch in zip(
            shares.shape, (min(size), *size), (step, 1 / scale, 1 / scale), strict=True
        )
    ]
    finer = ndimage.map_coordinates(
        shares, np.meshgrid(*places, indexing="ij"), order=1, mode="constant"
    )
    return finer / finer.sum()
