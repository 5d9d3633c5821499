"""Checkpoints: how far the restoration of an image has come, as the bytes of a file."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from networks.fcn import KernelLogits, KernelNetwork, KnownKernel
from networks.skip import SkipNetwork

FORMAT = 2

NETWORKS: dict[str, type[nn.Module]] = {
    network.__name__: network for network in (SkipNetwork, KernelNetwork, KnownKernel, KernelLogits)
}


class CheckpointError(Exception):
    """A checkpoint that cannot be resumed from. The message is its fault, without a file name."""


@dataclass(frozen=True)
class Checkpoint:
    """How far the restoration of an image has come.

    Parameters
    ----------
    settings : dict
        What determines the result, as in its record.
    stage : int
        Number of the current stage, counted from 0.
    records : list of dict
        The records of the stages so far, including the current one.
    found : dict
        What the stages before it have found: the fields of a `Restoration` without the input.
    state : dict or None
        The current stage's own state; None if it starts over.
    """

    settings: dict[str, Any]
    stage: int
    records: list[dict[str, Any]]
    found: dict[str, Any]
    state: Mapping[str, Any] | None


def pack_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Pack a checkpoint into bytes that ``torch.load(..., weights_only=True)`` reads."""
    content = io.BytesIO()
    torch.save({"format": FORMAT, **_packed(vars(checkpoint))}, content)
    return content.getvalue()


def unpack_checkpoint(content: bytes) -> Checkpoint:
    """Read what `pack_checkpoint` made, onto the CPU.

    Raises
    ------
    CheckpointError
        If it is damaged, or of another version of this program.
    """
    try:
        # torch.load would accept altered bytes as weights.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > len(content):
                raise CheckpointError("damaged: would unpack to more than it holds")
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"damaged at {damaged}")
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if saved.pop("format") != FORMAT:
            raise CheckpointError("of another version of this program")
        return Checkpoint(**_unpacked(saved))
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # zipfile and torch.load raise many kinds, depending on the damage
        raise CheckpointError(f"damaged or cut off ({type(error).__name__})") from error


def _packed(value: Any) -> Any:
    """Replace arrays and networks, at any depth, by what ``weights_only`` accepts."""
    if isinstance(value, Mapping):
        return {key: _packed(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_packed, value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"array": torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, nn.Module):
        return {
            "network": type(value).__name__,
            "arguments": _packed(value.arguments),
            "tensors": value.state_dict(),
        }
    return value


def _unpacked(value: Any) -> Any:
    """Reverse `_packed`."""
    match value:
        case {"array": torch.Tensor() as tensor} if len(value) == 1:
            return tensor.numpy()
        case {"network": str(name), "arguments": arguments, "tensors": tensors}:
            network: nn.Module = NETWORKS[name](**_unpacked(arguments))
            network.load_state_dict(tensors)
            return network
        case dict():
            return {key: _unpacked(each) for key, each in value.items()}
        case list() | tuple():
            return type(value)(map(_unpacked, value))
    return value
