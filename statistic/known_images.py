"""Restore a benchmark's images with the true kernels: what error ratios refer to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statistic.methods import ImageFiles
from statistic.reblur import orient_kernel
from utils.engine.deconvolution import WEIGHT, deconvolve
from utils.errors import DataError
from utils.images.colors import Luma
from utils.images.files import read_json, sha256, write_json
from utils.images.reading import read_image, read_kernel
from utils.images.writing import write_png
from utils.runs.parallel import in_parallel
from utils.terminal.progress import image_bar, say


@dataclass(frozen=True)
class RestorationJob:
    """One image to restore with its true kernel."""

    image: str  # the blurry image's name
    truth: Path
    blurry: Path
    kernel: Path
    luma: Luma  # the luminance that is compared
    folder: Path  # where the files are written

    @property
    def restored(self) -> Path:
        return self.folder / f"{self.image}.png"

    @property
    def record_file(self) -> Path:
        return self.folder / f"{self.image}.json"

    def record(self) -> dict[str, Any]:
        """What the restored image is made from."""
        return {
            "blurry_sha256": sha256(self.blurry),
            "truth_sha256": sha256(self.truth),
            "kernel_sha256": sha256(self.kernel),
            "weight": WEIGHT,
        }

    def is_done(self) -> bool:
        try:
            return self.restored.exists() and read_json(self.record_file) == self.record()
        except (DataError, OSError):
            return False


def restore_known(
    files: dict[str, ImageFiles], folder: Path, luma: Luma, workers: int
) -> dict[str, str]:
    """Restore images with their true kernels, if that has not been done before.

    Each image NAME gets the files ``NAME.png`` and ``NAME.json`` in `folder`, the latter a record
    of what the former was made from. If that has changed since, the image is made again. Images
    without truth or kernel are skipped. Returns, by the image's name, why one could not be
    restored.
    """
    jobs = [
        RestorationJob(name, image.truth, image.blurry, image.true_kernel, luma, folder)
        for name, image in files.items()
        if image.truth and image.blurry and image.true_kernel
    ]
    jobs = [job for job in jobs if not job.is_done()]
    if not jobs:
        return {}
    say(f"restoring {len(jobs)} images with their true kernels, for the error ratio: {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    failures = {}
    with image_bar(len(jobs)) as bar:
        for name, failure in in_parallel(_restore, jobs, workers):
            if failure:
                failures[name] = failure
            bar.update()
    return failures


def _restore(job: RestorationJob) -> tuple[str, str | None]:
    # If it cannot be made, one that was made from other files must not be taken for it.
    job.restored.unlink(missing_ok=True)
    try:
        blurry, truth = (job.luma.luminance(read_image(file)) for file in (job.blurry, job.truth))
        kernel = read_kernel(job.kernel)
    except (DataError, OSError) as error:
        return job.image, str(error)
    try:
        restored = deconvolve(blurry, orient_kernel(kernel, truth, blurry), WEIGHT)
    except ValueError as error:
        return job.image, f"{job.blurry}: {error}"
    write_png(job.restored, restored)
    write_json(job.record_file, job.record())
    return job.image, None
