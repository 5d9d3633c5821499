"""Linear systems that are known by what they do to an image."""

from collections.abc import Callable

import numpy as np


def solve(
    normal: Callable[[np.ndarray], np.ndarray],
    precondition: Callable[[np.ndarray], np.ndarray],
    target: np.ndarray,
    solution: np.ndarray,
    steps: int,
) -> np.ndarray:
    """Solve linear systems of one positive matrix side by side, by conjugate gradients."""

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
