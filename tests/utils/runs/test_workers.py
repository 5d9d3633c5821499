"""Images side by side in processes of this machine: the same results, whatever dies."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import selfdeblur_levin
from tests.conftest import ROOT
from tests.pictures import picture, put
from tests.runs import options, results_of
from utils.engine.methods import QUICK
from utils.engine.restore import Task
from utils.engine.stage import Restoration
from utils.engine.stages.fit import JointFit
from utils.runs.options import Options
from utils.runs.pools import Workers

NAMES = [f"im{number}_kernel5_img" for number in (1, 2, 3)]
TWO = ("--workers", "2")
LONG = ("--num_iter", 400, "--checkpoint_seconds", 0)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number, name in enumerate(NAMES):
        put(folder / f"{name}.png", picture(40, 43, seed=number))
    return folder


@pytest.fixture(scope="module")
def expected(images, tmp_path_factory):
    """The results of one image after the other, with one thread each."""
    results = tmp_path_factory.mktemp("alone")
    assert selfdeblur_levin.main(options(images, results)) == 0
    return {name: results_of(results, name) for name in NAMES}


def test_side_by_side_gives_the_bits_of_one_after_the_other(images, expected, tmp_path, capfd):
    assert selfdeblur_levin.main(options(images, tmp_path, workers=TWO)) == 0
    for name in NAMES:
        assert results_of(tmp_path, name) == expected[name]
    output, errors = capfd.readouterr()
    assert [line.split()[0] for line in output.splitlines()[1:4]] == NAMES
    assert errors.count("on cpu (1 threads) in fp32") == 1
    assert "\x1b" not in errors


def test_there_are_as_many_workers_as_cores_and_images(images):
    from utils.engine.methods import LEVIN, blind_methods
    from utils.terminal.options import parse_options

    def workers(*more):
        arguments = ["--data_path", str(images), *more]
        found, _ = parse_options(
            arguments,
            "",
            data_path="",
            save_path="x",
            methods=blind_methods(LEVIN),
            where_to_get="",
        )
        return found.workers, found.threads

    cores = len(os.sched_getaffinity(0))
    assert workers() == (min(cores, 3), 1)
    assert workers("--only", "im1*") == (1, None)
    assert workers("--workers", "2", "--threads", "3") == (2, 3)
    assert workers("--workers", "1") == (1, 1)


def test_an_image_that_fails_in_a_worker_is_named_and_the_others_continue(images, tmp_path, capfd):
    (tmp_path / "images").mkdir()
    for name in NAMES:
        (tmp_path / "images" / f"{name}.png").write_bytes((images / f"{name}.png").read_bytes())
    put(tmp_path / "images/im4_kernel5_img.png", picture(20, 60))
    arguments = options(tmp_path / "images", tmp_path / "results", workers=TWO)
    assert selfdeblur_levin.main(arguments) == 1
    output = capfd.readouterr().out
    assert "failed: im4_kernel5_img: the image, 20 x 60, is too small for the network" in output
    assert output.count("failed: ") == 1


def children(parent):
    """The processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
            if int(fields[1]) == parent and b"spawn_main" in command:
                found.append(int(stat.parent.name))
    return found


@pytest.fixture
def start(images):
    processes = []

    def run(results, *more):
        command = [sys.executable, "selfdeblur_levin.py", *options(images, results, *more)]
        processes.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def wait_until(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def test_signals_keep_the_current_iteration_and_killed_workers_are_replaced(
    images, start, tmp_path
):
    short = ("--num_iter", 30, "--only", "im[12]*", "--checkpoint_seconds", 0, *TWO)
    alone, results = tmp_path / "alone", tmp_path / "results"
    assert start(alone, *short[:-2]).wait(120) == 0

    process = start(results, *short)
    wait_until(lambda: len(list(results.glob("*_checkpoint.pth"))) == 2, process)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "Traceback" not in errors
    assert "interrupted; the same command resumes from" in errors.splitlines()[-1]
    assert not children(process.pid)

    process = start(results, *short)
    wait_until(lambda: children(process.pid), process)
    wait_until(lambda: list(results.glob(".*.lock")), process)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 0
    assert "resumes from iteration" in errors
    assert "its worker died; another takes over" in errors
    for name in NAMES[:2]:
        assert results_of(results, name) == results_of(alone, name)


def test_images_wait_until_there_is_memory_for_them(monkeypatch):
    tasks = [
        Task((JointFit(replace(QUICK, num_iter=1, channels=4)),), Restoration(np.eye(40), (5, 5)))
        for _ in range(2)
    ]
    monkeypatch.setattr("utils.runs.pools.bytes_free", lambda: 1.5e9)
    wanted = Options([], Path(), "quick", (), device="cpu", workers=2, threads=1)

    def restore(task):
        return pool.restore(task, None, lambda *event: None)

    with Workers(wanted) as pool:
        running = [restore(task) for task in tasks]
        for each in running:
            next(each)
        assert len(pool.busy) == 2
        for each in running:
            for _ in each:
                pool.wait(1)
        monkeypatch.setattr("utils.runs.pools.bytes_free", lambda: 1e9)
        pool.free = 1e9
        first, second = map(restore, tasks)
        next(first)
        next(second)
        assert len(pool.busy) == 1
        for _ in first:
            pool.wait(1)
        next(second)
        assert len(pool.busy) == 1
        for _ in second:
            pool.wait(1)


def test_workers_that_always_die_give_an_image_up(images, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("utils.runs.pools.serve", os._exit)
    assert selfdeblur_levin.main(options(images, tmp_path, "--only", "im[12]*", workers=TWO)) == 1
    output, errors = capfd.readouterr()
    for name in NAMES[:2]:
        assert f"failed: {name}: 5 workers died in a row: perhaps for lack of memory" in output
        assert errors.count(f"{name}: its worker died; another takes over") == 4
