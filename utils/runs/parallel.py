"""Call one function for many items, in several processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from utils.errors import DataError
from utils.images.opencv import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int
) -> Iterator[Result]:
    """Call a function for each of many items, in several processes of one thread each.

    Parameters
    ----------
    function : callable
        Defined in a module, so that the processes can import it.
    items : sequence
        Its arguments.
    jobs : int
        How many processes; with 1 everything is done in this one.

    Yields
    ------
    any
        The results, in the order in which they are ready.

    Raises
    ------
    DataError
        If a process is killed from outside.
    Exception
        What the function raises; the remaining items are then dropped.
    """
    jobs = min(jobs, len(items))
    if jobs <= 1:
        yield from map(function, items)
        return
    executor = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), cv2.setNumThreads, (1,)
    )
    try:
        with inherited():
            futures = [executor.submit(function, item) for item in items]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process was killed, perhaps for lack of memory; use fewer of them (--jobs 1)"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def inherited(threads: int = 1) -> Iterator[None]:
    """Have processes that start within this context use so many threads, and ignore Ctrl-C.

    Ctrl-C ends this process, which then ends the others and reports that once.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    in_main_thread = threading.current_thread() is threading.main_thread()  # others get no signals
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, on_interrupt)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
