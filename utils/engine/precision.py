"""Which arithmetic Gx is computed in; blur, loss and weights are in float32 always."""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F

PRECISIONS = ("auto", "fp32", "tf32", "bf16")

# So much less time than float32 must bfloat16 take on a CPU for `auto` to choose it.
WORTHWHILE = 0.8
TRIES = 15  # of which the fastest counts, for others may be at work on the processor


def choose_precision(name: str, device: torch.device) -> str:
    """Find the precision of a name.

    Parameters
    ----------
    name : str
        ``fp32``, which follows the authors' code number by number; ``bf16``, bfloat16 for Gx's
        maps; ``tf32``, on CUDA only, float32 with products of 10 bits; or ``auto``: on a CPU
        bfloat16 where it is found to be faster, else float32.
    device : torch.device
        Where Gx is to be computed.

    Returns
    -------
    str
        ``fp32``, ``tf32`` or ``bf16``.

    Raises
    ------
    ValueError
        If the name is another, or tf32 is asked of a CPU.
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision {name!r} is none of {', '.join(PRECISIONS)}")
    if name == "tf32" and device.type != "cuda":
        raise ValueError(f"precision 'tf32' is for CUDA only, not for the {device.type}; use fp32")
    if name == "auto":
        return "bf16" if device.type == "cpu" and bf16_is_faster() else "fp32"
    return name


@functools.cache
def bf16_is_faster() -> bool:
    """Tell whether this CPU convolves faster in bfloat16 than in float32, by trying.

    Instructions for bfloat16 are no proof: there are processors whose own are half as fast as
    those for float32, and only their matrix unit, where it is enabled, makes up for it.
    """
    layers = []
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(1, 128, 34, 34, dtype=dtype).contiguous(memory_format=torch.channels_last)
        layers.append((x, torch.ones(128, 128, 3, 3, dtype=dtype)))
    seconds = [[], []]
    for _ in range(TRIES):
        for (x, weight), durations in zip(layers, seconds, strict=True):
            began = time.perf_counter()
            F.conv2d(x, weight)
            durations.append(time.perf_counter() - began)
    in_float32, in_bfloat16 = map(min, seconds)
    return in_bfloat16 < WORTHWHILE * in_float32


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in a precision, which `choose_precision` gave, as long as the context lasts."""
    products = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in products]
    for backend in products:
        backend.allow_tf32 = precision == "tf32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        for backend, allowed in zip(products, before, strict=True):
            backend.allow_tf32 = allowed
