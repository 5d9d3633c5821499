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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from networks.released.pickles import StoredTensor, read_pickle, shown

MOST_BYTES = 2**29  # in a file; the authors' largest, Gk for 75 x 75, has 23 MB
MOST_PICKLE_BYTES = 2**24  # of a file outside its storages; Gx takes 0.3 MB
MOST_MEMBERS = 2**14  # of a zip file; Gx has some 250

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
VERSION = 1001
NUMPY_TYPES = {torch.float32: "<f4", torch.int64: "<i8"}


@dataclass(frozen=True)
class TorchFile:
    """What a file of torch.save holds.

    Parameters
    ----------
    content : object
        The object that was saved, as `networks.released.pickles.read_pickle` gives it.
    storages : dict of str to bytes-like
        The bytes of every storage in it.
    """

    content: Any
    storages: dict[str, memoryview]

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Copy a tensor of the content, on the CPU whatever device it was on."""
        # A view first: of a large storage that many tensors share, each copies its own numbers.
        numbers = np.frombuffer(
            self.storages[stored.storage.key], NUMPY_TYPES[stored.storage.dtype]
        )
        view = np.lib.stride_tricks.as_strided(
            numbers[stored.offset :],
            stored.size,
            [step * numbers.itemsize for step in stored.stride],
            writeable=False,
        )
        return torch.from_numpy(np.array(view, order="C"))


def read_torch_file(path: str | Path) -> TorchFile:
    """Read a file of torch.save without running anything that stands in it.

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
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES >> 20} MiB, as no network of this project is")
    whole = path.read_bytes()
    if not whole:
        raise ValueError("empty")
    return read_zip(whole) if whole.startswith(b"PK") else read_legacy(whole)


def read_legacy(whole: bytes) -> TorchFile:
    """Read the older format (see `read_torch_file`)."""
    stream = io.BytesIO(whole[:MOST_PICKLE_BYTES])
    magic_number, _ = read_pickle(stream)
    if magic_number != MAGIC_NUMBER:
        raise ValueError("a pickle, but none of torch.save")
    version, _ = read_pickle(stream)
    if version != VERSION:
        raise ValueError(f"of another version of torch.save's format than {VERSION}")
    machine, _ = read_pickle(stream)
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise ValueError("from a big-endian machine; save it again on a little-endian one")
    content, declared = read_pickle(stream)
    keys, _ = read_pickle(stream)
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ValueError("damaged: has no list of its storages")
    if len(keys) != len(declared) or set(keys) != declared.keys():
        raise ValueError("damaged: its list of storages is not that of its tensors")

    storages = {}
    position = stream.tell()
    for key in keys:
        count = int.from_bytes(whole[position : position + 8], "little")
        begin = position + 8
        position = begin + declared[key].count * declared[key].dtype.itemsize
        if position > len(whole):
            raise ValueError(f"cut off within its storage {key}")
        if count != declared[key].count:
            raise ValueError(f"damaged: its storage {key} has not the length that it should have")
        storages[key] = memoryview(whole)[begin:position]
    return TorchFile(content, storages)


def read_zip(whole: bytes) -> TorchFile:
    """Read the zip format (see `read_torch_file`)."""
    members = unzip(whole)
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"a zip file, but none of torch.save: has {len(pickles) or 'no'} data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if len(members[pickles[0]]) > MOST_PICKLE_BYTES:
        raise ValueError(f"has a pickle of more than {MOST_PICKLE_BYTES >> 20} MiB")
    if members.get(f"{folder}byteorder", b"little") != b"little":
        raise ValueError("from a big-endian machine; save it again on a little-endian one")
    content, declared = read_pickle(io.BytesIO(members[pickles[0]]))

    storages = {}
    for key, storage in declared.items():
        data = members.get(f"{folder}data/{key}")
        if data is None:
            raise ValueError(f"damaged: lacks its storage {key}")
        if len(data) != storage.count * storage.dtype.itemsize:
            raise ValueError(f"damaged: its storage {key} has not the length that it should have")
        storages[key] = memoryview(data)
    return TorchFile(content, storages)


def unzip(whole: bytes) -> dict[str, bytes]:
    """Read all members of a zip file, which must not hold more bytes than it has itself."""
    if whole.count(b"PK\1\2") > MOST_MEMBERS:  # zipfile takes its time for each
        raise ValueError(f"refused: a zip file of more than {MOST_MEMBERS:,} members")
    with damage_told(), zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = archive.infolist()
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(
                f"refused: holds {shown(member.filename)} compressed, which torch.save never does"
            )
    claimed = sum(member.file_size for member in members)
    if claimed > len(whole):
        raise ValueError(f"refused: would unpack to {claimed:,} bytes from {len(whole):,}")
    with damage_told(), zipfile.ZipFile(io.BytesIO(whole)) as archive:
        return {member.filename: archive.read(member) for member in members}


@contextmanager
def damage_told() -> Iterator[None]:
    """Turn whatever a damaged zip file makes zipfile raise into a ValueError."""
    try:
        yield
    except Exception as error:  # BadZipFile and some ten others, by the place of the damage
        raise ValueError(f"damaged or cut off ({error})") from error
