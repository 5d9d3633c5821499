"""Runs that are interrupted and resumed: the same bits as one that never stopped."""

import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

import selfdeblur_levin
from tests.conftest import ROOT
from tests.pictures import picture, put
from tests.runs import options, results_of
from utils.engine.checkpoint import (
    Checkpoint,
    CheckpointError,
    pack_checkpoint,
    unpack_checkpoint,
)
from utils.engine.deblur import deblur, draw_start
from utils.engine.methods import LEVIN, NONBLIND
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration, Stage
from utils.engine.stages.fit import ImageFit, JointFit, ReleasedFit
from utils.errors import Interrupted
from utils.runs.interrupt import Signals

# The loss changes at 6, the rates at 3 and 9; three scales have a non-local block.
TINY = replace(LEVIN, num_iter=12, channels=8, scales=3, mse_iterations=6, milestones=(3, 9))
NAME = "im1_kernel5_img"


@pytest.fixture(scope="module")
def blurry():
    return np.random.default_rng(0).random((30, 27))


@pytest.fixture(scope="module")
def uninterrupted(blurry):
    return deblur(blurry, (5, 3), TINY, device="cpu")


class StopError(Exception):
    pass


def assert_same_bits(first: Restoration, second: Restoration):
    assert first.losses == second.losses
    assert first.loss_names == second.loss_names
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.kernel, second.kernel)
    for name in ("gx", "gk"):
        tensors, others = (getattr(each, name).state_dict() for each in (first, second))
        assert tensors.keys() == others.keys()
        assert all(torch.equal(tensors[key], others[key]) for key in tensors)


def task_of(blurry, *stages):
    return Task(stages, Restoration(blurry, (5, 3)))


def checkpoint_at(task, stage, step, earlier=None):
    """Run until so many steps of a stage are done, and give the checkpoint."""
    kept = []

    def keep(content, record):
        if (record["stage"], record["steps"]) == (stage, step):
            kept.append(content)
            raise StopError

    with pytest.raises(StopError):
        restore(
            task, device="cpu", checkpoint=earlier, checkpoint_due=lambda: True, on_checkpoint=keep
        )
    return kept[0]


@pytest.mark.parametrize("stops", [[1], [3], [5, 6, 7], [9], [11], list(range(1, 12))])
def test_resumed_at_any_iteration_it_ends_with_the_same_bits(blurry, uninterrupted, stops):
    task = task_of(blurry, JointFit(TINY))
    checkpoint = None
    for stop in stops:
        checkpoint = checkpoint_at(task, "joint fit", stop, checkpoint)
    assert_same_bits(restore(task, device="cpu", checkpoint=checkpoint), uninterrupted)


def test_where_adams_moments_lie_in_memory_does_not_matter(blurry, uninterrupted):
    """On CUDA the weights lie channels first, and so do the moments in its checkpoints."""
    packed = {}

    def keep(state):
        packed.update(state.pack())
        raise StopError

    with pytest.raises(StopError):
        deblur(blurry, (5, 3), TINY, device="cpu", checkpoint_due=lambda: True, on_checkpoint=keep)
    moments = [name for each in packed["adam"]["state"].values() for name in each.items()]
    moved = [tensor for _, tensor in moments if tensor.dim() == 4 and not tensor.is_contiguous()]
    assert moved
    for each in packed["adam"]["state"].values():
        for name in ("exp_avg", "exp_avg_sq"):
            each[name] = torch.empty(each[name].shape).copy_(each[name])
    start = draw_start(blurry.shape, (5, 3), TINY)
    start.load(packed)
    assert deblur(blurry, (5, 3), TINY, device="cpu", start=start).losses == uninterrupted.losses


@pytest.mark.parametrize("stop", [0, 2])
def test_a_fit_after_a_collapse_is_resumed(blurry, stop, monkeypatch):
    verdicts = iter([])
    monkeypatch.setattr("utils.engine.stages.fit.collapsed_to_black", lambda *_: next(verdicts))
    remedy = replace(NONBLIND, num_iter=5, channels=8, scales=3)
    task = task_of(
        blurry, JointFit(replace(TINY, num_iter=4)), ImageFit(remedy, only_if_black=True)
    )
    verdicts = iter([True, False])
    expected = restore(task, device="cpu")
    assert len(expected.losses) == 4 + 5

    verdicts = iter([True])
    checkpoint = checkpoint_at(task, "image fit", stop)
    stages = []
    verdicts = iter([False])
    resumed = restore(
        task,
        device="cpu",
        checkpoint=checkpoint,
        on_stage=lambda record: stages.append(dict(record)),
    )
    assert_same_bits(resumed, expected)
    assert len(stages) == 1
    assert stages[0]["stage"] == "image fit"
    assert stages[0]["steps"] == stop
    assert "collapsed to black" in stages[0]["reason"]


@dataclass(frozen=True)
class Smooth(Stage):
    """A stage of somebody's own: average the image with its neighbors, and soften the kernel."""

    name = "smooth"
    rounds: int = 3

    def run(self, restoration, work):
        done, sharp = 0, restoration.sharp
        if work.state:
            done, sharp = work.state["done"], work.state["sharp"]
        while done < self.rounds:
            sharp = sum(np.roll(sharp, shift, (0, 1)) for shift in ((0, 0), (0, 1), (1, 0))) / 3
            done += 1
            state = {"done": done, "sharp": sharp}
            work.step(done, self.rounds, state=lambda state=state: state)
        kernel = np.sqrt(restoration.kernel)
        work.note(softened=float(kernel.sum()))
        return replace(restoration, sharp=sharp, kernel=kernel / kernel.sum())


THREE_STAGES = (
    JointFit(replace(TINY, num_iter=4)),
    Smooth(),
    ImageFit(replace(NONBLIND, num_iter=4, channels=8, scales=3)),
)


@pytest.mark.parametrize(
    ("stage", "step"),
    [
        ("joint fit", 2),
        *(("smooth", step) for step in range(4)),
        ("image fit", 0),
        ("image fit", 3),
    ],
)
def test_a_method_of_three_stages_is_resumed_in_any_of_them(blurry, stage, step):
    task = task_of(blurry, *THREE_STAGES)
    records = []

    def note(restoration, stages):
        records[:] = [dict(record) for record in stages]

    expected = restore(task, device="cpu", on_save=note)
    assert [(record["stage"], record["steps"]) for record in records] == [
        ("joint fit", 4), ("smooth", 3), ("image fit", 4),
    ]  # fmt: skip
    softened = records[1]["softened"]
    resumed = restore(task, device="cpu", checkpoint=checkpoint_at(task, stage, step), on_save=note)
    assert_same_bits(resumed, expected)
    assert [record["stage"] for record in records] == ["joint fit", "smooth", "image fit"]
    assert records[1]["softened"] == softened


def test_the_seconds_of_earlier_runs_count(blurry):
    checkpoint = unpack_checkpoint(checkpoint_at(task_of(blurry, JointFit(TINY)), "joint fit", 3))
    checkpoint.records[0]["seconds"] = 1000.0
    seconds = []
    restore(
        task_of(blurry, JointFit(TINY)),
        device="cpu",
        checkpoint=pack_checkpoint(checkpoint),
        on_save=lambda _, records: seconds.append(records[0]["seconds"]),
    )
    assert 1000 < seconds[-1] < 1100


def test_released_networks_stay_as_they_were_given(blurry):
    given = draw_start(blurry.shape, (5, 3), TINY, 0)
    restoration = Restoration(blurry, (5, 3), gx=given.gx, gk=given.gk)
    task = Task((ReleasedFit(replace(TINY, num_iter=2)),), restoration)
    before = {name: value.clone() for name, value in given.gx.state_dict().items()}
    first, second = (restore(task, device="cpu") for _ in range(2))
    assert first.losses == second.losses and first.losses[0] != first.losses[1]
    assert all(torch.equal(value, before[name]) for name, value in given.gx.state_dict().items())


def test_a_state_is_read_as_it_was_packed():
    state = {"level": np.float64(0.1), "count": np.int64(3), "kernels": [(0, np.eye(3))]}
    found = unpack_checkpoint(pack_checkpoint(Checkpoint({}, 1, [], {}, state))).state
    assert (found["level"], found["count"]) == (0.1, 3)
    ((place, kernel),) = found["kernels"]
    assert place == 0
    np.testing.assert_array_equal(kernel, np.eye(3))


def test_an_altered_checkpoint_is_refused(blurry):
    content = checkpoint_at(
        Task((JointFit(TINY),), Restoration(blurry, (5, 3)), settings={"seed": 0}), "joint fit", 3
    )
    assert unpack_checkpoint(content).settings == {"seed": 0}
    altered = bytearray(content)
    altered[len(content) // 2] ^= 1
    for damaged in (bytes(altered), content[: len(content) // 2], b"", b"PK", content[:-30]):
        with pytest.raises(CheckpointError, match="damaged"):
            unpack_checkpoint(damaged)


def test_a_checkpoint_of_other_networks_is_refused(blurry):
    content = checkpoint_at(task_of(blurry, JointFit(TINY)), "joint fit", 3)
    for other in (replace(TINY, channels=4), replace(TINY, scales=2)):
        with pytest.raises(CheckpointError, match="another kind"):
            restore(task_of(blurry, JointFit(other)), device="cpu", checkpoint=content)


def test_a_checkpoint_of_a_longer_method_is_refused(blurry):
    content = checkpoint_at(task_of(blurry, *THREE_STAGES), "image fit", 3)
    with pytest.raises(CheckpointError, match="another method"):
        restore(task_of(blurry, JointFit(TINY)), device="cpu", checkpoint=content)


# Through the script


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    put(folder / f"{NAME}.png", picture(40, 43))
    return folder


@pytest.fixture
def expected(images, tmp_path):
    assert selfdeblur_levin.main(options(images, tmp_path / "whole")) == 0
    return results_of(tmp_path / "whole", NAME)


@pytest.fixture
def interrupted(images, tmp_path, monkeypatch):
    """Run the script, to be interrupted after an iteration; give its results folder."""

    def run(after, *more):
        import utils.engine.restore

        count = 0

        def restore(task, *, checkpoint_due, **others):
            def due():
                nonlocal count
                count += 1
                if count == after:
                    signal.raise_signal(signal.SIGTERM)
                return checkpoint_due()

            return genuine(task, checkpoint_due=due, **others)

        genuine = utils.engine.restore.restore
        with monkeypatch.context() as patch:
            patch.setattr(utils.engine.restore, "restore", restore)
            with pytest.raises(Interrupted) as caught:
                selfdeblur_levin.main(options(images, tmp_path / "results", *more))
        assert caught.value.number == signal.SIGTERM
        assert f"from iteration {after} of {NAME}" in str(caught.value)
        return tmp_path / "results"

    return run


@pytest.mark.parametrize("after", [1, 3, 7])
def test_the_same_command_resumes(images, interrupted, expected, after, capfd):
    results = interrupted(after)
    assert (results / f"{NAME}_checkpoint.pth").exists()
    assert (results / f"{NAME}_x.png").exists() == (after >= 3)
    capfd.readouterr()
    assert selfdeblur_levin.main(options(images, results)) == 0
    assert f"{NAME}: resumes from iteration {after}" in capfd.readouterr().err
    assert results_of(results, NAME) == expected
    names = {path.name for path in results.iterdir()}
    assert names == {
        *(f"{NAME}{s}" for s in ("_x.png", "_k.png", "_xnet.pth", "_knet.pth", ".json")),
        f"{NAME}_loss.csv", "overview.png",
    }  # fmt: skip


def test_losses_are_written_with_their_names(expected):
    header, first, *_, last = expected["_loss.csv"].decode().splitlines()
    assert header == "iteration,loss,value"
    assert first.startswith("1,MSE,0.")
    assert last == f"8,MSE,{expected['record']['final_loss']!r}"


@pytest.mark.parametrize("after", [1, 4])
def test_other_settings_than_the_checkpoints_are_named(images, interrupted, after, capfd):
    results = interrupted(after)
    checkpoint = (results / f"{NAME}_checkpoint.pth").read_bytes()
    assert selfdeblur_levin.main(options(images, results, "--seed", 3)) == 1
    error = capfd.readouterr().err
    assert "seed 0 instead of 3" in error and "--overwrite" in error
    assert (results / f"{NAME}_checkpoint.pth").read_bytes() == checkpoint


def test_overwrite_starts_over(images, interrupted, expected, capfd):
    results = interrupted(4, "--seed", 3)
    capfd.readouterr()
    assert selfdeblur_levin.main(options(images, results, "--overwrite")) == 0
    assert "resumes" not in capfd.readouterr().err
    assert results_of(results, NAME) == expected


@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_overwrite_resumes_without_it(images, interrupted, tmp_path, after, capfd):
    assert selfdeblur_levin.main(options(images, tmp_path / "whole", "--seed", 3)) == 0
    assert selfdeblur_levin.main(options(images, tmp_path / "results")) == 0
    results = interrupted(after, "--overwrite", "--seed", 3)
    capfd.readouterr()
    assert selfdeblur_levin.main(options(images, results, "--seed", 3)) == 0
    assert f"resumes from iteration {after}" in capfd.readouterr().err
    assert results_of(results, NAME) == results_of(tmp_path / "whole", NAME)


@pytest.mark.parametrize("damage", [lambda c: c[:1000], lambda c: b"junk", lambda c: b""])
def test_an_unreadable_checkpoint_is_set_aside(images, interrupted, expected, damage, capfd):
    results = interrupted(4)
    checkpoint = results / f"{NAME}_checkpoint.pth"
    damaged = damage(checkpoint.read_bytes())
    checkpoint.write_bytes(damaged)
    assert selfdeblur_levin.main(options(images, results)) == 0
    error = capfd.readouterr().err
    assert f"{checkpoint}: damaged" in error and "starts over" in error
    assert (results / f"{NAME}_checkpoint.pth.damaged").read_bytes() == damaged
    assert results_of(results, NAME) == expected


def test_a_checkpoint_is_written_when_it_is_due(images, tmp_path, monkeypatch):
    import utils.runs.run

    written = []
    genuine = utils.runs.run.Job.on_checkpoint
    monkeypatch.setattr(
        utils.runs.run.Job,
        "on_checkpoint",
        lambda job, *a: (written.append(a[1]["steps"]), genuine(job, *a)),
    )
    assert selfdeblur_levin.main(options(images, tmp_path / "a")) == 0
    assert written == []
    assert selfdeblur_levin.main(options(images, tmp_path / "b", "--checkpoint_seconds", 0)) == 0
    assert written == list(range(1, 8))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_with_their_status_and_one_line_on_how_to_resume(images, tmp_path, number):
    results = tmp_path / "results"
    process = subprocess.Popen(
        [sys.executable, "selfdeblur_levin.py",
         *options(images, results, "--num_iter", 5000, "--checkpoint_seconds", 0)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (results / f"{NAME}_checkpoint.pth").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + number
    line = error.strip().splitlines()[-1]
    assert line.startswith("selfdeblur_levin.py: interrupted; the same command resumes from iter")
    assert line.endswith(f"of {NAME} (joint fit)")
    done = int(line.split("iteration ")[1].split()[0])
    kept = unpack_checkpoint((results / f"{NAME}_checkpoint.pth").read_bytes())
    assert kept.records[-1]["steps"] == done
    assert "Traceback" not in error


def test_signals_that_are_ignored_stay_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals("hint") as signals:
            signal.raise_signal(signal.SIGINT)
            signals.check()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_ends_at_once_what_is_not_an_optimisation():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="hint"), Signals("hint"):
        signal.raise_signal(signal.SIGTERM)
    with Signals("hint") as signals, pytest.raises(Interrupted):
        with signals.postponed():
            signal.raise_signal(signal.SIGTERM)
            assert signals.received == signal.SIGTERM
            # A second one kills.
            assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        signals.check()
    assert signal.getsignal(signal.SIGTERM) == before
