"""Windows of an image that tell most about its blur."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from utils.engine.kernel_fit import CLIPPED

# The search needs no finer image than this many pixels a side.
_SEARCHED = 1000

# The width over which gradients cancel where they are texture, not edges, and what counts as none.
_TEXTURE = 5
_FLAT = 0.004

_DIRECTIONS = 4

Place = tuple[slice, slice]
"""Rows and columns of a part of an image."""

# The largest share of a further window that may lie in those before.
_MOST_TAKEN = 0.75

# What it must have of the first one's edges.
_FEWEST_EDGES = 0.1


def best_window(
    image: np.ndarray, size: tuple[int, int], *, clipped: np.ndarray | None = None
) -> Place:
    """Find the window of an image from which its kernel can best be told.

    That is the one with most gradient in whichever direction it has least: edges of one direction
    alone leave the kernel free along them. Where gradients of both signs cancel nearby they are
    fine texture, which blur hides, and count less; clipped highlights do not count.

    Parameters
    ----------
    image : (H, W) array
        The blurry image in [0, 1].
    size : (int, int)
        Height and width of the window in pixels; a side longer than the image's is cut to it.
    clipped : (H, W) bool array, optional
        Where highlights are cut off; by default where the image nearly reaches 1.

    Returns
    -------
    (slice, slice)
        Rows and columns.

    References
    ----------
    Xu, Jia: Two-phase kernel estimation for robust motion deblurring. ECCV 2010 (the measure of
    texture).
    """
    height, width = image.shape
    if size[0] >= height and size[1] >= width:
        return slice(0, height), slice(0, width)
    return _best_window(image, size, clipped)[0]


def _best_window(
    image: np.ndarray, size: tuple[int, int], clipped: np.ndarray | None
) -> tuple[Place, float]:
    """The best window, and how much it tells."""
    height, width = image.shape
    rows, columns = (min(side, extent) for side, extent in zip(size, image.shape, strict=True))
    step = min(-(-max(height, width) // _SEARCHED), height, width)
    score = _edges_of(image, clipped, step)
    # Positions on the coarse grid, at which the window ends inside the image.
    window = max(1, rows // step), max(1, columns // step)
    sums = np.stack([_window_sums(part, window) for part in score])
    least = np.exp(np.mean(np.log(sums + 1e-9 * sums.max() + 1e-12), axis=0))
    row, column = np.unravel_index(np.argmax(least), least.shape)
    top, left = min(int(row) * step, height - rows), min(int(column) * step, width - columns)
    return (slice(top, top + rows), slice(left, left + columns)), float(least[row, column])


def windows_beside(
    image: np.ndarray, first: Place, count: int, *, clipped: np.ndarray
) -> list[Place]:
    """Find the best windows of an image after a first one, each partly apart from those before.

    Parameters
    ----------
    image : (H, W) array
        The blurry image in [0, 1].
    first : (slice, slice)
        Rows and columns of the first window, which gives the others their size.
    count : int
        The most windows to find. There are fewer if none is left of which a quarter lies apart, or
        that has a tenth of the first one's edges.
    clipped : (H, W) bool array
        See `best_window`.
    """
    size = first[0].stop - first[0].start, first[1].stop - first[1].start
    if size == image.shape:
        return []
    _, most = _best_window(image, size, clipped)
    hidden, taken = clipped.copy(), np.zeros(image.shape, bool)
    found: list[Place] = []
    place = first
    while len(found) < count:
        hidden[place] = taken[place] = True
        place, score = _best_window(image, size, hidden)
        if taken[place].mean() > _MOST_TAKEN or score < _FEWEST_EDGES * most:
            break
        found.append(place)
    return found


def windows_of_parts(
    image: np.ndarray, grid: tuple[int, int], least: Sequence[int], most: Sequence[int]
) -> list[Place]:
    """Find the best window of each of an image's equal parts, row by row.

    Parameters
    ----------
    image : (H, W) array
        The blurry image in [0, 1].
    grid : (int, int)
        The number of parts, down and across.
    least, most : (int, int)
        The least height and width of a window, for which parts may overlap, and the largest.
    """
    rows, columns = (
        [_part(side, count, number, shortest) for number in range(count)]
        for side, count, shortest in zip(image.shape, grid, least, strict=True)
    )
    windows = []
    for part in ((row, column) for row in rows for column in columns):
        best = best_window(image[part], (most[0], most[1]))
        row, column = (
            slice(whole.start + own.start, whole.start + own.stop)
            for whole, own in zip(part, best, strict=True)
        )
        windows.append((row, column))
    return windows


def part_of(mask: np.ndarray | None, place: Place) -> np.ndarray | None:
    """What lies of a mask in a part of the image."""
    return None if mask is None else mask[place]


def _part(side: int, count: int, number: int, least: int) -> slice:
    """One of so many equal parts of a side, enlarged to a least length if the side allows it."""
    length = min(side, max(-(-side // count), least))
    start = round((number + 0.5) * side / count - length / 2)
    start = min(max(start, 0), side - length)
    return slice(start, start + length)


def _edges_of(image: np.ndarray, clipped: np.ndarray | None, step: int) -> np.ndarray:
    """The strength of edges in each direction, on a grid of every so many pixels."""
    if clipped is None:
        clipped = image >= CLIPPED
    rows, columns = (side // step * step for side in image.shape)
    blocks = image[:rows, :columns].reshape(rows // step, step, columns // step, step)
    small = ndimage.gaussian_filter(blocks.mean(axis=(1, 3)), 1.0)
    hidden = clipped[:rows, :columns].reshape(blocks.shape).any(axis=(1, 3))
    down, across = ndimage.sobel(small, 0) / 8, ndimage.sobel(small, 1) / 8
    strength = np.hypot(down, across)
    mean = ndimage.uniform_filter(strength, _TEXTURE)
    together = np.hypot(*(ndimage.uniform_filter(part, _TEXTURE) for part in (down, across)))
    edges = strength * (together / (mean + _FLAT))
    edges *= ~ndimage.binary_dilation(hidden, iterations=3)
    direction = np.floor(np.arctan2(down, across) / np.pi * _DIRECTIONS + 0.5) % _DIRECTIONS
    return np.stack([np.where(direction == number, edges, 0) for number in range(_DIRECTIONS)])


def _window_sums(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Sums over all windows of a size, by the position of their upper left corner."""
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows, columns = size
    return (
        sums[rows:, columns:]
        - sums[:-rows, columns:]
        - sums[rows:, :-columns]
        + sums[:-rows, :-columns]
    )
