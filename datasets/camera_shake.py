"""Blur kernels of a shaking camera: the path of a particle during the exposure.

The particle has inertia, is perturbed at random, jerked now and then, and pulled back to its
start: a Markov process after Boracchi and Foi (2012). Times are in units of the exposure. Lengths
have no unit, since the path is scaled to the kernel at the end.

References
----------
.. [1] G. Boracchi and A. Foi, "Modeling the performance of image restoration from motion blur",
   IEEE Transactions on Image Processing 21(8), 2012.
"""

import numpy as np

STEPS = 2000  # about ten samples for each pixel of the path in a kernel of 75 pixels
SMALLEST_SIZE = 3

# How long a velocity persists: briefly in a nervous hand, longer in a smooth arc.
INERTIA_RANGE = (0.05, 0.6)
# Spring constant of the pull: with 10, the particle swings back in about one exposure.
PULL = 10.0
# Expected number of jerks in one exposure, and their size in units of the typical velocity.
JERKS = 1.0
JERK_SIZE = 1.5


def shake_path(rng: np.random.Generator) -> np.ndarray:
    """Draw the path of a point's image while the shutter is open, as a (STEPS, 2) float64 array.

    Rows and columns are at equal intervals of time, in arbitrary units, relative to their mean.
    """
    dt = 1 / STEPS
    inertia = rng.uniform(*INERTIA_RANGE)
    # With perturbations of this size, the velocity's standard deviation stays 1.
    pushes = rng.standard_normal((STEPS, 2)) * np.sqrt(2 * dt / inertia)
    jerked = rng.random(STEPS) < JERKS * dt
    pushes[jerked] += JERK_SIZE * rng.standard_normal((jerked.sum(), 2))

    path = np.empty((STEPS, 2))
    position, velocity = np.zeros(2), rng.standard_normal(2)
    for step, push in enumerate(pushes):
        velocity = velocity + push - (velocity / inertia + PULL * position) * dt
        position = position + velocity * dt
        path[step] = position
    return path - path.mean(axis=0)


def camera_shake(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw a random motion-blur kernel that fills a given size.

    Parameters
    ----------
    size : (kh, kw)
        Height and width in pixels, odd and at least `SMALLEST_SIZE`. The path is enlarged until it
        comes within a pixel of the border.
    rng : numpy.random.Generator
        Source of the path.

    Returns
    -------
    (kh, kw) float64 array
        Non-negative, sum 1, with its centre of mass at ``((kh - 1) / 2, (kw - 1) / 2)``.

    Raises
    ------
    ValueError
        If a side is even or less than `SMALLEST_SIZE`.

    Examples
    --------
    >>> kernel = camera_shake((31, 31), np.random.default_rng(0))
    >>> kernel.shape, float(kernel.sum().round(12))
    ((31, 31), 1.0)
    """
    if any(side % 2 == 0 or side < SMALLEST_SIZE for side in size):
        raise ValueError(f"size must be odd and {SMALLEST_SIZE} or more, not {size}")
    path = shake_path(rng)
    centre = (np.array(size) - 1) / 2
    # With a margin of half a pixel, the bilinear weights end on the border's pixels.
    path *= ((centre - 0.5) / np.abs(path).max(axis=0)).min()
    return accumulate(path + centre, size)


def accumulate(path: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Spread an (N, 2) path's samples over the pixels around them, with bilinear weights.

    Rows and columns are in pixels, in ``[0, kh - 1) x [0, kw - 1)``, with (0, 0) at the centre of
    the first. The result, of shape (kh, kw), has sum 1 and the path's centre of mass.
    """
    kernel = np.zeros(size)
    corner = np.floor(path).astype(int)
    below, right = (path - corner).T
    row, column = corner.T
    np.add.at(kernel, (row, column), (1 - below) * (1 - right))
    np.add.at(kernel, (row, column + 1), (1 - below) * right)
    np.add.at(kernel, (row + 1, column), below * (1 - right))
    np.add.at(kernel, (row + 1, column + 1), below * right)
    return kernel / len(path)
