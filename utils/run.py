"""Many images: restore each, record it, skip what is done, report at the end."""

import hashlib
import io
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from statistic.metrics import comp_upto_shift
from utils.cli import Options
from utils.command import DataError
from utils.deblur import Restoration, choose_device, deblur
from utils.files import write_json, write_whole
from utils.images import find_truth, read_gray, scale_kernel, write_png
from utils.overview import Panels, draw_overview
from utils.progress import image_bar, iteration_bar, say

KernelSizeOf = Callable[[str], tuple[int, int]]


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

    @property
    def image(self) -> Path:
        return self.folder / f"{self.name}_x.png"

    @property
    def kernel(self) -> Path:
        return self.folder / f"{self.name}_k.png"

    @property
    def record(self) -> Path:
        return self.folder / f"{self.name}.json"

    def network(self, letter: str) -> Path:
        return self.folder / f"{self.name}_{letter}net.pth"


def restore_all(options: Options, kernel_size_of: KernelSizeOf) -> int:
    """Restore all images that a command line asks for, and report.

    Parameters
    ----------
    options : Options
        Images, recipe, folder.
    kernel_size_of : callable
        Takes an image's name, returns its kernel's height and width or raises a DataError;
        `options.kernel_size` goes before it.

    Returns
    -------
    int
        Exit status: 0 if every image is restored, now or earlier, with these settings; else 1.

    Raises
    ------
    DataError
        If the results folder cannot be written.
    """
    prepare_folder(options.save_path)
    failures: dict[str, str] = {}
    with image_bar(len(options.images)) as bar:
        for path in options.images:
            try:
                restore_one(path, options, kernel_size_of)
            except Exception as error:  # whatever one image's fault, the others go on
                failures[path.stem] = describe(error)
                say(f"{path.stem}: failed: {failures[path.stem]}")
            bar.update()

    report(options, failures)
    return 1 if failures else 0


def restore_one(path: Path, options: Options, kernel_size_of: KernelSizeOf) -> None:
    """Restore one image and write its results, or say that it was done before.

    Parameters
    ----------
    path : Path
        The blurry image.
    options : Options
        Recipe, folder and the like.
    kernel_size_of : callable
        See `restore_all`.

    Raises
    ------
    DataError
        If the image cannot be used, or results of other settings stand in the way.
    ValueError, FloatingPointError
        See `utils.deblur.deblur`.
    """
    blurry = read_gray(path)
    kernel_size = options.kernel_size or kernel_size_of(path.stem)
    settings = {
        **asdict(options.recipe),
        "milestones": list(options.recipe.milestones),
        "kernel_size": list(kernel_size),
        "seed": options.seed,
        "image_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    outputs = Outputs(options.save_path, path.stem)
    if not options.overwrite and is_finished(outputs, settings):
        say(f"{path.stem}: done before with these settings, skipped")
        return

    record = {
        "image": path.name,
        "finished": False,
        "recipe": options.recipe_name,
        "settings": settings,
        "device": device_name(options.device),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    began = time.perf_counter()

    def save(restoration: Restoration) -> None:
        done = len(restoration.losses)
        record.update(
            iterations_done=done,
            final_loss=restoration.losses[-1],
            loss=options.recipe.loss_name(done - 1),
            seconds=round(time.perf_counter() - began, 2),
        )
        # First the record that is not finished, last the one that is: whenever the run is
        # killed, none claims more than the files beside it hold.
        write_json(outputs.record, record)
        write_png(outputs.image, restoration.image)
        write_png(outputs.kernel, scale_kernel(restoration.kernel))
        for letter, network in (("x", restoration.gx), ("k", restoration.gk)):
            write_network(outputs.network(letter), network, blurry.shape, settings)
        if done == options.recipe.num_iter:
            write_json(outputs.record, record | {"finished": True})

    with iteration_bar(path.stem, options.recipe.num_iter) as bar:

        def show(done: int, loss: float) -> None:
            loss_name = options.recipe.loss_name(done - 1)
            bar.set_postfix_str(f"{loss_name} {loss:.5f}", refresh=False)
            bar.update(done - bar.n)

        deblur(
            blurry,
            kernel_size,
            options.recipe,
            seed=options.seed,
            device=options.device,
            save_every=options.save_frequency,
            on_save=save,
            on_progress=show,
        )
    say(
        f"{path.stem}: {record['iterations_done']} iterations in {record['seconds']:.0f} s, "
        f"{record['loss']} {record['final_loss']:.5f}"
    )


def is_finished(outputs: Outputs, settings: dict[str, Any]) -> bool:
    """Tell whether an image's results are complete and were made with these settings.

    Parameters
    ----------
    outputs : Outputs
        Where the results would be.
    settings : dict
        What they shall have been made with.

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
        if outputs.image.exists():
            raise DataError(
                f"{outputs.image} is there, but not {outputs.record.name}, which would tell how it "
                "was made; --overwrite replaces it"
            )
        return False
    try:
        record = json.loads(outputs.record.read_text())
        made_with, finished = record["settings"], record["finished"]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{outputs.record} is damaged ({error}); --overwrite replaces the results"
        ) from error
    differences = [
        f"{name} {made_with.get(name)} instead of {value}"
        for name, value in settings.items()
        if made_with.get(name) != value
    ]
    if differences:
        raise DataError(
            f"{outputs.image} was made with {', '.join(differences)}; --overwrite replaces it, "
            "another --save_path keeps both"
        )
    return finished and outputs.image.exists()


def write_network(
    path: Path, network: torch.nn.Module, image_size: tuple[int, int], settings: dict[str, Any]
) -> None:
    """Write a network's tensors with what is needed to build it again.

    Parameters
    ----------
    path : Path
        The file; ``torch.load(path, weights_only=True)`` reads it.
    network : Module
        Gx or Gk.
    image_size : tuple of int
        Height and width of the blurry image.
    settings : dict
        Recipe, kernel size and seed.
    """
    tensors = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    content = io.BytesIO()
    torch.save(
        {"state_dict": tensors, "image_size": list(image_size), "settings": settings}, content
    )
    write_whole(path, content.getvalue())


def prepare_folder(folder: Path) -> None:
    """Make a results folder, and raise a DataError if it cannot be made or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / ".writable", b"")
        (folder / ".writable").unlink()
    except OSError as error:
        raise DataError(
            f"{folder}: results cannot be written here ({error.strerror}); give another --save_path"
        ) from error


def device_name(device: str) -> str:
    """Name the device that a name stands for, with the model of a GPU."""
    chosen = choose_device(device)
    if chosen.type == "cuda":
        return f"{chosen} ({torch.cuda.get_device_name(chosen)})"
    return f"cpu ({torch.get_num_threads()} threads)"


def describe(error: Exception) -> str:
    """Put an exception in one line; its type is told where the message alone may say little."""
    message = " ".join(str(error).split())
    if isinstance(error, (DataError, ValueError, ArithmeticError, OSError)):
        return message
    return f"{type(error).__name__}: {message}"


def report(options: Options, failures: dict[str, str]) -> None:
    """Print the table of all images, draw their overview, and name those that failed.

    Parameters
    ----------
    options : Options
        Which images, and where their results are.
    failures : dict of str to str
        The reason why an image failed, by its name.
    """
    rows, panels, scores = [], [], []
    for path in options.images:
        if path.stem in failures:
            rows.append([path.stem, "failed"])
            continue
        outputs = Outputs(options.save_path, path.stem)
        record = json.loads(outputs.record.read_text())
        blurry, restored = read_gray(path), read_gray(outputs.image)
        row = [path.stem, f"{record['seconds']:.0f}", f"{record['final_loss']:.5f}"]
        truth, before, after = None, None, None
        if truth_path := find_truth(path):
            try:
                truth = read_gray(truth_path)
                before = comp_upto_shift(blurry, truth)[:2]
                after = comp_upto_shift(restored, truth)[:2]
            except (DataError, ValueError) as error:
                say(f"{path.stem}: not scored: {describe(error)}")
            else:
                scores.append([*before, *after])
                row += format_scores(scores[-1])
        rows.append(row)
        kernel = read_gray(outputs.kernel)
        panels.append(Panels(path.stem, blurry, restored, truth, kernel, before, after))

    if len(scores) > 1:
        rows.append([f"mean of {len(scores)}", "", "", *format_scores(np.mean(scores, axis=0))])
    header = ["image", "seconds", "loss"]
    if scores:
        header += ["PSNR blurry", "restored", "SSIM blurry", "restored"]
    print_table(header, rows)
    if panels:
        picture = options.save_path / "overview.png"
        draw_overview(picture, panels)
        print(f"picture: {picture}")
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}")


def format_scores(scores: list[float]) -> list[str]:
    """Format PSNR and SSIM of the blurry, then of the restored image, for the table's columns."""
    psnr_before, ssim_before, psnr_after, ssim_after = scores
    return [f"{psnr_before:.2f}", f"{psnr_after:.2f}", f"{ssim_before:.4f}", f"{ssim_after:.4f}"]


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print rows under a header, the first column to the left, the others to the right."""
    rows = [row + [""] * (len(header) - len(row)) for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())
