"""What a record says of the machine."""

import json
import subprocess
import sys

import pytest

import selfdeblur_levin
from tests.pictures import picture, put
from tests.runs import options
from utils.runs.machine import ROOT

MB = 2**20

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# A process of its own: pytest's has threads and freed memory of other tests. It prints, in MB,
# what the peak grows by for a block, keeps of it once it is freed, and has above what is in use
# once it is forgotten: with this module's function, and with the bare write that it stands on.
MEASURE = """
import re
from pathlib import Path

import numpy as np

from utils.runs.machine import forget_peak_memory, peak_memory


def in_use():
    return 1024 * int(re.search(r"VmRSS:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])


def measure(forget):
    before = peak_memory()
    block = np.ones(200 * 2**20, np.uint8)
    grown = peak_memory() - before
    del block
    kept = peak_memory() - before
    forget()
    return [round(size / 2**20) for size in (grown, kept, peak_memory() - in_use())]


def write():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


print(*measure(forget_peak_memory), *measure(write))
"""


@linux_only
def test_the_peak_of_memory_is_of_what_was_allocated_since_it_was_forgotten():
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    grown, kept, left, _, _, left_by_system = map(int, done.stdout.split())
    assert 190 <= grown <= 260
    assert 190 <= kept <= 260
    if left_by_system > 60:
        pytest.skip("this system does not let a process forget its peak of memory")
    assert left <= 60


@linux_only
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_record_has_the_peak_of_each_image(tmp_path, workers):
    for name in ("im1_kernel5_img", "im2_kernel5_img"):
        put(tmp_path / f"{name}.png", picture(40, 43))
    results = tmp_path / "results"
    selfdeblur_levin.main(
        options(tmp_path, results, "--num_iter", 2, workers=("--workers", workers))
    )
    for record in results.glob("*.json"):
        # A process that has imported PyTorch has some 200 MB or more.
        assert 100 * MB < json.loads(record.read_text())["peak_memory"] < 4000 * MB
    assert len(list(results.glob("*.json"))) == 2
