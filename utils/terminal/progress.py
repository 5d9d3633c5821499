"""Progress bars that stay readable when the output goes to a file."""

import logging
import sys
from typing import Any, TextIO

from tqdm import tqdm

from utils.errors import printable
from utils.log import log
from utils.runs.display import Display

SECONDS_BETWEEN_LINES = 30
MAX_BARS = 4  # more images at a time than this share one line


class Lines:
    """A stream for tqdm that writes each state of a bar as a line, for outputs without a cursor."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        text = text.strip()
        if text:
            self.stream.write(text + "\n")

    def flush(self) -> None:
        self.stream.flush()


def image_bar(total: int) -> tqdm:
    """Make a bar over images; in a file it is hidden, where each image has its own line."""
    hidden = not sys.stderr.isatty()
    return tqdm(total=total, desc="images", unit="image", dynamic_ncols=True, disable=hidden)


def make_bar(state: str, **arguments: Any) -> tqdm:
    """Make a bar followed by `state`, or in a file, `state` every `SECONDS_BETWEEN_LINES`."""
    if sys.stderr.isatty():
        state = "{percentage:3.0f}%|{bar}| " + state
        return tqdm(bar_format=state, dynamic_ncols=True, leave=False, **arguments)
    return tqdm(
        bar_format=state,
        file=Lines(sys.stderr),
        mininterval=SECONDS_BETWEEN_LINES,
        leave=False,
        position=0,  # else tqdm moves the cursor from bar to bar
        **arguments,
    )


class Bars(Display):
    """Progress bars: one over all images, and one for each image that is being restored."""

    def __init__(self) -> None:
        self.total = tqdm(disable=True)
        self.one_line = False
        self.bars: dict[str, tqdm] = {}
        self.stages: dict[str, str] = {}  # by the names of the images that are being restored
        self.counts: dict[str, str] = {}  # steps done, where images share a line

    def start(self, images: int, at_once: int) -> None:
        self.one_line = at_once > MAX_BARS
        if self.one_line:
            state = "images: {n_fmt}/{total_fmt}, {elapsed}{postfix}"
            self.total = make_bar(state, total=images, miniters=0)
        else:
            self.total = image_bar(images)

    def begin(self, name: str, stage: str, done: int, total: int) -> None:
        self.end(name)
        self.stages[name], self.counts[name] = stage, ""

    def step(self, name: str, done: int, total: int, detail: str) -> None:
        if self.one_line:
            self.counts[name] = f"{done}/{total or '?'}"
            self._show_states()
            return
        if name not in self.bars:
            self.bars[name] = make_bar(
                "{desc}: {n_fmt}/{total_fmt}{postfix}, {rate_noinv_fmt}, {remaining} left",
                total=total or None,
                initial=done - 1,
                desc=printable(f"{name} {self.stages[name]}"),
                unit="it",
            )
        bar = self.bars[name]
        bar.total = total or None  # which a stage may learn on its way
        # Without a total tqdm would say that no time is left.
        timed = bar.bar_format.replace("? left", "{remaining} left")
        bar.bar_format = timed if total else timed.replace("{remaining}", "?")
        bar.set_postfix_str(detail, refresh=False)
        bar.update(done - bar.n)

    def end(self, name: str) -> None:
        if name in self.bars:
            self.bars.pop(name).close()
        self.stages.pop(name, None)

    def image_done(self) -> None:
        self.total.update()

    def close(self) -> None:
        for name in list(self.stages):
            self.end(name)
        self.total.close()

    def _show_states(self) -> None:
        states = ", ".join(
            printable(f"{name} {stage} {self.counts[name]}") for name, stage in self.stages.items()
        )
        self.total.set_postfix_str(states, refresh=False)
        self.total.update(0)


class Messages(logging.Handler):
    """Writes each message as a line of stderr, without breaking a bar."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def show_messages() -> None:
    """Show the messages of `utils.log` from now on."""
    if not any(isinstance(handler, Messages) for handler in log.handlers):
        log.addHandler(Messages())
        log.setLevel(logging.INFO)


def say(message: str) -> None:
    """Write a line to stderr without breaking a bar."""
    tqdm.write(printable(message), file=sys.stderr)
