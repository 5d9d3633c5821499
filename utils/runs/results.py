"""The files of a results folder, and what they were made with."""

import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils.engine.checkpoint import CheckpointError, unpack_checkpoint
from utils.errors import DataError
from utils.images.files import MAX_CHECKPOINT_BYTES, read_bounded, read_json, write_whole
from utils.log import log


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

    @property
    def losses(self) -> Path:
        """The loss of every iteration."""
        return self.file("_loss.csv")

    @property
    def checkpoint(self) -> Path:
        """Where an interrupted restoration goes on; gone when it is finished."""
        return self.file("_checkpoint.pth")

    @property
    def lock(self) -> Path:
        """What a process holds while it is at work on the image."""
        return self.folder / f".{self.name}.lock"

    def recorded_finished(self) -> bool:
        """Tell whether there is a record that says that the results are complete."""
        try:
            return bool(read_json(self.record)["finished"])
        except (DataError, OSError, LookupError, TypeError):
            return False


def prepare_folder(folder: Path) -> None:
    """Make a results folder, and raise a DataError if it cannot be made or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"writable")
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
        All that they may consist of, besides the record, which names those that there are.

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
        record = read_json(outputs.record)
        made_with, finished, written = dict(record["settings"]), record["finished"], record["files"]
        written = [outputs.file(suffix) for suffix in written]
    except (DataError, LookupError, TypeError) as error:
        raise DataError(
            f"{outputs.record} is damaged ({error}); --overwrite replaces the results"
        ) from error
    differences = describe_differences(made_with, settings)
    if "method" not in made_with:
        differences = "an earlier version of this program"
    if differences:
        raise DataError(
            f"{outputs.image} was made with {differences}; --overwrite replaces it, "
            "another --save_path keeps both"
        )
    return bool(finished) and all(file.exists() for file in written)


def earlier_precision(outputs: Outputs) -> str | None:
    """Tell in which precision an image was begun or restored before; None if it was not."""
    try:
        if outputs.checkpoint.exists():
            content = read_bounded(outputs.checkpoint, MAX_CHECKPOINT_BYTES)
            settings = unpack_checkpoint(content).settings
        else:
            settings = read_json(outputs.record)["settings"]
        return next(stage["precision"] for stage in settings["method"] if "precision" in stage)
    except (CheckpointError, DataError, OSError, LookupError, TypeError, StopIteration):
        return None


def describe_differences(made_with: dict[str, Any], settings: dict[str, Any]) -> str:
    """Name the settings that differ, such as ``seed 0 instead of 3``; empty if none does."""

    def describe(name: str) -> str:
        if name.endswith("_sha256"):
            return f"another {name.removesuffix('_sha256')}"
        return f"{name} {made_with.get(name)} instead of {settings.get(name)}"

    made_with, settings = flatten(made_with), flatten(settings)
    return ", ".join(
        describe(name)
        for name in sorted(settings.keys() | made_with.keys())
        if made_with.get(name) != settings.get(name)
    )


def flatten(settings: dict[str, Any]) -> dict[str, Any]:
    """Put the settings of the stages beside the others, each under its stage's name."""
    stages = settings.get("method", [])
    flat = {name: value for name, value in settings.items() if name != "method"}
    flat["stages"] = ", ".join(stage["stage"] for stage in stages)
    for stage in stages:
        flat |= {f"{stage['stage']} {name}": value for name, value in stage.items()}
    return flat


def find_progress(
    outputs: Outputs, settings: dict[str, Any], files: list[Path]
) -> tuple[bool, bytes | None]:
    """Tell how far an image has come with these settings.

    A checkpoint that is damaged is set aside, as ``NAME_checkpoint.pth.damaged``, with a message.

    Parameters
    ----------
    outputs, settings, files
        See `is_finished`.

    Returns
    -------
    finished : bool
        Whether its results are complete.
    checkpoint : bytes or None
        Where its restoration goes on, if it is not finished and there is a checkpoint.

    Raises
    ------
    DataError
        If there are results or a checkpoint of other settings, or results of some other program.
    """
    checkpoint, differences = None, ""
    if outputs.checkpoint.exists():
        try:
            content = read_bounded(outputs.checkpoint, MAX_CHECKPOINT_BYTES)
            differences = describe_differences(unpack_checkpoint(content).settings, settings)
            checkpoint = None if differences else content
        except (CheckpointError, DataError, LookupError, TypeError) as error:
            set_aside(outputs, error)
    # A checkpoint goes before results, which a run with --overwrite may have been about to replace.
    if checkpoint is None and is_finished(outputs, settings, files):
        return True, None
    if differences:
        raise DataError(
            f"{outputs.checkpoint} was made with {differences}; --overwrite starts anew, "
            "another --save_path keeps both"
        )
    return False, checkpoint


def set_aside(outputs: Outputs, fault: Exception) -> None:
    """Rename a checkpoint from which nothing can go on, and say so."""
    aside = outputs.file("_checkpoint.pth.damaged")
    outputs.checkpoint.replace(aside)
    log.warning(
        "%s: %s; kept as %s, and the image starts over", outputs.checkpoint, fault, aside.name
    )


def write_losses(path: Path, names: list[str], losses: list[float]) -> None:
    """Write the loss of every iteration, counted from 1, as a table."""
    rows = [
        f"{i},{name},{loss!r}\n"
        for i, (name, loss) in enumerate(zip(names, losses, strict=True), 1)
    ]
    write_whole(path, "".join(["iteration,loss,value\n", *rows]).encode())


def network_content(
    network: nn.Module, image_size: tuple[int, int], settings: dict[str, Any]
) -> bytes:
    """Put a network's tensors into a file's bytes, with what is needed to build it again.

    Parameters
    ----------
    network : Module
        Gx or Gk.
    image_size : tuple of int
        Height and width of the blurry image.
    settings : dict
        At least channels, scales and kernel_size; of a run also its other settings.

    Returns
    -------
    bytes
        A file that ``torch.load(..., weights_only=True)`` and `networks.released` read.
    """
    tensors = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    settings = json.loads(json.dumps(settings))  # the same bytes, whoever shares objects with it
    content = io.BytesIO()
    torch.save(
        {"state_dict": tensors, "image_size": list(image_size), "settings": settings}, content
    )
    return content.getvalue()
