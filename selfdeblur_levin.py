"""Restore Levin's 32 blurry images (section 4.2 of the SelfDeblur paper, its Levin table).

python selfdeblur_levin.py                                # all of datasets/levin
python selfdeblur_levin.py --only 'im1_*' --method quick  # without a GPU
python selfdeblur_levin.py --data_path photo.png --kernel_size 31 --save_path results/photo
"""

from datasets import catalog
from utils.engine.methods import LEVIN, blind_methods
from utils.runs.experiment import Experiment
from utils.terminal.options import parse_options
from utils.terminal.program import run_program
from utils.terminal.restore import restore_images


def main(arguments: list[str]) -> int:
    options, _ = parse_options(
        arguments,
        __doc__,
        data_path="datasets/levin",
        save_path="results/levin",
        methods=blind_methods(LEVIN),
        where_to_get="python datasets/fetch.py levin gets Levin's images (see datasets/README.md)",
    )
    return restore_images(options, Experiment(catalog.LEVIN.kernel_size))


if __name__ == "__main__":
    run_program(main)
