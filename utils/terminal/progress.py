"""Progress bars that stay readable when the output goes to a file."""

import logging
import sys
from typing import TextIO

from tqdm import tqdm

from utils.errors import printable
from utils.log import log
from utils.runs.display import Display

SECONDS_BETWEEN_LINES = 30


class Lines:
    """A stream for tqdm that writes a line for each state of a bar, for outputs without a cursor.

    Parameters
    ----------
    stream : text stream
        Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        text = text.strip()
        if text:
            self.stream.write(text + "\n")

    def flush(self) -> None:
        self.stream.flush()


def image_bar(total: int) -> tqdm:
    """Make the bar over all images; where the output is a file, its lines come with each image."""
    return tqdm(
        total=total,
        desc="images",
        unit="image",
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
    )


def line_bar(total: int) -> tqdm:
    """Make the bar over all images where many are in work; its postfix shall name these.

    In a file it is a line every `SECONDS_BETWEEN_LINES`.
    """
    state = "images: {n_fmt}/{total_fmt}, {elapsed}{postfix}"
    if sys.stderr.isatty():
        state = "{percentage:3.0f}%|{bar:10}| " + state
        return tqdm(total=total, bar_format=state, dynamic_ncols=True, miniters=0)
    return tqdm(
        total=total,
        bar_format=state,
        file=Lines(sys.stderr),
        mininterval=SECONDS_BETWEEN_LINES,
        miniters=0,
        leave=False,
    )


def stage_bar(title: str, total: int, done: int = 0) -> tqdm:
    """Make the bar over one stage of an image.

    Parameters
    ----------
    title : str
        The image's name and the stage's.
    total : int
        The stage's steps.
    done : int
        How many of them an earlier run has done.

    Returns
    -------
    tqdm
        A bar that shows steps per second, the time left, and its postfix; in a file, as a line
        every `SECONDS_BETWEEN_LINES`.
    """
    state = "{desc}: {n_fmt}/{total_fmt}{postfix}, {rate_noinv_fmt}, {remaining} left"
    common = {"total": total, "initial": done, "desc": printable(title), "unit": "it"}
    if sys.stderr.isatty():
        return tqdm(
            **common,
            bar_format="{percentage:3.0f}%|{bar}| " + state,
            dynamic_ncols=True,
            leave=False,
        )
    return tqdm(
        **common,
        bar_format=state,
        file=Lines(sys.stderr),
        mininterval=SECONDS_BETWEEN_LINES,
        leave=False,
        position=0,  # else tqdm moves the cursor from bar to bar
    )


MAX_BARS = 4  # more images in work than this share one line


class Bars(Display):
    """Progress bars: one over all images, and one for each image in work."""

    def __init__(self) -> None:
        self.total = tqdm(disable=True)
        self.one_line = False
        self.bars: dict[str, tqdm] = {}
        self.stages: dict[str, str] = {}  # of each image in work
        self.counts: dict[str, str] = {}  # steps done, where images share a line

    def start(self, images: int, at_once: int) -> None:
        self.one_line = at_once > MAX_BARS
        self.total = line_bar(images) if self.one_line else image_bar(images)

    def begin(self, name: str, stage: str, done: int, total: int) -> None:
        self.end(name)
        self.stages[name], self.counts[name] = stage, ""

    def step(self, name: str, done: int, total: int, detail: str) -> None:
        if self.one_line:
            self.counts[name] = f"{done}/{total}"
            self._show_states()
            return
        if name not in self.bars:
            self.bars[name] = stage_bar(f"{name} {self.stages[name]}", total, done - 1)
        bar = self.bars[name]
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
    """Writes each message as a line of stderr, without tearing a bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def show_messages() -> None:
    """Show from now on what runs say (see `utils.log`)."""
    if not any(isinstance(handler, Messages) for handler in log.handlers):
        log.addHandler(Messages())
        log.setLevel(logging.INFO)


def say(message: str) -> None:
    """Write a line to stderr without tearing a bar apart."""
    tqdm.write(printable(message), file=sys.stderr)
