"""Images on other machines: all of this project's code that uses Ray.

A worker gets an image's pixels and yields its events; it writes no file.
"""

import io
import logging
import os
import queue
import signal
import socket
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.engine.restore import Task
from utils.errors import DataError, UsageError, describe
from utils.runs.options import LOCAL, Options
from utils.runs.pools import PROCESS_BYTES, Pool, Report, WorkerDiedError, restore_image

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # reports nothing to Ray's makers
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of it

import ray  # noqa: E402  reads these when it is imported
from ray._private import services  # noqa: E402
from ray.exceptions import RayError, RayTaskError  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SENT = ("networks", "utils")  # the packages that a worker imports

MAX_PENDING = 4  # events of one image that are not fetched yet; then its worker waits

Event = tuple[str, tuple[Any, ...]]
"""What a `Report` takes."""


class Cluster(Pool):
    """A connection to Ray.

    Parameters
    ----------
    options : Options
        Its `ray` is the address: ``HOST:PORT`` of a cluster that this machine is part of, ``auto``
        for the one that runs here, or `LOCAL`. Its `device` is ``auto``, or ``cpu`` to leave GPUs
        aside.

    Raises
    ------
    UsageError
        If there is no such cluster.
    """

    stops_in_order = False

    def __init__(self, options: Options) -> None:
        assert options.ray is not None
        self._exit = ExitStack()
        # Ray prints the deaths of its workers, which are dealt with and reported here.
        self._exit.enter_context(redirect_stdout(io.StringIO()))
        try:
            connect(options.ray)
        except BaseException:
            self._exit.close()
            raise
        self._exit.callback(ray.shutdown)
        self._running: list[ray.ObjectRefGenerator] = []
        has_gpus = options.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
        self.gpus_per_image = options.gpus_per_image if has_gpus else 0
        device = "cuda" if has_gpus else "cpu"
        self.options = replace(options, images=[], device=device, threads=1)

    def __exit__(self, *exception: object) -> None:
        self._exit.close()

    def room(self) -> int:
        """How many images to hand to Ray: one for each free place, and one that waits."""
        resources = ray.cluster_resources()
        if self.gpus_per_image:
            return int(resources.get("GPU", 0) / self.gpus_per_image) + 1
        return int(resources.get("CPU", 0)) + 1

    def wait(self, seconds: float) -> None:
        if self._running:
            ray.wait(self._running, timeout=seconds)

    def restore(self, task: Task, checkpoint: bytes | None, report: Report) -> Generator[None]:
        worker = work.options(**self.resources(task))
        events = worker.remote(task, checkpoint, self.options)
        self._running.append(events)
        try:
            while True:
                while not ray.wait([events], timeout=0)[0]:
                    yield
                event = next(events, None)
                if event is None:
                    return
                name, arguments = ray.get(event)
                report(name, *arguments)
                yield
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise WorkerDiedError(
                f"{type(error).__name__}; see Ray's logs in /tmp/ray/session_latest/logs"
            ) from error
        finally:
            self._running.remove(events)
            ray.cancel(events, force=True)

    def resources(self, task: Task) -> dict[str, float]:
        """What a worker for an image needs, as options of a Ray task."""
        if self.gpus_per_image:
            return {"num_cpus": 1, "num_gpus": self.gpus_per_image}
        needed = PROCESS_BYTES + task.bytes_needed()
        most = max(node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"])
        if needed > most:
            raise DataError(
                f"needs about {needed / 1e9:.1f} GB of memory, and no machine of the cluster has "
                f"more than {most / 1e9:.1f} GB for it; give a smaller image, or use --method quick"
            )
        roomy = PROCESS_BYTES + task.bytes_needed(roomy=True)
        return {"num_cpus": 1, "memory": min(roomy, most)}


def connect(address: str) -> None:
    """Connect this process to a Ray cluster, or raise a UsageError."""
    local: dict[str, Any] = {}
    if address == LOCAL:
        # Ray replaces the loopback address by the network's, and then listens on all of them.
        services.resolve_ip_for_localhost = lambda host: host
        local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    host, colon, port = address.rpartition(":")
    try:
        if colon:  # Ray would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        on_sigterm = signal.getsignal(signal.SIGTERM)
        ray.init(
            address=address,
            runtime_env={"py_modules": [str(ROOT / package) for package in SENT]},
            logging_level=logging.CRITICAL,
            log_to_driver=False,
            **local,
        )
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has replaced the handler
    except (OSError, ValueError, OverflowError, RuntimeError) as error:
        raise UsageError(
            f"--ray {address}: no cluster that this machine is part of ({describe(error)}); "
            "start one with `ray start` (see README.md), or give no address for this machine alone"
        ) from error


# Ray would restart an image from the beginning; the run resumes it from its checkpoint.
@ray.remote(  # type: ignore[call-overload, untyped-decorator]
    num_returns="streaming",
    max_retries=0,
    _generator_backpressure_num_objects=MAX_PENDING,
)
def work(task: Task, checkpoint: bytes | None, options: Options) -> Iterator[Event]:
    """Restore one image in a worker, and yield its events."""
    events: queue.Queue[Event | None] = queue.Queue(maxsize=1)

    def compute() -> None:  # in one thread, for OpenMP counts the threads of each caller
        restore_image(task, checkpoint, options, lambda *event: events.put((event[0], event[1:])))

    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(compute)
        future.add_done_callback(lambda _: events.put(None))
        while event := events.get():
            yield event
        future.result()
