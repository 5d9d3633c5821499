"""Compare time and memory of an iteration with the authors' code (benchmarks/baseline.py).

    python benchmarks/step.py
    python benchmarks/step.py --cases 255x255/11 512x512/31 --rounds 5 --threads 1

The two take turns, on noise of the given size, with the loss 1 - SSIM. Each turn has a process of
its own: in one process, our allocator settings would change the baseline's speed, up by a tenth for
small images and down by a third for large ones. Times are medians with quartiles over all
iterations but the first of each turn; peak memory is the largest of all turns (on CUDA: of what
PyTorch allocated).
"""

import multiprocessing
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.baseline import baseline
from benchmarks.machine import chosen, describe_machine, use_threads
from utils.engine.deblur import CHECK_EVERY, deblur, draw_start
from utils.engine.methods import LEVIN
from utils.engine.precision import PRECISIONS
from utils.errors import UsageError
from utils.runs.machine import peak_memory
from utils.terminal.program import Parser, run_program

CASES = ["255x255/11", "255x255/27", "512x512/31", "768x1024/75"]


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="HxW/K", help="sizes")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (%(default)s)")
    parser.add_argument("--iterations", type=int, default=8, help="of a turn (%(default)s)")
    parser.add_argument("--threads", type=int, help="of the CPU (as many as there are cores)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of ours (auto)")
    given = parser.parse_args(arguments)
    use_threads(given.threads)
    device, precision = chosen(given)
    cases = [parse_case(case) for case in given.cases]

    print(f"{describe_machine(device)}; ours in {precision}\n")
    print("| image / kernel | baseline, s | ours, s | ratio | baseline, GB | ours, GB | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, case in zip(given.cases, cases, strict=True):
        seconds = {"baseline": [], "ours": []}
        memory = {"baseline": [], "ours": []}
        for _ in range(given.rounds):
            for which in seconds:
                turn = (which, *case, str(device), precision, given.iterations)
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    durations, peak = pool.apply(run_turn, (torch.get_num_threads(), *turn))
                seconds[which] += durations
                memory[which].append(peak / 1e9)
        medians = [np.median(durations) for durations in seconds.values()]
        peaks = [max(peaks) for peaks in memory.values()]
        cells = [name, *map(spread, seconds.values()), f"{medians[0] / medians[1]:.2f}"]
        cells += [f"{peaks[0]:.2f}", f"{peaks[1]:.2f}", f"{peaks[1] / peaks[0]:.2f}"]
        print(f"| {' | '.join(cells)} |", flush=True)
    return 0


def parse_case(case: str) -> tuple[int, int, int]:
    """Read height, width and kernel size."""
    try:
        height, width, kernel = map(int, case.replace("/", "x").split("x"))
    except ValueError as error:
        raise UsageError(f"--cases {case}: write HEIGHTxWIDTH/KERNEL, as in {CASES[0]}") from error
    return height, width, kernel


def run(
    which: str, height: int, width: int, kernel: int, device: str, precision: str, iterations: int
) -> list[float]:
    """Run one turn of one of the two, and return the seconds of each iteration but the first.

    On a GPU these are means over the iterations between two readings of the loss.
    """
    every = CHECK_EVERY[torch.device(device).type]
    recipe = replace(
        LEVIN, num_iter=(iterations + 1) * every, mse_iterations=0, precision=precision
    )
    blurry = np.random.default_rng(0).random((height, width))
    times = []

    def note(done: int, loss: float) -> None:
        times.append(time.perf_counter())

    if which == "ours":
        deblur(
            blurry,
            (kernel, kernel),
            recipe,
            device=device,
            save_every=recipe.num_iter,
            on_progress=note,
        )
    else:
        start = draw_start(blurry.shape, (kernel, kernel), recipe)
        for done, (_, _, loss) in enumerate(baseline(blurry, recipe, start, device), 1):
            if done % every == 0:
                note(done, loss.item())
    return list(np.diff(times) / every)


def spread(durations: list[float]) -> str:
    """Format the median of durations with their quartiles."""
    low, median, high = np.percentile(durations, [25, 50, 75])
    return f"{median:.3f} ({low:.3f} to {high:.3f})"


def run_turn(threads: int, *turn: Any) -> tuple[list[float], int]:
    """Do a `run` with so many threads, and return its durations and its peak memory in bytes."""
    torch.set_num_threads(threads)
    durations = run(*turn)
    device = torch.device(turn[4])
    if device.type == "cuda":
        return durations, torch.cuda.max_memory_allocated(device)
    return durations, peak_memory() or 0


if __name__ == "__main__":
    run_program(main)
