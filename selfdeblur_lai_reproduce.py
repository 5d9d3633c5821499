"""Show what the authors' released networks give for Lai's 100 images (the paper's Lai table).

    python selfdeblur_lai_reproduce.py                # all of datasets/lai/uniform_ycbcr
    python selfdeblur_lai_reproduce.py --num_iter 1   # the networks exactly as they are
    python selfdeblur_lai_reproduce.py --only 'text_*' --export results/lai/networks

The second of the two iterations shows the image after one small step of Gx; the kernel stays.
"""

from datasets import catalog
from utils.engine.methods import REPRODUCE_METHODS
from utils.runs.experiment import Experiment
from utils.terminal.options import model_options, parse_options
from utils.terminal.program import run_program
from utils.terminal.restore import reproduce_images


def main(arguments: list[str]) -> int:
    options, given = parse_options(
        arguments,
        __doc__,
        data_path="datasets/lai/uniform_ycbcr",
        save_path="results/lai/uniform_reproduce",
        methods=REPRODUCE_METHODS,
        where_to_get="datasets/README.md says where to get Lai's images and how to prepare them",
        add_options=model_options("results/lai/SelfDeblur/models"),
    )
    experiment = Experiment(
        catalog.LAI.kernel_size,
        luma=catalog.LAI.luma,
        scored_luma=catalog.LAI.scored_luma,
        color_suffix=".png",
    )
    where_to_get = "results/README.md says where to get the authors' (lai/SelfDeblur_models.zip)"
    return reproduce_images(options, given, experiment, where_to_get)


if __name__ == "__main__":
    run_program(main)
