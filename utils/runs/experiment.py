"""What distinguishes one script's images from another's."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from utils.engine.stage import Restoration
from utils.images.colors import FULL_RANGE, Luma
from utils.images.reading import Photograph
from utils.images.writing import encode_png, quantise


@dataclass(frozen=True)
class Experiment:
    """What a script says about its images, besides the options that all scripts share.

    Parameters
    ----------
    kernel_size : callable
        Takes an image's name, returns its kernel's height and width or raises a DataError; the
        option of the same name goes before it.
    luma : Luma
        Which luminance of a color image is restored.
    scored_luma : Luma
        Which luminance the scores compare.
    color_suffix : str or None
        Where the restored image goes in color, if the blurry one has any: ``_x.png`` in place of
        its luminance, another suffix beside it, None nowhere.
    registered : bool
        Whether the restored image is laid on the blurry one, so that the chroma and the alpha fit,
        in place of the authors' crop from the middle.
    files : callable
        Takes an image's name, returns the files that decide its result besides the image, each
        under a word for it; they are recorded with the settings.
    start : callable
        Takes the image's file and the `Restoration` with nothing but the blurry image and the
        kernel's size, returns it with what the method's first stage needs besides.
    saves_networks : bool
        Whether the networks are written.
    settings : dict
        What else decides the results, to be recorded with the settings.
    """

    kernel_size: Callable[[str], tuple[int, int]]
    luma: Luma = FULL_RANGE
    scored_luma: Luma = FULL_RANGE
    color_suffix: str | None = None
    registered: bool = False
    files: Callable[[str], dict[str, Path]] = lambda name: {}
    start: Callable[[Path, Restoration], Restoration] = lambda path, restoration: restoration
    saves_networks: bool = True
    settings: dict[str, Any] = field(default_factory=dict)

    def luminance(self, photograph: Photograph) -> np.ndarray:
        """Take from a photograph the (H, W) luminance in [0, 1], rounded to its depth."""
        luma = self.luma.luminance(photograph.pixels)
        return quantise(luma, photograph.depth) / np.iinfo(photograph.depth).max

    def render(self, photograph: Photograph, restoration: Restoration) -> dict[str, bytes]:
        """Make the files of a restored image.

        Parameters
        ----------
        photograph : Photograph
            The blurry image, whose depth, alpha and chroma are kept.
        restoration : Restoration
            The restored luminance.

        Returns
        -------
        dict of str to bytes
            PNG files by the suffixes of their names.
        """
        depth, alpha = photograph.depth, photograph.alpha
        files = {}
        images = {"_x.png": restoration}
        for name, sharp in restoration.others.items():
            images[f"_{name}.png"] = replace(restoration, sharp=sharp)
        for suffix, each in images.items():
            restored = each.registered_image if self.registered else each.image
            if photograph.pixels.ndim == 2:
                files[suffix] = encode_png(restored, depth, alpha)
                continue
            files[suffix] = encode_png(restored, depth)
            if self.color_suffix:
                colored = self.luma.replace_luminance(photograph.pixels, restored)
                color_suffix = suffix.replace("_x.png", self.color_suffix)
                files[color_suffix] = encode_png(colored, depth, alpha)
        return files

    def suffixes(self, photograph: Photograph) -> set[str]:
        """Name the files that `render` makes, by the suffixes of their names."""
        suffixes = {"_x.png"}
        if photograph.pixels.ndim == 3 and self.color_suffix:
            suffixes.add(self.color_suffix)
        return suffixes
