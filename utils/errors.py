"""Errors that a program ends with, each told in one line."""


class DataError(Exception):
    """Data that cannot be used. The message names the file, the fault and the remedy."""


class UsageError(Exception):
    """A command that cannot be carried out. The message names the option and what is right."""


class Interrupted(KeyboardInterrupt):
    """The end that a signal asked for.

    Parameters
    ----------
    number : int
        The signal's.
    message : str
        How to go on.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


def describe(error: Exception) -> str:
    """Put an exception in one line; its type is told where the message alone may say little."""
    if isinstance(error, (DataError, UsageError)):
        return printable(str(error))  # one line but for the names of files in it
    message = printable(" ".join(str(error).split()))
    if isinstance(error, (ValueError, ArithmeticError, OSError)):
        return message
    return f"{type(error).__name__}: {message}"


def printable(text: str) -> str:
    """Escape what would tear a line or move the cursor, and what no encoding can print.

    File names may have anything in them: line ends, a terminal's control sequences, bytes that
    are not UTF-8.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
