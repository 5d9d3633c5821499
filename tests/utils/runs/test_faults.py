"""Kills, full disks, lost folders, no memory, several processes: what the real script does."""

import errno
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

import selfdeblur_levin
import utils.engine.memory
import utils.engine.restore
import utils.runs.run
from benchmarks.memory import peak
from tests.conftest import ROOT
from tests.pictures import picture, put
from tests.runs import options, results_of
from utils.engine.memory import (
    affordable_threads,
    bytes_free,
    check_memory,
    fit_bytes,
    out_of_memory,
)
from utils.engine.methods import LEVIN, QUICK
from utils.errors import DataError
from utils.images.files import find_leftovers, write_whole
from utils.runs.locks import HeldElsewhereError, hold
from utils.terminal.program import run_program


@pytest.fixture
def images(tmp_path):
    """A folder of three small blurry images, the second with a kernel of 27 x 27 pixels."""
    folder = tmp_path / "images"
    for number, kernel in enumerate((5, 4, 5), start=1):
        put(folder / f"im{number}_kernel{kernel}_img.png", picture(40, 43, seed=number))
    return folder


NAMES = ["im1_kernel5_img", "im2_kernel4_img", "im3_kernel5_img"]


def start(images, results, *more, **others):
    return subprocess.Popen(
        [sys.executable, "selfdeblur_levin.py", *options(images, results, *more)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **others,
    )  # fmt: skip


def finished(process):
    """Wait for a process; its status, its output, its messages."""
    output, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors, errors
    return process.returncode, output, errors


def visible(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


# Kills


def run_main(arguments, messages):
    """Run the script in a process that has imported everything before."""
    descriptor = os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    torch.set_num_threads(1)
    sys.argv = ["selfdeblur_levin.py", *arguments]
    run_program(selfdeblur_levin.main)


@pytest.fixture(scope="module")
def forks():
    """Processes that are there at once: forked from one that has imported what takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "utils.engine.restore", "utils.runs.summary"])
    return context


def test_twenty_kills_in_a_row_change_nothing(images, tmp_path, forks):
    (images / f"{NAMES[1]}.png").unlink()
    names = [NAMES[0], NAMES[2]]
    messages, results = tmp_path / "messages", tmp_path / "results"
    length = ("--num_iter", 70, "--save_frequency", 2)

    def begin(folder, *more):
        arguments = options(images, folder, *length, *more)
        process = forks.Process(target=run_main, args=(arguments, messages))
        process.start()
        return process

    whole = begin(tmp_path / "whole")
    whole.join(120)
    assert whole.exitcode == 0

    moments = random.Random(0)
    for kill in range(20):
        process = begin(results, "--checkpoint_seconds", 0)
        locks = {f".{name}.lock" for name in names}
        for stale in locks:
            (results / stale).unlink(missing_ok=True)
        # Every second kill comes after a new checkpoint.
        begun = time.time_ns()
        while not any(
            path.stat().st_mtime_ns > begun
            for path in results.glob("*_checkpoint.pth" if kill % 2 else ".*.lock")
        ):
            assert process.is_alive(), "all was done before the twentieth kill"
            time.sleep(0.005)
        # Long enough for some iterations, each with its checkpoint; short enough to be hit in the
        # reading of the image and of the checkpoint as well.
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.join()
    last = begin(results)
    last.join(120)
    assert last.exitcode == 0
    assert messages.read_text().count("resumes from iteration") >= 10
    assert "Traceback" not in messages.read_text()
    for name in names:
        assert results_of(results, name) == results_of(tmp_path / "whole", name)
    assert {path.name for path in results.iterdir()} == visible(tmp_path / "whole")


def test_a_file_is_the_old_or_the_new_when_its_writer_is_killed(tmp_path):
    path = tmp_path / "file"
    write_whole(path, b"old")
    writer = "from utils.images.files import write_whole; write_whole('{}', bytes(50_000_000))"
    for delay in (0.0, 0.05, 0.1):
        process = subprocess.Popen([sys.executable, "-c", writer.format(path)], cwd=ROOT)
        while not find_leftovers(tmp_path) and process.poll() is None:
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        process.wait()
        assert path.stat().st_size in (3, 50_000_000)
        for leftovers in find_leftovers(tmp_path).values():
            for leftover in leftovers:
                leftover.unlink()


def test_leftovers_of_an_image_are_removed_and_others_are_not(images, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    own = results / f".{NAMES[0]}_x.png.0a1b2c3d.part"
    of_others = results / ".other_x.png.0a1b2c3d.part"
    for path in (own, of_others):
        path.write_bytes(b"part")
    assert selfdeblur_levin.main(options(images, results, "--only", "im1*")) == 0
    assert not own.exists()
    assert of_others.exists()


# Several processes


def test_three_processes_share_the_work_and_nothing_is_computed_twice(tmp_path):
    images, results = tmp_path / "images", tmp_path / "results"
    names = [f"im{number}_kernel5_img" for number in range(8)]
    for number, name in enumerate(names):
        put(images / f"{name}.png", picture(40, 43, seed=number))
    processes = [start(images, results, "--num_iter", 10) for _ in range(3)]
    ended = [finished(process) for process in processes]
    assert [status for status, _, _ in ended] == [0, 0, 0]
    computed = Counter(
        line.split(":")[0]
        for _, _, errors in ended
        for line in errors.splitlines()
        if "iterations in" in line
    )
    assert computed == dict.fromkeys(names, 1)
    for _, output, _ in ended:
        assert all(name in output for name in names)

    assert finished(start(images, tmp_path / "alone", "--num_iter", 10))[0] == 0
    for name in names:
        assert results_of(results, name) == results_of(tmp_path / "alone", name)
    assert {path.name for path in results.iterdir()} == visible(tmp_path / "alone")


HOLDER = """
import sys, time
from pathlib import Path
from utils.runs.locks import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder():
    """Start processes that hold a lock."""
    processes = []

    def start(lock):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(lock)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_an_image_in_progress_elsewhere_is_left_to_its_holder(images, tmp_path, holder, capfd):
    results = tmp_path / "results"
    results.mkdir()
    holder(results / f".{NAMES[0]}.lock")
    assert selfdeblur_levin.main(options(images, results)) == 0
    assert not (results / f"{NAMES[0]}_x.png").exists()
    output = capfd.readouterr().out
    assert f"{NAMES[0]}  in progress elsewhere" in output
    assert all((results / f"{name}_x.png").exists() for name in NAMES[1:])


def test_an_image_whose_holder_dies_is_taken_over(images, tmp_path, holder, monkeypatch):
    results = tmp_path / "results"
    results.mkdir()
    process = holder(results / f".{NAMES[0]}.lock")

    def finish(job):
        process.kill()
        process.wait()
        genuine(job)

    genuine = utils.runs.run.Job.finish
    monkeypatch.setattr(utils.runs.run.Job, "finish", finish)
    assert selfdeblur_levin.main(options(images, results)) == 0
    assert all((results / f"{name}_x.png").exists() for name in NAMES)


def test_a_lock_dies_with_its_holder(tmp_path, holder):
    lock = tmp_path / ".a.lock"
    process = holder(lock)
    with pytest.raises(HeldElsewhereError), hold(lock):
        pass
    process.kill()
    process.wait()
    assert lock.exists()
    with hold(lock):
        pass
    assert not lock.exists()


def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch, capfd):
    def acquire(lock, **others):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("utils.runs.locks.FileLock.acquire", acquire)
    with hold(tmp_path / ".a.lock"):
        pass
    assert "No locks available" in capfd.readouterr().err


# Disks and folders


def test_a_file_that_cannot_be_written_fails_its_image_alone(images, tmp_path):
    # Gk for the kernel of 27 x 27 pixels has 3.7 MB, all other files are smaller than the limit.
    results = tmp_path / "results"
    limit = (3_000_000, 3_000_000)
    status, output, errors = finished(
        start(images, results, "--num_iter", 4, "--checkpoint_seconds", 0,
              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    )  # fmt: skip
    assert status == 1
    failure = f"failed: {NAMES[1]}: [Errno 27] File too large: '{results}/{NAMES[1]}_knet.pth'"
    assert failure in output
    assert output.count("failed: ") == 1
    # Checkpoints are larger still; without them the work continues.
    assert f"{NAMES[0]}: no checkpoint at iteration 1: [Errno 27] File too large" in errors
    assert errors.count(f"{NAMES[0]}: no checkpoint") == 1
    assert f"{NAMES[2]}: 4 iterations in" in errors
    assert not list(results.glob(".*"))
    assert f"{NAMES[1]}: 4 iterations in" in finished(
        start(images, results, "--num_iter", 4)
    )[2]  # fmt: skip


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 10 MB, where disks may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(folder)]
    if not mount or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs leave to mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_what_was_written_stays(images, tmp_path, small_disk, capfd):
    assert selfdeblur_levin.main(options(images, tmp_path / "whole")) == 0
    results = small_disk / "results"
    assert selfdeblur_levin.main(options(images, results)) == 1
    output = capfd.readouterr().out
    assert f"failed: {NAMES[1]}: [Errno 28] No space left on device: '{results}/" in output
    assert results_of(results, NAMES[0]) == results_of(tmp_path / "whole", NAMES[0])
    assert not list(results.glob(".*"))
    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    assert selfdeblur_levin.main(options(images, results)) == 0
    for name in NAMES:
        assert results_of(results, name) == results_of(tmp_path / "whole", name)


@pytest.fixture
def lock_folder():
    """Take the leave to write in a folder, which for the superuser takes more than its mode."""
    locked = []

    def lock(folder):
        if os.geteuid():
            folder.chmod(0o555)
        elif subprocess.run(["chattr", "+i", str(folder)], capture_output=True).returncode:
            pytest.skip("the superuser may write everywhere here")
        locked.append(folder)

    yield lock
    for folder in locked:
        if os.geteuid():
            folder.chmod(0o755)
        else:
            subprocess.run(["chattr", "-i", str(folder)], check=True)


def test_a_folder_that_becomes_read_only_is_named(
    images, tmp_path, lock_folder, monkeypatch, capfd
):
    results = tmp_path / "results"

    def save(job, *arguments):
        genuine(job, *arguments)
        lock_folder(results)

    genuine = utils.runs.run.Job.on_save
    monkeypatch.setattr(utils.runs.run.Job, "on_save", save)
    assert selfdeblur_levin.main(options(images, results, "--num_iter", 4)) == 1
    output = capfd.readouterr().out
    assert all(f"failed: {name}: " in output for name in NAMES)
    assert output.count(" not permitted") + output.count(" denied") == 3
    assert (results / f"{NAMES[0]}_x.png").exists()
    with pytest.raises(DataError, match="cannot be written here"):
        selfdeblur_levin.main(options(images, results))


def test_a_folder_that_vanishes_is_named(images, tmp_path, monkeypatch, capfd):
    results = tmp_path / "results"

    def save(job, *arguments):
        shutil.rmtree(results, ignore_errors=True)
        genuine(job, *arguments)

    genuine = utils.runs.run.Job.on_save
    monkeypatch.setattr(utils.runs.run.Job, "on_save", save)
    assert selfdeblur_levin.main(options(images, results)) == 1
    output = capfd.readouterr().out
    for name in NAMES:
        assert f"failed: {name}: [Errno 2] No such file or directory: '{results}" in output
    assert not results.exists()


# Memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_runs_out_fails_one_image(images, tmp_path, monkeypatch, capfd, error):
    def restore(task, **others):
        if task.restoration.kernel_size == (27, 27):
            raise error
        return genuine(task, **others)

    genuine = utils.engine.restore.restore
    monkeypatch.setattr(utils.engine.restore, "restore", restore)
    assert selfdeblur_levin.main(options(images, tmp_path / "results", "--num_iter", 1)) == 1
    output = capfd.readouterr().out
    assert f"failed: {NAMES[1]}: out of memory; give a smaller image" in output
    assert output.count("failed: ") == 1


def test_other_faults_are_not_mistaken_for_lack_of_memory():
    assert not out_of_memory(RuntimeError("shape mismatch"))
    assert not out_of_memory(ValueError("can't allocate memory"))


def test_an_image_that_does_not_fit_into_memory_is_refused_before_it_starts(images, tmp_path):
    put(images / "large_kernel5.png", picture(1500, 1500))
    limit = (3_000_000_000, 3_000_000_000)
    status, output, errors = finished(
        start(images, tmp_path / "results", "--only", "*kernel5*", "--num_iter", 1,
              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit))
    )  # fmt: skip
    assert status == 1
    assert "failed: large_kernel5: needs about 6.3 GB of memory, and " in output
    assert output.count("failed: ") == 1
    assert f"{NAMES[0]}: 1 iterations in" in errors


def test_the_estimate_of_memory_holds():
    """The real peak of an image lies about at the estimate."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        measured = pool.apply(peak, (200, QUICK.channels))
    estimate = fit_bytes((200, 200), (31, 31), QUICK, kept=True)
    assert 0.5 * estimate < measured < 1.15 * estimate


def test_more_pixels_and_channels_need_more_memory():
    small = fit_bytes((256, 256), (31, 31), QUICK)
    assert fit_bytes((256, 256), (31, 31), LEVIN) > small
    assert fit_bytes((256, 256), (75, 75), QUICK) > small
    assert fit_bytes((1000, 1000), (31, 31), LEVIN) > 5e9
    assert fit_bytes((256, 256), (31, 31), LEVIN, kept=True) > small * 1.5


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Say in files of our own what the system says of its memory; 8 GB are free to all."""
    monkeypatch.setattr(utils.engine.memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(utils.engine.memory, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(utils.engine.memory, "CGROUPS", tmp_path / "groups")
    (tmp_path / "meminfo").write_text("MemFree: 1 kB\nMemAvailable:    8000000 kB\n")

    def limit(line, folder, **files):
        (tmp_path / "cgroup").write_text(line)
        (tmp_path / "groups" / folder).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            name = name.replace("memory_", "memory.")
            (tmp_path / "groups" / folder / name).write_text(content)

    return limit


def test_free_memory_is_the_machines(groups):
    assert bytes_free() == 8_000_000 * 1024


@pytest.mark.parametrize("folder", ["slurm/job", "slurm", ""])
def test_free_memory_is_limited_by_every_group_around(groups, folder):
    groups(
        "0::/slurm/job\n", folder,
        memory_max="5000000\n", memory_current="4000000\n",
        memory_stat="anon 3\ninactive_file 500000\n",
    )  # fmt: skip
    assert bytes_free() == 1_500_000


def test_a_group_without_a_limit_does_not_count(groups):
    groups("0::/job\n", "job", memory_max="max\n", memory_current="4\n", memory_stat="a 1\n")
    assert bytes_free() == 8_000_000 * 1024


def test_groups_of_the_first_version_count(groups):
    groups(
        "3:cpu:/x\n4:memory:/docker/abc\n0::/\n", "memory",
        memory_limit_in_bytes="5000000\n", memory_usage_in_bytes="4000000\n",
        memory_stat="total_inactive_file 0\n",
    )  # fmt: skip
    assert bytes_free() == 1_000_000


def test_nothing_is_refused_if_the_free_memory_is_unknown(monkeypatch):
    monkeypatch.setattr(utils.engine.memory, "MEMINFO", Path("/nowhere"))
    assert bytes_free() is None
    check_memory(10**18)
    assert affordable_threads(16, 10**18) == 16


@pytest.mark.parametrize(("free", "threads"), [(64e9, 16), (8e9, 4), (1.9e9, 1), (0, 1)])
def test_threads_share_half_of_the_free_memory(monkeypatch, free, threads):
    monkeypatch.setattr(utils.engine.memory, "bytes_free", lambda: free)
    assert affordable_threads(16, 10**9) == threads
