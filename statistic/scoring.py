"""Score one image of a benchmark as restored by all methods."""

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

FIGURES = ("psnr", "ssim", "error_ratio", "error_ratio_levin")


@dataclass(frozen=True)
class Score:
    """The scores of one image restored by one method; None for what could not be computed."""

    method: str
    image: str  # the blurry image's name
    file: Path | None  # the restored image; None if the method has none
    psnr: float | None = None
    ssim: float | None = None
    error_ratio: float | None = None  # as the published scripts compute it
    error_ratio_levin: float | None = None  # as Levin et al. define it
    problem: str | None = None  # why a figure is missing although there is a file
    shift: tuple[float, float] | None = None  # see `statistic.metrics.Alignment`
    gray: bool = False  # whether the file is gray

    @property
    def figures(self) -> dict[str, float | None]:
        return {name: getattr(self, name) for name in FIGURES}

    @property
    def reason(self) -> str | None:
        """Why figures are missing, if any are."""
        return self.problem if self.file else "missing"


@dataclass(frozen=True)
class ScoringJob:
    """One image of a benchmark with all its restored versions."""

    image: str  # the blurry image's name
    truth: Path | None
    known: Path | None  # the image restored with the true kernel
    known_failure: str | None  # why it could not be so restored
    restored: dict[str, Path]  # by the methods' names
    gray_scales: dict[str, Luma | None]  # see `statistic.methods.Method.gray_scale`, likewise
    aligned: dict[str, Path]  # where to write the aligned images, likewise
    maxshift: int  # see `statistic.metrics.comp_upto_shift`
    luma: Luma  # the luminance that is compared


def score_image(job: ScoringJob) -> list[Score]:
    """Score an image under every method; one that cannot be scored gets a `Score.problem`."""
    try:
        if job.truth is None:
            raise DataError(f"there is no sharp image {truth_name(job.image)}.png (see --gt_path)")
        truth = job.luma.luminance(read_image(job.truth))
    except (DataError, OSError) as error:
        return [
            Score(method, job.image, file, problem=str(error))
            for method, file in job.restored.items()
        ]
    known, failure = None, job.known_failure
    if job.known:
        try:
            luminance = job.luma.luminance(read_image(job.known))
            known = _align(job.known, luminance, truth, job.maxshift).aligned
        except (DataError, OSError) as error:
            failure = str(error)

    scores = []
    for method, file in job.restored.items():
        scale = job.gray_scales[method]
        try:
            image = read_image(file)
            found = _align(file, job.luma.luminance(image, scale), truth, job.maxshift)
        except (DataError, OSError) as error:
            scores.append(Score(method, job.image, file, problem=str(error)))
            continue
        ratios: dict[str, float] = {}
        if known is not None:
            ratios = {
                "error_ratio": error_ratio(found.aligned, known, crop(truth)),
                "error_ratio_levin": error_ratio_levin(found.aligned, known, crop(truth)),
            }
        scores.append(
            Score(
                method,
                job.image,
                file,
                found.psnr,
                found.ssim,
                **ratios,
                problem=f"no error ratio: {failure}" if failure else None,
                shift=found.shift,
                gray=image.ndim == 2,
            )
        )
        if method in job.aligned:
            pixels = _aligned_image(found.aligned, image, job.luma, scale)
            write_whole(job.aligned[method], encode_png(pixels))
    return scores


def _align(file: Path, luminance: np.ndarray, truth: np.ndarray, maxshift: int) -> Alignment:
    try:
        return align(luminance, truth, maxshift)
    except ValueError as error:
        raise DataError(f"{file}: {error}") from error


def _aligned_image(
    aligned: np.ndarray, image: np.ndarray, luma: Luma, gray_scale: Luma | None
) -> np.ndarray:
    """Put an aligned luminance on its file's scale, with the cropped chroma of a color image.

    As in the published scripts, the chroma is not aligned.
    """
    if image.ndim == 2:
        return luma.convert(aligned, gray_scale) if gray_scale else aligned
    image = image[BORDER:, BORDER:][: aligned.shape[0], : aligned.shape[1]]
    return luma.replace_luminance(image, aligned)
