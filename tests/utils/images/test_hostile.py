"""Input from anywhere: what is wrong with it is said in one line, soon, and in little memory."""

import os
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings

import selfdeblur_ycbcr
from networks.fcn import KernelNetwork
from networks.released.load import load_image_network, load_kernel_network
from networks.skip import SkipNetwork
from tests.conftest import ROOT
from tests.networks.released.mutations import image_networks, images, kernel_networks, mutated
from utils.errors import DataError, printable
from utils.images.opencv import cv2
from utils.images.reading import read_photograph
from utils.images.writing import write_png
from utils.runs.overview import shrink
from utils.terminal.options import find_images

IMAGES, KERNEL_NETWORKS, IMAGE_NETWORKS = images(), kernel_networks(), image_networks()
MAX_SECONDS = 10  # of the processor's time for one small file; the slowest took 0.5
LONGEST = 250  # of a message, without the path

FUZZED = settings(
    derandomize=True,  # the same inputs in every run
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", IMAGES)
def test_the_images_that_are_mutated_are_valid(name, tmp_path):
    (tmp_path / name).write_bytes(IMAGES[name])
    photograph = read_photograph(tmp_path / name)
    assert photograph.pixels.shape[:2] in [(21, 26), (26, 21)]


def outcome(load, error, folder, name, content, capfd):
    """Load a file; what comes of it must be what was promised. Tell whether it was read."""
    path = folder / name
    path.write_bytes(content)
    began = time.process_time()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            result = load(path)
        except error as refusal:
            result, message = None, str(refusal)
            assert type(refusal) is error
            assert message.startswith(f"{path}: ") and "; " in message
            assert message.isprintable() and len(message) < len(str(path)) + LONGEST
    assert not warned
    assert time.process_time() - began < MAX_SECONDS
    assert capfd.readouterr() == ("", "")
    return result


def exif(*entries, order=b"MM"):
    """Make a JPEG whose EXIF block has some raw entries of 12 bytes."""
    block = order + b"\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + b"".join(entries)
    segment = b"Exif\0\0" + block
    jpeg = IMAGES["gray.jpg"]
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


TURN = struct.pack(">HHII", 0x0112, 3, 1, 6 << 16)


@settings(FUZZED, max_examples=350)
@given(file=mutated(IMAGES))
# Pillow warned of these on stderr.
@example(file=("exif.jpg", exif(TURN[:5])))
@example(file=("exif.jpg", exif(struct.pack(">HHII", 0x0112, 3, 2**31, 2**31))))
def test_mutated_images_are_read_or_refused(file, tmp_path, capfd, tally):
    photograph = outcome(read_photograph, DataError, tmp_path, *file, capfd)
    tally[photograph is not None] += 1
    if photograph is not None:
        assert photograph.pixels.ndim in (2, 3)
        assert 0 <= photograph.pixels.min() <= photograph.pixels.max() <= 1


def changed(content, place, new):
    """Write a few bytes over others, at a place counted from the begin or from the end."""
    place %= len(content)
    return content[:place] + new + content[place + len(new) :]


ZIP = KERNEL_NETWORKS["zip_knet.pth"]


@settings(FUZZED, max_examples=120)
@given(file=mutated(KERNEL_NETWORKS))
# zipfile raises five types on these, none of them BadZipFile; a stack machine three on the last.
@example(file=("overflow.pth", changed(ZIP, -43, b"\xff")))
@example(file=("unicode.pth", changed(ZIP, -99, b"\xff")))
@example(file=("end.pth", changed(ZIP, -151, b"\xff\xff\xff\x7f")))
@example(file=("method.pth", changed(ZIP, -163, b"\xff")))
@example(file=("encrypted.pth", changed(ZIP, -166, b"\1")))
@example(file=("stack.pth", b"\x80\2."))
@example(file=("memo.pth", b"\x80\2h\7."))
@example(file=("number.pth", b"\x80\2K\7K\7a."))
def test_mutated_kernel_networks_are_loaded_or_refused(file, tmp_path, capfd, tally):
    network = outcome(load_kernel_network, ValueError, tmp_path, *file, capfd)
    tally[network is not None] += 1
    assert network is None or isinstance(network, KernelNetwork)


@settings(FUZZED, max_examples=30)
@given(file=mutated(IMAGE_NETWORKS))
def test_mutated_image_networks_are_loaded_or_refused(file, tmp_path, capfd, tally):
    network = outcome(load_image_network, ValueError, tmp_path, *file, capfd)
    tally[network is not None] += 1
    assert network is None or isinstance(network, SkipNetwork)


@pytest.fixture
def tally():
    """Counts of what was read and what refused; both must occur, or nothing was tried."""
    counts = Counter()
    yield counts
    print(f"{counts[True]} read, {counts[False]} refused")
    assert counts[True] and counts[False]


# Bombs. What a decoder would do with them was measured: seconds or gigabytes, or lines on stderr.

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks, depth=8, color=0, data=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(data))
    return SIGNATURE + b"".join([chunk(b"IHDR", header), *chunks, pixels, chunk(b"IEND", b"")])


def tiff(width, height, strip=8, strip_bytes=4):
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, strip), (277, 1),
            (278, height), (279, strip_bytes)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4 + 16)


def bmp(width, height):
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + header + bytes(1000)


def jpeg(width, height, scans=1):
    square = np.zeros((64, 64), np.uint8)
    content = cv2.imencode(".jpg", square, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    size = content.index(b"\xff\xc2") + 5
    content = content[:size] + struct.pack(">HH", height, width) + content[size + 4 :]
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + content[-2:]


def webp(width, height):
    size = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return b"RIFF" + struct.pack("<I", 300) + b"WEBPVP8L\xf0\0\0\0\x2f" + size + bytes(240)


def packed_zeros(count):
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(count >> 20)) + packer.flush()


BOMBS = {
    "pixels.png": (png(40_000, 40_000), "pixels"),
    "deep.png": (png(9000, 9000, depth=16, color=6), "pixels"),
    "pixels.tif": (tiff(100_000, 100_000), "pixels"),
    "pixels.bmp": (bmp(30_000, 30_000), "pixels"),
    "pixels.jpg": (jpeg(65_500, 65_500), "pixels"),
    "pixels.webp": (webp(16_000, 16_000), "pixels"),
    "claim.png": (
        png(9, 9)[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(99), "intact"
    ),
    "scans.jpg": (jpeg(8000, 8000, scans=3000), "scans"),
    "strip.tif": (tiff(9, 9, strip_bytes=2**32 - 1), None),
    "profile.png": (
        png(9, 9, chunk(b"iCCP", b"x\0\0" + packed_zeros(2**28)), data=bytes(90)), None
    ),
    "texts.png": (
        png(9, 9, *[chunk(b"zTXt", b"x\0\0" + packed_zeros(2**22))] * 999, data=bytes(90)), None
    ),
    "gif.png": (b"GIF89a" + struct.pack("<HH", 65_000, 65_000) + bytes(99), "intact"),
}  # fmt: skip

MEASURE = """
import re, resource, sys
from pathlib import Path
from utils.errors import DataError
from utils.images.reading import read_photograph
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
def peak():
    # Not ru_maxrss, which begins with what the parent had.
    return int(re.search(r"VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1]) >> 10
for path in map(Path, sys.argv[1:]):
    before = peak()
    try:
        message = str(read_photograph(path).pixels.shape)
    except DataError as error:
        message = str(error)
    print(path.name, peak() - before, message)
"""


def test_bombs_are_refused_before_they_are_decoded(tmp_path):
    for name, (content, _) in BOMBS.items():
        (tmp_path / name).write_bytes(content)
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, *(tmp_path / name for name in BOMBS)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == len(BOMBS)
    for line, (name, (_, word)) in zip(lines, BOMBS.items(), strict=True):
        found, megabytes, message = line.split(" ", 2)
        assert found == name
        assert int(megabytes) < 100, line
        assert message == "(9, 9)" if word is None else word in message, line


def test_a_file_that_never_ends_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(DataError, match="not a file"):
            read_photograph(path)
        with pytest.raises(ValueError, match="not a file"):
            load_image_network(path)
        with pytest.raises(DataError, match="neither a file nor a folder"):
            find_images([path], None, "")
    with pytest.raises(DataError, match="no images in this folder"):
        find_images([tmp_path], None, "")


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "huge.png"
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(DataError, match="larger than 1,073,741,824 bytes"):
        read_photograph(path)
    with pytest.raises(ValueError, match="larger than 512 MiB"):
        load_image_network(path)


def test_too_little_memory_is_reported(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4000, 4000, 3), np.uint8))
    limit = (
        "import resource, sys\nfrom utils.errors import DataError\n"
        "from utils.images.reading import read_photograph\n"
        "used = int(open('/proc/self/statm').read().split()[0]) << 12\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (int(sys.argv[2]) << 20), -1))\n"
        "try:\n    print(read_photograph(sys.argv[1]).pixels.shape)\n"
        "except DataError as error:\n    print(error)\n"
    )
    for megabytes, expected in ((20, "memory"), (250, "memory"), (700, "(4000, 4000, 3)")):
        result = subprocess.run(
            [sys.executable, "-c", limit, tmp_path / "a.png", str(megabytes)],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert expected in result.stdout and result.stderr == "", (megabytes, result)


def test_damaged_jpegs_are_refused_where_libjpeg_only_warns(tmp_path, capfd):
    content = IMAGES["gray.jpg"]
    middle = content.rindex(b"\xff\xda") + 40
    path = tmp_path / "a.jpg"
    path.write_bytes(content[:middle] + content[-2:])
    with pytest.raises(DataError, match=r"damaged \(Corrupt JPEG data"):
        read_photograph(path)
    assert capfd.readouterr().err == ""
    path.write_bytes(content)
    read_photograph(path)


def test_networks_that_share_one_large_storage_are_loaded_soon(tmp_path):
    network = SkipNetwork(channels=6, scales=2)
    shared = torch.zeros(20_000_000)
    tensors = {
        key: tensor if tensor.dtype == torch.int64 else shared.as_strided(tensor.shape, step)
        for key, tensor in network.state_dict().items()
        for step in [torch.empty(tensor.shape).stride()]
    }
    torch.save(
        {"state_dict": tensors, "settings": {"channels": 6, "scales": 2, "kernel_size": [3, 3]}},
        tmp_path / "x.pth",
    )
    began = time.process_time()
    assert load_image_network(tmp_path / "x.pth").output.weight.count_nonzero() == 0
    assert time.process_time() - began < 2


# Names.


def test_nothing_in_a_name_can_break_a_line():
    assert printable("a\nb\x1b[2Jc\udcff\u202e") == r"a\nb\x1b[2Jc\udcff\u202e"
    assert printable("фото 1 é.png") == "фото 1 é.png"


NAMES = [
    b"with spaces.png", b"two\nlines.png", b"caf\xe9.png", b"-dash.png", b"--only.png",
    b"\x1b[31mred.png", b"{}%s$HOME.png", "фото.png".encode(), b"$(touch x).png",
]  # fmt: skip


def test_any_name_is_restored_and_reported_in_one_line(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    write_png(tmp_path / "good.png", np.random.default_rng(0).uniform(0.3, 0.7, (36, 40)))
    for i, name in enumerate(NAMES):
        content = (tmp_path / "good.png").read_bytes() if i % 2 == 0 else b"bad"
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)
    result = subprocess.run(
        [sys.executable, ROOT / "selfdeblur_ycbcr.py", "--data_path", ".", "--save_path", "../out",
         "--kernel_size", "3", "--recipe", "quick", "--num_iter", "1"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True, timeout=120,
    )  # fmt: skip
    errors, output = result.stderr.decode("ascii"), result.stdout.decode("ascii")
    assert result.returncode == 1 and "Traceback" not in errors, errors
    for i, name in enumerate(NAMES):
        stem = os.fsdecode(name).removesuffix(".png")
        shown = printable(stem).encode("ascii", "backslashreplace").decode()
        mine = [line for line in errors.splitlines() if line.startswith(f"{shown}: ")]
        if i % 2 == 0:
            assert len([line for line in mine if "1 iterations" in line]) == 1, errors
            assert (tmp_path / "out" / f"{stem}_x.png").exists()
        else:
            assert len(mine) == 1 and "failed: " in mine[0], errors
            assert f"failed: {shown}: " in output
    assert len(output.splitlines()) == 1 + len(NAMES) + 1 + len(NAMES) // 2


def test_a_name_too_long_for_its_results_is_refused_at_once(tmp_path, run_script):
    name = "n" * 230
    write_png(tmp_path / f"{name}.png", np.full((36, 40), 0.5))
    result = run_script(
        "selfdeblur_ycbcr.py", "--data_path", tmp_path, "--save_path", tmp_path / "out"
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "its name is longer than 200 bytes; rename it" in result.stderr


# Many.


def test_a_thousand_bad_images_are_each_named_once(tmp_path, run_script):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(1000):
        (folder / f"{i:04d}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = run_script("selfdeblur_ycbcr.py", "--data_path", folder, "--save_path", tmp_path)
    lines = result.stderr.splitlines()
    assert result.returncode == 1
    assert [line[:13] for line in lines] == [f"{i:04d}: failed:"[:13] for i in range(1000)]
    assert len(result.stdout.splitlines()) == 2001


def test_panels_of_the_overview_are_small():
    assert shrink(np.full((2000, 3000, 3), 0.5)).shape == (208, 312, 3)
    assert shrink(np.full((1, 3000), 0.5)) == pytest.approx(np.full((1, 312), 0.5))
    small = np.zeros((312, 40))
    assert shrink(small) is small
    assert shrink(np.ones((494, 701, 3))).max() == 1


def test_listing_a_thousand_images_reads_none(tmp_path, monkeypatch):
    for i in range(1000):
        (tmp_path / f"{i:04d}.png").touch()
    monkeypatch.setattr("io.open", None)
    assert len(find_images([tmp_path], None, "")) == 1000


# Through the real scripts.


def twenty_bad_images():
    """Make bad files of twenty kinds, by name."""
    cut = {f"cut_{name}": content[: len(content) // 2] for name, content in IMAGES.items()}
    bombs = {f"bomb_{name}": content for name, (content, word) in BOMBS.items() if word}
    chosen = ["gray.png", "progressive.jpg", "exif.jpg", "lzw.tif", "plain.tif", "color.bmp",
              "lossy.webp", "lossless.webp"]  # fmt: skip
    others = {
        "empty.png": b"",
        "zeros.jpg": bytes(1000),
        "page.png": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "bits.tif": IMAGES["plain.tif"][:8] + b"\xff" * 400,
    }
    return {f"cut_{name}": cut[f"cut_{name}"] for name in chosen} | bombs | others


def test_twenty_bad_images_through_the_script(tmp_path, run_script):
    folder = tmp_path / "images"
    folder.mkdir()
    bad = twenty_bad_images()
    assert len(bad) >= 20
    for name, content in bad.items():
        stem, suffix = name.rsplit(".", 1)
        (folder / f"{stem}_{suffix}.{suffix}").write_bytes(content)
    write_png(folder / "good.png", np.random.default_rng(0).uniform(0.3, 0.7, (36, 40)))
    result = run_script(
        "selfdeblur_ycbcr.py", "--data_path", folder, "--save_path", tmp_path / "out",
        "--kernel_size", 3, "--recipe", "quick", "--num_iter", 1,
    )  # fmt: skip
    assert result.returncode == 1 and "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    for name in bad:
        stem = name.replace(".", "_")
        mine = [line for line in lines if stem in line]
        assert len(mine) == 1 and mine[0].startswith(f"{stem}: failed: {folder}/{stem}."), mine
        assert "; " in mine[0], mine
    assert len(lines) == len(bad) + 4, result.stderr  # the machine, a bar, a line and the page
    written = {path.name for path in (tmp_path / "out").iterdir()}
    names = ("good_x.png", "good_k.png", "good_xnet.pth", "good_knet.pth", "good.json")
    assert written == {*names, "good_loss.csv", "good.html", "overview.png"}


@pytest.mark.parametrize("name", ["claim.png", "scans.jpg"])
def test_a_bad_image_alone(name, tmp_path, run_script, assert_one_line):
    (tmp_path / name).write_bytes(BOMBS[name][0])
    result = run_script(
        "selfdeblur_ycbcr.py", "--data_path", tmp_path / name, "--save_path", tmp_path / "out"
    )
    assert_one_line(result, 1, name, "; ")


def test_wrong_paths_are_reported_in_one_line(tmp_path, run_script, assert_one_line, capsys):
    result = run_script(
        "selfdeblur_ycbcr.py", "--data_path", tmp_path / "no\nimage.png", "--save_path", tmp_path
    )
    assert_one_line(result, 1, r"no\nimage.png: no such folder or file; give another --data_path")
    with pytest.raises(SystemExit, match="2"):
        selfdeblur_ycbcr.main(["--data_path", "-dash.png"])
    assert "argument --data_path: expected" in capsys.readouterr().err


def test_bad_networks_through_the_script(tmp_path, run_script):
    data, models, out = (tmp_path / name for name in ("images", "models", "out"))
    for folder in (data, models):
        folder.mkdir()
    good_gx, good_gk = IMAGE_NETWORKS["legacy_xnet.pth"], KERNEL_NETWORKS["zip_knet.pth"]
    bad = {
        "cut_x": (good_gx[:-9], good_gk),
        "cut_k": (good_gx, good_gk[: len(good_gk) // 2]),
        "code": (good_gx, b"cos\nsystem\n(S'touch pwned'\ntR."),
        "small": (IMAGE_NETWORKS["own_xnet.pth"], good_gk),
        "swapped": (good_gk, good_gx),
        "picture": (IMAGES["gray.png"], good_gk),
        "empty": (good_gx, b""),
        "bit": (good_gx, good_gk[:90_000] + b"?" + good_gk[90_001:]),
    }
    for name, contents in (bad | {"good": (good_gx, good_gk)}).items():
        write_png(data / f"{name}.png", np.random.default_rng(0).uniform(0.3, 0.7, (36, 40)))
        for letter, content in zip("xk", contents, strict=True):
            (models / f"{name}_{letter}net.pth").write_bytes(content)
    result = run_script(
        "selfdeblur_levin_reproduce.py", "--data_path", data, "--model_path", models,
        "--save_path", out, "--num_iter", 1,
    )  # fmt: skip
    assert result.returncode == 1 and "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    for name in bad:
        mine = [line for line in lines if line.startswith(f"{name}: ")]
        assert len(mine) == 1 and f"failed: {models}/{name}_" in mine[0], mine
    assert len(lines) == len(bad) + 3, result.stderr
    assert {path.name for path in out.iterdir()} == {
        "good_x.png", "good_k.png", "good.json", "good_loss.csv", "overview.png"
    }  # fmt: skip


def test_statistics_continue_despite_bad_images(tmp_path, run_script):
    truths, mine = tmp_path / "gt", tmp_path / "levin/others/mine"
    truths.mkdir()
    mine.mkdir(parents=True)
    sharp = np.random.default_rng(0).uniform(0.3, 0.7, (60, 64))
    write_png(truths / "im1.png", sharp)
    (truths / "im2.png").write_bytes(BOMBS["claim.png"][0])
    write_png(mine / "im1_kernel1_img.png", sharp)
    write_png(mine / "im2_kernel1_img.png", sharp)
    bad = [content for content, word in BOMBS.values() if word][:7]
    for number, content in enumerate(bad, 2):
        (mine / f"im1_kernel{number}_img.png").write_bytes(content)
    result = run_script(
        "statistic/statistic_levin.py", "--results_path", tmp_path, "--gt_path", truths, "--jobs", 1
    )
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "img=1 kernel=1: psnr=" in result.stdout
    lines = (result.stdout + result.stderr).splitlines()
    for number in range(2, 2 + len(bad)):
        name = f"im1_kernel{number}_img.png"
        assert len([line for line in lines if f"{name}: " in line and "; " in line]) == 1, lines
    assert any("im2.png: not an image" in line for line in lines)
