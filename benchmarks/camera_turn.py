"""Blur sharp images as a turning camera does, restore them with one kernel and by its motion.

    python benchmarks/camera_turn.py ../shared/data/lai/ground_truth

Each scene has a path of its own: its whole turn in degrees, the extent of its shift in pixels. PSNR
of the luminance, no shift allowed, without 40 pixels along the borders. The misfits are those of
the motion and of the one kernel, where the image's parts were found to differ.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets.catalog import LAI
from statistic.metrics import psnr
from utils.engine.methods import PHOTOGRAPH, find_size_first
from utils.engine.restore import Task, restore
from utils.engine.stage import UNKNOWN_SIZE, Restoration
from utils.engine.stages.photograph import Deconvolve
from utils.errors import DataError, UsageError
from utils.images.reading import read_photograph
from utils.terminal.program import Parser, run_program

# Turn, shift, and the seed of the path; without a shift the camera turns evenly about the middle.
SCENES = {
    "natural_02": [(3.0, 0, 0), (3.0, 15, 1)],
    "manmade_03": [(2.0, 0, 0)],
    "people_02": [(3.0, 0, 0)],
    "natural_05": [(4.0, 0, 0)],
    "manmade_01": [(1.5, 20, 2)],
    "people_01": [(2.0, 15, 3)],
    "natural_01": [(1.0, 25, 4)],
    "saturated_02": [(2.0, 10, 5)],
    "people_03": [(0.0, 25, 6)],
    "natural_04": [(0.0, 20, 7)],
}
NOISE = 0.004
MARGIN = 40
POSES = 60


def path_of(turn: float, shift: float, seed: int) -> np.ndarray:
    """Poses, (60, 3): an angle in radians and two shifts in pixels, with means of 0."""
    if not shift:
        poses = np.radians(turn) * np.linspace(0, 1, POSES)[:, None] * np.array([1, 0, 0])
    else:
        steps = np.random.default_rng(seed).standard_normal((3, POSES))
        walks = ndimage.gaussian_filter1d(steps.cumsum(axis=1), 6, axis=1)
        walks -= walks.min(axis=1, keepdims=True)
        poses = (walks / np.ptp(walks, axis=1)[:, None]).T * (np.radians(turn), shift, shift)
    return poses - poses.mean(axis=0)


def blur(sharp: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """What a camera sees that takes these poses, one after the other."""
    middle = (np.array(sharp.shape) - 1) / 2
    rows, columns = np.indices(sharp.shape) - middle[:, None, None]
    coefficients = ndimage.spline_filter(sharp, 3)
    blurry = np.zeros(sharp.shape)
    for angle, down, across in poses:
        cosine, sine = np.cos(angle), np.sin(angle)
        places = cosine * rows - sine * columns + down, sine * rows + cosine * columns + across
        at = [place + half for place, half in zip(places, middle, strict=True)]
        blurry += ndimage.map_coordinates(coefficients, at, prefilter=False, mode="nearest")
    noise = NOISE * np.random.default_rng(9).standard_normal(sharp.shape)
    return (blurry / len(poses) + noise).clip(0, 1)


def score(image: np.ndarray, truth: np.ndarray) -> float:
    """PSNR without the borders, in dB."""
    inner = slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN)
    return psnr(255 * image[inner], 255 * truth[inner])


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("sharp", type=Path, help="folder of Lai's sharp images")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args(arguments)
    if given.threads < 1:
        raise UsageError(f"--threads {given.threads}: give at least 1")
    torch.set_num_threads(given.threads)
    for scene in SCENES:
        if not (given.sharp / f"{scene}.png").is_file():
            raise DataError(f"{given.sharp}: no {scene}.png in it; give Lai's folder ground_truth")

    assert LAI.luma is not None
    tqdm.write("| scene | turn, shift | size | blurry | one kernel | `photo` | misfits | s |")
    for scene, turn, shift, seed in tqdm(
        [(scene, *path) for scene, paths in SCENES.items() for path in paths], leave=False
    ):
        truth = LAI.luma.luminance(read_photograph(given.sharp / f"{scene}.png").pixels)
        blurry = np.rint(255 * blur(truth, path_of(turn, shift, seed))) / 255
        start = time.perf_counter()
        method = find_size_first(PHOTOGRAPH)
        records: list[dict[str, Any]] = []
        found = restore(
            Task(method, Restoration(blurry, UNKNOWN_SIZE)),
            device="cpu",
            on_stage=records.append,
        )
        seconds = time.perf_counter() - start
        known = Restoration(blurry, found.kernel_size, found.kernel)
        one = restore(Task((Deconvolve(),), known), device="cpu")
        scores = (
            score(each, truth) for each in (blurry, one.registered_image, found.registered_image)
        )
        parts = next(record for record in records if record["stage"] == "parts")
        misfits = ", ".join(f"{misfit:.3f}" for misfit in parts.get("misfit", []))
        columns = [
            scene,
            f"{turn:g}, {shift:g}",
            f"{found.kernel_size[0]}",
            *(f"{score:.2f}" for score in scores),
            misfits,
            f"{seconds:.0f}",
        ]
        tqdm.write(f"| {' | '.join(columns)} |")
    return 0


if __name__ == "__main__":
    run_program(main)
