"""Pickles of networks as plain data: nothing that such a file names is ever imported or called.

A pickle is a program for a small stack machine whose instructions can import any function and call
it. Here is a machine for the same instructions that cannot: a name becomes a `Name`, an object an
`Instance` with the attributes that were stored for it, and a tensor the `StoredTensor` that tells
where its numbers lie. Names other than those that a network needs are refused, and so are the
instructions that have no use in a network.
"""

import math
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import torch

# What an honest file of PyTorch 1.0 or later names, written as pickles do: module, space, name.
MODULE_CLASSES = {
    "torch.nn.modules.container Sequential",
    "torch.nn.modules.conv Conv2d",
    "torch.nn.modules.batchnorm BatchNorm2d",
    "torch.nn.modules.activation LeakyReLU",
    "torch.nn.modules.activation Sigmoid",
    "torch.nn.modules.activation ReLU6",
    "torch.nn.modules.activation Softmax",
    "torch.nn.modules.linear Linear",
    "torch.nn.modules.padding ReflectionPad2d",
    "torch.nn.modules.pooling MaxPool2d",
    "torch.nn.modules.upsampling Upsample",
    "models.common Concat",
    "models.non_local_dot_product NONLocalBlock2D",
    "networks.common Concat",
    "networks.non_local_dot_product NONLocalBlock2D",
}
STORAGES = {
    "torch FloatStorage": torch.float32,
    "torch LongStorage": torch.int64,
    "torch.cuda FloatStorage": torch.float32,
    "torch.cuda LongStorage": torch.int64,
}
ORDERED_DICT = "collections OrderedDict"
REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
REBUILD_PARAMETER = "torch._utils _rebuild_parameter"
BACKEND = "torch.nn.backends.thnn _get_thnn_function_backend"
SETS = {"__builtin__ set", "builtins set"}  # of the buffers that are not saved, since PyTorch 1.6
ADMITTED = (
    MODULE_CLASSES
    | STORAGES.keys()
    | {ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, BACKEND}
    | SETS
)

# Instructions that push a number or a text; pickletools has decoded it.
LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}

MOST_INSTRUCTIONS = 1_000_000  # Gx takes 22,000
MOST_DIMENSIONS = 8
MOST_NUMBERS = 2**31  # in a storage


@dataclass(frozen=True)
class Name:
    """A class or function by its name, such as ``collections OrderedDict``, and no more of it."""

    text: str


@dataclass
class Instance:
    """An object as it was stored: its class's name and its attributes."""

    kind: Name
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """A run of numbers that lies elsewhere in the file.

    Parameters
    ----------
    key : str
        What the file calls it.
    dtype : torch.dtype
        Type of its numbers.
    count : int
        How many there are.
    """

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a part of a storage, within which it certainly lies.

    Parameters
    ----------
    storage : Storage
        The numbers.
    offset : int
        Where in the storage the first one is.
    size, stride : tuple of int
        The shape, and the distance of neighbours in the storage along each dimension.
    """

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def shown(text: object) -> str:
    """Quote a text of a file for a message: short, on one line, in plain characters."""
    quoted = ascii(text) if isinstance(text, str) else f"an object of type {type(text).__name__}"
    return quoted if len(quoted) <= 100 else f"{quoted[:100]}..."


def read_pickle(stream: BinaryIO) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle as data.

    Parameters
    ----------
    stream : binary file
        Stands at the pickle's begin, and afterwards behind its end.

    Returns
    -------
    content : object
        Numbers, texts, tuples, lists and dicts (with texts as keys), and the records of this
        module. Sets are read as lists.
    storages : dict of str to Storage
        All that the pickle refers to, by their keys.

    Raises
    ------
    ValueError
        If the pickle names something else than a network needs, has an instruction of no use to
        one, or is damaged. The message is one line.

    References
    ----------
    The instructions and their meaning are documented in Python's module ``pickletools``.
    """
    try:
        return _run(stream)
    except (LookupError, TypeError, AttributeError) as error:
        # What a stack machine does that misses something: an empty stack, a mark, a memo.
        raise ValueError("damaged, or no file of torch.save: its pickle makes no sense") from error


def _run(stream: BinaryIO) -> tuple[Any, dict[str, Storage]]:
    stack: list[Any] = []
    below_marks: list[list[Any]] = []
    memo: dict[int, Any] = {}
    storages: dict[str, Storage] = {}
    for number, (instruction, argument, _) in enumerate(_instructions(stream)):
        if number == MOST_INSTRUCTIONS:
            raise ValueError(f"has more than {MOST_INSTRUCTIONS:,} pickle instructions")
        name, items = instruction.name, []
        if name in ("TUPLE", "LIST", "DICT", "APPENDS", "SETITEMS", "ADDITEMS", "POP_MARK"):
            items, stack = stack, below_marks.pop()

        if name in ("PROTO", "FRAME", "STOP", "POP_MARK"):
            pass
        elif name in LITERALS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name == "MARK":
            below_marks.append(stack)
            stack = []
        elif name == "POP":
            stack.pop()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            key = len(memo) if name == "MEMOIZE" else argument
            if not 0 <= key < MOST_INSTRUCTIONS:
                raise ValueError("damaged: its pickle counts its objects wrong")
            memo[key] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])

        elif name in ("EMPTY_LIST", "EMPTY_SET"):
            stack.append([])
        elif name == "LIST":
            stack.append(items)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            length = int(name[-1])
            stack[-length:] = [tuple(stack[-length:])]
        elif name == "TUPLE":
            stack.append(tuple(items))
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "DICT":
            stack.append({})
            _put_items(stack[-1], items)
        elif name == "APPEND":
            value = stack.pop()
            _extend(stack[-1], [value])
        elif name in ("APPENDS", "ADDITEMS"):
            _extend(stack[-1], items)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _put_items(stack[-1], [key, value])
        elif name == "SETITEMS":
            _put_items(stack[-1], items)

        elif name == "GLOBAL":
            stack.append(_admit(argument))
        elif name == "STACK_GLOBAL":
            last, first = stack.pop(), stack.pop()
            stack.append(_admit(f"{first} {last}" if type(first) is type(last) is str else None))
        elif name == "NEWOBJ":
            arguments, kind = stack.pop(), stack.pop()
            stack.append(_make_instance(kind, arguments))
        elif name == "BUILD":
            state = stack.pop()
            _set_state(stack[-1], state)
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_stand_in_for_call(function, arguments))
        elif name == "BINPERSID":
            stack.append(_look_up(stack.pop(), storages))
        else:
            if name == "INST":
                _admit(argument)
            raise ValueError(f"has the pickle instruction {name}, which no network needs")
    return stack.pop(), storages


def _instructions(stream: BinaryIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    try:
        yield from pickletools.genops(stream)
    except ValueError as error:
        reason = ascii(str(error)[:100])[1:-1]
        raise ValueError(f"damaged, cut off, or no file of torch.save ({reason})") from error


def _admit(name: str | None) -> Name:
    if name not in ADMITTED:
        readable = shown(name.replace(" ", ".")) if name else "something without a name"
        raise ValueError(f"refused: names {readable}, which no network needs, so it may be hostile")
    return Name(name)


def _extend(target: Any, items: list[Any]) -> None:
    if type(target) is not list:
        raise TypeError(f"cannot append to a {type(target).__name__}")
    target.extend(items)


def _put_items(target: Any, items: list[Any]) -> None:
    if type(target) is not dict or len(items) % 2:
        raise TypeError(f"cannot put items into a {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Other keys would have to be hashed, which deep nesting can make a crash.
        if type(key) is not str:
            raise ValueError(f"refused: has a dictionary with {shown(key)} as a key")
        target[key] = value


def _make_instance(kind: Any, arguments: Any) -> Instance:
    if type(kind) is not Name or kind.text not in MODULE_CLASSES or arguments != ():
        raise ValueError(f"refused: makes an object of {_called(kind)} in an unusual way")
    return Instance(kind)


def _set_state(target: Any, state: Any) -> None:
    if type(target) is dict:
        return  # an OrderedDict's attributes, such as the version that a state_dict tells
    if type(target) is not Instance or type(state) is not dict:
        raise ValueError(f"refused: sets attributes of {_called(target)} in an unusual way")
    target.attributes = state


def _stand_in_for_call(function: Any, arguments: Any) -> Any:
    """Give the data that a call would have made, by the name of what is called."""
    name = function.text if type(function) is Name else None
    count = len(arguments) if type(arguments) is tuple else -1
    if name == ORDERED_DICT and count == 0:
        return {}
    if name in SETS and count == 1:
        return arguments[0]
    if name == BACKEND and count == 0:
        return None
    if name == REBUILD_PARAMETER and count == 3 and type(arguments[0]) is StoredTensor:
        return arguments[0]
    if name == REBUILD_TENSOR and count == 6:
        return _place_tensor(*arguments[:4])
    raise ValueError(f"refused: calls {_called(function)} with unusual arguments")


def _place_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> StoredTensor:
    if not (type(storage) is Storage and type(size) is type(stride) is tuple):
        raise ValueError("refused: has a tensor that is not a part of a storage")
    numbers = [offset, *size, *stride]
    if not (
        len(size) == len(stride) <= MOST_DIMENSIONS
        and all(type(number) is int and 0 <= number <= storage.count for number in numbers)
        and 0 not in size
        # The first holds off tensors that repeat a few numbers over and over.
        and math.prod(size) <= storage.count
        and offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        < storage.count
    ):
        raise ValueError(f"refused: has a tensor that reaches outside its storage {storage.key}")
    return StoredTensor(storage, offset, size, stride)


def _look_up(record: Any, storages: dict[str, Storage]) -> Any:
    """Read what torch.save has put in the place of a storage or of a module's class."""
    match record:
        case ("module", Name(), _, _):
            return record[1]  # the other two are its source file and source, which nobody needs
        # In the older format the last says of which storage this is a part: of none.
        case ("storage", Name(text=kind), str(key), str(), int(count), *part) if (
            kind in STORAGES and part in ([], [None]) and key.isalnum() and len(key) <= 40
        ):
            if not 0 <= count <= MOST_NUMBERS:
                raise ValueError(f"refused: has a storage {key} of an impossible length")
            storage = Storage(key, STORAGES[kind], count)
            if storages.setdefault(key, storage) != storage:
                raise ValueError(f"refused: has two different storages called {key}")
            return storage
    raise ValueError("refused: has a reference that is neither to a storage nor to a module")


def _called(thing: Any) -> str:
    thing = thing.kind if type(thing) is Instance else thing
    return shown(thing.text.replace(" ", ".") if type(thing) is Name else thing)
