"""Locks by which several processes share the work on one results folder."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from utils.log import log

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


class HeldElsewhereError(Exception):
    """Another process, which is alive, holds the lock."""


@contextmanager
def hold(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock, which the system releases when its holder dies, however it dies.

    Parameters
    ----------
    path : Path
        The lock's file. It exists only while the lock is held, or if its holder was killed.
    wait : bool
        Whether to wait for a lock that another process holds.

    Raises
    ------
    HeldElsewhereError
        If another process holds the lock and `wait` is False.
    OSError
        If the folder is missing or cannot be written. If its file system has no locks, there is a
        warning, and nothing is locked.
    """
    if not path.parent.is_dir():  # FileLock would create it
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    # Not a soft lock, a mere file that would outlive a holder that was killed.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except Timeout as error:
        raise HeldElsewhereError(path) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning(
            "%s: has no locks (%s); run only one process at a time here",
            path.parent,
            error.strerror,
        )
        yield
        return
    try:
        yield
    finally:
        # Before the release: a process that has opened the file meanwhile sees that it is gone.
        with suppress(OSError):
            path.unlink()
        lock.release()
