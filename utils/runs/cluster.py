"""Images on other machines, by Ray: all that knows of it.

A worker gets an image's pixels and yields what happens to it; it writes no file. This process does
what `utils.engine.restore.restore` would have its callbacks do.
"""

import copy
import io
import logging
import os
import queue
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from utils.engine.deblur import Restoration
from utils.engine.memory import bytes_needed, worth_keeping
from utils.engine.restore import Task, restore
from utils.errors import DataError, UsageError, describe
from utils.runs.machine import describe_machine

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # reports nothing to Ray's makers
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of it

import ray  # noqa: E402  reads these when it is imported
from ray.exceptions import RayError, RayTaskError  # noqa: E402

LOCAL = "local"  # the address that stands for a Ray of this process's own

ROOT = Path(__file__).resolve().parents[2]
SENT = ("networks", "utils")  # the packages that a worker imports

PROCESS_BYTES = 400e6  # of a worker that has imported PyTorch
SECONDS_BETWEEN_NEWS = 1.0  # of an image's iterations
MOST_LOSSES = 5  # of workers in a row, without an image getting further
MOST_ON_THE_WAY = 4  # results of one image that were not yet fetched; then its worker waits

Event = tuple[str, tuple[Any, ...]]
"""The name of a callback of `utils.engine.restore.restore`, and its arguments."""


class Cluster:
    """A connection to Ray; as a context manager it ends what still runs there.

    Parameters
    ----------
    address : str
        ``HOST:PORT`` of a cluster that this machine is part of, ``auto`` for the one that runs
        here, or `LOCAL`.
    gpus_per_image : float
        Above 0, at most 1; counts where the cluster has GPUs.
    device : str
        ``cpu`` leaves GPUs aside; otherwise ``auto``.

    Raises
    ------
    UsageError
        If there is no such cluster.
    """

    def __init__(self, address: str, gpus_per_image: float, device: str) -> None:
        self._exit = ExitStack()
        # Ray prints the deaths of its workers, which are dealt with and said here.
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
        """Wait until some image has news, but not for longer than some seconds."""
        if self._running:
            ray.wait(self._running, timeout=seconds)

    def restore(
        self,
        task: Task,
        *,
        checkpoint: bytes | None,
        save_every: int,
        checkpoint_seconds: float,
        on_lost: Callable[[], bytes | None],
        callbacks: dict[str, Callable[..., None]],
    ) -> Iterator[None]:
        """Restore one image in a worker, and call back in this process.

        Parameters
        ----------
        task, checkpoint, save_every
            See `utils.engine.restore.restore`.
        checkpoint_seconds : float
            From one checkpoint to the next.
        on_lost : callable
            Called when the worker or its machine died, for the checkpoint with which another
            worker is to go on.
        callbacks : dict of str to callable
            All of `utils.engine.restore.restore`'s by their names, and ``on_machine``, which takes
            what the worker's `utils.runs.machine.describe_machine` gives.

        Yields
        ------
        None
            After each callback, and whenever there is none to call.

        Raises
        ------
        DataError
            If no machine of the cluster has memory enough, or workers die again and again without
            a checkpoint between.
        Exception
            See `utils.engine.restore.restore`, and whatever a callback raises.
        """
        if task.start:  # reads files, which are here
            state = task.start()
            task = replace(task, start=lambda: state)
        losses = 0

        def keep(content: bytes, iterations_done: int) -> None:
            nonlocal losses
            losses = 0
            callbacks["on_checkpoint"](content, iterations_done)

        while True:
            device = "cuda" if self.gpus_per_image else "cpu"
            worker = work.options(**self.demands(task))
            events = worker.remote(task, device, checkpoint, save_every, checkpoint_seconds)
            try:
                yield from self._follow(events, callbacks | {"on_checkpoint": keep})
                return
            except RayTaskError as error:
                raise error.cause from None
            except RayError as error:
                losses += 1
                if losses == MOST_LOSSES:
                    raise DataError(
                        f"{losses} workers died one after the other ({type(error).__name__}); "
                        "Ray's logs tell why (/tmp/ray/session_latest/logs)"
                    ) from error
            checkpoint = on_lost()

    def _follow(
        self, events: "ray.ObjectRefGenerator", callbacks: dict[str, Callable[..., None]]
    ) -> Iterator[None]:
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
                callbacks[name](*arguments)
                yield
        finally:
            self._running.remove(events)
            ray.cancel(events, force=True)

    def demands(self, task: Task) -> dict[str, float]:
        """Tell what a worker for an image must have, in Ray's words."""
        if self.gpus_per_image:
            return {"num_cpus": 1, "num_gpus": self.gpus_per_image}
        image = task.blurry.shape, task.kernel_size, task.recipe
        needed = PROCESS_BYTES + bytes_needed(*image)
        most = max(node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"])
        if needed > most:
            raise DataError(
                f"needs about {needed / 1e9:.1f} GB of memory, and no machine of the cluster has "
                f"more than {most / 1e9:.1f} GB for it; give a smaller image, or use --recipe quick"
            )
        if worth_keeping(*image):
            needed = min(PROCESS_BYTES + bytes_needed(*image, kept=True), most)
        return {"num_cpus": 1, "memory": needed}


def connect(address: str) -> None:
    """Connect this process to a Ray cluster, or raise a UsageError."""
    host, colon, port = address.rpartition(":")
    try:
        if colon:  # Ray would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        on_sigterm = signal.getsignal(signal.SIGTERM)
        ray.init(
            address=address,
            runtime_env={"py_modules": [str(ROOT / package) for package in SENT]},
            include_dashboard=False if address == LOCAL else None,
            logging_level=logging.CRITICAL,
            log_to_driver=False,
        )
        signal.signal(signal.SIGTERM, on_sigterm)  # which Ray replaces by its own
    except (OSError, ValueError, OverflowError, RuntimeError) as error:
        raise UsageError(
            f"--ray {address}: no cluster that this machine is part of ({describe(error)}); "
            "`ray start` makes one (see README.md), no address stands for this machine alone"
        ) from error


# Ray would start a lost image over, where it can go on from its checkpoint.
@ray.remote(
    num_returns="streaming",
    max_retries=0,
    _generator_backpressure_num_objects=MOST_ON_THE_WAY,
)
def work(
    task: Task, device: str, checkpoint: bytes | None, save_every: int, checkpoint_seconds: float
) -> Iterator[Event]:
    """Restore one image with one thread, and yield each `Event`; runs in a worker."""
    events: queue.Queue[Event | None] = queue.Queue(maxsize=1)
    last_checkpoint = last_news = time.monotonic()

    def send(name: str, *arguments: object) -> None:
        events.put((name, arguments))

    def save(restoration: Restoration, seconds: float) -> None:
        # A copy, for the networks change while it is on its way to a machine without this GPU.
        networks = {name: copy.deepcopy(getattr(restoration, name)).cpu() for name in ("gx", "gk")}
        send("on_save", replace(restoration, **networks), seconds)

    def checkpoint_due() -> bool:
        return time.monotonic() - last_checkpoint >= checkpoint_seconds

    def keep(content: bytes, iterations_done: int) -> None:
        nonlocal last_checkpoint
        send("on_checkpoint", content, iterations_done)
        last_checkpoint = time.monotonic()

    def show(done: int, loss: float) -> None:
        nonlocal last_news
        if time.monotonic() - last_news >= SECONDS_BETWEEN_NEWS:
            send("on_progress", done, loss)
            last_news = time.monotonic()

    def compute() -> None:
        torch.set_num_threads(1)  # of the calling thread, like all that OpenMP counts
        send("on_machine", describe_machine(device))
        restore(
            task,
            device=device,
            checkpoint=checkpoint,
            save_every=save_every,
            on_stage=lambda stage: send("on_stage", stage),
            on_save=save,
            checkpoint_due=checkpoint_due,
            on_checkpoint=keep,
            on_progress=show,
        )

    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(compute)
        future.add_done_callback(lambda _: events.put(None))
        while event := events.get():
            yield event
        future.result()
