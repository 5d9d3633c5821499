"""Files that are written whole or not at all, and their checksums."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    The content goes to a temporary file ``.NAME.PID.part`` in the same folder, from there to the
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all (see `write_whole`)."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
