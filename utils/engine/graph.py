"""Many launches of small GPU kernels as one: CUDA graphs."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # calls, in which libraries choose their algorithms, and Adam makes its moments

Step = Callable[[bool], tuple[Tensor, ...]]


@functools.cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """A stream to record in: one for all fits, since cuBLAS keeps memory for every stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Graphed:
    """A step of an optimisation that a GPU repeats without the CPU.

    An iteration is some thousand kernels, each of which a GPU finishes sooner than a CPU launches
    the next. So after a few ordinary calls the step is recorded as a graph, which takes
    one launch.

    Parameters
    ----------
    step : callable
        Takes whether the loss is the mean squared error, and returns tensors on the device. What
        else changes from one call to the next must lie in tensors that are changed in place. It
        must not read a tensor's value on the CPU.
    device : torch.device
        A CUDA device.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self.step = step
        self.device = device
        self.kind: bool | None = None
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.results: tuple[Tensor, ...] = ()

    def __call__(self, kind: bool) -> tuple[Tensor, ...]:
        """Do the step; the next call may overwrite what this one returns."""
        if kind != self.kind:
            self.kind, self.calls, self.graph, self.results = kind, 0, None, ()
        self.calls += 1
        with torch.cuda.device(self.device):
            stream, current = side_stream(self.device), torch.cuda.current_stream()
            if self.calls <= WARM_UP:
                stream.wait_stream(current)
                with torch.cuda.stream(stream):
                    self.results = self.step(kind)
                current.wait_stream(stream)
                return self.results
            if self.graph is None:
                self.results = ()
                self.graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                    self.results = self.step(kind)
            self.graph.replay()
        return self.results
