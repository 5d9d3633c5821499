"""What distinguishes one script's images from another's."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from utils.engine.stage import Restoration
from utils.images.colors import FULL_RANGE, Luma
from utils.images.kernels import move_to_crop
from utils.images.metadata import kept_exif
from utils.images.reading import Photograph
from utils.images.writing import add_metadata, encode_png, quantise

# A channel's limit, less a gray level for noise; and the luminance from which on a pixel counts as
# white (that of `utils.engine.kernel_fit.CLIPPED`, whose import takes a second).
AT_LIMIT = 254 / 255
BRIGHT = 0.98


@dataclass(frozen=True)
class Experiment:
    """What a script says about its images, besides the options that all scripts share.

    Parameters
    ----------
    kernel_size : callable
        Takes an image's name, returns its kernel's height and width, or
        `utils.runs.options.AUTO`, or raises a DataError; ``--kernel_size`` takes precedence.
    luma : Luma
        Which luminance of a color image is restored.
    scored_luma : Luma
        Which luminance the scores compare.
    color_suffix : str, optional
        Where a color image's restoration is written in color: ``_x.png`` replaces its luminance,
        another suffix is written as well. By default only the luminance is written.
    registered : bool
        Crop the restored image to lie on the blurry one, so that chroma and alpha fit, instead of
        from the middle as the authors do, where the chroma is moved.
    files : callable
        Takes an image's name, returns the files besides the image that determine its result, by
        the names under which their checksums are recorded.
    start : callable
        Takes the image's path and a `Restoration` of the blurry image and the kernel's size alone,
        returns it with whatever else the method's first stage needs.
    saves_networks : bool
        Whether to write the networks.
    exif : str
        How much of what the camera recorded goes into the restored photograph: one of
        `utils.images.metadata.EXIF_CHOICES`.
    page : bool
        Whether to write a page that shows the restoration (see `utils.runs.page`).
    opens_page : bool
        Whether to open the first of these pages in a browser.
    settings : dict
        Whatever else determines the results; recorded with the settings.
    """

    kernel_size: Callable[[str], tuple[int, int] | Literal["auto"]]
    luma: Luma = FULL_RANGE
    scored_luma: Luma = FULL_RANGE
    color_suffix: str | None = None
    registered: bool = False
    files: Callable[[str], dict[str, Path]] = lambda name: {}
    start: Callable[[Path, Restoration], Restoration] = lambda path, restoration: restoration
    saves_networks: bool = True
    exif: str = "drop"
    page: bool = False
    opens_page: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def luminance(self, photograph: Photograph) -> np.ndarray:
        """The photograph's luminance to restore, (H, W) in [0, 1], rounded to its depth."""
        luma = self.luma.luminance(photograph.pixels)
        return quantise(luma, photograph.depth) / np.iinfo(photograph.depth).max

    def picture(self, photograph: Photograph, restoration: Restoration) -> np.ndarray:
        """The restored image, (H, W) or in color (H, W, 3), as the script's results show it."""
        restored = restoration.registered_image if self.registered else restoration.image
        if photograph.pixels.ndim == 2 or not self.color_suffix:
            return restored
        if restoration.sharp_chroma is not None:
            return self.luma.join_chroma(restored, restoration.sharp_chroma)
        pixels = photograph.pixels
        if not self.registered and restoration.kernel is not None:
            pixels = move_to_crop(pixels, restoration.kernel)
        return self.luma.replace_luminance(pixels, restored)

    def doubtful(self, photograph: Photograph) -> np.ndarray | None:
        """Where a channel of a color is at its limit, (H, W) bool; None for a gray image.

        The light there was brighter than the luminance says. What is as bright as white does not
        count, for that may be white.
        """
        if photograph.pixels.ndim == 2:
            return None
        at_limit = photograph.pixels.max(axis=-1) >= AT_LIMIT
        return at_limit & (self.luma.luminance(photograph.pixels) < BRIGHT)

    def render(self, photograph: Photograph, restoration: Restoration) -> dict[str, bytes]:
        """Make the PNG files of a restored image, by the suffixes of their names.

        The blurry photograph's depth, alpha, chroma and color profile are kept.
        """
        depth, alpha = photograph.depth, photograph.alpha
        metadata = photograph.profile, kept_exif(photograph.exif, self.exif)
        files = {}
        images = {"_x.png": restoration}
        for name, sharp in restoration.others.items():
            images[f"_{name}.png"] = replace(restoration, sharp=sharp)
        for suffix, each in images.items():
            restored = each.registered_image if self.registered else each.image
            if photograph.pixels.ndim == 2:
                files[suffix] = add_metadata(encode_png(restored, depth, alpha), *metadata)
                continue
            files[suffix] = encode_png(restored, depth)
            if self.color_suffix:
                colored = self.picture(photograph, each)
                color_suffix = suffix.replace("_x.png", self.color_suffix)
                files[color_suffix] = add_metadata(encode_png(colored, depth, alpha), *metadata)
        return files

    def suffixes(self, photograph: Photograph) -> set[str]:
        """The suffixes of the files that `render` makes."""
        suffixes = {"_x.png"}
        if photograph.pixels.ndim == 3 and self.color_suffix:
            suffixes.add(self.color_suffix)
        return suffixes
