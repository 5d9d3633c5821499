"""The metrics against an independent program in GNU Octave, tests/metrics.m."""

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from statistic.metrics import comp_upto_shift, crop, error_ratio, error_ratio_levin
from utils.images.colors import STUDIO_RANGE

SCRIPT = Path(__file__).with_name("metrics.m")


def photograph(height, width, channels, seed):
    """Random spots of all sizes, 8-bit, as (H, W) or, with three channels, (H, W, 3)."""
    noise = np.random.default_rng(seed).standard_normal((height, width, channels))
    layers = [size * cv2.GaussianBlur(noise, (0, 0), size) for size in (0.5, 2, 8)]
    image = 0.5 + 0.15 * np.sum(layers, axis=0)
    return (np.rint(255 * image.clip(0, 1)) / 255).reshape(height, width, channels).squeeze()


def spoil(truth, sigma, shift, noise, seed):
    """Blur, shift by fractions of a pixel, add noise, round to 8 bits."""
    matrix = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], float)
    blurry = cv2.GaussianBlur(truth, (0, 0), sigma)
    moved = cv2.warpAffine(
        blurry, matrix, truth.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    moved += noise * np.random.default_rng(seed).standard_normal(truth.shape)
    return np.rint(255 * moved.clip(0, 1)) / 255


# Height, width, channels, shift, maxshift: odd sizes, all factors of the downsampling, shifts at
# the end of the window and beyond it.
PAIRS = {
    "gray": (63, 70, 1, (0.3, -1.2), 3),
    "smallest": (41, 41, 1, (-2, 2), 3),
    "narrow": (121, 43, 1, (4.6, 3.9), 5),
    "wide": (47, 130, 1, (-5, -5), 5),
    "color": (75, 58, 3, (1.7, 2.25), 3),
    "at the end": (47, 51, 1, (-9.9, 9.6), 10),
    "beyond": (52, 60, 1, (2.5, -4), 2),
    "largest maxshift": (45, 43, 1, (13.4, -14.1), 15),
    "no shift": (66, 59, 1, (0.4, 0), 0),
    "factor 2": (417, 440, 1, (0.4, -0.2), 0),
    "factor 2, odd": (425, 421, 3, (0, 0.3), 0),
    "factor 3": (671, 703, 1, (0.1, 0), 0),
    "black": (64, 50, 1, None, 2),
}


@pytest.fixture(scope="module")
def images():
    made = {}
    for seed, (name, (height, width, channels, shift, _)) in enumerate(PAIRS.items()):
        truth = photograph(height, width, channels, seed)
        known = spoil(truth, 0.5, (0.5, -0.2), 0.01, seed)
        restored = 0 * truth if shift is None else spoil(truth, 1.2, shift, 0.02, seed + 100)
        made[name] = restored, known, truth
    return made


@pytest.fixture(scope="module")
def octave(images, tmp_path_factory):
    program = shutil.which("octave-cli") or shutil.which("octave")
    if program is None:
        pytest.skip("needs GNU Octave (Debian: apt-get install octave)")
    folder = tmp_path_factory.mktemp("octave")
    cells = np.empty((3, len(PAIRS)), object)
    for number, triple in enumerate(images.values()):
        cells[:, number] = triple
    given = dict(zip(("restored", "known", "truth"), cells, strict=True))
    maxshift = [float(pair[-1]) for pair in PAIRS.values()]
    savemat(folder / "given.mat", {**given, "maxshift": maxshift})
    command = [program, "--norc", str(SCRIPT), str(folder / "given.mat"), str(folder / "found.mat")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = loadmat(folder / "found.mat")
    columns = (found[key][0] for key in ("psnr", "ssim", "ratio", "ratio_levin", "aligned"))
    return dict(zip(PAIRS, zip(*columns, strict=True), strict=True))


@pytest.mark.parametrize("name", PAIRS)
def test_scores_match_octave(name, images, octave):
    restored, known, truth = (
        STUDIO_RANGE.luminance(image) if image.ndim == 3 else image for image in images[name]
    )
    maxshift = PAIRS[name][-1]
    psnr, ssim, aligned = comp_upto_shift(restored, truth, maxshift)
    aligned_known = comp_upto_shift(known, truth, maxshift)[2]
    ratios = [
        ratio(aligned, aligned_known, crop(truth)) for ratio in (error_ratio, error_ratio_levin)
    ]
    *scores, expected_aligned = octave[name]
    assert [psnr, ssim, *ratios] == pytest.approx(scores, abs=1e-8, rel=0)
    np.testing.assert_allclose(aligned, expected_aligned, atol=1e-12)
