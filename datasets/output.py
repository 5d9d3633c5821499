"""Writing data sets without ever replacing other data."""

from pathlib import Path

from utils.errors import DataError
from utils.images.files import write_whole


def write_new(path: Path, content: bytes) -> None:
    """Write a file, unless it exists already.

    Parameters
    ----------
    path : Path
        The file; its folder is created if necessary. If it has this content already, nothing
        happens, so that an interrupted program can be run again.
    content : bytes
        The whole content of the file.

    Raises
    ------
    DataError
        If `path` exists with different content.
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
