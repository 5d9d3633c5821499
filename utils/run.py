"""Many images: restore each, record it, skip what is done, report at the end."""

import platform
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from networks.fcn import KnownKernel
from utils.cli import Options
from utils.closing import report
from utils.command import DataError, describe
from utils.deblur import (
    Restoration,
    Start,
    check_arguments,
    choose_device,
    collapsed_to_black,
    deblur,
    draw_start,
)
from utils.experiment import Experiment
from utils.files import sha256, write_json, write_whole
from utils.images import read_photograph, scale_kernel, write_png
from utils.progress import image_bar, iteration_bar, say
from utils.recipe import NONBLIND, Recipe
from utils.results import Outputs, is_finished, prepare_folder, write_network


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
    job = Job(path, options, experiment)
    if not options.overwrite and is_finished(job.outputs, job.settings, job.files):
        say(f"{path.stem}: done before with these settings, skipped")
        return

    check_arguments(job.blurry, job.kernel_size, options.recipe, options.save_frequency)
    start = None
    if experiment.start:
        start = experiment.start(path.stem, job.blurry.shape, job.kernel_size)
    restoration = job.optimise(options.recipe, start)
    if experiment.rescue and collapsed_to_black(restoration.image, job.blurry):
        say(f"{path.stem}: collapsed to black, restored again with the kernel that was found")
        restoration = job.rescue(restoration.kernel)
        if collapsed_to_black(restoration.image, job.blurry):
            raise DataError(
                f"{job.outputs.image} collapsed to black, and again with the kernel that was found;"
                " try another --seed or --kernel_size"
            )
    job.finish()


class Job:
    """One image in work: its settings, its files, and the record of what was done.

    Parameters
    ----------
    path : Path
        The blurry image.
    options : Options
        Recipe, folder and the like.
    experiment : Experiment
        What the script says about its images.
    """

    def __init__(self, path: Path, options: Options, experiment: Experiment) -> None:
        self.options, self.experiment = options, experiment
        self.photograph = read_photograph(path)
        self.blurry = experiment.luminance(self.photograph)
        self.kernel_size = options.kernel_size or experiment.kernel_size(path.stem)
        self.given = experiment.given(path.stem)
        self.outputs = Outputs(options.save_path, path.stem)
        self.files = [self.outputs.file(s) for s in experiment.suffixes(self.photograph)]
        self.files += [self.outputs.file(f"_{letter}net.pth") for letter in experiment.networks]
        if "kernel" not in self.given:
            self.files.append(self.outputs.kernel)
        self.began = time.perf_counter()
        self.settings = {
            **asdict(options.recipe),
            "milestones": list(options.recipe.milestones),
            "kernel_size": list(self.kernel_size),
            "seed": options.seed,
            "luma_range": [experiment.luma_range.black, experiment.luma_range.white],
            "color_suffix": experiment.color_suffix,
            "rescue": experiment.rescue,
            **experiment.settings,
            "image_sha256": sha256(path),
            **{f"{word}_sha256": sha256(file) for word, file in self.given.items()},
        }
        self.record: dict[str, Any] = {
            "image": path.name,
            "finished": False,
            "recipe": options.recipe_name,
            "settings": self.settings,
            "device": device_name(options.device),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
        }

    def optimise(self, recipe: Recipe, start: Start | None) -> Restoration:
        """Fit the networks under a bar, and write what they give at each save point."""
        with iteration_bar(self.outputs.name, recipe.num_iter) as bar:

            def show(done: int, loss: float) -> None:
                bar.set_postfix_str(f"{recipe.loss_name(done - 1)} {loss:.5f}", refresh=False)
                bar.update(done - bar.n)

            return deblur(
                self.blurry,
                self.kernel_size,
                recipe,
                seed=self.options.seed,
                device=self.options.device,
                start=start,
                save_every=self.options.save_frequency,
                on_save=lambda restoration: self.save(restoration, recipe),
                on_progress=show,
            )

    def rescue(self, kernel: np.ndarray) -> Restoration:
        """Restore the image again, with the kernel that was found for it."""
        recipe = self.options.recipe
        recipe = replace(NONBLIND, channels=recipe.channels, scales=recipe.scales)
        reached = {key: self.record[key] for key in ("iterations_done", "loss", "final_loss")}
        self.record["rescued_from"] = {"fault": "collapsed to black", **reached}
        self.record["rescue_recipe"] = asdict(recipe)
        start = draw_start(
            self.blurry.shape, self.kernel_size, recipe, self.options.seed, kernel=kernel
        )
        return self.optimise(recipe, start)

    def save(self, restoration: Restoration, recipe: Recipe) -> None:
        """Write what was reached: images, kernel, networks, and the record of it."""
        done = len(restoration.losses)
        self.record["iterations_done"] = done
        self.record["loss"] = recipe.loss_name(done - 1)
        self.record["final_loss"] = restoration.losses[-1]
        self.record["seconds"] = round(time.perf_counter() - self.began, 2)
        # The record goes first, and says that the result is not finished: whenever the run is
        # killed, no record claims more than the files beside it hold.
        write_json(self.outputs.record, self.record)
        for suffix, image in self.experiment.render(self.photograph, restoration.image).items():
            write_whole(self.outputs.file(suffix), image)
        if "kernel" not in self.given:
            write_png(self.outputs.kernel, scale_kernel(restoration.kernel))
        for letter in self.experiment.networks:
            network = {"x": restoration.gx, "k": restoration.gk}[letter]
            if not isinstance(network, KnownKernel):
                path = self.outputs.file(f"_{letter}net.pth")
                write_network(path, network, self.blurry.shape, self.settings)

    def finish(self) -> None:
        """Record that the results are complete, and say so."""
        self.record["finished"] = True
        write_json(self.outputs.record, self.record)
        say(
            "{}: {iterations_done} iterations in {seconds:.0f} s, {loss} {final_loss:.5f}".format(
                self.outputs.name, **self.record
            )
        )


def device_name(device: str) -> str:
    """Name the device that a name stands for, with the model of a GPU."""
    chosen = choose_device(device)
    if chosen.type == "cuda":
        return f"{chosen} ({torch.cuda.get_device_name(chosen)})"
    return f"cpu ({torch.get_num_threads()} threads)"
