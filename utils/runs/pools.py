"""Where images are restored: in this process, or side by side in processes of this machine.

`utils.runs.cluster.Cluster` is a third place, with the same methods.
"""

import multiprocessing
import pickle
import signal
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Protocol

from utils.engine.memory import bytes_free
from utils.errors import DataError, describe
from utils.runs.interrupt import SIGNALS, Signals
from utils.runs.parallel import inherited

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from utils.engine.restore import Task
    from utils.engine.stage import Restoration

SECONDS_BETWEEN_STEPS = 0.5  # that a worker reports of
PROCESS_BYTES = 400e6  # of a worker that has imported PyTorch
MAX_LOSSES = 5  # of workers in a row, without an image getting further


@dataclass(frozen=True)
class Callbacks:
    """What a pool calls while it restores an image.

    Parameters
    ----------
    on_machine : callable
        Takes what `utils.runs.machine.describe_machine` says of where the image is restored.
    on_stage, on_step, on_save, on_checkpoint : callable
        See `utils.engine.restore.restore`.
    on_lost : callable
        Called when a worker died, for the checkpoint with which another is to go on.
    """

    on_machine: Callable[[dict[str, Any]], None]
    on_stage: Callable[[dict[str, Any]], None]
    on_step: Callable[[int, int, str], None]
    on_save: Callable[["Restoration", list[dict[str, Any]]], None]
    on_checkpoint: Callable[[bytes, dict[str, Any]], None]
    on_lost: Callable[[], bytes | None]


class Pool(Protocol):
    """Where images are restored; as a context manager it ends what still runs there."""

    stops_in_order: bool
    """Whether images in work end with a last checkpoint when a signal came."""

    def __enter__(self) -> "Pool": ...

    def __exit__(self, *exception: object) -> None: ...

    def room(self) -> int:
        """Tell how many images to have in work."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait until some image has news, but not for longer than some seconds."""
        ...

    def stop(self) -> None:
        """Let each image in work give a last checkpoint and end."""
        ...

    def restore(
        self, task: "Task", checkpoint: bytes | None, callbacks: Callbacks
    ) -> Generator[None]:
        """Restore an image, and yield whenever others may have their turn."""
        ...


class Here:
    """This process, which restores one image at a time.

    Parameters
    ----------
    device : str
        Where to compute.
    threads : int or None
        Of PyTorch; None leaves them as they are.
    save_every : int
        Iterations from one intermediate result to the next.
    checkpoint_seconds : float
        From one checkpoint to the next.
    signals : Signals
        What may end the work.
    """

    stops_in_order = True

    def __init__(
        self,
        device: str,
        threads: int | None,
        save_every: int,
        checkpoint_seconds: float,
        signals: Signals,
    ) -> None:
        self.device, self.threads, self.save_every = device, threads, save_every
        self.checkpoint_seconds, self.signals = checkpoint_seconds, signals
        self.last_checkpoint = time.monotonic()

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def room(self) -> int:
        return 1

    def wait(self, seconds: float) -> None:
        pass

    def stop(self) -> None:
        pass

    def checkpoint_due(self) -> bool:
        """Tell whether it is time for a checkpoint, or a signal has come."""
        elapsed = time.monotonic() - self.last_checkpoint
        return elapsed >= self.checkpoint_seconds or self.signals.received is not None

    def restore(
        self, task: "Task", checkpoint: bytes | None, callbacks: Callbacks
    ) -> Generator[None]:
        import torch

        from utils.engine.restore import restore
        from utils.runs.machine import describe_machine

        yield

        def keep(content: bytes, record: dict[str, Any]) -> None:
            callbacks.on_checkpoint(content, record)
            self.last_checkpoint = time.monotonic()

        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads or threads)
        self.last_checkpoint = time.monotonic()
        try:
            callbacks.on_machine(describe_machine(self.device))
            restore(
                task,
                device=self.device,
                checkpoint=checkpoint,
                save_every=self.save_every,
                on_stage=callbacks.on_stage,
                on_step=callbacks.on_step,
                on_save=callbacks.on_save,
                checkpoint_due=self.checkpoint_due,
                on_checkpoint=keep,
            )
        finally:
            torch.set_num_threads(threads)


Send = Callable[..., None]
"""Takes the name of one of the `Callbacks` and its arguments."""


def restore_and_send(
    send: Send,
    task: "Task",
    checkpoint: bytes | None,
    *,
    device: str,
    threads: int,
    save_every: int,
    checkpoint_seconds: float,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Restore an image in a process that writes no files, and send all that happens to it.

    Parameters
    ----------
    send : callable
        Takes the name of a callback and its arguments.
    task, checkpoint
        See `utils.engine.restore.restore`.
    device, threads, save_every, checkpoint_seconds
        See `Here`.
    stopped : callable
        Tells whether the work is to end after one more checkpoint.
    """
    import copy

    import torch

    from utils.engine.restore import restore
    from utils.runs.machine import describe_machine

    last_checkpoint = last_step = time.monotonic()

    def show(done: int, total: int, detail: str) -> None:
        nonlocal last_step
        if time.monotonic() - last_step >= SECONDS_BETWEEN_STEPS or done == total:
            send("on_step", done, total, detail)
            last_step = time.monotonic()

    def save(restoration: "Restoration", records: list[dict[str, Any]]) -> None:
        # A copy, for the networks change while it is on its way to a process without this GPU.
        networks = {
            name: network and copy.deepcopy(network).cpu()
            for name in ("gx", "gk")
            for network in [getattr(restoration, name)]
        }
        send("on_save", replace(restoration, **networks), copy.deepcopy(records))

    def checkpoint_due() -> bool:
        return stopped() or time.monotonic() - last_checkpoint >= checkpoint_seconds

    def keep(content: bytes, record: dict[str, Any]) -> None:
        nonlocal last_checkpoint
        send("on_checkpoint", content, dict(record))
        last_checkpoint = time.monotonic()
        if stopped():
            raise StoppedError

    torch.set_num_threads(threads)
    send("on_machine", describe_machine(device))
    restore(
        task,
        device=device,
        checkpoint=checkpoint,
        save_every=save_every,
        on_stage=lambda record: send("on_stage", dict(record)),
        on_step=show,
        on_save=save,
        checkpoint_due=checkpoint_due,
        on_checkpoint=keep,
    )


class StoppedError(Exception):
    """The end of an image's restoration in a worker that was told to stop."""


class Workers:
    """Processes of this machine, each of which restores one image at a time.

    Parameters
    ----------
    count : int
        How many.
    device, threads, save_every, checkpoint_seconds
        See `Here`.
    """

    stops_in_order = True

    def __init__(
        self, count: int, device: str, threads: int, save_every: int, checkpoint_seconds: float
    ) -> None:
        self.count, self.threads = count, threads
        self.settings = {
            "device": device,
            "threads": threads,
            "save_every": save_every,
            "checkpoint_seconds": checkpoint_seconds,
        }
        self.context = multiprocessing.get_context("spawn")
        self.stop_event: Event = self.context.Event()
        self.idle: list[Worker] = []
        self.busy: list[Worker] = []
        self.free = bytes_free()
        self.reserved = 0.0

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in [*self.idle, *self.busy]:
            worker.end()

    def room(self) -> int:
        return self.count

    def wait(self, seconds: float) -> None:
        if self.busy:
            wait([worker.connection for worker in self.busy], seconds)

    def stop(self) -> None:
        self.stop_event.set()

    def restore(
        self, task: "Task", checkpoint: bytes | None, callbacks: Callbacks
    ) -> Generator[None]:
        needed = PROCESS_BYTES + task.bytes_needed(roomy=True)
        while self.reserved and self.free is not None and self.reserved + needed > self.free:
            yield
        self.reserved += needed
        losses = 0

        def keep(content: bytes, record: dict[str, Any]) -> None:
            nonlocal losses
            losses = 0
            callbacks.on_checkpoint(content, record)

        try:
            while True:
                worker = self.idle.pop() if self.idle else Worker(self)
                self.busy.append(worker)
                try:
                    worker.send(task, checkpoint)
                    yield from worker.follow(replace(callbacks, on_checkpoint=keep))
                    self.idle.append(worker)
                    return
                except (EOFError, ConnectionError) as error:
                    worker.end()
                    losses += 1
                    if losses == MAX_LOSSES:
                        raise DataError(
                            f"{losses} workers died one after the other, perhaps for want of "
                            "memory; use fewer of them (--workers 1)"
                        ) from error
                except WorkerError as error:
                    self.idle.append(worker)
                    raise error.error from None
                except BaseException:
                    worker.end()
                    raise
                finally:
                    self.busy.remove(worker)
                checkpoint = callbacks.on_lost()
        finally:
            self.reserved -= needed


class WorkerError(Exception):
    """An error that ended an image's restoration in a worker, which itself goes on."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Worker:
    """One process of `Workers`, as this process sees it."""

    def __init__(self, workers: Workers) -> None:
        self.connection, theirs = workers.context.Pipe()
        self.process = workers.context.Process(
            target=serve, args=(theirs, workers.stop_event, workers.settings), daemon=True
        )
        with inherited(workers.threads):
            self.process.start()
        theirs.close()

    def send(self, task: "Task", checkpoint: bytes | None) -> None:
        """Give the worker an image to restore."""
        self.connection.send_bytes(pickle.dumps((task, checkpoint)))

    def follow(self, callbacks: Callbacks) -> Generator[None]:
        """Call back for all that the worker sends, until its image is done."""
        while True:
            while not self.connection.poll():
                yield
            name, arguments = pickle.loads(self.connection.recv_bytes())
            if name == "error":
                raise WorkerError(*arguments)
            if name == "done":
                return
            getattr(callbacks, name)(*arguments)
            yield

    def end(self) -> None:
        """End the process, whatever it does."""
        self.connection.close()
        self.process.kill()
        self.process.join()


def serve(connection: Connection, stop_event: "Event", settings: dict[str, Any]) -> None:
    """Restore one image after another, as long as the process at the other end lives."""
    for number in SIGNALS:  # the process at the other end decides what becomes of them
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            task, checkpoint = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return

        def send(name: str, *arguments: object) -> None:
            connection.send_bytes(pickle.dumps((name, arguments)))

        try:
            try:
                restore_and_send(send, task, checkpoint, stopped=stop_event.is_set, **settings)
                send("done")
            except (BrokenPipeError, ConnectionError):
                return
            except Exception as error:
                send("error", as_sendable(error))
        except OSError:
            return


def as_sendable(error: Exception) -> Exception:
    """Give an exception as it is, if it can be pickled, or one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(describe(error))
    return error
