"""What a record says of the machine."""

import json
import sys

import numpy as np
import pytest

import selfdeblur_levin
from tests.pictures import picture, put
from tests.runs import options
from utils.runs.machine import forget_peak_memory, peak_memory

MB = 2**20

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux_only
def test_the_peak_of_memory_is_of_what_was_allocated_since_it_was_forgotten():
    forget_peak_memory()
    before = peak_memory()
    block = np.ones(200 * MB, np.uint8)
    assert 190 * MB < peak_memory() - before < 260 * MB
    del block
    assert peak_memory() - before > 190 * MB
    forget_peak_memory()
    assert peak_memory() - before < 60 * MB


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
