"""Time the blur and its gradients, directly and by Fourier transforms, for the choice in
utils/engine/blur.py.

python benchmarks/blur.py
python benchmarks/blur.py --sizes 255 --kernels 3 5 11
"""

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.machine import describe_machine
from utils.engine.blur import fourier_blur
from utils.terminal.program import Parser, run_program


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 255, 512], help="of images")
    parser.add_argument("--kernels", type=int, nargs="+", default=[3, 5, 7, 11, 27, 51])
    given = parser.parse_args(arguments)
    print(f"{describe_machine(torch.device('cpu'))}\n")
    print("| image / kernel | direct, ms | Fourier, ms | ratio | largest difference |")
    print("| --- | --- | --- | --- | --- |")
    for size in given.sizes:
        for width in given.kernels:
            sharp = torch.rand(1, 1, size + width - 1, size + width - 1, requires_grad=True)
            kernel = torch.rand(1, 1, width, width)
            kernel = (kernel / kernel.sum()).requires_grad_()
            durations = {F.conv2d: [], fourier_blur: []}
            for _ in range(4):
                for blur, seconds in durations.items():
                    began = time.perf_counter()
                    torch.autograd.grad(blur(sharp, kernel).sum(), (sharp, kernel))
                    seconds.append(1000 * (time.perf_counter() - began))
            direct, fourier = (min(seconds) for seconds in durations.values())
            difference = (F.conv2d(sharp, kernel) - fourier_blur(sharp, kernel)).abs().max()
            cells = f"{direct:.1f} | {fourier:.1f} | {direct / fourier:.1f} | {difference:.0e}"
            print(f"| {size}x{size}/{width} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    run_program(main)
