"""Pickles of networks as plain data: nothing that such a file names is imported or called.

This is the standard library's unpickler with other ends: where a file names a class or function it
gets a `Global`, which cannot be called; a module becomes a `PickledModule` with its attributes, and
a tensor a `StoredTensor`. Names and instructions that no network needs are refused.

It is the unpickler in Python and not the one in C, because the latter lets no subclass see the keys
of a dictionary before it hashes them: nested tuples in 1 MB crash it (Python 3.11), and tuples that
share others take twice as long for every eight bytes more. It also makes its memo as long as the
largest number in it, 64 GiB for nine bytes. In Python, Gx's 28,000 instructions take 20 ms.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

MAX_KEY = 255  # characters in a key of a dictionary: equal ones are compared each time
MAX_DIMENSIONS = 8
MAX_NUMBERS = 2**31  # in a storage

MODULES = {
    "torch.nn.modules.container.Sequential", "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.batchnorm.BatchNorm2d", "torch.nn.modules.linear.Linear",
    "torch.nn.modules.activation.LeakyReLU", "torch.nn.modules.activation.ReLU6",
    "torch.nn.modules.activation.Sigmoid", "torch.nn.modules.activation.Softmax",
    "torch.nn.modules.padding.ReflectionPad2d", "torch.nn.modules.pooling.MaxPool2d",
    "torch.nn.modules.upsampling.Upsample",
    "models.common.Concat", "models.non_local_dot_product.NONLocalBlock2D",
    "networks.common.Concat", "networks.non_local_dot_product.NONLocalBlock2D",
}  # fmt: skip
STORAGES = {
    "torch.FloatStorage": torch.float32,
    "torch.LongStorage": torch.int64,
    "torch.cuda.FloatStorage": torch.float32,
    "torch.cuda.LongStorage": torch.int64,
}
FUNCTIONS = {
    "collections.OrderedDict", "builtins.set", "__builtin__.set",
    "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter",
    "torch.nn.backends.thnn._get_thnn_function_backend",
}  # fmt: skip
# What protocols 2 to 5 write of a network, and the two instructions for Python 2's strings.
INSTRUCTIONS = {
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK",
    "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET",
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT",
    "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "EMPTY_LIST", "APPEND", "APPENDS",
    "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS",
    "GLOBAL", "STACK_GLOBAL", "NEWOBJ", "REDUCE", "BUILD", "BINPERSID",
}  # fmt: skip
INSTRUCTION_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


class RefusedPickle(ValueError):
    """What a pickle holds is not needed by any network."""


@dataclass(frozen=True)
class Global:
    """A class or function that a pickle names, such as ``collections.OrderedDict``."""

    name: str


@dataclass(eq=False)
class PickledModule:
    """A module's class and its attributes."""

    cls: Global
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """So many numbers of one type that are elsewhere in the file, under a key."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a part of a storage, in whose elements the offset and the strides count."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse a tensor that is not within its storage, or larger by repeating its elements."""
        size, stride, count = self.size, self.stride, self.storage.count
        if (
            type(size) is type(stride) is tuple
            and len(size) == len(stride) <= MAX_DIMENSIONS
            and all(type(n) is int and 0 <= n <= count for n in (self.offset, *size, *stride))
            and 0 < math.prod(size) <= count
        ):
            last = self.offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
            if last < count:
                return
        raise RefusedPickle(f"refused: has a tensor outside its storage {self.storage.key}")


class PickleStream(io.BytesIO):
    """Bytes whose end is an error, which the unpickler would take for the end of a text or name."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is not None and len(data) < size:
            raise EOFError
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n"):
            raise EOFError
        return line


def read_pickle(stream: PickleStream) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle as data.

    Parameters
    ----------
    stream : PickleStream
        Positioned at the pickle's first byte, and left after its last. Give it a limit: a pickle
        takes up to a hundred times its bytes in memory.

    Returns
    -------
    content : object
        Numbers, texts, tuples, lists (also for sets), dicts with texts as keys, and the records
        of this file.
    storages : dict of str to Storage
        All that the pickle refers to, by their keys.

    Raises
    ------
    ValueError
        If the pickle is damaged or has something that no network needs. The message is one line.
    """
    unpickler = NetworkUnpickler(stream)
    try:
        return unpickler.load(), unpickler.storages
    except (RefusedPickle, MemoryError):
        raise
    except Exception as error:  # of some ten types, by the place of the damage
        raise ValueError(
            "damaged, cut off, or no file of torch.save: its pickle makes no sense"
        ) from error


def describe(thing: object) -> str:
    """Describe something from a file in a message: short, on one line, in plain characters."""
    if isinstance(thing, PickledModule):
        thing = thing.cls
    if isinstance(thing, Global):
        thing = thing.name
    text = ascii(thing) if isinstance(thing, str) else f"an object of type {type(thing).__name__}"
    return text if len(text) <= 100 else f"{text[:100]}..."


class Dispatch(dict[int, Callable[[Any], None]]):
    """The method for each instruction that is admitted."""

    def __missing__(self, code: int) -> Callable[[Any], None]:
        name = INSTRUCTION_NAMES[code]
        raise RefusedPickle(
            f"damaged, no file of torch.save, or hostile: has the pickle instruction {name}, "
            "which no network needs"
        )


class NetworkUnpickler(pickle._Unpickler):
    """An unpickler that makes nothing but data (see `read_pickle`)."""

    dispatch = Dispatch(
        (code, method)
        for code, method in pickle._Unpickler.dispatch.items()
        if INSTRUCTION_NAMES[code] in INSTRUCTIONS
    )
    stack: list[Any]
    append: Callable[[Any], None]  # to the stack
    pop_mark: Callable[[], list[Any]]  # gives what is on the stack after the latest mark

    def __init__(self, stream: PickleStream) -> None:
        super().__init__(stream, encoding="latin1")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Global:
        full_name = f"{module}.{name}"
        if "." in name or full_name not in MODULES | STORAGES.keys() | FUNCTIONS:
            reason = "which no network needs, so it may be hostile"
            raise RefusedPickle(f"refused: names {describe(full_name)}, {reason}")
        return Global(full_name)

    def persistent_load(self, pid: Any) -> Global | Storage:
        """Read what torch.save has put in the place of a module's class or of a storage."""
        match pid:
            case ("module", Global() as cls, _source_file, _source):
                return cls
            # In the older format the last one names the storage that this is a view of: none.
            case ("storage", Global(kind), str(key), str(), int(count), *part) if (
                kind in STORAGES and part in ([], [None]) and len(key) <= 40 and key.isalnum()
            ):
                if not 0 <= count <= MAX_NUMBERS:
                    raise RefusedPickle(f"refused: has a storage {key} of an impossible length")
                storage = self.storages.setdefault(key, Storage(key, STORAGES[kind], count))
                if (storage.dtype, storage.count) != (STORAGES[kind], count):
                    raise RefusedPickle(f"refused: has two different storages called {key}")
                return storage
        raise RefusedPickle("refused: has a reference that is neither to a storage nor to a module")

    def load_reduce(self) -> None:
        """Push what a call would have returned."""
        arguments, function = self.stack.pop(), self.stack.pop()
        match function.name if isinstance(function, Global) else None, arguments:
            case "collections.OrderedDict", ():
                self.append({})
            case "builtins.set" | "__builtin__.set", (list(members),):
                self.append(members)
            case "torch.nn.backends.thnn._get_thnn_function_backend", ():
                self.append(None)
            case "torch._utils._rebuild_parameter", (StoredTensor() as tensor, _, _):
                self.append(tensor)
            case "torch._utils._rebuild_tensor_v2", (Storage() as storage, at, size, stride, _, _):
                self.append(StoredTensor(storage, at, size, stride))
            case _:
                raise RefusedPickle(f"refused: calls {describe(function)} with unusual arguments")

    def load_newobj(self) -> None:
        arguments, cls = self.stack.pop(), self.stack.pop()
        if not (isinstance(cls, Global) and cls.name in MODULES and arguments == ()):
            raise RefusedPickle(f"refused: makes an object of {describe(cls)} in an unusual way")
        self.append(PickledModule(cls))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, PickledModule) and isinstance(state, dict):
            target.attributes = state
        elif not isinstance(target, dict):  # a dictionary's own, such as its version, are left out
            raise RefusedPickle(f"refused: sets attributes of {describe(target)} in an unusual way")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def load_setitems(self) -> None:
        self.set_items(self.pop_mark())

    def set_items(self, items: list[Any]) -> None:
        """Add alternating keys and values to the dictionary on the stack."""
        table = self.stack[-1]
        if not isinstance(table, dict):
            raise TypeError(f"cannot put items into a {type(table).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not (isinstance(key, str) and len(key) <= MAX_KEY):
                raise RefusedPickle(f"refused: has a dictionary with {describe(key)} as a key")
            table[key] = value

    dispatch |= {
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        # As a list, since a set would hash its members.
        pickle.EMPTY_SET[0]: dispatch[pickle.EMPTY_LIST[0]],
        pickle.ADDITEMS[0]: dispatch[pickle.APPENDS[0]],
    }
