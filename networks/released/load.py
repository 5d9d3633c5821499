"""Networks from files: the authors' released ones, and those that runs of this project wrote.

The released files are pickles of whole modules. Nothing in a file is ever run: its tensors are
taken out of it and put into networks of ours.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from networks.fcn import KernelNetwork
from networks.released.keys import current_key, released_keys
from networks.released.pickles import PickledModule, StoredTensor, describe
from networks.released.torch_file import TorchFile, read_torch_file
from networks.skip import SkipNetwork

MAX_PARTS = 1000  # modules and tensors in a released network; Gx has 401
MAX_NAME = 64  # characters in the name of a module or tensor within its parent
MAX_CHANNELS, MAX_SCALES, MAX_SIDE = 1024, 8, 2**15


def load_image_network(path: str | Path) -> SkipNetwork:
    """Load Gx from a file without running anything in the file.

    Parameters
    ----------
    path : str or Path
        A released ``NAME_xnet.pth``, or one of this project's own.

    Returns
    -------
    SkipNetwork
        On the CPU, in float32, with the file's weights.

    Raises
    ------
    ValueError
        If the file is not Gx, is damaged, or holds something that no network needs. The message is
        one line and begins with the path.
    OSError
        If it cannot be read.
    """
    with path_in_errors(path):
        saved = read_network_file(path)
        with torch.device("meta"):
            gx = SkipNetwork(channels=saved.channels, scales=saved.scales)
        fill(gx, saved)
    return gx


def load_kernel_network(
    path: str | Path, kernel_size: tuple[int, int] | None = None
) -> KernelNetwork:
    """Load Gk from a file without running anything in the file.

    Parameters
    ----------
    path : str or Path
        A released ``NAME_knet.pth``, or one of this project's own.
    kernel_size : tuple of int, optional
        Height and width of the kernel. A released file has only their product, so without this
        its kernel is taken to be square.

    Returns
    -------
    KernelNetwork
        On the CPU, in float32, with the file's weights.

    Raises
    ------
    ValueError
        If the file is not Gk, is for another `kernel_size`, is damaged, or holds something that no
        network needs. The message is one line and begins with the path.
    OSError
        If it cannot be read.
    """
    with path_in_errors(path):
        saved = read_network_file(path)
        with torch.device("meta"):
            gk = KernelNetwork(find_kernel_size(saved, kernel_size))
        fill(gk, saved)
    return gk


@contextmanager
def path_in_errors(path: str | Path) -> Iterator[None]:
    """Begin the message of a ValueError with the file's path, and end it with the remedy."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}; give another file") from error


@dataclass(frozen=True)
class SavedNetwork:
    """A network as a file holds it.

    Parameters
    ----------
    file : TorchFile
        The file.
    tensors : dict of str to StoredTensor
        Its tensors, by their keys: those of the released networks, or ours.
    released : bool
        Which of the two.
    channels, scales : int
        Width and depth of Gx.
    kernel_size : tuple of int or None
        Of Gk; None if the file has only the product.
    """

    file: TorchFile
    tensors: dict[str, StoredTensor]
    released: bool
    channels: int = 128
    scales: int = 5
    kernel_size: tuple[int, int] | None = None


def read_network_file(path: str | Path) -> SavedNetwork:
    """Read a file of either kind: a pickled module, or a state_dict with settings of ours."""
    file = read_torch_file(path)
    match file.content:
        case PickledModule() as root:
            return SavedNetwork(file, tensors_of(root), released=True)
        case {
            "state_dict": dict(state),
            "settings": {
                "channels": int(channels),
                "scales": int(scales),
                "kernel_size": [int(height), int(width)],
            },
        }:
            if not (
                2 <= channels <= MAX_CHANNELS
                and channels % 2 == 0
                and 1 <= scales <= MAX_SCALES
                and 1 <= height <= MAX_SIDE
                and 1 <= width <= MAX_SIDE
            ):
                raise ValueError(
                    "no network has the channels, scales or kernel size of its settings"
                )
            tensors = {current_key(key): as_tensor(key, value) for key, value in state.items()}
            return SavedNetwork(file, tensors, False, channels, scales, (height, width))
    raise ValueError("holds neither a released network nor one that this project wrote")


def tensors_of(root: PickledModule) -> dict[str, StoredTensor]:
    """Collect the tensors of a pickled module, by the keys that its state_dict had."""
    tensors = {}
    parts = 0
    pending: list[tuple[str, Any]] = [("", root)]
    while pending:
        prefix, module = pending.pop()
        if not isinstance(module, PickledModule):
            raise ValueError(f"refused: its module {describe(prefix)} is {describe(module)}")
        for table in ("_parameters", "_buffers", "_modules"):
            members = module.attributes.get(table)
            if not isinstance(members, dict):
                raise ValueError(f"damaged: its module {describe(prefix)} has no {table}")
            # A module that contains itself, or another many times over, would never end.
            parts += len(members)
            if parts > MAX_PARTS:
                raise ValueError(f"refused: has more than {MAX_PARTS} modules and tensors")
            for name, member in members.items():
                key = f"{prefix}{name}"
                if len(name) > MAX_NAME:
                    raise ValueError(f"refused: has a module or tensor called {describe(name)}")
                if table == "_modules":
                    pending.append((f"{key}.", member))
                elif member is not None:
                    tensors[key] = as_tensor(key, member)
    return tensors


def as_tensor(key: str, value: Any) -> StoredTensor:
    """Return what is under a key if it is a tensor, and raise a ValueError if not."""
    if not isinstance(value, StoredTensor):
        raise ValueError(f"refused: its tensor {describe(key)} is {describe(value)}")
    return value


def find_kernel_size(saved: SavedNetwork, requested: tuple[int, int] | None) -> tuple[int, int]:
    """Find the height and width of Gk's kernel, which a released file does not have."""
    size = saved.kernel_size
    if size is None:
        if "3.bias" not in saved.tensors:
            raise ValueError("not Gk: lacks 3.bias")
        entries = math.prod(saved.tensors["3.bias"].size)
        if requested and math.prod(requested) == entries:
            return requested
        side = math.isqrt(entries)
        if side * side != entries:
            other = "of {} x {}".format(*requested) if requested else "square, so give its size"
            raise ValueError(f"Gk for a kernel of {entries} entries, not {other}")
        size = side, side
    if requested not in (None, size):
        raise ValueError("Gk for a kernel of {} x {}, not of {} x {}".format(*size, *requested))
    return size


def fill(network: SkipNetwork | KernelNetwork, saved: SavedNetwork) -> None:
    """Load a file's tensors into a network, after checking every key, shape and type."""
    kind = "Gk" if isinstance(network, KernelNetwork) else "Gx"
    wanted = network.state_dict()
    keys = released_keys(network) if saved.released else {key: key for key in wanted}
    missing = set(keys.values()) - saved.tensors.keys()
    unknown = saved.tensors.keys() - set(keys.values())
    for fault, tensors in (("lacks", missing), ("has", unknown)):
        if tensors:
            more = f" and {len(tensors) - 1} more" if len(tensors) > 1 else ""
            raise ValueError(f"not {kind}: {fault} the tensor {describe(min(tensors))}{more}")
    for key, tensor in wanted.items():
        stored = saved.tensors[keys[key]]
        if stored.size != tuple(tensor.shape) or stored.storage.dtype != tensor.dtype:
            raise ValueError(
                f"not {kind}: its tensor {keys[key]} is {stored.storage.dtype} of shape "
                f"{stored.size}, not {tensor.dtype} of shape {tuple(tensor.shape)}"
            )
    network.load_state_dict(
        {key: saved.file.tensor(saved.tensors[keys[key]]) for key in wanted}, assign=True
    )
