"""The sample that ships with the project, and the program that makes it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.catalog import LEVIN, truth_name
from datasets.formation import blur
from datasets.make_sample import NOISE, SAMPLES
from utils.images.reading import read_gray, read_kernel

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "datasets" / "sample"


def test_program_makes_the_committed_files_again(tmp_path):
    command = [sys.executable, "datasets/make_sample.py", "--save_path", tmp_path / "again"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    made = {path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*.png")}
    assert made == {path.relative_to(SAMPLE) for path in SAMPLE.rglob("*.png")}
    assert len(made) == 6
    for name in made:
        assert (tmp_path / "again" / name).read_bytes() == (SAMPLE / name).read_bytes(), name


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.photograph)
def test_truth_and_kernel_explain_the_blurry_image(sample):
    blurry_path = SAMPLE / f"{sample.truth}_kernel{sample.kernel}_img.png"
    blurry = read_gray(blurry_path)
    truth = read_gray(SAMPLE / "gt" / f"{truth_name(blurry_path.stem)}.png")
    kernel = read_kernel(SAMPLE / "gt" / f"kernel{sample.kernel}.png")
    assert blurry.shape == truth.shape == (128, 128)
    assert kernel.shape == LEVIN.kernel_size(blurry_path.stem)

    margin = (len(kernel) - 1) // 2
    inside = blurry[margin:-margin, margin:-margin]
    noise = 255 * (inside - blur(truth, kernel))
    # Noise and rounding, whose deviation is 1/sqrt(12), are all that is left over.
    assert noise.std() == pytest.approx(np.hypot(NOISE, 12**-0.5), rel=0.05)
    assert abs(noise.mean()) < 0.05
    turned = 255 * (inside - blur(truth, kernel[::-1, ::-1]))
    assert turned.std() > 5 * noise.std()
