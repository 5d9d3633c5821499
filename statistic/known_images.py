"""Restore a benchmark's images with the true kernels: what error ratios are measured against."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statistic.methods import Given
from statistic.reblur import orient_kernel
from utils.engine.deconvolution import WEIGHT, deconvolve
from utils.errors import DataError
from utils.images.colors import Luma
from utils.images.files import sha256, write_json
from utils.images.reading import read_image, read_kernel
from utils.images.writing import write_png
from utils.runs.parallel import in_parallel
from utils.terminal.progress import image_bar, say


@dataclass(frozen=True)
class Task:
    """One image to restore.

    Parameters
    ----------
    image : str
        The blurry image's name without suffix.
    given : Given
        The blurry image, the truth and the true kernel.
    restored : Path
        The PNG to write.
    luma_range : Luma
        See `statistic.benchmark.Benchmark`.
    """

    image: str
    given: Given
    restored: Path
    luma_range: Luma


def restore_known(
    given: dict[str, Given], folder: Path, luma_range: Luma, jobs: int
) -> dict[str, str]:
    """Restore with its true kernel every image that was not so restored before.

    Beside each stands a record of what it was made from; where that has changed since, the image
    is made anew.

    Parameters
    ----------
    given : dict of str to Given
        See `statistic.methods.find_given`. Images without truth or kernel are passed over.
    folder : Path
        Where ``NAME.png`` and ``NAME.json`` are written for each image.
    luma_range : Luma
        See `statistic.benchmark.Benchmark`.
    jobs : int
        How many processes work.

    Returns
    -------
    dict of str to str
        Why an image could not be restored, by its name.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    tasks = [
        Task(image, files, folder / f"{image}.png", luma_range)
        for image, files in given.items()
        if files.blurry and files.truth and files.kernel
        if not _is_current(files, folder / f"{image}.png")
    ]
    if not tasks:
        return {}
    say(f"restoring {len(tasks)} images with their true kernels, for the error ratio: {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    failures = {}
    with image_bar(len(tasks)) as bar:
        for image, failure in in_parallel(_restore, tasks, jobs):
            if failure:
                failures[image] = failure
            bar.update()
    return failures


def _is_current(given: Given, restored: Path) -> bool:
    try:
        record = json.loads(restored.with_suffix(".json").read_text())
        return restored.exists() and record == _record(given)
    except (OSError, ValueError):
        return False


def _record(given: Given) -> dict[str, Any]:
    return {
        "blurry_sha256": sha256(given.blurry),
        "truth_sha256": sha256(given.truth),
        "kernel_sha256": sha256(given.kernel),
        "weight": WEIGHT,
    }


def _restore(task: Task) -> tuple[str, str | None]:
    # What other files made must not be taken for this if these cannot be read.
    task.restored.unlink(missing_ok=True)
    luma = task.luma_range.luminance
    try:
        blurry, truth = luma(read_image(task.given.blurry)), luma(read_image(task.given.truth))
        kernel = read_kernel(task.given.kernel)
    except (DataError, OSError) as error:
        return task.image, str(error)
    try:
        restored = deconvolve(blurry, orient_kernel(kernel, truth, blurry))
    except ValueError as error:
        return task.image, f"{task.given.blurry}: {error}"
    write_png(task.restored, restored)
    write_json(task.restored.with_suffix(".json"), _record(task.given))
    return task.image, None
