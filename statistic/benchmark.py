"""A benchmark to score: where its files are, and its published figures."""

from dataclasses import dataclass
from pathlib import Path

from datasets.catalog import DataSet


@dataclass(frozen=True)
class Published:
    """A method's published averages over all images of a benchmark."""

    method: str
    psnr: float
    ssim: float
    error_ratio: float | None  # as the published scripts compute it
    source: str


@dataclass(frozen=True)
class BlurryImage:
    """One image of a benchmark, by the names of the data set."""

    name: str
    truth: str
    kernel: int

    @property
    def label(self) -> str:
        """The sharp image as the published scripts call it: ``1`` for Levin's ``im1``."""
        return self.truth.removeprefix("im")


@dataclass(frozen=True)
class Benchmark:
    """How results on a data set are found and scored.

    Results are searched for in all folders of the results path whose names begin with the data
    set's name.
    """

    data: DataSet
    # What may follow the blurry image's name in a restored image's, in order of preference.
    endings: tuple[str, ...]
    results_truths: str  # folder of sharp images in the published results, preferred to the data's
    error_ratios: bool  # whether error ratios are published
    published: tuple[Published, ...]
    where_to_get: str  # the data, for the message when sharp images are missing

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def images(self) -> list[BlurryImage]:
        """All images in the order of the published scripts."""
        return [
            BlurryImage(self.data.image_name(truth, number), truth, number)
            for truth in self.data.truths
            for number in self.data.kernel_sizes
        ]

    @property
    def data_folder(self) -> Path:
        return Path("datasets") / self.name

    def truth_folders(self, results: Path) -> list[Path]:
        """Where sharp images may lie, in order of preference."""
        return [
            results / self.name / self.results_truths,
            self.data_folder / self.data.truth_folder,
        ]

    def blurry_folders(self) -> list[Path]:
        """Where blurry images may lie, in order of preference: those in color come first."""
        folders = (self.data.color_folder, self.data.blurry_folder)
        return [self.data_folder / folder for folder in folders if folder]

    def known_kernel_folders(self, results: Path) -> list[Path]:
        """Where images restored with the true kernels may lie: the authors', then our own.

        There are none for a benchmark without error ratios.
        """
        folders = ("others/groundk", "known_kernel") if self.error_ratios else ()
        return [results / self.name / folder for folder in folders]
