"""Files of torch.save as plain data, without torch.load: the zip format and the one before it.

References
----------
.. [1] PyTorch's notes "Serialization semantics", and ``torch.save`` with
   ``_use_new_zipfile_serialization=False`` for the older format: in one stream the magic number,
   the version, the machine's properties, the object, the storages' keys, then every storage as
   its number of elements (8 bytes) and the elements themselves.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from networks.released.pickles import PickleStream, StoredTensor, describe, read_pickle

MAX_BYTES = 2**29  # in a file; the authors' largest, Gk for 75 x 75, has 23 MB
MAX_PICKLE_BYTES = 2**20  # in a file besides its storages; Gx takes 0.2 MB
MAX_MEMBERS = 2**14  # in a zip file; Gx has some 250

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
VERSION = 1001
NUMPY_TYPES = {torch.float32: "<f4", torch.int64: "<i8"}


@dataclass(frozen=True)
class TorchFile:
    """What a file of torch.save holds.

    Parameters
    ----------
    content : object
        The object that was saved, as `networks.released.pickles.read_pickle` returns it.
    storages : dict of str to bytes-like
        The bytes of every storage in it.
    """

    content: Any
    storages: dict[str, memoryview]

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Copy a tensor of the content, to the CPU whatever device it was on."""
        dtype = np.dtype(NUMPY_TYPES[stored.storage.dtype])
        view: npt.NDArray[Any] = np.ndarray(
            stored.size,
            dtype,
            self.storages[stored.storage.key],
            stored.offset * dtype.itemsize,
            [step * dtype.itemsize for step in stored.stride],
        )
        return torch.from_numpy(view.copy())


def read_torch_file(path: str | Path) -> TorchFile:
    """Read a file of torch.save without running anything in it.

    Parameters
    ----------
    path : str or Path
        A file of a network or of its tensors, from PyTorch 1.0 or later.

    Returns
    -------
    TorchFile
        Its content and the bytes of its tensors.

    Raises
    ------
    ValueError
        If the file is damaged, or holds something that no network needs. The message is one line,
        without the path.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError("not a file")  # but a folder, or a pipe that may never end
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB, as no network of this project is")
    data = path.read_bytes()
    if not data:
        raise ValueError("empty")
    return read_zip(data) if data.startswith(b"PK") else read_legacy(data)


def read_legacy(data: bytes) -> TorchFile:
    """Read the older format (see `read_torch_file`)."""
    stream = PickleStream(data[:MAX_PICKLE_BYTES])
    magic_number, _ = read_pickle(stream)
    if magic_number != MAGIC_NUMBER:
        raise ValueError("a pickle, but none of torch.save")
    version, _ = read_pickle(stream)
    if version != VERSION:
        raise ValueError(f"of another version of torch.save's format than {VERSION}")
    machine, _ = read_pickle(stream)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("from a big-endian machine; save it again on a little-endian one")
    content, declared = read_pickle(stream)
    keys, _ = read_pickle(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("damaged: has no list of its storages")
    if len(keys) != len(declared) or set(keys) != declared.keys():
        raise ValueError("damaged: its list of storages is not that of its tensors")

    storages = {}
    end = stream.tell()
    for key in keys:
        begin = end + 8
        end = begin + declared[key].count * declared[key].dtype.itemsize
        if end > len(data):
            raise ValueError(f"cut off within its storage {key}")
        if int.from_bytes(data[begin - 8 : begin], "little") != declared[key].count:
            raise ValueError(f"damaged: its storage {key} is not as long as declared")
        storages[key] = memoryview(data)[begin:end]
    return TorchFile(content, storages)


def read_zip(data: bytes) -> TorchFile:
    """Read the zip format (see `read_torch_file`)."""
    members = unzip(data)
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"a zip file, but none of torch.save: has {len(pickles) or 'no'} data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if len(members[pickles[0]]) > MAX_PICKLE_BYTES:
        raise ValueError(f"has a pickle of more than {MAX_PICKLE_BYTES >> 20} MiB")
    if members.get(f"{folder}byteorder", b"little") != b"little":
        raise ValueError("from a big-endian machine; save it again on a little-endian one")
    content, declared = read_pickle(PickleStream(members[pickles[0]]))

    storages = {}
    for key, storage in declared.items():
        member = members.get(f"{folder}data/{key}")
        if member is None:
            raise ValueError(f"damaged: lacks its storage {key}")
        if len(member) != storage.count * storage.dtype.itemsize:
            raise ValueError(f"damaged: its storage {key} is not as long as declared")
        storages[key] = memoryview(member)
    return TorchFile(content, storages)


def unzip(data: bytes) -> dict[str, bytes]:
    """Read all members of a zip file, which together must not be longer than the file."""
    if data.count(b"PK\1\2") > MAX_MEMBERS:  # zipfile takes its time for each
        raise ValueError(f"refused: a zip file of more than {MAX_MEMBERS:,} members")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = archive.infolist()
        if sum(member.file_size for member in members) <= len(data) and all(
            member.compress_type == zipfile.ZIP_STORED for member in members
        ):
            return {member.filename: archive.read(member) for member in members}
    except MemoryError:
        raise
    except Exception as error:  # BadZipFile and some ten others, by the place of the damage
        raise ValueError(f"damaged or cut off: {describe(str(error))}") from error
    raise ValueError("refused: a zip file that is compressed or would unpack to more than it holds")
