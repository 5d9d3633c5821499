"""Score all methods on Levin's 32 images (section 4.2 of the SelfDeblur paper, its Levin table).

python statistic/statistic_levin.py                                  # all of results/levin*
python statistic/statistic_levin.py --methods levin zuo --maxshift 5

A method is a folder of PNGs below results/levin*, im1_kernel1_img.png or im1_kernel1_img_x.png.
The sharp images are those of results/levin/groundtruth, or else of datasets/levin/gt.
Tables and plots go to results/statistics/levin. The report, to be opened in a browser, is
report/index.html, or with --results_path FOLDER, FOLDER/report/index.html.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets import catalog
from statistic import published
from statistic.benchmark import Benchmark
from statistic.evaluate import evaluate, parse_options, report
from utils.terminal.program import run_program

LEVIN = Benchmark(
    data=catalog.LEVIN,
    endings=("_x", ""),
    results_truths="groundtruth",
    error_ratios=True,
    published=published.LEVIN,
    where_to_get="python datasets/fetch.py levin gets them",
)


def main(arguments: list[str]) -> int:
    options = parse_options(arguments, __doc__)
    # Here, so that neither --help nor each worker process has to import matplotlib.
    from statistic.plots import draw_error_ratios, draw_heatmaps

    statistics = evaluate(options, LEVIN)
    return report(statistics, options.results, [draw_error_ratios, draw_heatmaps])


if __name__ == "__main__":
    run_program(main)
