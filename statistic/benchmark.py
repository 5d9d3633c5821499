"""What a benchmark consists of: its images, where their files lie, and the figures in print."""

from dataclasses import dataclass

from datasets.catalog import truth_name
from utils.images.colors import Luma


@dataclass(frozen=True)
class BlurryImage:
    """One image of a benchmark.

    Parameters
    ----------
    name : str
        The blurry image's name without suffix, ``im1_kernel2_img`` for instance.
    image : str
        The sharp image that it was made from, as the printed line calls it: ``1``.
    kernel : int
        The number of the blur kernel.
    """

    name: str
    image: str
    kernel: int

    @property
    def truth(self) -> str:
        """The sharp image's name without suffix."""
        return truth_name(self.name)


@dataclass(frozen=True)
class Published:
    """Averages over a whole benchmark as they stand in print.

    Parameters
    ----------
    method : str
        The method's name.
    psnr : float
        In dB.
    ssim : float
        Structural similarity.
    error_ratio : float or None
        As the published scripts compute it; None where it was not given.
    source : str
        Where the figures were published.
    """

    method: str
    psnr: float
    ssim: float
    error_ratio: float | None
    source: str


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's images and the places where their files lie.

    Parameters
    ----------
    name : str
        Results lie in the folders of the results path whose names begin so.
    images : tuple of BlurryImage
        All images, in the order of the published script.
    endings : tuple of str
        What a restored image's file has after the blurry image's name, the most wanted first.
    truth_folders : tuple of str
        Where sharp images are looked for, in this order; ``{results}`` stands for the results path.
    blurry_folders : tuple of str
        Likewise for the blurry images.
    kernel_folders : tuple of str
        Likewise for the true kernels, after the folders of sharp images.
    kernel_name : str
        Name of a true kernel's file without suffix; ``{}`` takes its number.
    luma_range : Luma
        Which luminance stands for a color image; a gray one is taken as it is.
    known_kernel_folders : tuple of str
        Likewise for the images restored with the true kernels, which error ratios refer to. What
        has to be computed goes to the last one. Empty where the benchmark knows no error ratio.
    published : tuple of Published
        The figures in print.
    where_to_get : str
        How to get the data; said where the sharp images are missing.
    """

    name: str
    images: tuple[BlurryImage, ...]
    endings: tuple[str, ...]
    truth_folders: tuple[str, ...]
    blurry_folders: tuple[str, ...]
    kernel_folders: tuple[str, ...]
    kernel_name: str
    luma_range: Luma
    known_kernel_folders: tuple[str, ...]
    published: tuple[Published, ...]
    where_to_get: str
