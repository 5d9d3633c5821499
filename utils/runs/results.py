"""The files of a results folder, and what they were made with."""

import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from utils.engine.checkpoint import CheckpointError, unpack_checkpoint
from utils.engine.recipe import Recipe
from utils.errors import DataError
from utils.images.files import write_whole
from utils.terminal.progress import say


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
            return json.loads(self.record.read_text())["finished"]
        except (OSError, ValueError, LookupError, TypeError):
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
    if differences := tell_differences(made_with, settings):
        raise DataError(
            f"{outputs.image} was made with {differences}; --overwrite replaces it, "
            "another --save_path keeps both"
        )
    return finished and all(file.exists() for file in files)


def earlier_precision(outputs: Outputs) -> str | None:
    """Tell in which precision an image was begun or restored before; None if it was not."""
    try:
        if outputs.checkpoint.exists():
            return unpack_checkpoint(outputs.checkpoint.read_bytes()).settings["precision"]
        return json.loads(outputs.record.read_text())["settings"]["precision"]
    except (CheckpointError, OSError, ValueError, LookupError, TypeError):
        return None


def tell_differences(made_with: dict[str, Any], settings: dict[str, Any]) -> str:
    """Name the settings that differ, such as ``seed 0 instead of 3``; empty if none does."""

    def tell(name: str) -> str:
        if name.endswith("_sha256"):
            return f"another {name.removesuffix('_sha256')}"
        return f"{name} {made_with.get(name)} instead of {settings.get(name)}"

    return ", ".join(
        tell(name)
        for name in sorted(settings.keys() | made_with.keys())
        if made_with.get(name) != settings.get(name)
    )


def find_progress(
    outputs: Outputs, settings: dict[str, Any], files: list[Path]
) -> tuple[bool, bytes | None]:
    """Tell how far an image has come with these settings.

    A checkpoint that is damaged is set aside, as ``NAME_checkpoint.pth.damaged``, and told.

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
        content = outputs.checkpoint.read_bytes()
        try:
            differences = tell_differences(unpack_checkpoint(content).settings, settings)
            checkpoint = None if differences else content
        except CheckpointError as error:
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


def set_aside(outputs: Outputs, fault: CheckpointError) -> None:
    """Rename a checkpoint from which nothing can go on, and say so."""
    aside = outputs.file("_checkpoint.pth.damaged")
    outputs.checkpoint.replace(aside)
    say(f"{outputs.checkpoint}: {fault}; kept as {aside.name}, and the image starts over")


def write_losses(path: Path, losses: list[float], recipe: Recipe) -> None:
    """Write the loss of every iteration, counted from 1, as a table."""
    rows = [f"{i + 1},{recipe.loss_name(i)},{value!r}\n" for i, value in enumerate(losses)]
    write_whole(path, "".join(["iteration,loss,value\n", *rows]).encode())


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
