"""The fast path follows the baseline; precision, allocator and benchmarks do what they say."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.baseline import baseline
from tests.conftest import ROOT
from utils.engine import deblur as deblur_module
from utils.engine.allocator import freed_memory_kept
from utils.engine.deblur import deblur, draw_start
from utils.engine.methods import LEVIN
from utils.engine.precision import choose_precision, float32_products, maps_in
from utils.images.reading import read_gray

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.02), ("bf16", 0.05)])
def test_fast_path_follows_the_baseline(precision, tolerance):
    """Within 2 % (bfloat16: 5 %) over 100 iterations, across the loss switch.

    The learning rate is a hundredth of the recipe's: at 0.01 Adam's first steps multiply any
    rounding error, and two runs of the baseline itself in float32 and float64 part by more.
    """
    recipe = replace(LEVIN, channels=16, num_iter=100, mse_iterations=60, image_lr=1e-4)
    blurry = read_gray(ROOT / "datasets/sample/im1_kernel5_img.png")[40:104, 30:98]
    own = replace(recipe, precision=precision)
    losses = deblur(blurry, (11, 11), own, device="cpu").losses
    start = draw_start(blurry.shape, (11, 11), recipe)
    expected = [loss.item() for _, _, loss in baseline(blurry, recipe, start)]
    assert losses == pytest.approx(expected, rel=tolerance)
    assert losses[59] < losses[0] / 2  # it did something


def test_fast_path_equals_the_baseline_in_float64():
    """Iteration by iteration, as long as rounding allows."""
    recipe = replace(LEVIN, channels=8, num_iter=6, mse_iterations=3, input_noise=0.0)
    blurry = np.random.default_rng(0).random((35, 42))
    losses = []
    for restored in (
        lambda start: deblur(blurry, (7, 5), recipe, device="cpu", start=start).losses,
        lambda start: [loss.item() for _, _, loss in baseline(blurry, recipe, start)],
    ):
        start = draw_start(blurry.shape, (7, 5), recipe)
        start.zx, start.zk = start.zx.double(), start.zk.double()
        start.gx.double()
        start.gk.double()
        losses.append(restored(start))
    assert losses[0] == pytest.approx(losses[1], rel=1e-8)


def test_precision_by_name(monkeypatch):
    """By the processor's features, and never by a clock."""
    for has_matrix_unit, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=has_matrix_unit: has)
        assert choose_precision("auto", CPU) == precision
        assert choose_precision("auto", CUDA) == "fp32"
    assert [choose_precision(n, CPU) for n in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert choose_precision("tf32", CUDA) == "tf32"
    with pytest.raises(ValueError, match="tf32.*CUDA only.*use fp32"):
        choose_precision("tf32", CPU)
    with pytest.raises(ValueError, match="fp16.*use one of auto, fp32, tf32, bf16"):
        choose_precision("fp16", CPU)


BACKENDS = torch.backends.cudnn, torch.backends.cuda.matmul


def test_tf32_is_allowed_in_its_context_only():
    before = [backend.allow_tf32 for backend in BACKENDS]
    for precision, allowed in (("fp32", False), ("tf32", True), ("bf16", False)):
        with float32_products(precision):
            assert [backend.allow_tf32 for backend in BACKENDS] == [allowed, allowed]
        with maps_in(precision, CPU):
            assert torch.is_autocast_enabled("cpu") == (precision == "bf16")
    assert [backend.allow_tf32 for backend in BACKENDS] == before


def test_fp32_is_fp32_in_all_of_an_iteration(monkeypatch):
    """In the blur and in the gradients too, not in Gx's forward pass alone."""
    before = [backend.allow_tf32 for backend in BACKENDS]
    seen = []

    def note(*arguments):
        seen.append([backend.allow_tf32 for backend in BACKENDS])
        return arguments[0] if arguments else None

    genuine = deblur_module.blur

    def noted_blur(sharp, kernel):
        sharp.register_hook(note)  # called within the backward pass
        return genuine(note(sharp), kernel)

    monkeypatch.setattr(deblur_module, "blur", noted_blur)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    recipe = replace(LEVIN, num_iter=2, channels=4, scales=2)
    deblur(np.full((30, 27), 0.5), (5, 3), recipe, device="cpu")
    assert seen == [[False, False]] * 4
    assert torch.backends.cudnn.allow_tf32
    monkeypatch.undo()
    assert [backend.allow_tf32 for backend in BACKENDS] == before


FAULTS = """
import resource, sys
from dataclasses import replace
import numpy as np
from utils.engine import memory
from utils.engine.deblur import deblur
from utils.engine.methods import LEVIN
memory.LARGEST_MAP = int(sys.argv[1])
faults = []
def note(done, loss):
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
recipe = replace(LEVIN, scales=1, num_iter=4)
deblur(np.zeros((260, 260)), (5, 5), recipe, device="cpu", on_progress=note)
print(faults[3] - faults[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the GNU C library's allocator")
def test_freed_memory_is_kept_where_maps_are_small():
    faults = []
    for largest_map in (2**28, 0):
        command = [sys.executable, "-c", FAULTS, str(largest_map)]
        faults.append(int(subprocess.run(command, cwd=ROOT, capture_output=True).stdout))
    assert faults[0] < faults[1] / 5  # pages taken anew in two iterations


def test_allocator_leaves_an_error_alone():
    with pytest.raises(RuntimeError, match="inside"), freed_memory_kept(True):
        raise RuntimeError("inside")


def run(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_step_benchmark_prints_its_table():
    result = run("benchmarks/step.py", "--cases", "40x36/5", "--rounds", "1", "--iterations", "1")
    assert result.returncode == 0, result.stderr
    assert "| 40x36/5 | " in result.stdout


def test_step_benchmark_names_a_wrong_case():
    result = run("benchmarks/step.py", "--cases", "255/11")
    assert result.returncode == 2
    assert "--cases 255/11: write HEIGHTxWIDTH/KERNEL" in result.stderr


def test_convolution_benchmark_prints_its_table():
    result = run("benchmarks/convolution.py", "--size", "16")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n| ") == 8
    result = run("benchmarks/convolution.py", "--size", "8")
    assert "--size 8: must be 16 or more" in result.stderr


@pytest.mark.parametrize("program", ["step", "convolution"])
def test_benchmarks_name_a_wrong_number_of_threads(program):
    result = run(f"benchmarks/{program}.py", "--threads", "0")
    assert result.returncode == 2
    assert "--threads 0: must be 1 or more" in result.stderr


def test_auto_resumes_in_the_precision_of_the_start(tmp_path):
    """The same command resumes even where this processor would choose another."""
    command = ["selfdeblur_levin.py", "--data_path", "datasets/sample", "--save_path", tmp_path]
    command += ["--only", "im1_*", "--recipe", "quick", "--num_iter", "1", "--device", "cpu"]
    other = "fp32" if choose_precision("auto", CPU) == "bf16" else "bf16"
    first = run(*command, "--precision", other)
    assert first.returncode == 0 and f"threads) in {other}" in first.stderr
    again = run(*command)
    assert again.returncode == 0 and "done before with these settings" in again.stderr
    refused = run(*command, "--precision", {"fp32": "bf16", "bf16": "fp32"}[other])
    assert refused.returncode == 1 and f"precision {other} instead of" in refused.stdout
