"""Many images: restore each, record it, skip what is done, report at the end."""

import json
import os
import secrets
from collections import deque
from collections.abc import Generator
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from networks.fcn import KernelNetwork
from networks.skip import SkipNetwork
from utils.engine.checkpoint import CheckpointError
from utils.engine.memory import out_of_memory
from utils.engine.methods import resolve_precision
from utils.engine.restore import Task
from utils.engine.stage import Restoration
from utils.errors import DataError, Interrupted, describe
from utils.images.files import find_leftovers, sha256, write_json, write_whole
from utils.images.kernels import scale_kernel
from utils.images.reading import read_photograph
from utils.images.writing import encode_png
from utils.log import log
from utils.runs.display import Display
from utils.runs.experiment import Experiment
from utils.runs.interrupt import Signals
from utils.runs.locks import HeldElsewhereError, hold
from utils.runs.machine import describe_project
from utils.runs.options import LOCAL, Options
from utils.runs.pools import Callbacks, Here, Pool, Workers
from utils.runs.results import (
    Outputs,
    earlier_precision,
    find_progress,
    network_content,
    prepare_folder,
    set_aside,
    write_losses,
)

MAX_NAME_BYTES = 200  # file systems take 255, and some names of results add 40

OUT_OF_MEMORY = "out of memory; give a smaller image, free some memory, or use --method quick"


def restore_all(options: Options, experiment: Experiment, display: Display | None = None) -> int:
    """Restore all images that a command line asks for, and report.

    Parameters
    ----------
    options : Options
        Images, method, folder.
    experiment : Experiment
        What the script says about its images.
    display : Display, optional
        Shows the progress.

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
        display = display or Display()
        with open_pool(options, signals) as pool, closing(display):
            run = Run(options, experiment, signals, pool, display)
            display.start(len(options.images), pool.room())
            waiting = options.images
            while waiting:
                held = run.restore(waiting)
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
    if options.ray is None and options.workers == 1:
        return "the same command " + ("starts anew" if options.overwrite else "goes on")
    command = "the same command" + " without --overwrite" * options.overwrite
    return f"{command} goes on from the last checkpoints"


def open_pool(options: Options, signals: Signals) -> Pool:
    """Make the place where a command line wants its images restored."""
    device, every = options.device, options.save_frequency
    if options.ray is not None:
        if options.ray == LOCAL:
            # Nobody else on this machine shall run code in it. Ray reads these when imported.
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # Ray is an optional dependency, and takes a second to import.
        from utils.runs.cluster import Cluster

        return Cluster(
            options.ray, options.gpus_per_image, device, every, options.checkpoint_seconds
        )
    if options.workers > 1:
        threads = options.threads or 1
        return Workers(options.workers, device, threads, every, options.checkpoint_seconds)
    return Here(device, options.threads, every, options.checkpoint_seconds, signals)


class Run:
    """What one command does with many images.

    Parameters
    ----------
    options : Options
        Method, folder and the like.
    experiment : Experiment
        What the script says about its images.
    signals : Signals
        What may end the work.
    pool : Pool
        Where to restore.
    display : Display
        Shows the progress.
    """

    def __init__(
        self,
        options: Options,
        experiment: Experiment,
        signals: Signals,
        pool: Pool,
        display: Display,
    ) -> None:
        self.options, self.experiment, self.signals = options, experiment, signals
        self.pool, self.display = pool, display
        self.leftovers = find_leftovers(options.save_path)
        self.failures: dict[str, str] = {}  # the reasons by the images' names
        self.machine = ""  # on what the latest image was restored, and how precisely

    def restore(self, paths: list[Path]) -> list[Path]:
        """Restore images, as many at a time as the pool has room for.

        Each image in work is a generator, which goes on here by one event at a time.

        Parameters
        ----------
        paths : list of Path
            The blurry images.

        Returns
        -------
        list of Path
            Those that another process is at work on.
        """
        held: list[Path] = []
        queue = deque(paths)
        in_work: dict[Path, Generator[None]] = {}
        interruptions: list[Interrupted] = []
        with ExitStack() as stack, self.signals.postponed():
            while queue or in_work:
                if self.signals.received is not None:
                    if not self.pool.stops_in_order:
                        self.signals.check()
                    queue.clear()
                    self.pool.stop()
                if queue and len(in_work) < self.pool.room():
                    path = queue.popleft()
                    in_work[path] = self.restore_one(path)
                    stack.callback(in_work[path].close)
                else:
                    self.pool.wait(seconds=1)
                for path, image in list(in_work.items()):
                    try:
                        next(image)
                        continue
                    except StopIteration:
                        self.display.image_done()
                    except HeldElsewhereError:
                        held.append(path)
                    except Interrupted as interrupted:
                        interruptions.append(interrupted)
                    except Exception as error:  # whatever one image's fault, the others go on
                        self.fail(path, error)
                        self.display.image_done()
                    self.display.end(path.stem)
                    del in_work[path]
            if len(interruptions) == 1:
                raise interruptions[0]
            self.signals.check()
        return held

    def fail(self, path: Path, error: Exception) -> None:
        """Note the reason why an image failed, and say it."""
        reason = OUT_OF_MEMORY if out_of_memory(error) else describe(error)
        self.failures[path.stem] = reason
        log.error("%s: failed: %s", path.stem, reason)

    def restore_one(self, path: Path) -> Generator[None]:
        """Restore one image and write its results, or say that it was done before.

        Parameters
        ----------
        path : Path
            The blurry image.

        Yields
        ------
        None
            Whenever other images may have their turn.

        Raises
        ------
        HeldElsewhereError
            If another process is at work on the image.
        Interrupted
            If a signal came; the image's state is then in a checkpoint.
        DataError
            If the image cannot be used, or results of other settings stand in the way.
        ValueError, FloatingPointError
            See `utils.engine.restore.restore`.
        """
        with hold(Outputs(self.options.save_path, path.stem).lock):
            job = Job(path, self)
            finished, checkpoint = job.find_start()
            if finished:
                return
            try:
                yield from self.pool.restore(job.task(), checkpoint, job.callbacks())
            except CheckpointError as error:
                set_aside(job.outputs, error)
                job.kept = None
                yield from self.pool.restore(job.task(), None, job.callbacks())
            job.finish()


class Job:
    """One image in work: its settings, its files, and the record of what was done.

    Parameters
    ----------
    path : Path
        The blurry image.
    run : Run
        The run that it is a part of.
    """

    def __init__(self, path: Path, run: Run) -> None:
        self.path, self.run = path, run
        self.options, self.experiment = options, experiment = run.options, run.experiment
        if len(os.fsencode(path.stem)) > MAX_NAME_BYTES:
            raise DataError(f"{path}: its name is longer than {MAX_NAME_BYTES} bytes; rename it")
        self.photograph = read_photograph(path)
        self.outputs = Outputs(options.save_path, path.stem)
        files = experiment.files(path.stem)
        self.has_kernel = "kernel" in files
        precision = options.auto_precision
        if not options.overwrite:
            # What is begun goes on, even where another machine would choose otherwise.
            precision = earlier_precision(self.outputs) or precision
        self.method = resolve_precision(options.method, precision)
        self.restoration = Restoration(
            blurry=experiment.luminance(self.photograph),
            kernel_size=options.kernel_size or experiment.kernel_size(path.stem),
        )
        settings = {
            "method": [stage.settings() for stage in self.method],
            "kernel_size": list(self.restoration.kernel_size),
            "seed": options.seed,
            "luma": list(asdict(experiment.luma).values()),
            "color_suffix": experiment.color_suffix,
            "registered": experiment.registered,
            **experiment.settings,
            "image_sha256": sha256(path),
            **{f"{word}_sha256": sha256(file) for word, file in files.items()},
        }
        # As they will be read from the record: tuples have become lists.
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))
        self.record: dict[str, Any] = {
            "image": path.name,
            "finished": False,
            "method": options.method_name,
            "settings": self.settings,
            **describe_project(),
        }
        self.kept: str | None = None  # where the checkpoint that is there goes on
        self.keeps = True  # as far as is known

    def find_start(self) -> tuple[bool, bytes | None]:
        """Tell whether the image is finished, and else the checkpoint to go on from, if any.

        What a killed process left of the image is removed.
        """
        suffixes = self.experiment.suffixes(self.photograph) | {"_xnet.pth", "_knet.pth"}
        files = [self.outputs.file(suffix) for suffix in suffixes]
        if not self.has_kernel:
            files.append(self.outputs.kernel)
        # Who holds the lock knows that no other writes.
        own = [self.outputs.record, self.outputs.losses, self.outputs.checkpoint, *files]
        for file in own:
            for leftover in self.run.leftovers.get(file.name, []):
                leftover.unlink(missing_ok=True)
        if self.options.overwrite:
            finished, checkpoint = False, None
            self.outputs.checkpoint.unlink(missing_ok=True)
        else:
            finished, checkpoint = find_progress(self.outputs, self.settings, files)
        if finished:
            log.info("%s: done before with these settings, skipped", self.outputs.name)
        return finished, checkpoint

    def task(self) -> Task:
        """Put together what is to be computed."""
        restoration = self.experiment.start(self.path, self.restoration)
        return Task(self.method, restoration, self.options.seed, self.settings)

    def callbacks(self) -> Callbacks:
        """Give what is to be called while the image is restored."""
        return Callbacks(self.on_machine, self.begin, self.show, self.save, self.keep, self.on_lost)

    def on_machine(self, machine: dict[str, Any]) -> None:
        """Record where the image is restored, and say it where that is news."""
        self.record |= machine
        precisions = {str(s["precision"]) for s in self.settings["method"] if "precision" in s}
        news = " in ".join([f"on {machine['device']}", *sorted(precisions)])
        if news != self.run.machine:
            log.info("%s", news)
            self.run.machine = news

    def begin(self, record: dict[str, Any]) -> None:
        """Say which stage of the image begins, or goes on."""
        name, stage, done = self.outputs.name, record["stage"], record["steps"]
        if done:
            self.kept = f"iteration {done} of {name} ({stage})"
            log.info("%s: goes on from iteration %d of the %s", name, done, stage)
        elif record.get("reason"):
            log.info("%s: %s: %s", name, stage, record["reason"])
        self.run.display.begin(name, stage, done, record["total"])

    def show(self, done: int, total: int, detail: str) -> None:
        """Bring the progress forward."""
        self.run.display.step(self.outputs.name, done, total, detail)

    def save(self, restoration: Restoration, records: list[dict[str, Any]]) -> None:
        """Write what was reached: images, kernel, networks, and the record of it."""
        self.record["stages"] = [
            {**record, "seconds": round(record["seconds"], 2)} for record in records
        ]
        self.record["seconds"] = round(sum(record["seconds"] for record in records), 2)
        if restoration.losses:
            self.record["iterations_done"] = len(restoration.losses)
            self.record["loss"] = restoration.loss_names[-1]
            self.record["final_loss"] = restoration.losses[-1]
        images = self.experiment.render(self.photograph, restoration)
        networks = self.networks(restoration)
        files = {**images, **networks}
        if restoration.kernel is not None and not self.has_kernel:
            files["_k.png"] = encode_png(scale_kernel(restoration.kernel))
        self.record["files"] = sorted(files)
        # The record goes first, and says that the result is not finished: whenever the run is
        # killed, no record calls files finished that are not there yet.
        write_json(self.outputs.record, self.record)
        for suffix, content in files.items():
            write_whole(self.outputs.file(suffix), content)
        if restoration.losses:
            write_losses(self.outputs.losses, restoration.loss_names, restoration.losses)

    def networks(self, restoration: Restoration) -> dict[str, bytes]:
        """Give the contents of the networks' files, by the suffixes of their names."""
        if not self.experiment.saves_networks:
            return {}
        contents = {}
        shape = restoration.blurry.shape
        if isinstance(restoration.gx, SkipNetwork):
            settings = {**self.settings, **restoration.gx.arguments}
            contents["_xnet.pth"] = network_content(restoration.gx, shape, settings)
            if isinstance(restoration.gk, KernelNetwork):
                contents["_knet.pth"] = network_content(restoration.gk, shape, settings)
        return contents

    def keep(self, checkpoint: bytes, record: dict[str, Any]) -> None:
        """Write a checkpoint, and end the work if a signal asked for it."""
        done, name = record["steps"], self.outputs.name
        try:
            write_whole(self.outputs.checkpoint, checkpoint)
            self.kept, self.keeps = f"iteration {done} of {name} ({record['stage']})", True
        except OSError as error:  # the work itself is unharmed
            if self.keeps:
                log.warning("%s: no checkpoint at iteration %d: %s", name, done, error)
            self.keeps = False
        signals = self.run.signals
        if signals.received is not None and self.run.pool.stops_in_order:
            raise Interrupted(signals.received, self.how_to_go_on())

    def on_lost(self) -> bytes | None:
        """Say that the image's worker died, and give the checkpoint for another."""
        log.warning("%s: its worker died; another takes over", self.outputs.name)
        return self.find_start()[1]

    def how_to_go_on(self) -> str:
        """Tell what a run does after this one was interrupted."""
        if self.kept is None:
            return f"the same command starts {self.outputs.name} over"
        command = "the same command" + " without --overwrite" * self.options.overwrite
        return f"{command} goes on from {self.kept}"

    def finish(self) -> None:
        """Record that the results are complete, and say so."""
        self.record["finished"] = True
        write_json(self.outputs.record, self.record)
        self.outputs.checkpoint.unlink(missing_ok=True)
        name, seconds = self.outputs.name, self.record["seconds"]
        if "final_loss" in self.record:
            done, loss = self.record["iterations_done"], self.record["loss"]
            final = self.record["final_loss"]
            log.info("%s: %d iterations in %.0f s, %s %.5f", name, done, seconds, loss, final)
        else:
            log.info("%s: restored in %.0f s", name, seconds)
