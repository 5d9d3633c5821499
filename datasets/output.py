"""Writing data sets without ever replacing other data."""

from pathlib import Path

from utils.errors import DataError
from utils.images.files import write_whole


def write_new(path: Path, content: bytes) -> None:
    """Write a file unless another stands there already.

    Parameters
    ----------
    path : Path
        The file; its folder is made if need be. If it holds `content` already, nothing happens,
        so a run that was cut off can be repeated.
    content : bytes
        Everything that it shall hold.

    Raises
    ------
    DataError
        If `path` holds something else.
    """
    if path.exists():
        if path.is_file() and path.read_bytes() == content:
            return
        raise DataError(
            f"{path}: exists already with another content; name another --save_path, or move the "
            "old files away"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
