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
    """A lock that another process holds, which is alive."""


@contextmanager
def hold(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock, which the system gives back when its holder dies, however it dies.

    Parameters
    ----------
    path : Path
        The lock's file. It is there only while the lock is held, or its holder was killed.
    wait : bool
        Whether to wait for a lock that another process holds.

    Raises
    ------
    HeldElsewhereError
        If another process holds the lock and `wait` is False.
    OSError
        If the folder is missing or cannot be written. Where its file system has no locks, that is
        said, and nothing is locked.
    """
    if not path.parent.is_dir():  # which FileLock would make
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    # Not a soft lock, which is a mere file and would outlive a holder that was killed.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except Timeout as error:
        raise HeldElsewhereError(path) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning(
            "%s: has no locks (%s); let one process at a time work here",
            path.parent,
            error.strerror,
        )
        yield
        return
    try:
        yield
    finally:
        # Before the release: whoever has opened the file meanwhile sees that it is gone.
        with suppress(OSError):
            path.unlink()
        lock.release()
