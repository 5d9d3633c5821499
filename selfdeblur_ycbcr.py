"""Restore photographs, in color or gray (section 4.4 of the SelfDeblur paper, its real images).

    python selfdeblur_ycbcr.py                       # all of datasets/real
    python selfdeblur_ycbcr.py --data_path photo.jpg --kernel_size 31 --recipe quick

The luminance is restored, laid on the blurry one, and the chroma kept. The result has the
photograph's bits a channel and its alpha.
"""

from utils.engine.recipe import YCBCR
from utils.runs.experiment import Experiment
from utils.runs.run import restore_all
from utils.terminal.options import parse_options
from utils.terminal.program import run_program

# The authors' sizes for their photographs, by a word in the name.
KERNEL_SIZES = {"fish": 41, "flower": 25, "house": 51}
OTHER_KERNELS = 31


def kernel_size(name: str) -> tuple[int, int]:
    """Kernel size of a photograph by its name alone."""
    size = next((size for word, size in KERNEL_SIZES.items() if word in name), OTHER_KERNELS)
    return size, size


def main(arguments: list[str]) -> int:
    options = parse_options(
        arguments,
        __doc__,
        data_path="datasets/real",
        save_path="results/real",
        recipe=YCBCR,
        where_to_get="python datasets/fetch.py real gets three photographs; or name your own",
    )
    return restore_all(options, Experiment(kernel_size, color_suffix="_x.png", registered=True))


if __name__ == "__main__":
    run_program(main)
