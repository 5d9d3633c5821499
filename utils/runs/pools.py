"""Where images are restored: in this process, or side by side in processes of this machine.

`utils.runs.cluster.Cluster` is a third place. The processes are our own since those of
concurrent.futures return nothing before the end, and all fail when one of them is killed.
"""

import copy
import multiprocessing
import pickle
import signal
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Self

from utils.engine.memory import bytes_free
from utils.errors import describe
from utils.runs.interrupt import SIGNALS, Signals
from utils.runs.options import Options
from utils.runs.parallel import inherited

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from utils.engine.restore import Task
    from utils.engine.stage import Restoration

SECONDS_BETWEEN_STEPS = 0.5  # that are reported
PROCESS_BYTES = 400e6  # of a worker that has imported PyTorch

Report = Callable[..., None]
"""Takes the name of an event, which is that of a method of `utils.runs.run.Job`, and its arguments:
on_machine, with what `utils.runs.machine.describe_machine` returns; on_stage, on_step, on_save or
on_checkpoint, as for `utils.engine.restore.restore`; and last on_memory, with `peak_memory`'s.
"""


class WorkerDiedError(Exception):
    """The death of a worker, after which another can resume its image. The message is a remedy."""


class Pool:
    """Where images are restored; as a context manager it ends what still runs there."""

    stops_in_order = True
    """Whether a signal gives the images that are being restored time for a last checkpoint."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def room(self) -> int:
        """How many images to restore at a time."""
        return 1

    def wait(self, seconds: float) -> None:
        """Wait for an event of any image, at most for so many seconds."""

    def stop(self) -> None:
        """Have each image report a checkpoint as soon as it can."""

    def restore(self, task: "Task", checkpoint: bytes | None, report: Report) -> Generator[None]:
        """Restore an image, and yield whenever others may have their turn.

        Raises
        ------
        WorkerDiedError
            If the process that restored it has died.
        """
        raise NotImplementedError


class Here(Pool):
    """This process, which restores one image at a time."""

    def __init__(self, options: Options, signals: Signals) -> None:
        self.options, self.signals = options, signals

    def restore(self, task: "Task", checkpoint: bytes | None, report: Report) -> Generator[None]:
        yield
        restore_image(
            task, checkpoint, self.options, report, lambda: self.signals.received is not None
        )


def restore_image(
    task: "Task",
    checkpoint: bytes | None,
    options: Options,
    report: Report,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Restore an image in this process, and report its events.

    Parameters
    ----------
    task, checkpoint
        See `utils.engine.restore.restore`.
    options : Options
        Device, threads, and the intervals between results and between checkpoints.
    report : Report
        Where the events go. What it gets is not changed afterwards, and lies on the CPU.
    stopped : callable
        Returns whether a checkpoint is due at once.
    """
    import torch

    from utils.engine.restore import restore
    from utils.runs.machine import describe_machine, forget_peak_memory, peak_memory

    last_checkpoint = last_step = time.monotonic()

    def show(done: int, total: int, detail: str) -> None:
        nonlocal last_step
        if time.monotonic() - last_step >= SECONDS_BETWEEN_STEPS or done == total:
            report("on_step", done, total, detail)
            last_step = time.monotonic()

    def save(restoration: "Restoration", records: list[dict[str, Any]]) -> None:
        gx, gk = copy.deepcopy((restoration.gx, restoration.gk))
        copied = replace(restoration, gx=gx and gx.cpu(), gk=gk and gk.cpu())
        report("on_save", copied, copy.deepcopy(records))

    def checkpoint_due() -> bool:
        return stopped() or time.monotonic() - last_checkpoint >= options.checkpoint_seconds

    def keep(content: bytes, record: dict[str, Any]) -> None:
        nonlocal last_checkpoint
        report("on_checkpoint", content, dict(record))
        last_checkpoint = time.monotonic()

    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads or threads)
    forget_peak_memory()
    try:
        report("on_machine", describe_machine(options.device))
        restore(
            task,
            device=options.device,
            checkpoint=checkpoint,
            save_every=options.save_frequency,
            on_stage=lambda record: report("on_stage", dict(record)),
            on_step=show,
            on_save=save,
            checkpoint_due=checkpoint_due,
            on_checkpoint=keep,
        )
        report("on_memory", peak_memory())
    finally:
        torch.set_num_threads(threads)


class Workers(Pool):
    """Processes of this machine, each of which restores one image at a time."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.context = multiprocessing.get_context("spawn")
        self.stopped: Event = self.context.Event()
        self.idle: list[Worker] = []
        self.busy: list[Worker] = []
        self.free = bytes_free()
        self.reserved = 0.0

    def __exit__(self, *exception: object) -> None:
        for worker in [*self.idle, *self.busy]:
            worker.end()

    def room(self) -> int:
        return self.options.workers

    def wait(self, seconds: float) -> None:
        if self.busy:
            wait([worker.connection for worker in self.busy], seconds)

    def stop(self) -> None:
        self.stopped.set()

    def restore(self, task: "Task", checkpoint: bytes | None, report: Report) -> Generator[None]:
        needed = PROCESS_BYTES + task.bytes_needed(roomy=True)
        while self.reserved and self.free is not None and self.reserved + needed > self.free:
            yield
        self.reserved += needed
        worker = self.idle.pop() if self.idle else Worker(self)
        self.busy.append(worker)
        try:
            fault = yield from worker.restore(task, checkpoint, report)
            self.idle.append(worker)
        except (EOFError, ConnectionError) as error:
            worker.end()
            raise WorkerDiedError(
                "perhaps for lack of memory; use fewer of them (--workers 1)"
            ) from error
        except BaseException:
            worker.end()
            raise
        finally:
            self.busy.remove(worker)
            self.reserved -= needed
        if fault:
            raise fault


class Worker:
    """One process of `Workers`, as seen from this one."""

    def __init__(self, workers: Workers) -> None:
        self.connection, theirs = workers.context.Pipe()
        arguments = (theirs, workers.stopped, replace(workers.options, images=[]))
        self.process = workers.context.Process(target=serve, args=arguments, daemon=True)
        with inherited(workers.options.threads or 1):
            self.process.start()
        theirs.close()

    def restore(
        self, task: "Task", checkpoint: bytes | None, report: Report
    ) -> Generator[None, None, Exception | None]:
        """Restore an image there, report its events here, and return the error, if any."""
        self.connection.send_bytes(pickle.dumps((task, checkpoint)))
        while True:
            while not self.connection.poll():
                yield
            name, arguments = pickle.loads(self.connection.recv_bytes())
            if name == "end":
                return arguments[0]
            report(name, *arguments)
            yield

    def end(self) -> None:
        """Kill the process, whatever it is doing."""
        self.connection.close()
        self.process.kill()
        self.process.join()


def serve(connection: Connection, stopped: "Event", options: Options) -> None:
    """Restore one image after another for the process at the other end, as long as it lives."""
    for number in SIGNALS:  # the other process decides what becomes of them
        signal.signal(number, signal.SIG_IGN)

    def send(name: str, *arguments: object) -> None:
        # Not connection.send, for which PyTorch puts tensors into shared memory.
        connection.send_bytes(pickle.dumps((name, arguments)))

    with suppress(EOFError, OSError):
        while True:
            task, checkpoint = pickle.loads(connection.recv_bytes())
            try:
                restore_image(task, checkpoint, options, send, stopped.is_set)
                send("end", None)
            except Exception as error:
                send("end", as_sendable(error))


def as_sendable(error: Exception) -> Exception:
    """Replace an exception that cannot be pickled by one with the same message."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(describe(error))
    return error
