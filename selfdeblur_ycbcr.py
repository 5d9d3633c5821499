"""Restore photographs, in color or gray (section 4.4 of the SelfDeblur paper, its real images).

    python selfdeblur_ycbcr.py                       # all of datasets/real
    python selfdeblur_ycbcr.py --data_path photo.jpg --kernel_size 31 --method quick

The luminance is restored, laid on the blurry one, and the chroma kept. The result has the
photograph's bits a channel, its alpha and its color profile. NAME.html shows it beside the blurry
one, with the kernel.
"""

from datasets.catalog import photograph_kernel_size
from utils.engine.methods import YCBCR, blind_methods
from utils.images.metadata import EXIF_CHOICES
from utils.log import log
from utils.runs.experiment import Experiment
from utils.terminal.options import parse_options
from utils.terminal.program import Parser, run_program
from utils.terminal.restore import restore_images


def kernel_size(name: str) -> tuple[int, int]:
    """Choose the kernel's size by the photograph's name, and say which it is."""
    height, width = photograph_kernel_size(name)
    log.info("%s: kernel of %d x %d (--kernel_size gives another)", name, height, width)
    return height, width


def add_options(parser: Parser) -> None:
    kept = "what the camera recorded: drop, private (no place, no names) or keep (%(default)s)"
    parser.add_argument("--exif", choices=EXIF_CHOICES, default="drop", metavar="NAME", help=kept)
    shown = "open the first image's page in the browser as soon as it exists"
    parser.add_argument("--open", action="store_true", help=shown)


def main(arguments: list[str]) -> int:
    options, given = parse_options(
        arguments,
        __doc__,
        data_path="datasets/real",
        save_path="results/real",
        methods=blind_methods(YCBCR),
        where_to_get="python datasets/fetch.py real gets three photographs; or name your own",
        add_options=add_options,
    )
    experiment = Experiment(
        kernel_size,
        color_suffix="_x.png",
        registered=True,
        exif=given.exif,
        page=True,
        opens_page=given.open,
        # Not the default, which results have whose record does not name it.
        settings={} if given.exif == "drop" else {"exif": given.exif},
    )
    return restore_images(options, experiment)


if __name__ == "__main__":
    run_program(main)
