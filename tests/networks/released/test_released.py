"""Networks from files: honest ones of every kind are read, hostile ones do nothing at all."""

import copy
import csv
import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from networks.fcn import KernelNetwork
from networks.released.keys import released_keys
from networks.released.load import load_image_network, load_kernel_network
from networks.released.pickles import Global, PickledModule, read_pickle
from networks.released.torch_file import MAGIC_NUMBER, VERSION
from networks.skip import SkipNetwork
from tests.networks.released.released_tree import classes_in, image_network, kernel_network, pattern
from utils.runs.results import network_content

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(__file__).parent / "data"


def rows(table):
    """Read a reference table without its header."""
    with table.open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def shapes(network):
    """List a network's keys and shapes as the reference tables do."""
    return [
        (key, "x".join(map(str, tensor.shape)) or "scalar")
        for key, tensor in network.state_dict().items()
    ]


def save(network, path, **options):
    """Save a module, whose classes have no source that PyTorch could find."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(network, path, **options)
    return path


@pytest.fixture(scope="module")
def gx_tree():
    """Gx as the authors nest it; every tensor random, so that no two could be exchanged."""
    torch.manual_seed(0)
    tree = image_network()
    for module in tree.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return tree


@pytest.fixture(scope="module")
def gk_tree():
    """Gk of a kernel with 9 entries: the smallest files."""
    torch.manual_seed(0)
    return kernel_network(9)


def same_tensors(ours, tree):
    """Tell whether a network of ours holds the tensors of a tree, bit by bit."""
    theirs = tree.state_dict()
    return all(
        torch.equal(tensor, theirs[key])
        for key, tensor in zip(
            released_keys(ours).values(), ours.state_dict().values(), strict=True
        )
    )


# Honest files.


def test_tree_of_these_tests_is_that_of_the_released_networks(gx_tree, reference):
    with classes_in("networks"):
        modules = [
            (path or "(root)", f"{type(module).__module__}.{type(module).__name__}")
            for path, module in gx_tree.named_modules()
        ]
    assert modules == rows(reference / "released_xnet_modules.csv")
    assert shapes(gx_tree) == rows(reference / "released_xnet_state.csv")
    assert shapes(kernel_network(17 * 17)) == rows(reference / "released_knet_state.csv")


@pytest.mark.parametrize("package", ["models", "networks"])
@pytest.mark.parametrize("zip_format", [True, False])
def test_loads_both_formats_and_both_module_names(package, zip_format, gx_tree, tmp_path):
    with classes_in(package):
        path = save(gx_tree, tmp_path / "a_xnet.pth", _use_new_zipfile_serialization=zip_format)
        assert package.encode() + b".common\nConcat" in path.read_bytes()
    gx = load_image_network(path)
    assert same_tensors(gx, gx_tree)
    assert all(weight.requires_grad for weight in gx.parameters())
    assert gx.training


def test_loaded_networks_compute_what_the_saved_ones_do(gx_tree, tmp_path):
    with classes_in("models"):
        gx = load_image_network(save(gx_tree, tmp_path / "a_xnet.pth"))
    zx = 0.1 * torch.rand(1, 8, 61, 74, dtype=torch.float64)
    with torch.no_grad():
        difference = gx.double()(zx) - image_network_in_double(gx_tree)(zx)
    assert difference.abs().max() < 1e-10

    gk_tree = kernel_network(15 * 13)
    gk = load_kernel_network(save(gk_tree, tmp_path / "a_knet.pth"), (15, 13))
    zk = torch.rand(200)
    assert torch.equal(gk(zk), gk_tree(zk).view(1, 1, 15, 13))


def image_network_in_double(tree):
    copy = image_network()
    copy.load_state_dict(tree.state_dict())
    return copy.double()


def test_loads_what_pytorch_1_0_wrote_on_a_gpu(tmp_path):
    for name, tree, load in (
        ("xnet", image_network(), load_image_network),
        ("knet", kernel_network(15 * 13), lambda path: load_kernel_network(path, (15, 13))),
    ):
        packed = DATA / f"pytorch_1_0_{name}.pth.gz"
        path = tmp_path / f"{name}.pth"
        path.write_bytes(gzip.decompress(packed.read_bytes()))
        assert b"cuda:0" in path.read_bytes()
        for i, tensor in enumerate(tree.state_dict().values()):
            tensor.copy_(pattern(i, tensor.shape))
        network = load(path)
        assert same_tensors(network, tree)
        assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}


class Backend:
    """PyTorch 1.0's object of functions, which pickles as a call of the one below."""

    def __reduce__(self):
        return _get_thnn_function_backend, ()


def _get_thnn_function_backend():
    return Backend()


@pytest.mark.parametrize("zip_format", [True, False])
def test_loads_modules_with_a_backend_and_without_newer_attributes(
    zip_format, tmp_path, monkeypatch
):
    module = ModuleType("torch.nn.backends.thnn")
    module._get_thnn_function_backend = _get_thnn_function_backend
    monkeypatch.setitem(sys.modules, "torch.nn.backends", ModuleType("backends"))
    monkeypatch.setitem(sys.modules, "torch.nn.backends.thnn", module)
    monkeypatch.setattr(_get_thnn_function_backend, "__module__", "torch.nn.backends.thnn")
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
    original = kernel_network(15)
    tree = copy.deepcopy(original)
    old = {"_parameters", "_buffers", "_modules", "training", "_backward_hooks",
           "_forward_hooks", "_forward_pre_hooks", "in_features", "out_features"}  # fmt: skip
    for part in tree.modules():
        for attribute in set(vars(part)) - old:
            del part.__dict__[attribute]
        part.__dict__["_backend"] = Backend()
    path = save(tree, tmp_path / "a_knet.pth", _use_new_zipfile_serialization=zip_format)
    assert b"_get_thnn_function_backend" in path.read_bytes()
    assert b"cuda:0" in path.read_bytes()
    assert b"_non_persistent_buffers_set" not in path.read_bytes()
    assert same_tensors(load_kernel_network(path, (3, 5)), original)


def test_loads_tensors_that_share_a_storage_or_are_transposed(gk_tree, tmp_path):
    tree = kernel_network(9)
    weight = torch.rand(200, 1000 + 9)
    tree[0].weight = nn.Parameter(weight[:, :1000].T)
    tree[2].bias = nn.Parameter(weight[3, 1000:])
    path = save(tree, tmp_path / "a_knet.pth")
    gk = load_kernel_network(path)
    assert same_tensors(gk, tree)
    assert gk.hidden.weight.is_contiguous()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_loads_every_protocol_that_can_hold_a_network(protocol, gk_tree, tmp_path):
    path = save(gk_tree, tmp_path / "a_knet.pth", pickle_protocol=protocol)
    assert same_tensors(load_kernel_network(path), gk_tree)


@pytest.mark.parametrize("channels, scales", [(128, 5), (64, 5), (6, 3)])
def test_loads_what_a_run_wrote(channels, scales, tmp_path):
    settings = {"channels": channels, "scales": scales, "kernel_size": [5, 3], "seed": 0}
    gx, gk = SkipNetwork(channels=channels, scales=scales), KernelNetwork((5, 3))
    (tmp_path / "x.pth").write_bytes(network_content(gx, (40, 44), settings))
    (tmp_path / "k.pth").write_bytes(network_content(gk, (40, 44), settings))
    for saved, loaded in (
        (gx, load_image_network(tmp_path / "x.pth")),
        (gk, load_kernel_network(tmp_path / "k.pth")),
    ):
        assert loaded.state_dict().keys() == saved.state_dict().keys()
        for key, tensor in saved.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], tensor), key
    assert load_kernel_network(tmp_path / "k.pth").kernel_size == (5, 3)
    with pytest.raises(ValueError, match="of 5 x 3, not of 3 x 5"):
        load_kernel_network(tmp_path / "k.pth", (3, 5))


def test_loads_what_a_run_of_an_earlier_version_wrote(tmp_path):
    gx = SkipNetwork(channels=6, scales=3)
    tensors = {
        key.replace(".downsample.", ".halve.").replace(".pointwise.", ".mix."): tensor
        for key, tensor in gx.state_dict().items()
    }
    assert "scales.2.halve.conv.weight" in tensors and "scales.0.mix.norm.bias" in tensors
    settings = {"channels": 6, "scales": 3, "kernel_size": [5, 3]}
    torch.save({"state_dict": tensors, "settings": settings}, tmp_path / "x.pth")
    loaded = load_image_network(tmp_path / "x.pth").state_dict()
    assert loaded.keys() == gx.state_dict().keys()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in gx.state_dict().items())


def test_loading_leaves_the_random_numbers_alone(gk_tree, tmp_path):
    path = save(gk_tree, tmp_path / "a_knet.pth")
    state = torch.get_rng_state()
    load_kernel_network(path)
    assert torch.equal(torch.get_rng_state(), state)


# Files of something else.


def refusal(load, path, *arguments):
    """Load a file that must be refused, and give the message, which must be one line."""
    with pytest.raises(ValueError) as caught:
        load(path, *arguments)
    message = str(caught.value)
    assert type(caught.value) is ValueError
    assert message.startswith(f"{path}: ")
    assert message.isprintable() and len(message) < len(str(path)) + 250
    return message


def test_names_the_tensor_that_does_not_fit(gx_tree, gk_tree, tmp_path):
    gk_path = save(gk_tree, tmp_path / "a_knet.pth")
    with classes_in("models"):
        gx_path = save(gx_tree, tmp_path / "a_xnet.pth")
    assert "not Gk: lacks 3.bias" in refusal(
        load_kernel_network, save(nn.Sequential(), tmp_path / "empty.pth")
    )
    assert "not Gx: lacks the tensor '1.0.1.1.bias' and 240 more" in refusal(
        load_image_network, gk_path
    )
    assert "not Gk: lacks 3.bias" in refusal(load_kernel_network, gx_path)
    assert "of 3 x 3, not of 5 x 5" in refusal(load_kernel_network, gk_path, (5, 5))

    def changed(change):
        tree = kernel_network(9)
        change(tree)
        return refusal(load_kernel_network, save(tree, tmp_path / "changed.pth"))

    def narrow(tree):
        tree[0].weight = nn.Parameter(torch.zeros(1000, 100))

    def add(tree):
        tree.add_module("5", nn.Linear(2, 2))

    def remove(tree):
        tree[0].bias = None

    def make_whole_numbers(tree):
        tree[0].bias = nn.Parameter(torch.zeros(1000, dtype=torch.int64), requires_grad=False)

    assert "1.weight is torch.float32 of shape (1000, 100), not" in changed(narrow)
    assert "has the tensor '5.bias' and 1 more" in changed(add)
    assert "lacks the tensor '1.bias'" in changed(remove)
    assert "1.bias is torch.int64 of shape (1000,), not torch.float32" in changed(
        make_whole_numbers
    )
    assert "175 entries, not square" in refusal(
        load_kernel_network, save(kernel_network(175), tmp_path / "175.pth")
    )


def test_names_a_type_of_numbers_that_no_network_has(gk_tree, tmp_path):
    tree = kernel_network(9).double()
    assert "torch.DoubleStorage" in refusal(
        load_kernel_network, save(tree, tmp_path / "double.pth")
    )


def test_refuses_files_of_something_else(tmp_path):
    for content, fault in (
        (b"", "empty"),
        (b"a text about networks\n", "no file of torch.save"),
        (pickle.dumps([1, 2], 2), "none of torch.save"),
        (pickle.dumps(MAGIC_NUMBER, 2) + pickle.dumps(1000, 2), "another version"),
        (b"PK\x03\x04 and no more", "damaged or cut off"),
        (zipped(b"", name="x/other.pkl"), "no data.pkl"),
        (torch_saved({"a": 1}), "neither a released network nor"),
        (torch_saved([]), "neither a released network nor"),
    ):
        path = tmp_path / "file.pth"
        path.write_bytes(content)
        assert fault in refusal(load_image_network, path)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(2**14 + 1):
            archive.writestr(str(number), b"")
    assert "more than 16,384 members" in refusal(load_image_network, path)
    assert "not a file" in refusal(load_image_network, tmp_path)
    with pytest.raises(FileNotFoundError):
        load_image_network(tmp_path / "missing.pth")


def test_refuses_big_endian_files(gk_tree, tmp_path):
    content = torch_saved(gk_tree, zip_format=False)
    flag = content.index(b"little_endian") + len(b"little_endian") + 2
    assert content[flag : flag + 1] == pickle.NEWTRUE
    path = tmp_path / "a_knet.pth"
    path.write_bytes(content[:flag] + pickle.NEWFALSE + content[flag + 1 :])
    assert "big-endian" in refusal(load_kernel_network, path)

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/byteorder", b"big")
    assert "big-endian" in refusal(load_kernel_network, path)


@pytest.mark.parametrize("setting, value", [
    ("channels", 10**9), ("channels", 0), ("channels", 7), ("channels", "many"),
    ("scales", 10**9), ("scales", 0), ("kernel_size", [-3, -3]), ("kernel_size", [10**9, 10**9]),
    ("kernel_size", 9), ("kernel_size", None),
])  # fmt: skip
def test_refuses_settings_that_no_network_has(setting, value, tmp_path):
    for wrong in (value, 10**5000):  # a number that Python would not even print
        settings = {"channels": 6, "scales": 2, "kernel_size": [3, 3]} | {setting: wrong}
        path = tmp_path / "k.pth"
        torch.save({"state_dict": KernelNetwork((3, 3)).state_dict(), "settings": settings}, path)
        message = refusal(load_kernel_network, path).removeprefix(str(path))
        assert ("of its settings" in message) != ("neither a released network" in message)


def test_refuses_a_state_dict_with_something_else_in_it(tmp_path):
    settings = {"channels": 6, "scales": 2, "kernel_size": [3, 3]}
    for tensors in ({"output.bias": "text"}, {"output.bias": {}}, {"output.bias": None}):
        path = tmp_path / "k.pth"
        torch.save({"state_dict": tensors, "settings": settings}, path)
        assert "its tensor 'output.bias' is" in refusal(load_kernel_network, path)


# Hostile files. Each would make a marker file if anything in it ran.


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments, state) if state else (function, arguments)

    def __reduce__(self):
        return self.reduced


def torch_saved(thing, zip_format=True):
    content = io.BytesIO()
    save(thing, content, _use_new_zipfile_serialization=zip_format)
    return content.getvalue()


def zipped(pickled, storages=(), name="archive/data.pkl", compression=zipfile.ZIP_STORED):
    """Make a file of the zip format from a pickle and storages 0, 1, ... by hand."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        archive.writestr(name, pickled)
        for i, storage in enumerate(storages):
            archive.writestr(f"archive/data/{i}", storage)
    return content.getvalue()


def legacy(pickled, storages=(), machine=None):
    """Make a file of the older format in the same way."""
    machine = machine or pickle.dumps({"little_endian": True}, 2)
    content = pickle.dumps(MAGIC_NUMBER, 2) + pickle.dumps(VERSION, 2) + machine + pickled
    content += pickle.dumps([str(i) for i in range(len(storages))], 2)
    for storage in storages:
        content += struct.pack("<q", len(storage) // 4) + storage
    return content


@pytest.fixture
def marker(tmp_path):
    """A file that must not be there when the test ends."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


def refuse_bytes(content, tmp_path):
    """Give the message of the refusal, which must be the same for Gx and Gk."""
    path = tmp_path / "hostile.pth"
    path.write_bytes(content)
    message = refusal(load_kernel_network, path)
    assert refusal(load_image_network, path) == message
    return message


@pytest.mark.parametrize("wrap", [zipped, legacy, bytes])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_names_the_function_that_would_have_run(wrap, protocol, tmp_path, marker):
    hostile = pickle.dumps(Call(os.system, f"touch {marker}"), protocol)
    message = refuse_bytes(wrap(hostile), tmp_path)
    assert f"refused: names '{os.system.__module__}.system'" in message
    assert not marker.exists()
    pickle.loads(hostile)  # it is no dud
    assert marker.exists()
    marker.unlink()


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("function, name", [
    (eval, "__builtin__.eval"), (exec, "__builtin__.exec"), (getattr, "__builtin__.getattr"),
    (__import__, "__builtin__.__import__"), (torch.load, "torch.serialization.load"),
    (torch.hub.load, "torch.hub.load"), (pickle.loads, "pickle.loads"),
    (torch._utils._rebuild_qtensor, "torch._utils._rebuild_qtensor"),
])  # fmt: skip
def test_finds_the_offender_wherever_it_hides(zip_format, function, name, tmp_path, marker):
    call = Call(function, f"open({str(marker)!r}, 'w')")
    storage = torch.zeros(9)._typed_storage()
    places = []
    for attribute in ("note", "_backend", "_forward_hooks", "training", "__class__"):
        places.append(nn.Sequential(nn.Sigmoid()))
        places[-1][0].__dict__[attribute] = call
    for table in ("_parameters", "_buffers", "_modules"):
        places.append(nn.Sequential())
        places[-1].__dict__[table]["1"] = call
    rebuild = torch._utils._rebuild_tensor_v2
    places += [
        Call(rebuild, storage, 0, (9,), (1,), False, call),
        Call(rebuild, storage, 0, (9,), (1,), False, OrderedDict(), {"a": call}),
        Call(rebuild, storage, call, (9,), (1,), False, OrderedDict()),
        Call(rebuild, storage, 0, (call,), (1,), False, OrderedDict()),
        Call(torch._utils._rebuild_parameter, torch.zeros(9), True, OrderedDict(a=call)),
        Call(OrderedDict, state={"a": call}),
        {"state_dict": {"output.bias": call}, "settings": {}},
    ]
    for place in places:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            message = refuse_bytes(torch_saved(place, zip_format), tmp_path)
        assert f"refused: names '{name}', which" in message


def test_reads_every_part_of_the_older_format_with_the_same_care(tmp_path, marker):
    call = pickle.dumps(Call(os.system, f"touch {marker}"), 2)
    head = [pickle.dumps(part, 2) for part in (MAGIC_NUMBER, VERSION, {"little_endian": True}, {})]
    for i in range(5):
        content = b"".join([*head[:i], call, *head[i + 1 :]])
        assert "system'" in refuse_bytes(content, tmp_path)


def stack_global(module, name):
    """Pickle a name in the newer protocols' way."""
    texts = [bytes([0x8C, len(text)]) + text.encode() for text in (module, name)]
    return b"\x80\x04" + b"".join(texts) + b"\x93"


@pytest.mark.parametrize("pickled, fault", [
    # Names with dots, which newer protocols follow from attribute to attribute.
    (stack_global("torch.nn", "modules.container.Sequential.__init__.__globals__") + b".",
     "torch.nn.modules.container.Sequential.__init__.__globals__"),
    (stack_global("torch.nn", "modules.container.Sequential") + b")\x81.", "refused: names"),
    (stack_global("collections", "OrderedDict.fromkeys") + b")R.", "OrderedDict.fromkeys"),
    (b"\x80\x02ctorch.nn\nmodules.container.Sequential.apply\n.", "Sequential.apply"),
    (b"\x80\x04K\x01\x8c\x06system\x93.", "makes no sense"),
    (b"\x80\x04\x8c\x05posixK\x01\x93.", "makes no sense"),
    (b"\x80\x02cos\nsystem\x1b[31m\n.", "system\\x1b[31m"),
    # Other ways to call or make something.
    (b"(S'id'\nios\nsystem\n.", "STRING"), (b"(ios\nsystem\n.", "INST"),
    (b"(icollections\nOrderedDict\n.", "INST"),
    (b"(cos\nsystem\nS'id'\no.", "os.system"),
    (b"(ccollections\nOrderedDict\no.", "OBJ"),
    (b"\x80\x02ctorch.nn.modules.container\nSequential\n)R.", "calls 'torch.nn.modules.cont"),
    (b"\x80\x02ctorch.nn.modules.container\nSequential\nK\x01\x85\x81.", "unusual way"),
    (b"\x80\x02ctorch.nn.modules.container\nSequential\n)}\x92.", "NEWOBJ_EX"),
    (b"\x80\x02ctorch.nn.modules.container\nSequential\n]\x81.", "unusual way"),
    (b"\x80\x02K\x01)\x81.", "of an object of type int in an unusual way"),
    (b"\x80\x02X\x03\x00\x00\x00abc)\x81.", "of 'abc' in an unusual way"),
    (b"\x80\x02X\x03\x00\x00\x00abc)R.", "calls 'abc' with unusual"),
    (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls 'torch.FloatStorage' with unusual"),
    (b"\x80\x02ccollections\nOrderedDict\nNR.", "unusual arguments"),
    (b"\x80\x02ccollections\nOrderedDict\n}R.", "unusual arguments"),
    (b"\x80\x02c__builtin__\nset\nK\x01\x85R.", "unusual arguments"),
    (b"\x80\x02c__builtin__\nset\n)R.", "unusual arguments"),
    (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "unusual way"),
    (b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "unusual arguments"),
    (b"\x80\x02ctorch.nn.backends.thnn\n_get_thnn_function_backend\nK\x01\x85R.", "unusual"),
    (b"\x80\x02ctorch._utils\n_rebuild_parameter\nNNN\x87R.", "unusual arguments"),
    (b"\x80\x02K\x01)R.", "calls an object of type int"),
    (b"\x80\x02\x82\x01.", "EXT1"), (b"\x80\x02\x83\x01\x00.", "EXT2"),
    (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
    (b"Pname\n.", "PERSID"), (b"\x80\x05\x97.", "NEXT_BUFFER"), (b"\x80\x05\x98.", "READONLY"),
    (b"\x80\x02ctorch\nFloatStorage\n}b.", "sets attributes of 'torch.FloatStorage'"),
    (b"\x80\x02K\x01}b.", "of an object of type int"),
    (b"\x80\x02ccollections\nOrderedDict\nN}X\x01\x00\x00\x00aK\x01s\x86b.", "sets attributes of"),
    (b"\x80\x02ctorch.nn.modules.container\nSequential\n}X\x0c\x00\x00\x00__setstate__K\x01sb.",
     "sets attributes of 'torch.nn.modules.container.Sequential'"),
    (b"\x80\x02]}b.", "of an object of type list"),
    (b"\x80\x02ctorch.nn.modules.container\nSequential\n)\x81N}\x86b.", "sets attributes of"),
    # References.
    (b"\x80\x02Q.", "makes no sense"), (b"\x80\x02K\x01Q.", "reference that is neither"),
    (b"\x80\x02X\x06\x00\x00\x00modulecos\nsystem\nNNtQ.", "os.system"),
    (b"\x80\x02(X\x06\x00\x00\x00moduleX\x02\x00\x00\x00osNNtQ.", "reference that is neither"),
    (b"\x80\x02(X\x07\x00\x00\x00storagectorch.nn.modules.container\nSequential\n"
     b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.", "reference that is neither"),
    (b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
     b"X\x04\x00\x00\x00../aX\x03\x00\x00\x00cpuK\x01tQ.", "reference that is neither"),
    (b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
     b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\xff\xff\xff\xfftQ.", "impossible length"),
    # Nonsense, and what would eat memory or time.
    (b"\x80\x02h\x01.", "makes no sense"), (b"\x80\x02R.", "makes no sense"),
    (b"\x80\x02t.", "makes no sense"), (b"\x80\x02.", "makes no sense"),
    (b"\x80\x02K\x01K\x02a.", "makes no sense"), (b"\x80\x02K\x01K\x02K\x03s.", "makes no sense"),
    (b"\x80\x02}(K\x01u.", "makes no sense"), (b"\x80\x02}K\x01K\x02s.", "as a key"),
    (b"\x80\x02}" + b"(" * 20_000 + b"t" * 20_000 + b"K\x01s.", "as a key"),
    (b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".", ""),
    (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x3fabc.", "cut off"),
    (b"\x80\x02X\xff\xff\xff\xffabc.", "cut off"), (b"\x80\x02\x8b\xff\xff\xff\x7fabc.", "cut off"),
    (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x3fabc.", "BINBYTES8"),
    (b"\x80\x05\x96" + b"\xff" * 7 + b"\x3fabc.", "BYTEARRAY8"),
    (b"\x80\x04\x95" + b"\xff" * 8 + b"N.", "cut off"),
    (b"\x80\x04\x95" + b"\xff" * 7 + b"\x3fN.", "cut off"),
    (b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00M\x01\x00.", "makes no sense"),
    (b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x95\x00\x00\x00\x00\x00\x00\x00\x00N.",
     "makes no sense"),
    (b"\x80\xffN.", "makes no sense"), (b"\x80\x02\xff.", "makes no sense"),
    (b"\x80\x02(}d.", "DICT"), (b"\x80\x04(]\x91.", "FROZENSET"),
    (b"\x80\x04\x8f(](K\x01]e\x90.", "neither a released network"),
    (b"\x80\x02}X\x00\x01\x00\x00" + b"k" * 256 + b"Ns.", "as a key"),
    (b"L" + b"9" * 10_000 + b"L\n.", "no file of torch.save"),
    (b"F" + b"x" * 10_000 + b"\n.", "no file of torch.save"),
    (b"\x80\x02Nr\xff\xff\xff\xff.", "neither a released network"),  # its memo is no table
])  # fmt: skip
@pytest.mark.parametrize("wrap", [zipped, legacy])
def test_refuses_every_trick_of_pickles(wrap, pickled, fault, tmp_path):
    assert fault in refuse_bytes(wrap(pickled), tmp_path)


def test_attributes_of_what_is_read_are_data(marker):
    """Special attributes in a pickle do not become those of anything that Python would ask."""
    state = {"__class__": 1, "__setstate__": 2, "__reduce__": 3, "cls": 4, "attributes": 5}
    pickled = b"\x80\x02ctorch.nn.modules.container\nSequential\n)\x81"
    pickled += pickle.dumps(state, 2)[2:-1] + b"b."
    module, _ = read_pickle(io.BytesIO(pickled))
    assert type(module) is PickledModule
    assert module.cls == Global("torch.nn.modules.container.Sequential")
    assert module.attributes == state


SHARED_TUPLES = b")q\x00" + b"".join(b"0h%ch%c\x86q%c" % (i, i, i + 1) for i in range(200))
STORAGE = (
    b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x09tQ"
)
# Two as long as any that is read, and what takes ages or the stack of C wherever it is hashed,
# compared, copied or printed.
LARGE_PICKLES = {
    "lists": b"\x80\x02" + b"]" * 2**20,
    "dictionaries": b"\x80\x04" + b"}\x94" * 2**19,
    "sets": b"\x80\x04" + b"\x8f" * 2**18,
    "marks": b"\x80\x02" + b"(" * 2**18,
    "nothing": b"\x80\x02" + b"N0" * 2**17,
    "frames": b"\x80\x04" + (b"\x95" + bytes(8)) * 50_000,
    "modules": b"\x80\x02ctorch.nn.modules.container\nSequential\nq\x00" + b"h\x00)\x81" * 2**16,
    "tensors": STORAGE + b"q\x00ctorch._utils\n_rebuild_tensor_v2\nq\x01"
    + b"h\x01(h\x00K\x00K\x01\x85K\x01\x85\x89NtR" * 20_000,
    "nested key": b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.",
    "nested lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "nested member": b"\x80\x04\x8f()" + b"\x85" * 200_000 + b"\x90.",
    "nested attributes": b"\x80\x02ctorch.nn.modules.container\nSequential\n)\x81)"
    + b"\x85" * 200_000 + b"b.",
    "nested arguments": b"\x80\x02ccollections\nOrderedDict\n)" + b"\x85" * 200_000 + b"R.",
    "nested reference": b"\x80\x02)" + b"\x85" * 200_000 + b"Q.",
    "shared key": b"\x80\x02}" + SHARED_TUPLES + b"K\x01s.",
    "shared member": b"\x80\x04\x8f(" + SHARED_TUPLES + b"\x90.",
    "shared attributes": b"\x80\x02ctorch.nn.modules.container\nSequential\n)\x81"
    + SHARED_TUPLES + b"b.",
    "shared arguments": b"\x80\x02ccollections\nOrderedDict\n" + SHARED_TUPLES + b"R.",
    "shared reference": b"\x80\x02" + SHARED_TUPLES + b"Q.",
    "shared content": b"\x80\x02" + SHARED_TUPLES + b".",
    "long key": b"\x80\x02}X\x40\x42\x0f\x00" + b"k" * 1_000_000 + b"Ns.",
    "long count": STORAGE[:-4] + b"\x8b\x40\x42\x0f\x00" + b"7" * 1_000_000 + b"tQ.",
    "long offset": STORAGE + b"q\x00ctorch._utils\n_rebuild_tensor_v2\n(h\x00\x8b\x40\x42\x0f\x00"
    + b"7" * 1_000_000 + b"K\x01\x85K\x01\x85\x89NtR.",
    "memo": b"\x80\x02Nr\xff\xff\xff\xff.",
}  # fmt: skip

MAX_SECONDS = 10  # of the processor's time; the slowest takes 1

MEASURE = """
import re, resource, sys, time
from pathlib import Path
from networks.released.load import load_kernel_network
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
def status(name):
    return int(re.search(name + r":[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1])
for path in map(Path, sys.argv[1:]):
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, began = status("VmRSS"), time.process_time()
    try:
        message = load_kernel_network(path)
    except ValueError as error:
        message = error
    print((status("VmHWM") - before) >> 10, time.process_time() - began, message, sep="\t")
"""


def test_large_pickles_are_refused_soon_and_in_little_memory(tmp_path):
    for name, pickled in LARGE_PICKLES.items():
        (tmp_path / name).write_bytes(zipped(pickled[: 2**20]))
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, *(tmp_path / name for name in LARGE_PICKLES)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == len(LARGE_PICKLES)
    for name, line in zip(LARGE_PICKLES, lines, strict=True):
        megabytes, seconds, message = line.split("\t")
        assert int(megabytes) < 150 and float(seconds) < MAX_SECONDS, line
        assert message.startswith(f"{tmp_path / name}: ") and message.isprintable()


def test_stops_reading_endless_pickles(tmp_path, monkeypatch):
    assert "more than 1 MiB" in refuse_bytes(zipped(b"\x80\x02" + b"N0" * 2**19 + b"N."), tmp_path)
    monkeypatch.setattr("networks.released.torch_file.MAX_PICKLE_BYTES", 1000)
    endless = b"\x80\x02" + b"N0" * 1000 + b"N."
    assert "has a pickle of more than" in refuse_bytes(zipped(endless), tmp_path)
    assert "cut off" in refuse_bytes(legacy(endless), tmp_path)


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("offset, size, stride", [
    (1, (9,), (1,)), (0, (10,), (1,)), (0, (9,), (2,)), (0, (3, 3), (4, 1)), (9, (), ()),
    (-1, (9,), (1,)), (0, (-9,), (1,)), (8, (9,), (-1,)), (0, (0,), (1,)),
    (0, (2**31, 2**31), (0, 0)), (0, (10,), (0,)), (0, (9, 9), (0, 1)), (0, (1,) * 9, (1,) * 9),
    (2**70, (1,), (1,)), (0, (1,), (2**70,)), (0, (2**62, 4), (1, 1)),
    (0, (9,), (1, 1)), (0, [9], [1]), (0, (9.0,), (1,)), (0, (True,), (1,)), (None, (9,), (1,)),
])  # fmt: skip
def test_refuses_tensors_outside_their_storage(offset, size, stride, zip_format, tmp_path):
    storage = torch.zeros(9)._typed_storage()
    tree = kernel_network(9)
    tree._modules["3"]._parameters["bias"] = Call(
        torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict()
    )
    message = refuse_bytes(torch_saved(tree, zip_format), tmp_path)
    assert "outside its storage" in message or "not a part of a storage" in message


def storage_pickle(*counts):
    """Pickle a tuple of references to storage 0 with these lengths."""
    references = b"".join(
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ"
        + struct.pack("<i", count)
        + b"tQ"
        for count in counts
    )
    return b"\x80\x02(" + references + b"t."


def test_refuses_storages_of_another_length_than_declared(tmp_path):
    for wrap in (zipped, legacy):
        fits = wrap(storage_pickle(3), [bytes(12)])
        assert "neither a released network" in refuse_bytes(fits, tmp_path)
        for stored in (8, 16):
            message = refuse_bytes(wrap(storage_pickle(3), [bytes(stored)]), tmp_path)
            assert "storage 0" in message
        assert "two different storages" in refuse_bytes(
            wrap(storage_pickle(3, 4), [bytes(12)]), tmp_path
        )
    assert "lacks its storage 0" in refuse_bytes(zipped(storage_pickle(3)), tmp_path)
    assert "list of storages" in refuse_bytes(legacy(storage_pickle(3)), tmp_path)
    assert "list of storages" in refuse_bytes(legacy(b"\x80\x02N.", [bytes(4)]), tmp_path)


def test_refuses_modules_that_never_end(tmp_path):
    tree = kernel_network(9)
    tree._modules["1"]._modules["again"] = tree
    assert "more than 1000 modules" in refuse_bytes(torch_saved(tree), tmp_path)

    tree = nn.Sequential()
    for _ in range(40):  # 2^40 paths through 40 modules
        tree = nn.Sequential(tree, tree)
    assert "more than 1000 modules" in refuse_bytes(torch_saved(tree), tmp_path)


def test_refuses_modules_that_are_none(tmp_path):
    for table, value, fault in (
        ("_modules", {"1": "text"}, "its module '1.' is 'text'"),
        ("_modules", [], "has no _modules"),
        ("_parameters", {"1": {}}, "its tensor '1' is an object of type dict"),
        ("_buffers", {"x" * 65: None}, "called 'xxx"),
    ):
        tree = nn.Sequential()
        tree.__dict__[table] = value
        assert fault in refuse_bytes(torch_saved(tree), tmp_path)


@pytest.mark.parametrize("zip_format", [True, False])
def test_refuses_files_that_are_cut_off(zip_format, gk_tree, tmp_path):
    whole = torch_saved(gk_tree, zip_format)
    path = tmp_path / "cut_knet.pth"
    for length in [*range(1, 200, 7), *range(200, len(whole), len(whole) // 40), len(whole) - 4]:
        path.write_bytes(whole[:length])
        message = refusal(load_kernel_network, path)
        assert "cut off" in message or "damaged" in message


@pytest.mark.parametrize("zip_format", [True, False])
def test_survives_damage_anywhere(zip_format, gk_tree, tmp_path):
    whole = torch_saved(gk_tree, zip_format)
    path = tmp_path / "damaged_knet.pth"
    generator = torch.Generator().manual_seed(0)
    # The pickles stand at the begin, the zip format's list of contents at the end.
    for start, end in ((0, 8000), (len(whole) - 2000, len(whole))):
        for _ in range(60):
            position, value = (
                int(torch.randint(low, high, (1,), generator=generator))
                for low, high in ((start, end), (0, 256))
            )
            path.write_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])
            try:
                load_kernel_network(path)
            except ValueError as error:
                assert str(error).startswith(f"{path}: ")
                assert str(error).isprintable()


def test_refuses_zip_bombs(gk_tree, tmp_path):
    bomb = zipped(storage_pickle(2**26), [bytes(2**28)], compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**20
    assert "compressed" in refuse_bytes(bomb, tmp_path)

    # Sizes that lie: one member that claims more than the file holds, and many that share bytes.
    content = bytearray(zipped(storage_pickle(3), [bytes(12)]))
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    assert "would unpack to" in refuse_bytes(bytes(content), tmp_path)


def test_refuses_files_of_unlikely_sizes(gk_tree, tmp_path, monkeypatch):
    whole = torch_saved(gk_tree)
    path = tmp_path / "a_knet.pth"
    path.write_bytes(whole)
    monkeypatch.setattr("networks.released.torch_file.MAX_PICKLE_BYTES", 500)
    refusal(load_kernel_network, path)
    monkeypatch.setattr("networks.released.torch_file.MAX_BYTES", len(whole) - 1)
    assert "larger than" in refusal(load_kernel_network, path)
