"""Files that are written whole or not at all, read within a limit, and their checksums."""

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from utils.errors import DataError

MAX_JSON_BYTES = 2**24  # a record of ours has some kilobytes
MAX_CHECKPOINT_BYTES = 2**32


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    The content goes to a temporary file ``.NAME.RANDOM.part`` in the same folder, from there to the
    disk, and only then under its name.

    Parameters
    ----------
    path : str or Path
        The file to create or replace, in a folder that exists.
    content : bytes
        Everything that it shall hold.

    Raises
    ------
    OSError
        If the folder is missing, cannot be written, or the disk is full; what stood under
        `path` before is then untouched.
    """
    path = Path(path)
    # Random, for processes of other machines that write here may have the same number as this one.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:  # of a full disk, Python does not say which file it was
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def find_leftovers(folder: Path) -> dict[str, list[Path]]:
    """Find the temporary files of `write_whole` in a folder.

    Parameters
    ----------
    folder : Path
        Where to look.

    Returns
    -------
    dict of str to list of Path
        They, by the name of the file that they were to become. Whether the process that writes
        them is alive is not known.
    """
    found: dict[str, list[Path]] = {}
    for path in folder.glob(".*.part"):
        found.setdefault(path.name[1:].rsplit(".", 2)[0], []).append(path)
    return found


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all (see `write_whole`)."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Read a regular file of limited size.

    Parameters
    ----------
    path : Path
        The file. Anything else, such as a pipe that never ends, is refused.
    max_bytes : int
        The largest size that is read.

    Returns
    -------
    bytes
        The file's content.

    Raises
    ------
    DataError
        If it is no regular file or larger than the limit.
    OSError
        If it does not exist or cannot be read.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a regular file")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise DataError(f"{path}: larger than {max_bytes:,} bytes, more than such a file has")
    return content


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file of limited size; a `DataError` also tells what is not JSON."""
    content = read_bounded(path, max_bytes)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file that can be read ({error})") from error


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
