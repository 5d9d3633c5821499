"""Networks from files: the authors' released ones, and those that runs of this project wrote.

The released files are pickles of whole modules. Their Gx is a nest of anonymous modules that are
addressed by number, and each deeper scale lies inside the one above it. Nothing in a file is ever
run: its tensors are taken out of it and put into networks of ours.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from networks.fcn import KernelNetwork
from networks.released.pickles import Instance, StoredTensor, shown
from networks.released.torch_file import TorchFile, read_torch_file
from networks.skip import NON_LOCAL_FROM, SkipNetwork

MOST_PARTS = 1000  # modules and tensors in a released network; Gx has 401
LONGEST_NAME = 64  # of a module or tensor within its parent
MOST_CHANNELS, MOST_SCALES, MOST_SIDE = 1024, 8, 2**15


def released_image_modules(gx: SkipNetwork) -> dict[str, str]:
    """Tell where each of Gx's convolutions and normalisations lies in a released network.

    Parameters
    ----------
    gx : SkipNetwork
        A network of ours; its number of scales counts.

    Returns
    -------
    dict of str to str
        From the path of a module of ours (``scales.0.skip.conv``) to the path of the released
        one (``1.0.1.1``). Tensors have the same last name in both (``weight``, ``bias``, ...).
    """
    modules = {}
    outer = ""
    for i in range(len(gx.scales)):
        ours, way_down = f"scales.{i}.", f"{outer}1.1."
        modules |= {
            f"{ours}skip.conv": f"{outer}1.0.1.1",
            f"{ours}skip.norm": f"{outer}1.0.2",
            f"{ours}downsample.conv": f"{way_down}1.1",
            f"{ours}downsample.norm": f"{way_down}2",
        }
        following = 4
        if i >= NON_LOCAL_FROM:
            modules |= {
                f"{ours}non_local.g": f"{way_down}4.g.0",
                f"{ours}non_local.out": f"{way_down}4.W.0",
                f"{ours}non_local.norm": f"{way_down}4.W.1",
                f"{ours}non_local.theta": f"{way_down}4.theta",
                f"{ours}non_local.phi": f"{way_down}4.phi.0",
            }
            following = 5
        modules |= {
            f"{ours}encode.conv": f"{way_down}{following}.1",
            f"{ours}encode.norm": f"{way_down}{following + 1}",
            f"{ours}norm": f"{outer}2",
            f"{ours}decode.conv": f"{outer}3.1",
            f"{ours}decode.norm": f"{outer}4",
            f"{ours}pointwise.conv": f"{outer}6.1",
            f"{ours}pointwise.norm": f"{outer}7",
        }
        outer = f"{way_down}{following + 3}."
    return modules | {"output": "9.1"}


def released_keys(network: SkipNetwork | KernelNetwork) -> dict[str, str]:
    """Map the keys of a network's state_dict to those of the released networks.

    Parameters
    ----------
    network : SkipNetwork or KernelNetwork
        Gx or Gk.

    Returns
    -------
    dict of str to str
        Our key to theirs, for every entry of ``network.state_dict()``.
    """
    if isinstance(network, KernelNetwork):
        modules = {"hidden": "1", "output": "3"}
    else:
        modules = released_image_modules(network)
    keys = {}
    for key in network.state_dict():
        module, _, tensor = key.rpartition(".")
        keys[key] = f"{modules[module]}.{tensor}"
    return keys


def load_image_network(path: str | Path) -> SkipNetwork:
    """Load Gx from a file without running anything that stands in the file.

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
        If the file is not Gx, is damaged, or holds what no network needs. The message is one line
        and begins with the path.
    OSError
        If it cannot be read.
    """
    with naming(path):
        saved = read_network_file(path)
        with torch.device("meta"):
            gx = SkipNetwork(channels=saved.channels, scales=saved.scales)
        fill(gx, saved)
    return gx


def load_kernel_network(
    path: str | Path, kernel_size: tuple[int, int] | None = None
) -> KernelNetwork:
    """Load Gk from a file without running anything that stands in the file.

    Parameters
    ----------
    path : str or Path
        A released ``NAME_knet.pth``, or one of this project's own.
    kernel_size : tuple of int, optional
        Height and width of the kernel. A released file tells only their product, so where this is
        left out its kernel is taken to be square.

    Returns
    -------
    KernelNetwork
        On the CPU, in float32, with the file's weights.

    Raises
    ------
    ValueError
        If the file is not Gk, or one for another `kernel_size`, is damaged, or holds what no
        network needs. The message is one line and begins with the path.
    OSError
        If it cannot be read.
    """
    with naming(path):
        saved = read_network_file(path)
        with torch.device("meta"):
            gk = KernelNetwork(choose_kernel_size(saved, kernel_size))
        fill(gk, saved)
    return gk


@dataclass(frozen=True)
class SavedNetwork:
    """A network as a file holds it.

    Parameters
    ----------
    file : TorchFile
        The file.
    tensors : dict of str to StoredTensor
        Where its tensors lie, by their keys in the file.
    released : bool
        Whether the keys are those of the released networks.
    channels, scales : int
        Width and depth of Gx.
    kernel_size : tuple of int or None
        Of Gk; None where the file does not say.
    """

    file: TorchFile
    tensors: dict[str, StoredTensor]
    released: bool = True
    channels: int = 128
    scales: int = 5
    kernel_size: tuple[int, int] | None = None


def read_network_file(path: str | Path) -> SavedNetwork:
    """Read a file of either kind: a pickled module, or what a run of ours wrote."""
    file = read_torch_file(path)
    match file.content:
        case Instance():
            return SavedNetwork(file, tensors_of(file.content))
        case {
            "state_dict": dict(tensors),
            "settings": {
                "channels": int(channels),
                "scales": int(scales),
                "kernel_size": [int(height), int(width)],
            },
        }:
            if not (2 <= channels <= MOST_CHANNELS and channels % 2 == 0):
                raise ValueError("its settings have a number of channels that no Gx has")
            if not 1 <= scales <= MOST_SCALES:
                raise ValueError("its settings have a number of scales that no Gx has")
            if not (0 < height <= MOST_SIDE and 0 < width <= MOST_SIDE):
                raise ValueError("its settings have a size that no kernel has")
            for key, tensor in tensors.items():
                check_tensor(key, tensor)
            return SavedNetwork(file, tensors, False, channels, scales, (height, width))
    raise ValueError("holds neither a released network nor one that this project wrote")


def tensors_of(root: Instance) -> dict[str, StoredTensor]:
    """Collect the tensors of a pickled module, by the keys that its state_dict had."""
    tensors: dict[str, StoredTensor] = {}
    parts = 0
    pending = [("", root)]
    while pending:
        prefix, module = pending.pop()
        if type(module) is not Instance:
            raise ValueError(f"refused: its module {shown(prefix)} is {shown(module)}")
        for table in ("_parameters", "_buffers", "_modules"):
            members = module.attributes.get(table)
            if type(members) is not dict:
                raise ValueError(f"damaged: its module {shown(prefix)} has no {table}")
            # A module that contains itself, or another many times over, would never end.
            parts += len(members)
            if parts > MOST_PARTS:
                raise ValueError(f"refused: has more than {MOST_PARTS} modules and tensors")
            for name, member in members.items():
                key = f"{prefix}{name}"
                if len(name) > LONGEST_NAME:
                    raise ValueError(f"refused: has a module or tensor called {shown(name)}")
                if table == "_modules":
                    pending.append((f"{key}.", member))
                elif member is not None:
                    check_tensor(key, member)
                    tensors[key] = member
    return tensors


def check_tensor(key: str, tensor: Any) -> None:
    """Raise a ValueError if what stands in the place of a tensor is none."""
    if type(tensor) is not StoredTensor:
        raise ValueError(f"refused: its tensor {shown(key)} is {shown(tensor)}")


def choose_kernel_size(saved: SavedNetwork, kernel_size: tuple[int, int] | None) -> tuple[int, int]:
    """Find the height and width of Gk's kernel, and check them by the size of its last layer."""
    key = "3.bias" if saved.released else "output.bias"
    if key not in saved.tensors:
        raise ValueError(f"not Gk: lacks {key}")
    entries = math.prod(saved.tensors[key].size)
    side = math.isqrt(entries)
    own = (side, side) if saved.released and side * side == entries else saved.kernel_size
    size = kernel_size or own
    if size is None:
        raise ValueError(f"Gk for a kernel of {entries} entries, not square; give height and width")
    if math.prod(size) != entries or kernel_size and saved.kernel_size not in (None, kernel_size):
        told = "{} x {}".format(*own) if own else f"{entries} entries"
        raise ValueError(f"Gk for a kernel of {told}, not of " + "{} x {}".format(*size))
    return size


def fill(network: SkipNetwork | KernelNetwork, saved: SavedNetwork) -> None:
    """Put a file's tensors into a network, after checking every key, shape and type."""
    kind = "Gk" if isinstance(network, KernelNetwork) else "Gx"
    wanted = network.state_dict()
    keys = released_keys(network) if saved.released else {key: key for key in wanted}
    missing = set(keys.values()) - saved.tensors.keys()
    unknown = saved.tensors.keys() - set(keys.values())
    for fault, tensors in (("lacks", missing), ("has", unknown)):
        if tensors:
            more = f" and {len(tensors) - 1} more" if len(tensors) > 1 else ""
            raise ValueError(f"not {kind}: {fault} the tensor {shown(min(tensors))}{more}")
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


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Begin the message of a ValueError with the file at fault, and end it with the remedy."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}; give another file") from error
