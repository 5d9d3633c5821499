"""Restore photographs, in color or gray (section 4.4 of the SelfDeblur paper, its real images).

    python selfdeblur_ycbcr.py  # all of datasets/real
    python selfdeblur_ycbcr.py --data_path photo.jpg --method photo

The luminance is restored, laid on the blurry one, and the chroma kept. `photo` finds the kernel
in a window, with its size unless the name tells it, and restores the whole in tiles, its chroma
too. The result has the photograph's bits a channel, alpha and profile; NAME.html shows it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from datasets.catalog import known_photograph_kernel_size, photograph_kernel_size
from utils.engine.methods import PHOTOGRAPH, YCBCR, blind_methods, look_in
from utils.engine.stage import Restoration
from utils.errors import UsageError
from utils.images.metadata import EXIF_CHOICES
from utils.images.reading import read_image
from utils.log import log
from utils.runs.experiment import Experiment
from utils.runs.options import AUTO
from utils.terminal.options import parse_options
from utils.terminal.program import Parser, integer, run_program
from utils.terminal.restore import restore_images


def add_options(parser: Parser) -> None:
    add = parser.add_argument
    window = "where to look for the kernel, in pixels (photo)"
    add("--window", type=integer(0), nargs=4, metavar=("X", "Y", "W", "H"), help=window)
    chroma = "keep or restore (restore with photo, else keep)"
    add("--chroma", choices=("keep", "restore"), metavar="WHAT", help=chroma)
    kept = "of the camera: drop, private or keep (%(default)s)"
    add("--exif", choices=EXIF_CHOICES, default="drop", metavar="NAME", help=kept)
    shown = "open the first image's page in the browser"
    add("--open", action="store_true", help=shown)


def kernel_size(name: str) -> tuple[int, int]:
    """Choose the kernel's size by the photograph's name, and say which it is."""
    height, width = photograph_kernel_size(name)
    log.info("%s: kernel of %d x %d (--kernel_size gives another)", name, height, width)
    return height, width


def kernel_size_or_auto(name: str) -> tuple[int, int] | Literal["auto"]:
    """The same, but have it found where the name tells nothing."""
    return kernel_size(name) if known_photograph_kernel_size(name) else AUTO


def main(arguments: list[str]) -> int:
    options, given = parse_options(
        arguments,
        __doc__,
        data_path="datasets/real",
        save_path="results/real",
        methods=blind_methods(YCBCR) | {"photo": PHOTOGRAPH},
        where_to_get="python datasets/fetch.py real gets three photographs; or name your own",
        add_options=add_options,
    )
    by_tiles = options.method_name == "photo"
    if not by_tiles:
        for option, asks in (("--window", given.window), ("--chroma", given.chroma == "restore")):
            if asks:
                raise UsageError(f"{option}: needs --method photo")
    if given.window:
        options = replace(options, method=look_in(options.method, tuple(given.window)))
    chroma = given.chroma or ("restore" if by_tiles else "keep")

    def start(path: Path, restoration: Restoration) -> Restoration:
        pixels = read_image(path)
        if pixels.ndim == 2 or chroma == "keep":
            return restoration
        return replace(restoration, chroma=experiment.luma.split_chroma(pixels))

    experiment = Experiment(
        kernel_size_or_auto if by_tiles else kernel_size,
        color_suffix="_x.png",
        registered=True,
        start=start,
        exif=given.exif,
        page=True,
        opens_page=given.open,
        # Not the defaults, which results have whose record does not name them.
        settings=({"chroma": chroma} if by_tiles else {})
        | ({} if given.exif == "drop" else {"exif": given.exif}),
    )
    return restore_images(options, experiment)


if __name__ == "__main__":
    run_program(main)
