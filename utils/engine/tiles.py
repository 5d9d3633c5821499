"""Restoration of an image of any size, tile by tile, with one kernel or with a field of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from utils.engine.deconvolution import deconvolve, noise_weight
from utils.engine.kernel_fit import CLIPPED
from utils.engine.memory import REFINEMENT_BYTES
from utils.engine.refine import restore_by_levels
from utils.images.kernels import crop_to_blurry

# Side of a tile without what it shares with its neighbors, at most; with several kernels half of
# a kernel's part of the image, but at least 128 pixels or the whole part.
TILE = 768
SMALLEST_TILE = 128

# Beyond the kernel's half, how much of its surroundings a tile sees, and over how many pixels the
# tiles fade into each other.
_CONTEXT = 24
_FADE = 16

# Beside the image: two tiles in work, and of each pixel what is known and what is restored.
FIXED_BYTES = 1e9
BYTES_PER_PIXEL = 100


def restore_tiles(
    blurry: np.ndarray,
    kernel: np.ndarray,
    noise: float,
    levels: Sequence[float] | np.ndarray = (),
    *,
    tile: int | None = None,
    workers: int = 1,
    on_tile: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Restore an image of any size with a known kernel, in tiles.

    Each tile is deconvolved (see `deconvolve`) and then, if there are levels, restored by them (see
    `restore_by_levels`). It sees half a kernel and some pixels beyond its own, so that the result
    hardly differs from that of the whole image, and fades into its neighbors.

    Parameters
    ----------
    blurry : (H, W) array
        The blurry image in [0, 1].
    kernel : (kh, kw) or (R, C, kh, kw) array
        The kernel, as `deconvolve` takes it; or one for the middle of each field of a division of
        the image into R x C equal fields, between which they are interpolated. All should be
        centred alike (see `utils.engine.kernel_fit.centre`).
    noise : float
        Standard deviation of the blurry image's noise, including what an inexact kernel adds.
    levels : sequence of float
        Standard deviations of the noise to remove, in the order of the steps.
    tile : int, optional
        The largest side of a tile in pixels (see `tile_for`).
    workers : int
        Threads. The result does not depend on their number.
    on_tile : callable, optional
        Called as ``on_tile(done, total)`` after every tile.

    Returns
    -------
    (H, W) float32 array
        The restored image in [0, 1].

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    blurry = np.asarray(blurry)
    kernel = np.asarray(kernel, np.float64)
    field = kernel if kernel.ndim == 4 else kernel[None, None]
    tile = tile or tile_for(blurry.shape, field.shape[:2])
    down, across = (_divide(side, tile) for side in blurry.shape)
    reach = [side // 2 + _CONTEXT + _FADE for side in field.shape[2:]]

    def restore(place: tuple[slice, slice]) -> tuple[tuple[slice, slice], np.ndarray]:
        rows, columns = (
            slice(max(part.start - more, 0), min(part.stop + more, side))
            for part, more, side in zip(place, reach, blurry.shape, strict=True)
        )
        middle = [
            (part.start + part.stop) / 2 / side
            for part, side in zip(place, blurry.shape, strict=True)
        ]
        part, own = blurry[rows, columns].astype(np.float32), interpolate(field, *middle)
        sharp = deconvolve(part, own, noise_weight(noise), clipped=part >= CLIPPED, full=True)
        if len(levels):
            sharp, _ = restore_by_levels(part, own, noise, levels, sharp=sharp)
        return (rows, columns), crop_to_blurry(sharp, own.shape).clip(0, 1)

    restored = np.zeros(blurry.shape, np.float32)
    shares = np.zeros(blurry.shape, np.float32)
    places = [(row, column) for row in down for column in across]
    with ThreadPoolExecutor(workers) as pool:
        for done, (place, (seen, part)) in enumerate(
            zip(places, pool.map(restore, places), strict=True), 1
        ):
            share = np.outer(
                *(
                    _fading(whole, own, side).astype(np.float32)
                    for whole, own, side in zip(seen, place, blurry.shape, strict=True)
                )
            )
            restored[seen] += share * part
            shares[seen] += share
            if on_tile:
                on_tile(done, len(places))
    restored /= shares
    return restored


def tile_for(image_size: tuple[int, ...], grid: tuple[int, ...], *, in_haste: bool = False) -> int:
    """The largest side of a tile, in pixels, of an image with a grid of kernels.

    Within a tile the kernel is the same, so that tiles are smaller where it varies: half of a
    kernel's part, or in haste all of it, which takes half the time and loses about 0.1 dB.
    """
    if max(grid) == 1:
        return TILE
    part = min(side // count for side, count in zip(image_size, grid, strict=True))
    return min(TILE, part if in_haste else max(min(part, SMALLEST_TILE), part // 2))


def count_tiles(image_size: tuple[int, int], tile: int = TILE) -> int:
    """The number of tiles of an image of a size."""
    rows, columns = (len(_divide(side, tile)) for side in image_size)
    return rows * columns


def tile_bytes(tile: int, kernel_size: tuple[int, ...]) -> int:
    """Estimate the memory that a tile in work takes, in bytes."""
    height, width = (tile + 2 * (side // 2 + _CONTEXT + _FADE) for side in kernel_size)
    return REFINEMENT_BYTES * height * width


def tiles_bytes(image_size: tuple[int, int]) -> int:
    """Estimate the memory that the deconvolution of a color image takes, in bytes."""
    return int(FIXED_BYTES + BYTES_PER_PIXEL * image_size[0] * image_size[1])


def interpolate(field: np.ndarray, row: float, column: float) -> np.ndarray:
    """The kernel at a place in the image, between the four nearest of a field.

    Parameters
    ----------
    field : (R, C, kh, kw) array
        See `restore_tiles`.
    row, column : float
        The place, from 0 to 1 in each direction.

    Returns
    -------
    (kh, kw) array
        Beyond the outermost middles, the kernel nearest to the place.
    """
    near = []
    for place, count in zip((row, column), field.shape, strict=False):
        position = min(max(place * count - 0.5, 0), count - 1)
        before = min(int(position), max(count - 2, 0))
        after = min(before + 1, count - 1)
        near.append(((before, 1 - (position - before)), (after, position - before)))
    return sum(
        part * share * field[at, across] for at, part in near[0] for across, share in near[1]
    )


def _divide(side: int, tile: int) -> list[slice]:
    """Divide a side into the fewest equal parts of at most a tile."""
    edges = np.linspace(0, side, -(-side // tile) + 1).round().astype(int)
    return [slice(int(start), int(stop)) for start, stop in zip(edges, edges[1:], strict=False)]


def _fading(seen: slice, own: slice, side: int) -> np.ndarray:
    """A tile's share along one side: all of its own, fading out around its borders."""
    places = np.arange(seen.start, seen.stop) + 0.5
    share = np.ones(len(places))
    if own.start > 0:
        share = np.minimum(share, (places - own.start) / (2 * _FADE) + 0.5)
    if own.stop < side:
        share = np.minimum(share, (own.stop - places) / (2 * _FADE) + 0.5)
    return share.clip(0, 1)
