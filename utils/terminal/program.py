"""What every program's command line has in common: types, one-line messages, exit statuses.

0 means that everything was done, 1 that some data was bad or some image failed, 2 that the
command itself was wrong, 128 plus a signal's number that it was interrupted.
"""

import argparse
import io
import math
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import DataError, Interrupted, UsageError, describe, printable
from utils.runs.options import AUTO
from utils.terminal.progress import show_messages


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that reports a wrong command in one line.

    Options must be written in full, and the program's docstring is shown by ``--help`` unchanged.
    """

    def __init__(self, description: str) -> None:
        super().__init__(
            description=description,
            # Room for most options beside their help.
            formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=29),
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        message = printable(" ".join(message.split()))
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def integer(low: int, high: float = math.inf) -> Callable[[str], int]:
    """Make an argparse type: an integer from `low` to `high`, both included."""
    return _number(int, low, high)


def real(low: float, high: float = math.inf) -> Callable[[str], float]:
    """Make an argparse type: a finite number from `low` to `high`, both included."""
    return _number(float, low, high)


def _number(kind: type, low: float, high: float) -> Callable[[str], Any]:
    bounds = f"{low} or more" if high == math.inf else f"from {low} to {high}"

    def parse(text: str) -> Any:
        value = kind(text)
        if not low <= value <= high or value == math.inf:
            raise argparse.ArgumentTypeError(f"must be {bounds}, not {text}")
        return value

    parse.__name__ = kind.__name__  # which argparse names if the text is no number at all
    return parse


def kernel_side(text: str) -> int | str:
    """An argparse type: the height or width of a kernel, or `AUTO`."""
    if text == AUTO:
        return text
    if not text.isdecimal() or int(text) < 3 or int(text) % 2 == 0:
        raise argparse.ArgumentTypeError(f"must be odd and 3 or more, not {text}")
    return int(text)


def nonempty_path(text: str) -> Path:
    """An argparse type: a path."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text)


class HeightWidth(argparse.Action):
    """Stores one number or two, with ``nargs="+"``, as a height and a width; `AUTO` as itself."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if len(values) > 2:
            shown = " ".join(map(str, values))
            raise argparse.ArgumentError(
                self, f"takes one number, or height and width, not {shown}"
            )
        if AUTO in values:
            if len(values) > 1:
                raise argparse.ArgumentError(self, f"{AUTO} stands alone")
            setattr(namespace, self.dest, AUTO)
        else:
            setattr(namespace, self.dest, (values[0], values[-1]))


def run_program(main: Callable[[list[str]], int]) -> NoReturn:
    """Run a program's `main` on the command line's arguments and exit with its status.

    Parameters
    ----------
    main : callable
        Takes the list of arguments, returns the exit status. If it raises a `DataError` or an
        `OSError`, the program ends with one line and status 1; a `UsageError`, with status 2. If
        its output is not read to the end, it ends silently with status 1.
    """
    program = os.path.basename(sys.argv[0])
    open_closed_streams()
    show_messages()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the output's encoding lacks must not cost the table.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except UsageError as error:
        status, message = 2, f"{describe(error)} (see {program} --help)"
    except BrokenPipeError:
        # The reader has gone (`| head`); Python would try to flush the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (DataError, OSError) as error:
        status, message = 1, describe(error)
    except Interrupted as interrupted:
        print(f"{program}: interrupted; {printable(str(interrupted))}", file=sys.stderr)
        sys.exit(128 + interrupted.number)
    except KeyboardInterrupt:
        status, message = 128 + signal.SIGINT, "interrupted"
    else:
        sys.exit(status)
    print(f"{program}: error: {message}", file=sys.stderr)
    sys.exit(status)


def open_closed_streams() -> None:
    """Replace standard streams that are closed (as by ``2>&-``) by the null device.

    Otherwise the next file to be opened would take a stream's number, and receive its messages.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
