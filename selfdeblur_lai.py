"""Restore Lai's 100 blurry images (section 4.3 of the SelfDeblur paper, its Lai table).

    python selfdeblur_lai.py                                      # datasets/lai/uniform_ycbcr
    python selfdeblur_lai.py --data_path RELEASE/uniform          # Lai's release, in color
    python selfdeblur_lai.py --only 'text_*' --method quick       # without a GPU

Luminance images give NAME_x.png and NAME_k.png; color images NAME.png as well, in color. An image
that collapses to black is fitted again with the estimated kernel.
"""

from dataclasses import replace

from datasets import catalog
from utils.engine.methods import LAI, blind_methods, without_remedy
from utils.runs.experiment import Experiment
from utils.terminal.options import parse_options
from utils.terminal.program import Parser, run_program
from utils.terminal.restore import restore_images


def add_options(parser: Parser) -> None:
    parser.add_argument(
        "--no_rescue", action="store_true", help="leave images that collapse to black"
    )


def main(arguments: list[str]) -> int:
    options, given = parse_options(
        arguments,
        __doc__,
        data_path="datasets/lai/uniform_ycbcr",
        save_path="results/lai/uniform",
        methods=blind_methods(LAI),
        where_to_get="datasets/README.md says where to get Lai's images and how to prepare them",
        add_options=add_options,
    )
    if given.no_rescue:
        options = replace(options, method=without_remedy(options.method))
    experiment = Experiment(
        catalog.LAI.kernel_size,
        luma=catalog.LAI.luma,
        scored_luma=catalog.LAI.scored_luma,
        color_suffix=".png",
    )
    return restore_images(options, experiment)


if __name__ == "__main__":
    run_program(main)
