"""SIGINT (Ctrl-C) and SIGTERM: the first ends a run in order, a second one at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from utils.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """What signals this process got.

    As a context manager it handles them, except those that the process was started to ignore (as
    the background jobs of a shell are).

    Parameters
    ----------
    hint : str
        How to resume; the message of the `Interrupted` that a signal raises.
    """

    def __init__(self, hint: str) -> None:
        self.hint = hint
        self.received: int | None = None
        self._postponed = False
        self._replaced: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # others get no signals
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._replaced[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        self._replaced.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        for each in self._replaced:
            signal.signal(each, signal.SIG_DFL)
        if not self._postponed:
            self.check()

    def check(self) -> None:
        """Raise an `Interrupted` if a signal has come."""
        if self.received is not None:
            raise Interrupted(self.received, self.hint)

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Within this context a signal only sets `received`, so that the work can end cleanly."""
        self._postponed = True
        try:
            yield
        finally:
            self._postponed = False
