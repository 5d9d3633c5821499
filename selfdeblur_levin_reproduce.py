"""Show what the authors' released networks give for Levin's 32 images (the paper's Levin table).

    python selfdeblur_levin_reproduce.py                # all of datasets/levin
    python selfdeblur_levin_reproduce.py --num_iter 1   # the networks exactly as they are
    python selfdeblur_levin_reproduce.py --model_path results/levin --save_path results/again

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
        data_path="datasets/levin",
        save_path="results/levin_reproduce",
        methods=REPRODUCE_METHODS,
        where_to_get="python datasets/fetch.py levin gets Levin's images (see datasets/README.md)",
        add_options=model_options("results/levin/SelfDeblur/models"),
    )
    where_to_get = "results/README.md says where to get the authors' (levin/SelfDeblur.zip)"
    return reproduce_images(options, given, Experiment(catalog.LEVIN.kernel_size), where_to_get)


if __name__ == "__main__":
    run_program(main)
