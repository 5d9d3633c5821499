"""The files of a results folder, and what they were made with."""

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from utils.command import DataError
from utils.files import write_whole


@dataclass(frozen=True)
class Outputs:
    """The files that one image's restoration writes.

    Parameters
    ----------
    folder : Path
        The results folder.
    name : str
        The blurry image's name without suffix.
    """

    folder: Path
    name: str

    def file(self, suffix: str) -> Path:
        """Name the file with a suffix, such as ``_x.png``."""
        return self.folder / f"{self.name}{suffix}"

    @property
    def image(self) -> Path:
        """The restored image."""
        return self.file("_x.png")

    @property
    def kernel(self) -> Path:
        """The estimated kernel."""
        return self.file("_k.png")

    @property
    def record(self) -> Path:
        """What the results were made with, and how far they are."""
        return self.file(".json")


def prepare_folder(folder: Path) -> None:
    """Make a results folder, and raise a DataError if it cannot be made or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".writable.{os.getpid()}"
        write_whole(trial, b"")
        trial.unlink()
    except OSError as error:
        raise DataError(
            f"{folder}: results cannot be written here ({error.strerror}); give another --save_path"
        ) from error


def is_finished(outputs: Outputs, settings: dict[str, Any], files: list[Path]) -> bool:
    """Tell whether an image's results are complete and were made with these settings.

    Parameters
    ----------
    outputs : Outputs
        Where the results would be.
    settings : dict
        What they shall have been made with.
    files : list of Path
        All that they consist of, besides the record.

    Returns
    -------
    bool
        False if there are none, or they are not complete and may be made anew.

    Raises
    ------
    DataError
        If there are results that other settings made, or some other program.
    """
    if not outputs.record.exists():
        for file in files:
            if file.exists():
                raise DataError(
                    f"{file} is there, but not {outputs.record.name}, which would tell how it was "
                    "made; --overwrite replaces it"
                )
        return False
    try:
        record = json.loads(outputs.record.read_text())
        made_with, finished = dict(record["settings"]), record["finished"]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{outputs.record} is damaged ({error}); --overwrite replaces the results"
        ) from error
    differences = [
        f"{name} {made_with.get(name)} instead of {settings.get(name)}"
        for name in sorted(settings.keys() | made_with.keys())
        if made_with.get(name) != settings.get(name)
    ]
    if differences:
        raise DataError(
            f"{outputs.image} was made with {', '.join(differences)}; --overwrite replaces it, "
            "another --save_path keeps both"
        )
    return finished and all(file.exists() for file in files)


def write_network(
    path: Path, network: torch.nn.Module, image_size: tuple[int, int], settings: dict[str, Any]
) -> None:
    """Write a network to a file (see `network_content`), whole or not at all."""
    write_whole(path, network_content(network, image_size, settings))


def network_content(
    network: torch.nn.Module, image_size: tuple[int, int], settings: dict[str, Any]
) -> bytes:
    """Put a network's tensors into a file's bytes, with what is needed to build it again.

    Parameters
    ----------
    network : Module
        Gx or Gk.
    image_size : tuple of int
        Height and width of the blurry image.
    settings : dict
        At least channels, scales and kernel_size; of a run also the rest of its recipe, the seed.

    Returns
    -------
    bytes
        A file that ``torch.load(..., weights_only=True)`` and `networks.released` read.
    """
    tensors = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    content = io.BytesIO()
    torch.save(
        {"state_dict": tensors, "image_size": list(image_size), "settings": settings}, content
    )
    return content.getvalue()
