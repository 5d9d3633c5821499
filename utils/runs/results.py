"""The files of a results folder, and what they were made with."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils.engine.checkpoint import CheckpointError, unpack_checkpoint
from utils.errors import DataError
from utils.images.files import MAX_CHECKPOINT_BYTES, read_bounded, read_json, write_whole
from utils.log import log


class Outputs:
    """The files of one image's results, and the lock that a process holds while it makes them.

    Parameters
    ----------
    folder : Path
        The results folder.
    name : str
        The blurry image's name without suffix.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.image = self.file("_x.png")
        self.kernel = self.file("_k.png")
        self.record = self.file(".json")
        self.losses = self.file("_loss.csv")
        self.page = self.file(".html")
        self.checkpoint = self.file("_checkpoint.pth")  # only while the image is unfinished
        self.lock = folder / f".{name}.lock"

    def file(self, suffix: str) -> Path:
        """The file with a suffix, such as ``_x.png``."""
        return self.folder / f"{self.name}{suffix}"

    def recorded_finished(self) -> bool:
        """Whether there is a record which says that the results are complete."""
        try:
            return bool(read_json(self.record)["finished"])
        except (DataError, OSError, LookupError, TypeError):
            return False


def prepare_folder(folder: Path, option: str = "--save_path") -> None:
    """Create an option's folder; raise a DataError if that fails or it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"writable")
    except OSError as error:
        raise DataError(
            f"{folder}: results cannot be written here ({error.strerror}); give another {option}"
        ) from error


def find_progress(
    outputs: Outputs, settings: dict[str, Any], files: list[Path]
) -> tuple[bool, bytes | None]:
    """Find out how far an image has come with these settings.

    A damaged checkpoint is renamed to ``NAME_checkpoint.pth.damaged``, with a warning.

    Parameters
    ----------
    outputs : Outputs
        Where the results would be.
    settings : dict
        What they would be made with.
    files : list of Path
        All files that they may consist of, besides the record.

    Returns
    -------
    finished : bool
        Whether the results are complete.
    checkpoint : bytes or None
        Where to resume, if they are not complete and there is a checkpoint.

    Raises
    ------
    DataError
        If results or a checkpoint of other settings, or of another program, are in the way.
    """
    checkpoint, differences = None, ""
    if outputs.checkpoint.exists():
        try:
            content = read_bounded(outputs.checkpoint, MAX_CHECKPOINT_BYTES)
            differences = describe_differences(unpack_checkpoint(content).settings, settings)
            checkpoint = None if differences else content
        except (CheckpointError, DataError, LookupError, TypeError) as error:
            set_aside(outputs, error)
    # A checkpoint takes precedence over results that a run with --overwrite was to replace.
    if checkpoint is None and is_finished(outputs, settings, files):
        return True, None
    if differences:
        raise DataError(
            f"{outputs.checkpoint} was made with {differences}; --overwrite starts over, "
            "another --save_path keeps both"
        )
    return False, checkpoint


def is_finished(outputs: Outputs, settings: dict[str, Any], files: list[Path]) -> bool:
    """Whether an image's results are complete (see `find_progress`)."""
    if not outputs.record.exists():
        for file in files:
            if file.exists():
                raise DataError(
                    f"{file} exists without {outputs.record.name}, which would say how it was "
                    "made; --overwrite replaces it"
                )
        return False
    try:
        record = read_json(outputs.record)
        made_with, finished = dict(record["settings"]), bool(record["finished"])
        written = [outputs.file(suffix) for suffix in record["files"]]
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
    return finished and all(file.exists() and file.stat().st_size for file in written)


def earlier_precision(outputs: Outputs) -> str | None:
    """The precision in which an image was started or restored before; None if it was not."""
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
    """Name the settings that differ, such as ``seed 0 instead of 3``; empty if none does.

    Of methods with different names only the names are told, if both are known; of others with
    different stages, only which stages they have.
    """

    def describe(name: str) -> str:
        if name.endswith("_sha256"):
            return f"another {name.removesuffix('_sha256')}"
        return f"{name.removesuffix('_name')} {made_with.get(name)} instead of {settings.get(name)}"

    names = made_with.get("method_name"), settings.get("method_name")
    made_with, settings = flatten(made_with), flatten(settings)
    differences = [
        name
        for name in sorted(settings.keys() | made_with.keys())
        if name != "method_name" and made_with.get(name) != settings.get(name)
    ]
    others = [name for name in differences if not is_of_stages(name)]
    if len(others) < len(differences):
        if None not in names and names[0] != names[1]:
            differences = ["method_name", *others]
        elif "stages" in differences:
            differences = ["stages", *others]
    return ", ".join(map(describe, differences))


def flatten(settings: dict[str, Any]) -> dict[str, Any]:
    """Lift the settings of the stages to the top level, each under its stage's name."""
    stages = settings.get("method", [])
    flat = {name: value for name, value in settings.items() if name != "method"}
    flat["stages"] = ", ".join(stage["stage"] for stage in stages)
    for stage in stages:
        flat |= {f"{stage['stage']} {name}": value for name, value in stage.items()}
    return flat


def is_of_stages(name: str) -> bool:
    """Whether a name that `flatten` gives belongs to the stages; no other has a space."""
    return name == "stages" or " " in name


def set_aside(outputs: Outputs, fault: Exception) -> None:
    """Rename a checkpoint that cannot be resumed from, with a warning."""
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
    """Pack a network's tensors into a file's bytes, with what is needed to build it again.

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
    settings = json.loads(json.dumps(settings))  # unshared, as pickle writes shared objects once
    content = io.BytesIO()
    torch.save(
        {"state_dict": tensors, "image_size": list(image_size), "settings": settings}, content
    )
    return content.getvalue()
