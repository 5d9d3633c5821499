"""Show what the authors' released networks give for Lai's 100 images (the paper's Lai table).

    python selfdeblur_lai_reproduce.py                # all of datasets/lai/uniform_ycbcr
    python selfdeblur_lai_reproduce.py --num_iter 1   # the networks exactly as they are
    python selfdeblur_lai_reproduce.py --only 'text_*' --export results/lai/networks

The second of the two iterations shows the image after one small step of Gx; the kernel stays.
"""

from utils.engine.recipe import REPRODUCE
from utils.images.colors import MATLAB_GRAY
from utils.runs.reproduce import model_options, reproduce_all
from utils.terminal.options import parse_options
from utils.terminal.program import run_program


def main(arguments: list[str]) -> int:
    options = parse_options(
        arguments,
        __doc__,
        data_path="datasets/lai/uniform_ycbcr",
        save_path="results/lai/uniform_reproduce",
        recipe=REPRODUCE,
        where_to_get="datasets/README.md says where to get Lai's images and how to prepare them",
        add_options=model_options("results/lai/SelfDeblur/models"),
    )
    return reproduce_all(
        options,
        "results/README.md says where to get the authors' (lai/SelfDeblur_models.zip)",
        luma_range=MATLAB_GRAY,
        color_suffix=".png",
    )


if __name__ == "__main__":
    run_program(main)
