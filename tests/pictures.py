"""Small images to restore, blur and score."""

import numpy as np
from scipy import ndimage
from scipy.signal import correlate

from utils.images.writing import write_png

NOISE = 0.004


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


def sharp_scene(height, width, seed=0):
    """Overlapping rectangles of constant brightness: sparse gradients, edges across the borders."""
    generator = np.random.default_rng(seed)
    image = np.full((height, width), 0.5)
    for _ in range(60):
        top, left = generator.integers(-10, height), generator.integers(-10, width)
        rows, columns = generator.integers(8, 30, 2)
        image[max(top, 0) : top + rows, max(left, 0) : left + columns] = generator.random()
    return image


def hook(height, width):
    """A kernel that no turn or mirror maps to itself."""
    kernel = np.zeros((height, width))
    kernel[0, :] = np.linspace(1, 2, width)
    kernel[:, -1] = np.linspace(2, 0.5, height)
    kernel[-1, width // 2] = 1
    return kernel / kernel.sum()


def blurred(kernel, height=100, width=90, noise=0.003):
    """A blurry image by valid correlation, and the part of the sharp one that it shows."""
    kh, kw = kernel.shape
    scene = sharp_scene(height + kh - 1, width + kw - 1)
    blurry = correlate(scene, kernel, "valid")
    blurry += noise * np.random.default_rng(1).standard_normal(blurry.shape)
    top, left = (kh - 1) // 2, (kw - 1) // 2
    return blurry.clip(0, 1), scene[top : top + height, left : left + width]


def blur(sharp, kernel):
    """The middle of a sharp image blurred, with noise of `NOISE`."""
    noise = NOISE * np.random.default_rng(0).standard_normal(sharp.shape)
    return (correlate(sharp, kernel, "same", "fft") + noise)[12:-12, 12:-12].clip(0, 1)


def line(length, size):
    """A kernel of a horizontal motion by so many pixels."""
    kernel = np.zeros((size, size))
    kernel[size // 2, (size - length) // 2 : (size + length) // 2] = 1 / length
    return kernel


def psnr(image, truth):
    """The peak signal-to-noise ratio of images in [0, 1], in dB, with no shift allowed."""
    return -10 * np.log10(np.mean((image - truth) ** 2))


def turned_scene(angle, size):
    """A sharp scene, and the same as a camera saw it that turned by so much while it exposed."""
    height, width = size
    scene = sharp_scene(height + 40, width + 40)
    middle = (np.array(scene.shape) - 1) / 2
    rows, columns = np.mgrid[20 : height + 20, 20 : width + 20] - middle[:, None, None]
    blurry = np.zeros(size)
    turns = np.linspace(-angle / 2, angle / 2, 25)
    for turn in turns:
        cosine, sine = np.cos(turn), np.sin(turn)
        places = cosine * rows - sine * columns, sine * rows + cosine * columns
        at = [place + half for place, half in zip(places, middle, strict=True)]
        blurry += ndimage.map_coordinates(scene, at, order=1) / len(turns)
    return scene[20:-20, 20:-20], blurry
