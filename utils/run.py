"""Many images: restore each, record it, skip what is done, report at the end."""

import hashlib
import io
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from networks.fcn import KnownKernel
from statistic.metrics import comp_upto_shift
from utils.cli import Options
from utils.colors import FULL_RANGE, LumaRange
from utils.command import DataError
from utils.deblur import (
    Restoration,
    Start,
    choose_device,
    collapsed_to_black,
    deblur,
    draw_start,
)
from utils.files import write_json, write_whole
from utils.images import (
    Photograph,
    encode_png,
    find_truth,
    quantise,
    read_gray,
    read_image,
    read_photograph,
    scale_kernel,
    write_png,
)
from utils.overview import Panels, draw_overview
from utils.progress import image_bar, iteration_bar, say
from utils.recipe import NONBLIND, Recipe

OnSave = Callable[[Restoration], None]


@dataclass(frozen=True)
class Experiment:
    """What a script says about its images, besides the options that all scripts share.

    Parameters
    ----------
    kernel_size : callable
        Takes an image's name, returns its kernel's height and width or raises a DataError; the
        option of the same name goes before it.
    luma_range : LumaRange
        Which luminance of a color image is restored.
    color_suffix : str or None
        Where the restored image goes in color, if the blurry one has any: ``_x.png`` in place of
        its luminance, another suffix beside it, None nowhere.
    given : callable
        Takes an image's name, returns the files that decide its result besides the image, each
        under a word for it; they are recorded with the settings.
    start : callable, optional
        Takes an image's name, its size and the kernel's, returns what the optimisation starts
        from, in place of what the seed gives.
    networks : str
        Which networks are saved: ``xk``, ``x`` or none.
    settings : dict
        What else decides the results, to be recorded with the settings. Where ``rescue`` is true,
        an image that collapses to black is restored again with the kernel that was found.
    """

    kernel_size: Callable[[str], tuple[int, int]]
    luma_range: LumaRange = FULL_RANGE
    color_suffix: str | None = None
    given: Callable[[str], dict[str, Path]] = lambda name: {}
    start: Callable[[str, tuple[int, int], tuple[int, int]], Start] | None = None
    networks: str = "xk"
    settings: dict[str, Any] = field(default_factory=dict)


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


def restore_all(options: Options, experiment: Experiment) -> int:
    """Restore all images that a command line asks for, and report.

    Parameters
    ----------
    options : Options
        Images, recipe, folder.
    experiment : Experiment
        What the script says about its images.

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
                restore_one(path, options, experiment)
            except Exception as error:  # whatever one image's fault, the others go on
                failures[path.stem] = describe(error)
                say(f"{path.stem}: failed: {failures[path.stem]}")
            bar.update()

    report(options, experiment, failures)
    return 1 if failures else 0


def restore_one(path: Path, options: Options, experiment: Experiment) -> None:
    """Restore one image and write its results, or say that it was done before.

    Parameters
    ----------
    path : Path
        The blurry image.
    options : Options
        Recipe, folder and the like.
    experiment : Experiment
        What the script says about its images.

    Raises
    ------
    DataError
        If the image cannot be used, or results of other settings stand in the way.
    ValueError, FloatingPointError
        See `utils.deblur.deblur`.
    """
    name, recipe = path.stem, options.recipe
    photograph = read_photograph(path)
    blurry = luminance(photograph, experiment)
    kernel_size = options.kernel_size or experiment.kernel_size(name)
    given = experiment.given(name)
    settings = {
        **asdict(recipe),
        "milestones": list(recipe.milestones),
        "kernel_size": list(kernel_size),
        "seed": options.seed,
        **experiment.settings,
        **{f"{word}_sha256": sha256(file) for word, file in ({"image": path} | given).items()},
    }
    outputs = Outputs(options.save_path, name)
    if not options.overwrite and is_finished(outputs, settings):
        say(f"{name}: done before with these settings, skipped")
        return

    start = None
    if experiment.start:
        start = experiment.start(name, blurry.shape, kernel_size)
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
        record["final_loss"] = restoration.losses[-1]
        record["seconds"] = round(time.perf_counter() - began, 2)
        # The record goes first, and says that the result is not finished: whenever the run is
        # killed, no record claims more than the files beside it hold.
        write_json(outputs.record, record)
        for suffix, image in render(photograph, restoration.image, experiment).items():
            write_whole(outputs.folder / f"{name}{suffix}", image)
        if "kernel" not in given:
            write_png(outputs.kernel, scale_kernel(restoration.kernel))
        for letter in experiment.networks:
            network = {"x": restoration.gx, "k": restoration.gk}[letter]
            if not isinstance(network, KnownKernel):
                write_network(outputs.network(letter), network, blurry.shape, settings)

    def optimise(recipe: Recipe, start: Start | None, on_save: OnSave) -> Restoration:
        with iteration_bar(name, recipe.num_iter) as bar:

            def show(done: int, loss: float) -> None:
                loss_name = recipe.loss_name(done - 1)
                bar.set_postfix_str(f"{loss_name} {loss:.5f}", refresh=False)
                bar.update(done - bar.n)

            return deblur(
                blurry,
                kernel_size,
                recipe,
                seed=options.seed,
                device=options.device,
                start=start,
                save_every=options.save_frequency,
                on_save=on_save,
                on_progress=show,
            )

    def save_blind(restoration: Restoration) -> None:
        done = len(restoration.losses)
        record.update(iterations_done=done, loss=recipe.loss_name(done - 1))
        save(restoration)

    restoration = optimise(recipe, start, save_blind)
    if experiment.settings.get("rescue") and collapsed_to_black(restoration.image, blurry):
        say(f"{name}: collapsed to black, restored again with the kernel that was found")
        rescue = replace(NONBLIND, channels=recipe.channels, scales=recipe.scales)

        def save_rescue(restoration: Restoration) -> None:
            done = len(restoration.losses)
            record["rescue"] = {"why": "collapsed to black", "iterations_done": done}
            record["loss"] = rescue.loss_name(done - 1)
            save(restoration)

        start = draw_start(
            blurry.shape, kernel_size, rescue, options.seed, kernel=restoration.kernel
        )
        optimise(rescue, start, save_rescue)
    record["finished"] = True
    write_json(outputs.record, record)
    say(
        f"{name}: {record['iterations_done']} iterations in {record['seconds']:.0f} s, "
        f"{record['loss']} {record['final_loss']:.5f}"
    )


def luminance(photograph: Photograph, experiment: Experiment) -> np.ndarray:
    """Take from a photograph the (H, W) luminance in [0, 1] to restore, rounded to its depth."""
    luma = experiment.luma_range.luma(photograph.pixels)
    return quantise(luma, photograph.depth) / np.iinfo(photograph.depth).max


def render(
    photograph: Photograph, restored: np.ndarray, experiment: Experiment
) -> dict[str, bytes]:
    """Make the files of a restored image.

    Parameters
    ----------
    photograph : Photograph
        The blurry image, whose depth, alpha and chroma are kept.
    restored : (H, W) float array
        The restored luminance.
    experiment : Experiment
        Which luminance it is, and where color goes.

    Returns
    -------
    dict of str to bytes
        PNG files by the suffixes of their names.
    """
    images = {"_x.png": restored}
    if photograph.pixels.ndim == 3 and experiment.color_suffix:
        images[experiment.color_suffix] = experiment.luma_range.replace_luma(
            photograph.pixels, restored
        )
    return {
        suffix: encode_png(image, photograph.depth, photograph.alpha)
        for suffix, image in images.items()
    }


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


def report(options: Options, experiment: Experiment, failures: dict[str, str]) -> None:
    """Print the table of all images, draw their overview, and name those that failed.

    Parameters
    ----------
    options : Options
        Which images, and where their results are.
    experiment : Experiment
        Which luminance is scored, and where color is.
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
        luma = experiment.luma_range.luma
        blurry, restored = read_image(path), read_image(outputs.image)
        row = [path.stem, f"{record['seconds']:.0f}", f"{record['final_loss']:.5f}"]
        truth, before, after = None, None, None
        if truth_path := find_truth(path):
            try:
                truth = read_image(truth_path)
                before = comp_upto_shift(luma(blurry), luma(truth))[:2]
                after = comp_upto_shift(luma(restored), luma(truth))[:2]
            except (DataError, ValueError) as error:
                say(f"{path.stem}: not scored: {describe(error)}")
            else:
                scores.append([*before, *after])
                row += format_scores(scores[-1])
        rows.append(row)
        in_color = outputs.folder / f"{outputs.name}{experiment.color_suffix}"
        if in_color.is_file():
            restored = read_image(in_color)
        kernel = read_gray(experiment.given(path.stem).get("kernel", outputs.kernel))
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
