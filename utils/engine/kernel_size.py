"""How large a kernel is, found from the blurry image alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from utils.engine.estimate_kernel import (
    LARGEST_KERNEL,
    Scaled,
    at_scales,
    coarse_to_fine,
    list_scales,
    resize_kernel,
)

SIZES = (9, 13, 19, 27, 39, 55, 77, 109, LARGEST_KERNEL)

# An image should be at least this many times as large as its kernel.
_IMAGE_TO_KERNEL = 2.5

# A search needs no more than the kernel's outline: at most 21 pixels a side, and half the rounds.
_OUTLINE = 21
_ROUNDS = 10

# A kernel has room in its frame if this share of it at most lies on the frame, and at the next size
# it is the same kernel if the two correlate by at least 0.92.
_ON_FRAME = 0.01
_SAME = 0.92

# Of a kernel's mass, what may lie beyond its extent; and the room for what the outline lacks.
_BEYOND = 0.02
_ROOM = 1.15, 4


@dataclass(frozen=True)
class Candidate:
    """A size that was tried, and the kernel that was found in it.

    Parameters
    ----------
    size : int
        Side of the frame in pixels of the image.
    kernel : (k, k) array
        The kernel as far as it was estimated, at `scale`.
    scale : float
        The image's scale that the kernel is for, at most 1.
    """

    size: int
    kernel: np.ndarray
    scale: float

    @property
    def on_frame(self) -> float:
        """The share of the kernel that lies on the frame's outermost pixels."""
        return float(self.kernel.sum() - self.kernel[1:-1, 1:-1].sum())

    @property
    def extent(self) -> float:
        """The longer side of the box that holds nearly all of the kernel, in the image's pixels."""
        sides = []
        for profile in (self.kernel.sum(axis=0), self.kernel.sum(axis=1)):
            share = np.cumsum(profile) / profile.sum()
            first, last = np.searchsorted(share, (_BEYOND / 2, 1 - _BEYOND / 2))
            sides.append(last - first + 1)
        return max(sides) / self.scale

    def similarity(self, other: "Candidate") -> float:
        """The largest correlation with another size's kernel, over all shifts, at most 1."""
        scale = min(self.scale, other.scale)
        return similarity(
            at_scale(self.kernel, scale / self.scale), at_scale(other.kernel, scale / other.scale)
        )


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """The largest correlation of two kernels over all shifts, each smoothed a little; at most 1."""
    first, second = (ndimage.gaussian_filter(np.pad(each, 2), 0.7) for each in (first, second))
    shape = tuple(np.add(first.shape, second.shape))
    products = fft.irfft2(fft.rfft2(first, shape).conj() * fft.rfft2(second, shape), shape)
    return float(products.max() / np.sqrt(np.sum(first**2) * np.sum(second**2)))


def find_kernel_size(
    blurry: np.ndarray,
    *,
    doubtful: np.ndarray | None = None,
    workers: int = 1,
    on_size: Callable[[Candidate], None] | None = None,
) -> tuple[int, list[Candidate], bool]:
    """Find the size of the kernel that blurred an image.

    The kernel is estimated in outline at growing sizes, until it no longer touches its frame and
    stays the same kernel in the next frame too.

    Parameters
    ----------
    blurry : (H, W) float array
        The blurry image in [0, 1], at least 64 pixels a side.
    doubtful : (H, W) bool array, optional
        See `utils.engine.estimate_kernel.estimate_kernel`.
    workers : int
        Threads, each of which tries a size. The result does not depend on their number.
    on_size : callable, optional
        Takes each candidate.

    Returns
    -------
    size : int
        Side in pixels, odd, with some room around the kernel.
    candidates : list of Candidate
        What was tried, the last but one being what decided, if anything did.
    found : bool
        Whether a kernel had room and stayed; otherwise the size is the likeliest one.
    """
    largest = largest_kernel_size(blurry.shape)
    sizes = [size for size in SIZES if size <= largest] or [largest]
    at = at_scales(blurry, doubtful)

    def attempt(size: int) -> Candidate:
        return _outline_at(at, size, _OUTLINE)

    candidates: list[Candidate] = []
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(attempt, size) for size in sizes[:workers]]
        for number in range(len(sizes)):
            candidates.append(waiting.pop(0).result())
            if on_size:
                on_size(candidates[-1])
            if len(candidates) > 1 and _has_settled(*candidates[-2:]):
                for future in waiting:
                    future.cancel()
                return _with_room(candidates[-2]), candidates, True
            if number + workers < len(sizes):
                waiting.append(pool.submit(attempt, sizes[number + workers]))
    # None has room in both frames: the one that comes nearest to it.
    doubts = [
        first.on_frame + second.on_frame
        for first, second in zip(candidates, candidates[1:], strict=False)
    ]
    likeliest = candidates[int(np.argmin(doubts))] if doubts else candidates[0]
    return likeliest.size, candidates, False


def estimate_outline(
    blurry: np.ndarray, size: int, most: int, *, doubtful: np.ndarray | None = None
) -> Candidate:
    """Estimate a kernel of a given size in outline.

    Parameters
    ----------
    blurry : (H, W) float array
        The blurry image in [0, 1], at least 64 pixels a side.
    size : int
        Side of its frame in pixels, odd.
    most : int
        The most pixels a side that the outline may have, but those of the coarsest scale at least.
    doubtful : (H, W) bool array, optional
        See `utils.engine.estimate_kernel.estimate_kernel`.
    """
    return _outline_at(at_scales(blurry, doubtful), size, most)


def _outline_at(at: Scaled, size: int, most: int) -> Candidate:
    scales = list_scales((size, size))
    scales = [scale for scale in scales if max(scale[1]) <= most] or scales[:1]
    kernel = coarse_to_fine(at, scales, rounds=_ROUNDS, on_round=lambda _: None)
    return Candidate(size, kernel, scales[-1][0])


def largest_kernel_size(image_size: tuple[int, int]) -> int:
    """The largest size, in pixels and odd, that is looked for in an image of a size."""
    return min(LARGEST_KERNEL, int(min(image_size) / _IMAGE_TO_KERNEL - 1) | 1)


def at_scale(kernel: np.ndarray, scale: float) -> np.ndarray:
    """Reduce a kernel by a factor of at most 1, its sum kept."""
    if scale == 1:
        return kernel
    size = tuple(max(3, round(side * scale) | 1) for side in kernel.shape)
    smooth = ndimage.gaussian_filter(kernel, 0.5 * (scale**-2 - 1) ** 0.5, mode="constant")
    return resize_kernel(smooth, size, scale)


def _has_settled(candidate: Candidate, larger: Candidate) -> bool:
    return (
        max(candidate.on_frame, larger.on_frame) < _ON_FRAME
        and candidate.similarity(larger) >= _SAME
    )


def _with_room(candidate: Candidate) -> int:
    factor, more = _ROOM
    return min(candidate.size, int(factor * candidate.extent + more) | 1)
