"""Many launches of small GPU kernels as one: CUDA graphs."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # calls, in which libraries choose their algorithms, and Adam makes its moments

Step = Callable[[bool], tuple[Tensor, ...]]


class Graphed:
    """A step of an optimisation that a GPU repeats without the CPU.

    An iteration of Gx is several hundred kernels, each of which a GPU finishes sooner than a CPU
    launches the next. So after a few ordinary calls the step is recorded as a graph, which takes
    one launch.

    Parameters
    ----------
    step : callable
        Takes whether the loss is the mean squared error, and returns tensors on the current CUDA
        device. What else changes from one call to the next must lie in tensors that are changed in
        place. It must not read a tensor's value on the CPU.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.kind: bool | None = None
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.results: tuple[Tensor, ...] = ()

    def __call__(self, kind: bool) -> tuple[Tensor, ...]:
        """Do the step; the next call may overwrite what this one returns."""
        if kind != self.kind:
            self.kind, self.calls, self.graph, self.results = kind, 0, None, ()
        self.calls += 1
        if self.calls <= WARM_UP:
            self.results = self._in_stream()
            return self.results
        if self.graph is None:
            self.results = ()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(
                self.graph, stream=self.stream, capture_error_mode="thread_local"
            ):
                self.results = self.step(kind)
        self.graph.replay()
        return self.results

    def _in_stream(self) -> tuple[Tensor, ...]:
        assert self.kind is not None
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            results = self.step(self.kind)
        current.wait_stream(self.stream)
        return results
