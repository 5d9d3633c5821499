"""What every program's command line has in common: one-line messages and exit statuses.

0 means that everything was done, 1 that some data was bad or some image failed, 2 that the
command itself was wrong, 128 and a signal's number that it was interrupted.
"""

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from utils.errors import DataError, Interrupted, UsageError, describe, printable
from utils.terminal.progress import show_messages


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that reports a wrong command in one line.

    Options must be written in full, and the program's docstring is its ``--help``, as it stands.
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


def run_program(main: Callable[[list[str]], int]) -> NoReturn:
    """Run a program's `main` on the command line's arguments and exit with its status.

    Parameters
    ----------
    main : callable
        Takes the list of arguments, returns the exit status. A `DataError` or an `OSError` that
        it raises ends the program with one line and status 1, a `UsageError` with status 2. If
        its output is not read to the end, it ends without a word and with status 1.
    """
    program = os.path.basename(sys.argv[0])
    open_closed_streams()
    show_messages()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the output's encoding lacks is no reason to end without the table.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except UsageError as error:
        status, message = 2, f"{describe(error)} (see {program} --help)"
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would try to flush the rest at exit.
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
    """Open the null device in the place of standard streams that are closed (as by ``2>&-``).

    Else the next file that is opened would take a stream's number, and get its messages.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
