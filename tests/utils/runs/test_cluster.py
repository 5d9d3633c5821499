"""Images on a Ray cluster: the same results as without it, whatever dies."""

import functools
import importlib.util
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest

import selfdeblur_levin
import utils.terminal.options
from tests.conftest import ROOT
from tests.pictures import picture, put
from tests.runs import options as options_of_one
from tests.runs import results_of
from utils.engine.methods import QUICK
from utils.engine.restore import Task
from utils.engine.stage import Restoration
from utils.engine.stages.fit import JointFit
from utils.errors import UsageError
from utils.runs.options import Options

options = functools.partial(options_of_one, workers=())
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
NAMES = [f"im{number}_kernel5_img" for number in (1, 2, 3)]
LONG = ("--num_iter", 30, "--save_frequency", 10, "--checkpoint_seconds", 0)
INTERRUPTED = "selfdeblur_levin.py: interrupted; the same command resumes from the last checkpoints"
ONE_CORE = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
NODE = {"num_cpus": 1, "num_gpus": 0, "memory": 4e9, "object_store_memory": 200e6}


@pytest.fixture
def images(tmp_path):
    for number, name in enumerate(NAMES):
        put(tmp_path / "images" / f"{name}.png", picture(40, 43, seed=number))
    return tmp_path / "images"


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one node with one core, on this machine."""
    from ray.cluster_utils import Cluster

    config = {
        "health_check_period_ms": 500,  # a node that is gone is to be noticed within seconds
        "health_check_failure_threshold": 4,
        "worker_niceness": 0,  # with Ray's 15 a busy neighbor makes these tests take minutes
    }
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"_system_config": config})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def start():
    """Start the real script with one thread; what still runs at the end is killed."""
    processes = []

    def run(*arguments, script="selfdeblur_levin.py"):
        process = subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            cwd=ROOT, env=os.environ | ONE_CORE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def finished(process):
    """Wait for a process; its status, its output, its messages."""
    output, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors, errors
    return process.returncode, output, errors


def in_progress(results):
    return list(results.glob("*_checkpoint.pth"))


def workers():
    """The processes of Ray that restore an image at this moment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [int(path.parent.name)] * path.read_bytes().startswith(b"ray::work")
    return found


def servers():
    """The folders in /proc of Ray's servers."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "comm").read_text().strip() in ("raylet", "gcs_server"):
                found.add(folder)
    return found


def addresses_listened_on(processes):
    """The addresses on which processes take connections."""
    sockets = {os.readlink(file) for folder in processes for file in (folder / "fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                number = bytes.fromhex(local.split(":")[0][-8:])
                mapped = table == "tcp" or local.startswith("0" * 16 + "FFFF0000")
                found.add(str(ip_address(number[::-1])) if mapped else "another")
    return found


def wait_until(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, finished(process)
        assert time.monotonic() < deadline
        time.sleep(0.02)


@needs_ray
def test_a_node_dies_and_the_results_are_the_same(images, tmp_path, cluster, start):
    results, alone = tmp_path / "results", tmp_path / "alone"
    second = cluster.add_node(**NODE)
    process = start(*options(images, results, *LONG, "--ray", cluster.address))
    # One core per node, so two images are one on each.
    wait_until(
        lambda: len(in_progress(results)) == 2 == len(list(results.glob("*_x.png"))), process
    )
    cluster.remove_node(second, allow_graceful=False)
    status, output, errors = finished(process)
    assert status == 0, errors
    assert errors.count("its worker died; another takes over") == 1
    assert errors.count("resumes from iteration") == 1
    assert [line.split()[0] for line in output.splitlines()[1:4]] == NAMES
    assert "raylet" not in output + errors

    assert finished(start(*options(images, alone, *LONG)))[0] == 0
    for name in NAMES:
        assert results_of(results, name) == results_of(alone, name)
    assert {path.name for path in results.iterdir()} == {path.name for path in alone.iterdir()}


@needs_ray
def test_signals_end_the_tasks_and_a_local_ray_resumes_them(images, tmp_path, cluster, start):
    results, alone = tmp_path / "results", tmp_path / "alone"
    more = (*LONG, "--only", "im1*")
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start(*options(images, results, *more, "--ray", cluster.address))
        wait_until(lambda: in_progress(results) and workers(), process)
        process.send_signal(number)
        status, _, errors = finished(process)
        assert status == 128 + number
        assert errors.splitlines()[-1] == INTERRUPTED
        deadline = time.monotonic() + 20
        while workers():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    of_the_cluster = servers()
    process = start(*options(images, results, *more, "--ray"))
    wait_until(workers, process)
    assert addresses_listened_on(servers() - of_the_cluster) == {"127.0.0.1"}
    status, _, errors = finished(process)
    assert status == 0
    assert f"{NAMES[0]}: resumes from iteration" in errors
    assert finished(start(*options(images, alone, *more)))[0] == 0
    assert results_of(results, NAMES[0]) == results_of(alone, NAMES[0])


@needs_ray
def test_a_fault_of_an_image_is_named_and_the_others_continue(images, tmp_path, cluster, capfd):
    (images / f"{NAMES[0]}.png").write_bytes(b"no image")
    put(images / "large_kernel5.png", picture(1500, 1500))
    arguments = options(images, tmp_path / "results", "--num_iter", 4, "--ray", cluster.address)
    assert selfdeblur_levin.main(arguments) == 1
    output = capfd.readouterr().out
    assert f"failed: {NAMES[0]}: {images / NAMES[0]}.png" in output
    assert "failed: large_kernel5: needs about 6.7 GB of memory, and no machine" in output
    assert output.count("failed: ") == 2
    assert (tmp_path / "results" / f"{NAMES[1]}_x.png").exists()
    assert (tmp_path / "results" / f"{NAMES[2]}_x.png").exists()


@needs_ray
def test_the_error_of_a_worker_is_that_of_a_run_without_it(images, tmp_path, cluster, capfd):
    arguments = options(images, tmp_path / "results", "--tv_weight", 1e300, "--only", "im1*")
    assert selfdeblur_levin.main([*arguments, "--ray", cluster.address]) == 1
    assert f"failed: {NAMES[0]}: the loss became inf by iteration 1\n" in capfd.readouterr().out


@needs_ray
def test_a_damaged_checkpoint_is_set_aside_and_the_image_starts_over(
    images, tmp_path, cluster, capfd
):
    results = tmp_path / "results"
    results.mkdir()
    (results / f"{NAMES[0]}_checkpoint.pth").write_bytes(b"junk")
    arguments = options(images, results, "--num_iter", 4, "--only", "im1*")
    assert selfdeblur_levin.main([*arguments, "--ray", cluster.address]) == 0
    assert "kept as" in capfd.readouterr().err
    assert (results / f"{NAMES[0]}_checkpoint.pth.damaged").exists()
    assert (results / f"{NAMES[0]}_x.png").exists()


@needs_ray
def test_files_that_a_script_starts_from_are_read_here(images, tmp_path, cluster, start):
    kernel = tmp_path / "kernel.png"
    put(kernel, np.full((5, 5), 0.5))
    common = (*options(images, tmp_path / "a"), "--only", "im1*", "--kernel_path", kernel)
    script = "selfdeblur_nonblind.py"
    process = start(*common, "--ray", cluster.address, script=script)
    status, _, errors = finished(process)
    assert status == 0, errors
    alone = (*common, "--save_path", tmp_path / "b")
    assert finished(start(*alone, script=script))[0] == 0
    for suffix in ("_x.png", "_loss.csv"):
        name = f"{NAMES[0]}{suffix}"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@needs_ray
def test_an_image_whose_workers_always_die_is_given_up(
    images, tmp_path, cluster, monkeypatch, capfd
):
    import ray

    import utils.runs.cluster

    @ray.remote(num_returns="streaming", max_retries=0)
    def work(*arguments):
        yield "on_machine", ({"device": "cpu"},)
        os._exit(1)

    monkeypatch.setattr(utils.runs.cluster, "work", work)
    monkeypatch.setattr("utils.runs.run.MAX_DEATHS", 2)
    arguments = options(images, tmp_path / "results", "--only", "im1*")
    assert selfdeblur_levin.main([*arguments, "--ray", cluster.address]) == 1
    output, errors = capfd.readouterr()
    assert f"failed: {NAMES[0]}: 2 workers died in a row: " in output
    assert errors.count("its worker died; another takes over") == 1
    assert "raylet" not in output + errors


@needs_ray
def test_an_image_asks_for_its_share_of_a_gpu_and_the_code_travels(cluster, monkeypatch):
    import ray

    import utils.runs.cluster

    @ray.remote(num_returns="streaming", max_retries=0)
    def work(task, checkpoint, options):
        resources = ray.get_runtime_context().get_assigned_resources()
        yield "on_machine", ((options.device, resources, sys.path),)

    monkeypatch.setattr(utils.runs.cluster, "work", work)
    machines = []

    def ask(device):
        on_sigterm = signal.getsignal(signal.SIGTERM)
        wanted = Options(
            [], Path(), "", (), device=device, ray=cluster.address, gpus_per_image=0.25
        )
        with utils.runs.cluster.Cluster(wanted) as connection:
            assert signal.getsignal(signal.SIGTERM) == on_sigterm
            rooms.append(connection.room())
            task = Task((JointFit(QUICK),), Restoration(np.zeros((40, 43)), (11, 11)))
            for _ in connection.restore(task, None, lambda name, found: machines.append(found)):
                connection.wait(1)

    rooms = []
    node = cluster.add_node(**NODE | {"num_cpus": 2, "num_gpus": 2})
    try:
        ask("auto")
        ask("cpu")
    finally:
        cluster.remove_node(node)
    assert rooms == [9, 4]
    (on_gpu, resources, path), (on_cpu, others, _) = machines
    assert (on_gpu, resources["GPU"], resources["CPU"]) == ("cuda", 0.25, 1)
    assert (on_cpu, "GPU" in others, others["CPU"]) == ("cpu", False, 1)
    assert others["memory"] > 400e6
    sent = [Path(folder) for folder in path if "py_modules" in folder]
    for file in ("utils/runs/cluster.py", "networks/skip.py"):
        assert [(folder / file).read_bytes() for folder in sent if (folder / file).exists()] == [
            (ROOT / file).read_bytes()
        ]


@needs_ray
def test_an_address_without_a_cluster_is_named(images, tmp_path):
    with pytest.raises(UsageError, match="--ray 127.0.0.1:1: no cluster"):
        selfdeblur_levin.main(options(images, tmp_path / "results", "--ray", "127.0.0.1:1"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus_per_image", "0.5"], "--gpus_per_image: needs --ray"),
        (["--ray", "--gpus_per_image", "0"], "--gpus_per_image: must be from 0.0001 to 1, not 0"),
        (
            ["--ray", "--gpus_per_image", "1.5"],
            "--gpus_per_image: must be from 0.0001 to 1, not 1.5",
        ),
        (["--ray", "--device", "cuda:1"], "--device cuda:1: with --ray, Ray chooses"),
        (["--ray", "ray://head:10001"], "--ray ray://head:10001: must be HOST:PORT"),
        (["--ray", "head"], "--ray head: must be HOST:PORT"),
    ],
)
def test_a_wrong_command_is_named(images, tmp_path, arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        selfdeblur_levin.main(options(images, tmp_path / "results", *arguments))
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_without_ray_the_command_that_installs_it_is_shown(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(utils.terminal.options.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        selfdeblur_levin.main(options(images, tmp_path / "results", "--ray"))
    assert caught.value.code == 2
    assert "python -m pip install -r requirements-ray.txt" in capsys.readouterr().err
