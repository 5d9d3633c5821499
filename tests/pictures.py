"""Small images to restore, blur and score."""

import numpy as np

from utils.images.writing import write_png


def picture(*shape, seed=0):
    """Neighboring pixels alike, as in photographs, from black to white."""
    rough = np.random.default_rng(seed).random((shape[0] + 4, shape[1] + 4, *shape[2:]))
    windows = np.lib.stride_tricks.sliding_window_view(rough, (5, 5), (0, 1))
    means = windows.mean((-2, -1))
    return np.rint(255 * (means - means.min()) / np.ptp(means)) / 255


def noisy(image, deviation, seed):
    noise = deviation * np.random.default_rng(seed).standard_normal(image.shape)
    return np.clip(image + noise, 0, 1)


def put(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, image)
