"""Errors that end a program, each with one line."""


class DataError(Exception):
    """Data that cannot be used. The message names the file, the fault and the remedy."""


class UsageError(Exception):
    """A command that cannot be carried out. The message names the option and the remedy."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the program.

    Parameters
    ----------
    number : int
        The signal's number.
    message : str
        How to resume.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


def describe(error: Exception) -> str:
    """Put an exception in one line, with its type if the message alone may say too little."""
    if isinstance(error, (DataError, UsageError)):
        return printable(str(error))  # one line, except for file names in it
    message = printable(" ".join(str(error).split()))
    if isinstance(error, (ValueError, ArithmeticError, OSError)):
        return message
    return f"{type(error).__name__}: {message}"


def printable(text: str) -> str:
    """Escape what would break a line, control the terminal, or fail to encode.

    File names may contain anything: line ends, escape sequences, bytes that are not UTF-8.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
