"""Many images: restore each, record it, skip what is done, report at the end."""

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from networks.fcn import KnownKernel
from utils.engine.checkpoint import CheckpointError
from utils.engine.deblur import Restoration, State, check_arguments
from utils.engine.memory import out_of_memory
from utils.engine.restore import Stage, Task, restore
from utils.errors import DataError, Interrupted, describe, printable
from utils.images.files import find_leftovers, sha256, write_json, write_whole
from utils.images.kernels import scale_kernel
from utils.images.reading import read_photograph
from utils.images.writing import write_png
from utils.runs.experiment import Experiment
from utils.runs.interrupt import Signals
from utils.runs.locks import HeldElsewhereError, hold
from utils.runs.machine import describe_machine
from utils.runs.results import (
    Outputs,
    earlier_precision,
    find_progress,
    prepare_folder,
    set_aside,
    write_losses,
    write_network,
)
from utils.terminal.options import Options
from utils.terminal.progress import cluster_bar, image_bar, iteration_bar, say

if TYPE_CHECKING:
    from utils.runs.cluster import Cluster

LONGEST_NAME = 200  # bytes; file systems take 255, and some names of results add 40

OUT_OF_MEMORY = "out of memory; give a smaller image, free some memory, or use --recipe quick"


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
        Exit status: 1 if an image failed; 0 if each is restored, or in work in another process.

    Raises
    ------
    DataError
        If the results folder cannot be written.
    """
    prepare_folder(options.save_path)
    with Signals(how_to_go_on(options)) as signals:
        with connection(options) as cluster, total_bar(options) as bar:
            run = Run(options, experiment, signals, bar)
            waiting = options.images
            while waiting:
                held = run.restore(waiting) if cluster is None else run.restore_on(cluster, waiting)
                if len(held) == len(waiting):
                    break
                waiting = held  # once more: their holders may have died

        # It brings Matplotlib and SciPy, which take a second of every start.
        from utils.runs.summary import report

        # One process at a time, so that the last picture shows what all have done.
        with ExitStack() as stack:
            with suppress(OSError):  # the report will tell if the folder cannot be written
                stack.enter_context(hold(options.save_path / ".overview.png.lock", wait=True))
            for leftover in run.leftovers.get("overview.png", []):
                leftover.unlink(missing_ok=True)
            report(options, experiment, run.failures, {path.stem for path in waiting})
    return 1 if run.failures else 0


def how_to_go_on(options: Options) -> str:
    """Tell what a run does after this one was interrupted, where no one image is meant."""
    if options.ray is None:
        return "the same command " + ("starts anew" if options.overwrite else "goes on")
    command = "the same command" + " without --overwrite" * options.overwrite
    return f"{command} goes on from the last checkpoints"


def connection(options: Options) -> AbstractContextManager["Cluster | None"]:
    """Connect to the cluster that a command line names, if it does."""
    if options.ray is None:
        return nullcontext()
    # Ray is an optional dependency, and takes a second to import.
    from utils.runs.cluster import Cluster

    return Cluster(options.ray, options.gpus_per_image, options.device)


def total_bar(options: Options) -> tqdm:
    """Make the bar over all images."""
    make = image_bar if options.ray is None else cluster_bar
    return make(len(options.images))


class Run:
    """What one command does with many images, here or on a cluster.

    Parameters
    ----------
    options : Options
        Recipe, folder and the like.
    experiment : Experiment
        What the script says about its images.
    signals : Signals
        What may end the work.
    bar : tqdm
        Counts the images.
    """

    def __init__(
        self, options: Options, experiment: Experiment, signals: Signals, bar: tqdm
    ) -> None:
        self.options, self.experiment, self.signals, self.bar = options, experiment, signals, bar
        self.leftovers = find_leftovers(options.save_path)
        self.failures: dict[str, str] = {}  # the reasons by the images' names
        self.told = ""  # on what, and how precisely

    def restore(self, paths: list[Path]) -> list[Path]:
        """Restore images one after the other; give those that another process is at work on."""
        held = []
        for path in paths:
            try:
                self.restore_one(path)
            except HeldElsewhereError:
                held.append(path)
                continue
            except Exception as error:  # whatever one image's fault, the others go on
                self.fail(path, error)
            self.signals.check()
            self.bar.update()
        return held

    def restore_on(self, cluster: "Cluster", paths: list[Path]) -> list[Path]:
        """Restore images on a cluster, as many at a time as it has room for.

        Only the computing is done there. Each image in work is a generator, which goes on here by
        one event of its worker at a time.

        Parameters
        ----------
        cluster : Cluster
            Where to restore.
        paths : list of Path
            The blurry images.

        Returns
        -------
        list of Path
            Those that another process is at work on.
        """
        held: list[Path] = []
        queue = deque(paths)
        jobs: dict[Path, Job] = {}
        in_work: dict[Path, Iterator[None]] = {}
        with ExitStack() as stack, self.signals.postponed():
            while queue or in_work:
                self.signals.check()
                if queue and len(in_work) < cluster.room():
                    path = queue.popleft()
                    in_work[path] = self.restore_one_on(cluster, path, jobs)
                    stack.callback(in_work[path].close)
                else:
                    cluster.wait(seconds=1)
                for path, image in list(in_work.items()):
                    try:
                        next(image)
                        continue
                    except StopIteration:
                        self.bar.update()
                    except HeldElsewhereError:
                        held.append(path)
                    except Exception as error:  # whatever one image's fault, the others go on
                        self.fail(path, error)
                        self.bar.update()
                    del in_work[path]
                    jobs.pop(path, None)
                running = ", ".join(job.stands() for job in jobs.values())
                self.bar.set_postfix_str(running, refresh=False)
                self.bar.update(0)
        return held

    def fail(self, path: Path, error: Exception) -> None:
        """Note the reason why an image failed, and say it."""
        reason = OUT_OF_MEMORY if out_of_memory(error) else describe(error)
        self.failures[path.stem] = reason
        say(f"{path.stem}: failed: {reason}")

    def restore_one(self, path: Path) -> None:
        """Restore one image and write its results, or say that it was done before.

        Parameters
        ----------
        path : Path
            The blurry image.

        Raises
        ------
        HeldElsewhereError
            If another process is at work on the image.
        Interrupted
            If a signal came; the image's state is then in a checkpoint.
        DataError
            If the image cannot be used, or results of other settings stand in the way.
        ValueError, FloatingPointError
            See `utils.engine.deblur.deblur`.
        """
        with hold(Outputs(self.options.save_path, path.stem).lock):
            job = Job(path, self.options, self.experiment, self.signals)
            finished, checkpoint = job.find_start(self.leftovers)
            if finished:
                return
            tells = f"on {job.record['device']} in {job.precision}"
            if tells != self.told:
                say(tells)
                self.told = tells
            try:
                job.restore(checkpoint)
            except CheckpointError as error:
                set_aside(job.outputs, error)
                job.restore(None)
            job.finish()

    def restore_one_on(
        self, cluster: "Cluster", path: Path, jobs: dict[Path, "Job"]
    ) -> Iterator[None]:
        """Restore one image as `restore_one` does, on a cluster, in steps that do not block.

        Parameters
        ----------
        cluster : Cluster
            Where to restore.
        path : Path
            The blurry image.
        jobs : dict of Path to Job
            Gets the image's when a worker begins.

        Yields
        ------
        None
            Whenever other images may have their turn.
        """
        with hold(Outputs(self.options.save_path, path.stem).lock):
            job = Job(path, self.options, self.experiment, self.signals)
            finished, checkpoint = job.find_start(self.leftovers)
            if finished:
                return

            def begin(stage: Stage) -> None:
                jobs[path] = job
                job.begin(stage)

            def lost() -> bytes | None:
                jobs.pop(path, None)
                say(f"{job.outputs.name}: its worker died; another takes over")
                return find_progress(job.outputs, job.settings, job.files)[1]

            def attempt(checkpoint: bytes | None) -> Iterator[None]:
                return cluster.restore(
                    job.task(),
                    checkpoint=checkpoint,
                    save_every=self.options.save_frequency,
                    checkpoint_seconds=self.options.checkpoint_seconds,
                    on_lost=lost,
                    callbacks={
                        "on_machine": job.record.update,
                        "on_stage": begin,
                        "on_save": job.save,
                        "on_checkpoint": job.keep,
                        "on_progress": job.show,
                    },
                )

            try:
                yield from attempt(checkpoint)
            except CheckpointError as error:
                set_aside(job.outputs, error)
                yield from attempt(None)
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
    signals : Signals
        What may end the work.
    """

    def __init__(
        self, path: Path, options: Options, experiment: Experiment, signals: Signals
    ) -> None:
        self.options, self.experiment, self.signals = options, experiment, signals
        if len(os.fsencode(path.stem)) > LONGEST_NAME:
            raise DataError(f"{path}: its name is longer than {LONGEST_NAME} bytes; rename it")
        self.photograph = read_photograph(path)
        self.blurry = experiment.luminance(self.photograph)
        self.kernel_size = options.kernel_size or experiment.kernel_size(path.stem)
        self.given = experiment.given(path.stem)
        self.outputs = Outputs(options.save_path, path.stem)
        self.files = [self.outputs.file(s) for s in experiment.suffixes(self.photograph)]
        self.files += [self.outputs.file(f"_{letter}net.pth") for letter in experiment.networks]
        if "kernel" not in self.given:
            self.files.append(self.outputs.kernel)
        self.precision = options.precision
        if options.given.precision == "auto" and not options.overwrite:
            # What is begun goes on, even where another machine or moment would choose otherwise.
            self.precision = earlier_precision(self.outputs) or options.precision
        self.settings = {
            **asdict(options.recipe),
            "milestones": list(options.recipe.milestones),
            "kernel_size": list(self.kernel_size),
            "seed": options.seed,
            "precision": self.precision,
            "luma_range": [experiment.luma_range.black, experiment.luma_range.white],
            "color_suffix": experiment.color_suffix,
            **({"registered": True} if experiment.registered else {}),
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
            **describe_machine(options.device),
        }
        self.recipe = options.recipe  # of the optimisation in work
        self.iterations_done = 0  # of that optimisation
        self.bar = tqdm(disable=True)
        self.last_checkpoint = time.monotonic()
        self.keeps = True  # as far as is known
        self.kept: int | None = None  # iterations done in the checkpoint that is there

    def clean_up(self, leftovers: dict[str, list[Path]]) -> None:
        """Remove what a killed process left: who holds the lock knows that no other writes."""
        own = [self.outputs.record, self.outputs.losses, self.outputs.checkpoint, *self.files]
        for file in own:
            for leftover in leftovers.get(file.name, []):
                leftover.unlink(missing_ok=True)

    def find_start(self, leftovers: dict[str, list[Path]]) -> tuple[bool, bytes | None]:
        """Tell whether the image is finished, and else the checkpoint to go on from, if any.

        What a killed process left of the image is removed.
        """
        self.clean_up(leftovers)
        if self.options.overwrite:
            finished, checkpoint = False, None
            self.outputs.checkpoint.unlink(missing_ok=True)
        else:
            finished, checkpoint = find_progress(self.outputs, self.settings, self.files)
        if finished:
            say(f"{self.outputs.name}: done before with these settings, skipped")
        else:
            options = self.options
            check_arguments(self.blurry, self.kernel_size, options.recipe, options.save_frequency)
        return finished, checkpoint

    def task(self) -> Task:
        """Put together what is to be computed."""
        return Task(
            self.blurry,
            self.kernel_size,
            self.options.recipe,
            self.options.seed,
            self.precision,
            self.settings,
            self.experiment.rescue,
            self.start if self.experiment.start else None,
        )

    def restore(self, checkpoint: bytes | None) -> None:
        """Fit the networks under a bar, and write what they give at each save point."""

        def keep(content: bytes, iterations_done: int) -> None:
            self.keep(content, iterations_done)
            if self.signals.received is not None:
                raise Interrupted(self.signals.received, self.how_to_go_on())

        try:
            with self.signals.postponed():
                restore(
                    self.task(),
                    device=self.options.device,
                    checkpoint=checkpoint,
                    save_every=self.options.save_frequency,
                    on_stage=self.begin,
                    on_save=self.save,
                    checkpoint_due=self.checkpoint_due,
                    on_checkpoint=keep,
                    on_progress=self.show,
                )
        finally:
            self.bar.close()

    def start(self) -> State:
        """Ask the script what the optimisation starts from."""
        return self.experiment.start(self.outputs.name, self.blurry.shape, self.kernel_size)

    def begin(self, stage: Stage) -> None:
        """Record which optimisation of the image begins, or goes on."""
        name, self.recipe = self.outputs.name, stage.recipe
        if stage.rescued_from:
            self.record["rescued_from"] = stage.rescued_from
            self.record["rescue_recipe"] = asdict(stage.recipe)
        if stage.iterations_done:
            self.kept = stage.iterations_done
            say(f"{name}: goes on from iteration {stage.iterations_done}")
        elif stage.rescued_from:
            say(f"{name}: collapsed to black, restored again with the kernel that was found")
        self.iterations_done = stage.iterations_done
        if self.options.ray is None:  # where many images are in work, one bar tells of all
            self.bar.close()
            self.bar = iteration_bar(name, stage.recipe.num_iter, stage.iterations_done)

    def show(self, done: int, loss: float) -> None:
        """Bring the bar forward."""
        self.iterations_done = done
        self.bar.set_postfix_str(f"{self.recipe.loss_name(done - 1)} {loss:.5f}", refresh=False)
        self.bar.update(done - self.bar.n)

    def stands(self) -> str:
        """Tell how far the image is."""
        return f"{printable(self.outputs.name)} {self.iterations_done}/{self.recipe.num_iter}"

    def save(self, restoration: Restoration, seconds: float) -> None:
        """Write what was reached: images, kernel, networks, and the record of it."""
        done = len(restoration.losses)
        self.record["iterations_done"] = done
        self.record["loss"] = self.recipe.loss_name(done - 1)
        self.record["final_loss"] = restoration.losses[-1]
        self.record["seconds"] = round(seconds, 2)
        # The record goes first, and says that the result is not finished: whenever the run is
        # killed, no record calls files finished that are not there yet.
        write_json(self.outputs.record, self.record)
        for suffix, image in self.experiment.render(self.photograph, restoration).items():
            write_whole(self.outputs.file(suffix), image)
        if "kernel" not in self.given:
            write_png(self.outputs.kernel, scale_kernel(restoration.kernel))
        for letter in self.experiment.networks:
            network = {"x": restoration.gx, "k": restoration.gk}[letter]
            if not isinstance(network, KnownKernel):
                path = self.outputs.file(f"_{letter}net.pth")
                write_network(path, network, self.blurry.shape, self.settings)
        write_losses(self.outputs.losses, restoration.losses, self.recipe)

    def checkpoint_due(self) -> bool:
        """Tell whether it is time for a checkpoint, or a signal has come."""
        elapsed = time.monotonic() - self.last_checkpoint
        return elapsed >= self.options.checkpoint_seconds or self.signals.received is not None

    def keep(self, checkpoint: bytes, iterations_done: int) -> None:
        """Write a checkpoint."""
        try:
            write_whole(self.outputs.checkpoint, checkpoint)
            self.kept, self.keeps = iterations_done, True
        except OSError as error:  # the work itself is unharmed
            if self.keeps:
                say(f"{self.outputs.name}: no checkpoint at iteration {iterations_done}: {error}")
            self.keeps = False
        self.last_checkpoint = time.monotonic()

    def how_to_go_on(self) -> str:
        """Tell what a run does after this one was interrupted."""
        if self.kept is None:
            return f"the same command starts {self.outputs.name} over"
        command = "the same command" + " without --overwrite" * self.options.overwrite
        return f"{command} goes on from iteration {self.kept} of {self.outputs.name}"

    def finish(self) -> None:
        """Record that the results are complete, and say so."""
        self.record["finished"] = True
        write_json(self.outputs.record, self.record)
        self.outputs.checkpoint.unlink(missing_ok=True)
        say(
            "{}: {iterations_done} iterations in {seconds:.0f} s, {loss} {final_loss:.5f}".format(
                self.outputs.name, **self.record
            )
        )
