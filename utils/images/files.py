"""Files: written whole or not at all, read up to a limit, and their checksums."""

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from utils.errors import DataError

MAX_JSON_BYTES = 2**24  # our records have a few kilobytes
MAX_CHECKPOINT_BYTES = 2**32

OVERVIEW = "overview.png"  # the picture of all results in a folder


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part of it.

    The content is written to a temporary file ``.NAME.RANDOM.part`` in the same folder, flushed to
    the disk, and only then renamed.

    Parameters
    ----------
    path : str or Path
        The file to create or replace, in a folder that exists.
    content : bytes
        All of its content.

    Raises
    ------
    OSError
        If the folder is missing, cannot be written, or the disk is full; an existing file is then
        untouched.
    """
    path = Path(path)
    # Random, since a process of another machine that writes here may have this one's number.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:  # Python does not name the file if the disk is full
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_new(path: Path, content: bytes) -> None:
    """Write a file in a folder that may not exist, without replacing another file.

    Raises
    ------
    DataError
        If `path` exists with different content. The same content is not written again, so that an
        interrupted program can be rerun.
    """
    if path.exists():
        same_size = path.is_file() and path.stat().st_size == len(content)
        if same_size and path.read_bytes() == content:
            return
        raise DataError(
            f"{path}: exists already with different content; give another --save_path, or move the "
            "old files away"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)


def find_leftovers(folder: Path) -> dict[str, list[Path]]:
    """Find the temporary files of `write_whole` in a folder, by the names that they were to get.

    The process that writes them may still be alive.
    """
    found: dict[str, list[Path]] = {}
    for path in folder.glob(".*.part"):
        found.setdefault(path.name[1:].rsplit(".", 2)[0], []).append(path)
    return found


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all (see `write_whole`)."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def read_bounded(path: Path, max_bytes: int, hint: str = "more than such a file has") -> bytes:
    """Read a file of limited size.

    Parameters
    ----------
    path : Path
        A regular file; a pipe or a device, which may never end, is refused.
    max_bytes : int
        The largest size that is read.
    hint : str
        Ends the message for a larger file.

    Raises
    ------
    DataError
        If it is not a regular file, or too large.
    OSError
        If it does not exist or cannot be read.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a file")
    if path.stat().st_size > max_bytes:
        raise DataError(f"{path}: larger than {max_bytes:,} bytes, {hint}")
    return path.read_bytes()


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file (see `read_bounded`); raise a DataError as well if it is not JSON."""
    content = read_bounded(path, max_bytes)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a readable JSON file ({error})") from error


def sha256(path: Path) -> str:
    """The SHA-256 checksum of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
