"""Score all methods on Lai's 100 uniformly blurred images (the SelfDeblur paper's Lai table).

python statistic/statistic_lai.py                                    # all of results/lai*
python statistic/statistic_lai.py --methods uniform 'pan*' --maxshift 5

A method is a folder of PNGs below results/lai*: manmade_01_kernel_01.png (color), or else
manmade_01_kernel_01_x.png (gray). The Y of MATLAB's rgb2ycbcr is compared; gray results of this
project are converted to it. The sharp images are those of results/lai/ground_truth, or else of
datasets/lai/ground_truth.
Tables and plots go to results/statistics/lai. The report, to be opened in a browser, is
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

LAI = Benchmark(
    data=catalog.LAI,
    endings=("", "_x"),
    results_truths="ground_truth",
    error_ratios=False,
    published=published.LAI,
    where_to_get="datasets/README.md says how to get them",
)


def main(arguments: list[str]) -> int:
    options = parse_options(arguments, __doc__)
    # Here, so that neither --help nor each worker process has to import matplotlib.
    from statistic.plots import draw_subsets

    statistics = evaluate(options, LAI)
    return report(statistics, options.results, [draw_subsets])


if __name__ == "__main__":
    run_program(main)
