"""The fast path follows the baseline; precision, allocator and benchmarks do what they say."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.baseline import baseline
from tests.conftest import ROOT
from utils.engine import precision as precision_module
from utils.engine.allocator import freed_memory_kept
from utils.engine.checkpoint import pack_checkpoint, resume, unpack_checkpoint
from utils.engine.deblur import deblur, draw_start
from utils.engine.methods import LEVIN, QUICK
from utils.engine.precision import bf16_is_faster, choose_precision, computing_in
from utils.errors import DataError
from utils.images.files import write_whole
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
    losses = deblur(blurry, (11, 11), recipe, device="cpu", precision=precision).losses
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


def test_baseline_goes_on_from_its_checkpoint():
    """Across the loss switch and a milestone, with the bits of a run that never stopped."""
    recipe = replace(LEVIN, channels=8, num_iter=7, mse_iterations=3, milestones=(4,))
    blurry = np.random.default_rng(0).random((35, 42))
    start = draw_start(blurry.shape, (7, 5), recipe)
    expected = [loss.item() for _, _, loss in baseline(blurry, recipe, start)]

    kept = []
    halted = baseline(
        blurry,
        recipe,
        draw_start(blurry.shape, (7, 5), recipe),
        checkpoint_due=lambda: True,
        on_checkpoint=lambda state: kept.append(pack_checkpoint(state, {}, 0, None)),
    )
    first = [next(halted)[2].item() for _ in range(2)]
    start = draw_start(blurry.shape, (7, 5), recipe)
    resume(start, unpack_checkpoint(kept[-1]))
    assert start.losses == first
    rest = [loss.item() for _, _, loss in baseline(blurry, recipe, start)]
    assert first + rest == expected


def test_precision_by_name(monkeypatch):
    monkeypatch.setattr(precision_module, "bf16_is_faster", lambda: True)
    assert choose_precision("auto", CPU) == "bf16"
    assert choose_precision("auto", CUDA) == "fp32"
    monkeypatch.setattr(precision_module, "bf16_is_faster", lambda: False)
    assert choose_precision("auto", CPU) == "fp32"
    assert [choose_precision(n, CPU) for n in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert choose_precision("tf32", CUDA) == "tf32"
    with pytest.raises(ValueError, match="tf32.*CUDA only.*use fp32"):
        choose_precision("tf32", CPU)
    with pytest.raises(ValueError, match="fp16.*none of auto, fp32, tf32, bf16"):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize(("seconds", "faster"), [((1.0, 0.5), True), ((1.0, 0.9), False)])
def test_auto_tries_the_processor(monkeypatch, seconds, faster):
    """A clock that runs as if the convolutions in float32 and bfloat16 took these seconds."""
    now = [0.0]

    def conv2d(x, weight):
        now[0] += seconds[x.dtype == torch.bfloat16]

    monkeypatch.setattr(precision_module.F, "conv2d", conv2d)
    monkeypatch.setattr(precision_module.time, "perf_counter", lambda: now[0])
    assert bf16_is_faster.__wrapped__() is faster


def test_tf32_is_allowed_in_its_context_only():
    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [backend.allow_tf32 for backend in backends]
    for precision, allowed in (("fp32", False), ("tf32", True), ("bf16", False)):
        with computing_in(precision, CPU):
            assert [backend.allow_tf32 for backend in backends] == [allowed, allowed]
            assert torch.is_autocast_enabled("cpu") == (precision == "bf16")
    assert [backend.allow_tf32 for backend in backends] == before


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
deblur(np.zeros((260, 260)), (5, 5), recipe, device="cpu", precision="fp32", on_progress=note)
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


def test_quality_benchmark_goes_on_after_what_is_there(tmp_path):
    command = ["benchmarks/quality.py", "--data_path", "datasets/sample", "--save_path", tmp_path]
    command += ["--only", "im1_*", "--recipe", "quick", "--num_iter", "2", "--crop", "64"]
    first = run(*command)
    assert first.returncode == 0, first.stderr
    assert "mean difference: " in first.stdout
    records = sorted(tmp_path.glob("*.json"))
    assert len(records) == 2
    changed = json.loads(records[0].read_text()) | {"psnr": 99.0}
    records[0].write_text(json.dumps(changed))
    assert "99.00" in run(*command).stdout
    records[0].write_text(json.dumps({"psnr": 99.0}))
    assert "of another image, recipe or device; give another --save_path" in run(*command).stderr


def test_quality_benchmark_goes_on_within_an_image(tmp_path, monkeypatch):
    """What a minute's checkpoints keep of both ways gives the scores of a run in one go."""
    from benchmarks import quality

    def measure(folder):
        arguments = ["--data_path", str(ROOT / "datasets/sample"), "--save_path", str(folder)]
        arguments += ["--only", "im1_*", "--recipe", "quick", "--num_iter", "3", "--crop", "64"]
        quality.main([*arguments, "--precision", "fp32", "--device", "cpu"])
        return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]

    class KilledError(Exception):
        """Stands for the end of the process."""

    def kept_then_killed(path, content):
        write_whole(path, content)
        raise KilledError

    expected = measure(tmp_path / "in one go")
    halting = tmp_path / "halting"
    monkeypatch.setattr(quality, "CHECKPOINT_SECONDS", -1)
    for _ in range(2 * 2):  # after either of the first two iterations of either way
        with monkeypatch.context() as patch:
            patch.setattr(quality, "write_whole", kept_then_killed)
            with pytest.raises(KilledError):
                measure(halting)
        with monkeypatch.context() as patch, pytest.raises(DataError, match="of another image, re"):
            patch.setattr(quality, "recipes", lambda recipe: {"quick": replace(QUICK, scales=4)})
            measure(halting)
    records = measure(halting)
    assert not list(halting.glob("*_checkpoint.pth"))
    for record, other in zip(records, expected, strict=True):
        assert record | {"seconds": 0} == other | {"seconds": 0}


def test_auto_goes_on_in_the_precision_that_was_begun(tmp_path):
    """The same command goes on even where this processor would choose otherwise."""
    command = ["selfdeblur_levin.py", "--data_path", "datasets/sample", "--save_path", tmp_path]
    command += ["--only", "im1_*", "--recipe", "quick", "--num_iter", "1", "--device", "cpu"]
    other = "fp32" if bf16_is_faster() else "bf16"
    first = run(*command, "--precision", other)
    assert first.returncode == 0 and f"threads) in {other}" in first.stderr
    again = run(*command)
    assert again.returncode == 0 and "done before with these settings" in again.stderr
    refused = run(*command, "--precision", {"fp32": "bf16", "bf16": "fp32"}[other])
    assert refused.returncode == 1 and f"precision {other} instead of" in refused.stdout
