"""Collaborative filtering: white noise is removed from groups of similar blocks together."""

import numpy as np
from scipy import fft

BLOCK = 8
STEP = 4
RADIUS = 10
SIMILAR = 16

# Coefficients under this many standard deviations of the noise are taken for noise.
THRESHOLD = 2.7

# Blocks whose groups are filtered at a time, which bounds the memory.
_BATCH = 2048


def denoise(image: np.ndarray, noise: float) -> np.ndarray:
    """Remove white noise from an image, for each block together with those that resemble it.

    Twice, blocks of 8 x 8 pixels are stacked with the nearby ones most like them, 16 in all,
    transformed (cosines in the plane, and across the stack), shrunk, transformed back and averaged:
    first by a threshold, then by Wiener factors that the first result gives.

    Parameters
    ----------
    image : (H, W) float array
        The noisy image, at least 16 pixels a side.
    noise : float
        Standard deviation of the noise, in the image's units, positive.

    Returns
    -------
    (H, W) float32 array
        The image without most of its noise.

    References
    ----------
    Dabov, Foi, Katkovnik, Egiazarian: Image denoising by sparse 3-D transform-domain collaborative
    filtering. IEEE Transactions on Image Processing 16(8), 2007.
    """
    height, width = image.shape
    margins = [(RADIUS, RADIUS + BLOCK + -side % STEP) for side in image.shape]
    noisy = np.pad(image.astype(np.float32), margins, "reflect")
    groups = _find_similar(noisy)
    pilot = _filter(noisy, None, groups, noise)
    filtered = _filter(noisy, pilot, groups, noise)
    return filtered[RADIUS : RADIUS + height, RADIUS : RADIUS + width]


def _find_similar(image: np.ndarray) -> np.ndarray:
    """Flat indices of the corners of the blocks that resemble each block of a grid."""
    rows, columns = (side - 2 * RADIUS for side in image.shape)
    centre = image[RADIUS : RADIUS + rows, RADIUS : RADIUS + columns]
    cells = rows // STEP, STEP, columns // STEP, STEP
    blocks = (cells[0] - 1) * (cells[2] - 1)
    offsets = [
        (down, right) for down in range(-RADIUS, RADIUS + 1) for right in range(-RADIUS, RADIUS + 1)
    ]
    distances = np.empty((len(offsets), blocks), np.float32)
    for number, (down, right) in enumerate(offsets):
        other = image[RADIUS + down :, RADIUS + right :][:rows, :columns]
        difference = (centre - other).reshape(cells)
        sums = np.einsum("iajb,iajb->ij", difference, difference)
        sums = sums[1:] + sums[:-1]
        distances[number] = (sums[:, 1:] + sums[:, :-1]).ravel()
    # Each block is in its own group, however many are its equals; so every pixel is in some group.
    distances[offsets.index((0, 0))] = -1
    nearest = np.argpartition(distances, SIMILAR, axis=0)[:SIMILAR].T
    down, right = np.array(offsets).T
    corners = np.add.outer(
        (RADIUS + STEP * np.arange(cells[0] - 1)) * image.shape[1],
        RADIUS + STEP * np.arange(cells[2] - 1),
    )
    return corners.reshape(-1, 1) + (down * image.shape[1] + right)[nearest]


def _filter(
    noisy: np.ndarray, pilot: np.ndarray | None, groups: np.ndarray, noise: float
) -> np.ndarray:
    """Filter all groups by a threshold, or with a pilot by Wiener factors, and average them."""
    within = np.add.outer(np.arange(BLOCK) * noisy.shape[1], np.arange(BLOCK)).ravel()
    cosines = fft.dct(np.eye(BLOCK, dtype=np.float32), axis=0, norm="ortho")
    plane = np.kron(cosines, cosines)
    stack = fft.dct(np.eye(SIMILAR, dtype=np.float32), axis=0, norm="ortho")
    bell = np.kaiser(BLOCK, 2).astype(np.float32)
    bell = np.outer(bell, bell).ravel()
    total, weights = np.zeros(noisy.size), np.zeros(noisy.size)
    for start in range(0, len(groups), _BATCH):
        places = groups[start : start + _BATCH, :, None] + within
        spectrum = stack @ (noisy.ravel()[places] @ plane.T)
        if pilot is None:
            kept = np.abs(spectrum) > THRESHOLD * noise
            spectrum *= kept
            certainty = 1 / np.maximum(kept.sum(axis=(1, 2)), 1)
        else:
            power = (stack @ (pilot.ravel()[places] @ plane.T)) ** 2
            factors = power / (power + noise**2)
            spectrum *= factors
            certainty = 1 / np.maximum((factors**2).sum(axis=(1, 2)), 1e-3)
        blocks = (stack.T @ spectrum) @ plane
        window = certainty[:, None, None].astype(np.float32) * bell
        places = places.ravel()
        total += np.bincount(places, (blocks * window).ravel(), noisy.size)
        weights += np.bincount(places, np.broadcast_to(window, blocks.shape).ravel(), noisy.size)
    return (total / np.maximum(weights, 1e-12)).astype(np.float32).reshape(noisy.shape)
