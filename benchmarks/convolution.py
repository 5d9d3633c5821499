"""Time the gradient of Gx's filters, by PyTorch and by networks/fast/convolution.py.

python benchmarks/convolution.py
python benchmarks/convolution.py --size 520 --threads 1
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.machine import describe_machine, use_threads
from networks.fast.convolution import filter_gradient
from utils.errors import UsageError
from utils.terminal.program import Parser, run_program

REPETITIONS = 9


def main(arguments: list[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--size", type=int, default=265, help="of Gx's output (%(default)s)")
    parser.add_argument("--threads", type=int, help="of the CPU (as many as there are cores)")
    given = parser.parse_args(arguments)
    if given.size < 16:
        raise UsageError(f"--size {given.size}: must be 16 or more")
    use_threads(given.threads)
    half, quarter = (given.size + 1) // 2, (given.size + 3) // 4
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"{describe_machine(torch.device('cpu'))}; {capability}\n")
    print("| convolution | PyTorch, ms | products, ms | ratio | errors, relative |")
    print("| --- | --- | --- | --- | --- |")
    compare("16 to 128, onto the full size", 16, given.size + 2)
    compare("128 to 128, onto half the size", 128, half + 2)
    compare("128 to 128, halving to a quarter", 128, half + 2, stride=2)
    compare("128 to 128, onto a quarter", 128, quarter + 2)
    compare("128 to 128, transposed, from half the size", 128, half + 1, transposed=True)
    compare("128 to 128, transposed, from a quarter", 128, quarter + 1, transposed=True)
    return 0


def compare(name: str, channels: int, size: int, stride: int = 1, transposed: bool = False) -> None:
    """Print a row of the table: a convolution of a square map, its border included."""
    x, weight = random_map(channels, size), torch.randn(128, channels, 3, 3)
    weight = weight.contiguous(memory_format=torch.channels_last)

    def convolve(x: Tensor, weight: Tensor) -> Tensor:
        if transposed:
            return F.conv_transpose2d(x, weight, stride=2, padding=1, output_padding=1)
        return F.conv2d(x, weight, stride=stride)

    def by_pytorch(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, float]:
        weight = weight.detach().requires_grad_()
        result = convolve(x, weight)
        began = time.perf_counter()
        (gradient,) = torch.autograd.grad(result, weight, grad)
        return gradient, time.perf_counter() - began

    def by_products(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, float]:
        began = time.perf_counter()
        if transposed:
            gradient = filter_gradient(F.pad(grad, (1, 1, 1, 1)), x, stride=2)
        else:
            gradient = filter_gradient(x, grad, stride)
        return gradient, time.perf_counter() - began

    with torch.no_grad():
        grad = random_map(128, convolve(x, weight).shape[2])
    exact, _ = by_pytorch(x.double(), weight.double(), grad.double())
    milliseconds = {by_pytorch: [], by_products: []}
    errors = {}
    for _ in range(REPETITIONS):
        for way, durations in milliseconds.items():
            gradient, seconds = way(x, weight, grad)
            durations.append(1000 * seconds)
            errors[way] = ((gradient - exact).norm() / exact.norm()).item()
    theirs, ours = map(np.median, milliseconds.values())
    cells = f"{theirs:.1f} | {ours:.1f} | {theirs / ours:.1f}"
    print(f"| {name} | {cells} | {' and '.join(f'{e:.0e}' for e in errors.values())} |", flush=True)


def random_map(channels: int, size: int) -> Tensor:
    """Make a square map of noise, channels last."""
    return torch.randn(1, channels, size, size).contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    run_program(main)
