"""Images on other machines, by Ray: all that knows of it.

A worker gets an image's pixels and yields what happens to it; it writes no file.
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
from utils.runs.options import LOCAL
from utils.runs.pools import MAX_LOSSES, PROCESS_BYTES, Callbacks, restore_and_send

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # reports nothing to Ray's makers
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of it

import ray  # noqa: E402  reads these when it is imported
from ray._private import services  # noqa: E402
from ray.exceptions import RayError, RayTaskError  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SENT = ("networks", "utils")  # the packages that a worker imports

MAX_ON_THE_WAY = 4  # results of one image that were not yet fetched; then its worker waits

Event = tuple[str, tuple[Any, ...]]
"""The name of one of the `Callbacks`, and its arguments."""


class Cluster:
    """A connection to Ray, see `utils.runs.pools.Pool`.

    Parameters
    ----------
    address : str
        ``HOST:PORT`` of a cluster that this machine is part of, ``auto`` for the one that runs
        here, or `LOCAL`.
    gpus_per_image : float
        Above 0, at most 1; counts where the cluster has GPUs.
    device : str
        ``cpu`` leaves GPUs aside; otherwise ``auto``.
    save_every, checkpoint_seconds
        See `utils.runs.pools.Here`.

    Raises
    ------
    UsageError
        If there is no such cluster.
    """

    stops_in_order = False

    def __init__(
        self,
        address: str,
        gpus_per_image: float,
        device: str,
        save_every: int,
        checkpoint_seconds: float,
    ) -> None:
        self._exit = ExitStack()
        # Ray prints the deaths of its workers, which are dealt with and reported here.
        self._exit.enter_context(redirect_stdout(io.StringIO()))
        try:
            connect(address)
        except BaseException:
            self._exit.close()
            raise
        self._exit.callback(ray.shutdown)
        self._running: list[ray.ObjectRefGenerator] = []
        has_gpus = device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
        self.gpus_per_image = gpus_per_image if has_gpus else 0
        self.settings = {
            "device": "cuda" if has_gpus else "cpu",
            "threads": 1,
            "save_every": save_every,
            "checkpoint_seconds": checkpoint_seconds,
        }

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *exception: object) -> None:
        self._exit.close()

    def room(self) -> int:
        """Tell how many images to have in work: one for each free place, and one that waits."""
        resources = ray.cluster_resources()
        if self.gpus_per_image:
            return int(resources.get("GPU", 0) / self.gpus_per_image) + 1
        return int(resources.get("CPU", 0)) + 1

    def wait(self, seconds: float) -> None:
        if self._running:
            ray.wait(self._running, timeout=seconds)

    def stop(self) -> None:
        pass

    def restore(
        self, task: Task, checkpoint: bytes | None, callbacks: Callbacks
    ) -> Generator[None]:
        losses = 0

        def keep(content: bytes, record: dict[str, Any]) -> None:
            nonlocal losses
            losses = 0
            callbacks.on_checkpoint(content, record)

        while True:
            worker = work.options(**self.demands(task))
            events = worker.remote(task, checkpoint, self.settings)
            try:
                yield from self._follow(events, replace(callbacks, on_checkpoint=keep))
                return
            except RayTaskError as error:
                raise error.cause from None
            except RayError as error:
                losses += 1
                if losses == MAX_LOSSES:
                    raise DataError(
                        f"{losses} workers died one after the other ({type(error).__name__}); "
                        "Ray's logs tell why (/tmp/ray/session_latest/logs)"
                    ) from error
            checkpoint = callbacks.on_lost()

    def _follow(self, events: "ray.ObjectRefGenerator", callbacks: Callbacks) -> Generator[None]:
        """Call back for each event of a worker, and end the worker when this ends."""
        self._running.append(events)
        try:
            while True:
                while not ray.wait([events], timeout=0)[0]:
                    yield
                event = next(events, None)
                if event is None:
                    return
                name, arguments = ray.get(event)
                getattr(callbacks, name)(*arguments)
                yield
        finally:
            self._running.remove(events)
            ray.cancel(events, force=True)

    def demands(self, task: Task) -> dict[str, float]:
        """Give what a worker for an image must have, in Ray's words."""
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
    options: dict[str, Any] = {}
    if address == LOCAL:
        # Ray takes the loopback address for that of the network, and then listens on all of them.
        services.resolve_ip_for_localhost = lambda host: host
        options = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
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
            **options,
        )
        signal.signal(signal.SIGTERM, on_sigterm)  # which Ray replaces by its own
    except (OSError, ValueError, OverflowError, RuntimeError) as error:
        raise UsageError(
            f"--ray {address}: no cluster that this machine is part of ({describe(error)}); "
            "`ray start` makes one (see README.md), no address stands for this machine alone"
        ) from error


# Ray would start a lost image over, where it can go on from its checkpoint.
@ray.remote(  # type: ignore[call-overload, untyped-decorator]
    num_returns="streaming",
    max_retries=0,
    _generator_backpressure_num_objects=MAX_ON_THE_WAY,
)
def work(task: Task, checkpoint: bytes | None, settings: dict[str, Any]) -> Iterator[Event]:
    """Restore one image, and yield each `Event`; runs in a worker."""
    events: queue.Queue[Event | None] = queue.Queue(maxsize=1)

    def compute() -> None:  # in one thread, for OpenMP counts the threads of each caller
        restore_and_send(
            lambda name, *arguments: events.put((name, arguments)), task, checkpoint, **settings
        )

    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(compute)
        future.add_done_callback(lambda _: events.put(None))
        while event := events.get():
            yield event
        future.result()
