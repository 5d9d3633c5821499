"""Progress bars that stay readable when the output goes to a file."""

import sys
from typing import TextIO

from tqdm import tqdm

from utils.errors import printable

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


def cluster_bar(total: int) -> tqdm:
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


def iteration_bar(name: str, total: int, done: int = 0) -> tqdm:
    """Make the bar over one image's iterations.

    Parameters
    ----------
    name : str
        The image's name.
    total : int
        Its iterations.
    done : int
        How many of them an earlier run has done.

    Returns
    -------
    tqdm
        A bar that shows iterations per second, the time left, and its postfix; in a file, as a
        line every `SECONDS_BETWEEN_LINES`.
    """
    state = "{desc}: {n_fmt}/{total_fmt}{postfix}, {rate_noinv_fmt}, {remaining} left"
    if sys.stderr.isatty():
        return tqdm(
            total=total,
            initial=done,
            desc=printable(name),
            unit="it",
            bar_format="{percentage:3.0f}%|{bar}| " + state,
            dynamic_ncols=True,
            leave=False,
        )
    return tqdm(
        total=total,
        initial=done,
        desc=printable(name),
        unit="it",
        bar_format=state,
        file=Lines(sys.stderr),
        mininterval=SECONDS_BETWEEN_LINES,
        leave=False,
    )


def say(message: str) -> None:
    """Write a line to stderr without tearing a bar apart."""
    tqdm.write(printable(message), file=sys.stderr)
