"""The arithmetic of Gx; blur, loss and weights are always in float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from utils.engine.recipe import PRECISIONS


def choose_precision(name: str, device: torch.device) -> str:
    """Check a precision, and choose one for ``auto``.

    Parameters
    ----------
    name : str
        ``fp32``, which follows the authors' code number by number; ``bf16``, bfloat16 for Gx's
        maps; ``tf32``, on CUDA only, float32 with products of 10 bits; or ``auto``: bfloat16 on a
        CPU that multiplies matrices of it in hardware (AMX), else float32.
    device : torch.device
        Where Gx is computed.

    Raises
    ------
    ValueError
        If the name is unknown, or is tf32 on a CPU.
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision {name!r} is unknown; use one of {', '.join(PRECISIONS)}")
    if name == "tf32" and device.type != "cuda":
        raise ValueError(f"precision 'tf32' is for CUDA only, not for the {device.type}; use fp32")
    if name == "auto":
        # bfloat16 instructions alone are no gain: without a matrix unit they ran at half the speed
        # of those for float32.
        return "bf16" if device.type == "cpu" and torch.cpu._is_amx_tile_supported() else "fp32"
    return name


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Within this context, CUDA multiplies float32 exactly, or in TF32 if that is the precision."""
    backends: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def maps_in(precision: str, device: torch.device) -> torch.autocast:
    """Make a context that computes in bfloat16 if that is the precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
