"""Linear systems whose matrix is known only by its products with images."""

from collections.abc import Callable

import numpy as np


def solve(
    normal: Callable[[np.ndarray], np.ndarray],
    precondition: Callable[[np.ndarray], np.ndarray],
    target: np.ndarray,
    solution: np.ndarray,
    steps: int,
) -> np.ndarray:
    """Solve systems of a symmetric positive definite matrix by conjugate gradients.

    Parameters
    ----------
    normal, precondition : callable
        Take images of shape (N, H, W), and return their products with the matrix, and with an
        approximation of its inverse.
    target, solution : (N, H, W) array
        The right-hand sides, side by side, and what to start from.
    steps : int
        Number of iterations.
    """

    def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.einsum("nij,nij->n", a, b)[:, None, None]

    residual = target - normal(solution)
    step = direction = precondition(residual)
    size = dot(residual, step)
    for _ in range(steps):
        image = normal(direction)
        length = size / (dot(direction, image) + 1e-30)
        solution = solution + length * direction
        residual = residual - length * image
        step = precondition(residual)
        size, previous = dot(residual, step), size
        direction = step + size / (previous + 1e-30) * direction
    return solution
