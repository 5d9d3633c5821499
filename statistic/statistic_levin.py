"""Score all methods on Levin's 32 images (section 4.2 of the SelfDeblur paper, its Levin table).

python statistic/statistic_levin.py                                  # all of results/levin*
python statistic/statistic_levin.py --methods levin zuo --maxshift 5

A method is a folder of PNGs below results/levin*, im1_kernel1_img.png or im1_kernel1_img_x.png.
The sharp images are those of results/levin/groundtruth, else of datasets/levin/gt.
Tables and plots go to results/statistics/levin. The report, to be opened in a browser, is
report/index.html, or with --results_path FOLDER, FOLDER/report/index.html.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from statistic import published
from statistic.benchmark import Benchmark, BlurryImage
from statistic.evaluate import evaluate, parse_options, report
from statistic.plots import draw_error_ratios, draw_heatmaps
from utils.images.colors import FULL_RANGE
from utils.terminal.program import run_program

LEVIN = Benchmark(
    name="levin",
    images=tuple(
        BlurryImage(f"im{image}_kernel{kernel}_img", str(image), kernel)
        for image in range(1, 5)
        for kernel in range(1, 9)
    ),
    endings=("_x", ""),
    truth_folders=("{results}/levin/groundtruth", "datasets/levin/gt"),
    blurry_folders=("datasets/levin",),
    kernel_folders=("datasets/levin/gt",),
    kernel_name="kernel{}",
    luma_range=FULL_RANGE,  # the truth is gray, and gray in three channels is the same gray
    known_kernel_folders=("{results}/levin/others/groundk", "{results}/levin/known_kernel"),
    published=published.LEVIN,
    where_to_get="python datasets/fetch.py levin gets them",
)


def main(arguments: list[str]) -> int:
    options = parse_options(arguments, __doc__)
    statistics = evaluate(options, LEVIN)
    return report(statistics, options.results, [draw_error_ratios, draw_heatmaps])


if __name__ == "__main__":
    run_program(main)
