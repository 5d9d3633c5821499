"""Score one image of a benchmark under all methods."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.catalog import truth_name
from statistic.metrics import BORDER, Alignment, align, crop, error_ratio, error_ratio_levin
from utils.errors import DataError
from utils.images.colors import Luma
from utils.images.files import write_whole
from utils.images.reading import read_image
from utils.images.writing import encode_png


@dataclass(frozen=True)
class Score:
    """What became of one image under one method.

    Parameters
    ----------
    method : str
        The method's name.
    image : str
        The blurry image's name without suffix.
    file : Path or None
        The restored image; None if the method lacks it.
    psnr, ssim : float or None
        At the best shift; None if the image could not be scored.
    error_ratio, error_ratio_levin : float or None
        As the published scripts compute it, and as Levin et al. define it; None if there is no
        image restored with the true kernel.
    problem : str or None
        Why a score is lacking though the file is there.
    shift : (float, float) or None
        See `statistic.metrics.Alignment`; None if the image could not be scored.
    """

    method: str
    image: str
    file: Path | None
    psnr: float | None = None
    ssim: float | None = None
    error_ratio: float | None = None
    error_ratio_levin: float | None = None
    problem: str | None = None
    shift: tuple[float, float] | None = None


@dataclass(frozen=True)
class Task:
    """One image of a benchmark, restored by all methods.

    Parameters
    ----------
    image : str
        The blurry image's name without suffix.
    truth : Path or None
        The sharp image.
    known : Path or None
        The image restored with the true kernel.
    known_failure : str or None
        Why it could not be so restored.
    restored : dict of str to Path
        The restored images by the methods' names.
    aligned : dict of str to Path
        Where the aligned images are to be written, likewise; none for methods that it lacks.
    maxshift : int
        See `statistic.metrics.comp_upto_shift`.
    luma_range : Luma
        See `statistic.benchmark.Benchmark`.
    """

    image: str
    truth: Path | None
    known: Path | None
    known_failure: str | None
    restored: dict[str, Path]
    aligned: dict[str, Path]
    maxshift: int
    luma_range: Luma


def score_image(task: Task) -> list[Score]:
    """Score an image under every method.

    Parameters
    ----------
    task : Task
        What to score.

    Returns
    -------
    list of Score
        One for each method. An image that cannot be scored is one with a `problem`.

    Raises
    ------
    OSError
        If an aligned image cannot be written.
    """
    try:
        truth = _read_truth(task)
    except (DataError, OSError) as error:
        return [
            Score(method, task.image, file, problem=str(error))
            for method, file in task.restored.items()
        ]
    known, failure = None, task.known_failure
    if task.known:
        try:
            known = _align(task.known, truth, task).aligned
        except (DataError, OSError) as error:
            failure = str(error)
    no_ratio = f"no error ratio: {failure}" if failure else None

    scores = []
    for method, file in task.restored.items():
        try:
            found = _align(file, truth, task)
        except (DataError, OSError) as error:
            scores.append(Score(method, task.image, file, problem=str(error)))
            continue
        ratios = []
        if known is not None:
            ratios = [
                ratio(found.aligned, known, crop(truth))
                for ratio in (error_ratio, error_ratio_levin)
            ]
        figures = (found.psnr, found.ssim, *ratios)
        scores.append(
            Score(method, task.image, file, *figures, problem=no_ratio, shift=found.shift)
        )
        if method in task.aligned:
            image = _in_color(found.aligned, file, task.luma_range)
            write_whole(task.aligned[method], encode_png(image))
    return scores


def _read_truth(task: Task) -> np.ndarray:
    if task.truth is None:
        raise DataError(f"there is no sharp image {truth_name(task.image)}.png (see --gt_path)")
    return task.luma_range.luminance(read_image(task.truth))


def _align(file: Path, truth: np.ndarray, task: Task) -> Alignment:
    try:
        return align(task.luma_range.luminance(read_image(file)), truth, task.maxshift)
    except ValueError as error:
        raise DataError(f"{file}: {error}") from error


def _in_color(aligned: np.ndarray, file: Path, luma_range: Luma) -> np.ndarray:
    """Give an aligned luminance the cropped, not aligned chroma of its file, if it has any."""
    image = read_image(file)
    if image.ndim == 2:
        return aligned
    image = image[BORDER:, BORDER:][: aligned.shape[0], : aligned.shape[1]]
    return luma_range.replace_luminance(image, aligned)
