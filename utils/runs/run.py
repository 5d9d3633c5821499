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
from utils.engine.memory import LESS_MEMORY, out_of_memory
from utils.engine.methods import find_size_first, resolve_precision
from utils.engine.restore import Task
from utils.engine.stage import UNKNOWN_SIZE, Restoration
from utils.errors import DataError, Interrupted, describe
from utils.images.files import OVERVIEW, find_leftovers, sha256, write_json, write_whole
from utils.images.kernels import scale_kernel
from utils.images.reading import read_photograph
from utils.images.writing import encode_png
from utils.log import log
from utils.runs.display import Display
from utils.runs.experiment import Experiment
from utils.runs.interrupt import Signals
from utils.runs.locks import HeldElsewhereError, hold
from utils.runs.machine import describe_project
from utils.runs.options import AUTO, LOCAL, Options
from utils.runs.page import open_page, page_of, render_page
from utils.runs.pools import Here, Pool, WorkerDiedError, Workers
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
MAX_DEATHS = 5  # of an image's workers in a row, without a checkpoint between

RESULTS = "x", "k", "gx", "finished", "doubtful"  # the pictures NAME_x.png and so on

OUT_OF_MEMORY = f"out of memory; {LESS_MEMORY}"


def restore_all(options: Options, experiment: Experiment, display: Display) -> int:
    """Restore all images of a command line, and print the summary.

    Returns
    -------
    int
        Exit status: 1 if an image failed; 0 if each is restored, or in progress in another process.

    Raises
    ------
    DataError
        If the results folder cannot be written.
    Interrupted
        If a signal came.
    """
    prepare_folder(options.save_path)
    with Signals(resume_hint(options)) as signals:
        with open_pool(options, signals) as pool, closing(display):
            run = Run(options, experiment, signals, pool, display)
            display.start(len(options.images), pool.room())
            remaining = options.images
            while remaining:
                held = run.restore(remaining)
                if len(held) == len(remaining):
                    break
                remaining = held  # once more: their holders may have died

        # It imports Matplotlib and SciPy, which would delay every start by a second.
        from utils.runs.summary import report

        # One process at a time, so that the last picture shows the work of all.
        with ExitStack() as stack:
            with suppress(OSError):  # if the folder cannot be written, the summary says so
                stack.enter_context(hold(options.save_path / f".{OVERVIEW}.lock", wait=True))
            for leftover in run.leftovers.get(OVERVIEW, []):
                leftover.unlink(missing_ok=True)
            report(options, experiment, run.failures, {path.stem for path in remaining})
    return 1 if run.failures else 0


def resume_hint(options: Options) -> str:
    """Say how to resume a run that is interrupted, where no single image is meant."""
    if options.ray is None and options.workers == 1:
        return "the same command " + ("starts over" if options.overwrite else "resumes")
    command = "the same command" + " without --overwrite" * options.overwrite
    return f"{command} resumes from the last checkpoints"


def open_pool(options: Options, signals: Signals) -> Pool:
    """Make the pool that a command line asks for."""
    if options.ray is not None:
        if options.ray == LOCAL:
            # No other user of this machine may run code in it. Ray reads these when imported.
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # Ray is an optional dependency, and takes a second to import.
        from utils.runs.cluster import Cluster

        return Cluster(options)
    return Workers(options) if options.workers > 1 else Here(options, signals)


class Run:
    """The images of one command line, and what happened to them so far."""

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
        self.page_opened = False
        self.machine = ""  # where the latest image was restored, and in which precision

    def restore(self, paths: list[Path]) -> list[Path]:
        """Restore images, as many at a time as the pool has room for.

        Each of these is a generator, which is resumed here for one event at a time.

        Returns
        -------
        list of Path
            Those that another process is working on.
        """
        held: list[Path] = []
        queue = deque(paths)
        in_progress: dict[Path, Generator[None]] = {}
        interruptions: list[Interrupted] = []
        with ExitStack() as stack, self.signals.postponed():
            while queue or in_progress:
                if self.signals.received is not None:
                    if not self.pool.stops_in_order:
                        self.signals.check()
                    queue.clear()
                    self.pool.stop()
                if queue and len(in_progress) < self.pool.room():
                    path = queue.popleft()
                    in_progress[path] = self.restore_one(path)
                    stack.callback(in_progress[path].close)
                else:
                    self.pool.wait(seconds=1)
                for path, image in list(in_progress.items()):
                    try:
                        next(image)
                        continue
                    except StopIteration:
                        self.display.image_done()
                    except HeldElsewhereError:
                        held.append(path)
                    except Interrupted as interrupted:
                        interruptions.append(interrupted)
                    except Exception as error:  # whatever one image's fault, the others continue
                        self.fail(path, error)
                        self.display.image_done()
                    self.display.end(path.stem)
                    del in_progress[path]
            if len(interruptions) == 1:
                raise interruptions[0]
            self.signals.check()
        return held

    def fail(self, path: Path, error: Exception) -> None:
        """Record and print the reason why an image failed."""
        reason = OUT_OF_MEMORY if out_of_memory(error) else describe(error)
        self.failures[path.stem] = reason
        log.error("%s: failed: %s", path.stem, reason)

    def show(self, page: Path) -> None:
        """Open an image's page in a browser, if that was asked for and it is the first."""
        if self.experiment.opens_page and not self.page_opened:
            self.page_opened = True
            open_page(page)

    def restore_one(self, path: Path) -> Generator[None]:
        """Restore one image and write its results, unless that was done before.

        Yields
        ------
        None
            Whenever other images may have their turn.

        Raises
        ------
        HeldElsewhereError
            If another process is working on the image.
        Interrupted
            If a signal came; the image's state is then in a checkpoint.
        DataError
            If the image cannot be used, or results of other settings are in the way.
        ValueError, FloatingPointError
            See `utils.engine.restore.restore`.
        """
        with hold(Outputs(self.options.save_path, path.stem).lock):
            job = Job(path, self)
            finished, checkpoint = job.find_start()
            while not finished:
                try:
                    yield from self.pool.restore(job.task(), checkpoint, job.on_event)
                    job.finish()
                    return
                except CheckpointError as error:
                    set_aside(job.outputs, error)
                    job.resumable = None
                except WorkerDiedError as death:
                    job.deaths += 1
                    if job.deaths == MAX_DEATHS:
                        raise DataError(f"{MAX_DEATHS} workers died in a row: {death}") from death
                    log.warning("%s: its worker died; another takes over", path.stem)
                finished, checkpoint = job.find_start()


def check_name(path: Path, images: list[Path]) -> None:
    """Raise a DataError if NAME.png of an image would replace what belongs to another or to all."""
    taken = {f"{other.stem}_{word}" for other in images for word in RESULTS}
    if path.stem in taken | {Path(OVERVIEW).stem}:
        raise DataError(f"{path}: another result has the name {path.stem}.png; rename the image")


class Job:
    """One image of a run: its settings, its files, and the record of what was done."""

    def __init__(self, path: Path, run: Run) -> None:
        self.path, self.run = path, run
        self.options, self.experiment = options, experiment = run.options, run.experiment
        if len(os.fsencode(path.stem)) > MAX_NAME_BYTES:
            raise DataError(f"{path}: its name is longer than {MAX_NAME_BYTES} bytes; rename it")
        self.photograph = read_photograph(path)
        if experiment.color_suffix == ".png" and self.photograph.pixels.ndim == 3:
            check_name(path, options.images)
        self.outputs = Outputs(options.save_path, path.stem)
        files = experiment.files(path.stem)
        self.has_kernel = "kernel" in files
        precision = options.auto_precision
        if not options.overwrite:
            # A started image keeps its precision, even where this machine would choose another.
            precision = earlier_precision(self.outputs) or precision
        size = options.kernel_size or experiment.kernel_size(path.stem)
        method = find_size_first(options.method) if size == AUTO else options.method
        self.method = resolve_precision(method, precision)
        self.restoration = Restoration(
            blurry=experiment.luminance(self.photograph),
            kernel_size=UNKNOWN_SIZE if size == AUTO else size,
            doubtful=experiment.doubtful(self.photograph),
        )
        settings = {
            "method_name": options.method_name,
            "method": [stage.settings() for stage in self.method],
            "kernel_size": size,
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
        self.resumable: str | None = None  # where the checkpoint on disk resumes, if there is one
        self.checkpoint_written = True  # the latest one that was due
        self.deaths = 0  # of workers since the latest checkpoint
        self.saved: Restoration | None = None  # the latest one, for the page
        self.page_failed = False

    def find_start(self) -> tuple[bool, bytes | None]:
        """Find out whether the image is finished, and if not, the checkpoint to resume from.

        What a killed process left of the image is removed.
        """
        suffixes = self.experiment.suffixes(self.photograph) | {"_xnet.pth", "_knet.pth"}
        files = [self.outputs.file(suffix) for suffix in suffixes]
        if not self.has_kernel:
            files.append(self.outputs.kernel)
        if self.experiment.page:
            files.append(self.outputs.page)
        # The holder of the lock knows that no other process writes these.
        for file in [self.outputs.record, self.outputs.losses, self.outputs.checkpoint, *files]:
            for leftover in self.run.leftovers.get(file.name, []):
                leftover.unlink(missing_ok=True)
        if self.options.overwrite and self.resumable is None:
            self.outputs.checkpoint.unlink(missing_ok=True)
            return False, None
        finished, checkpoint = find_progress(self.outputs, self.settings, files)
        if finished:
            log.info("%s: done before with these settings, skipped", self.outputs.name)
            if self.outputs.page.exists():
                self.run.show(self.outputs.page)
        return finished, checkpoint

    def task(self) -> Task:
        """What is to be computed."""
        restoration = self.experiment.start(self.path, self.restoration)
        return Task(self.method, restoration, self.options.seed, self.settings)

    def on_event(self, name: str, *arguments: Any) -> None:
        """Call the method below of this name (see `utils.runs.pools.Report`)."""
        getattr(self, name)(*arguments)

    def on_machine(self, machine: dict[str, Any]) -> None:
        """Record where the image is restored, and print it if the last one was elsewhere."""
        self.record |= machine
        precisions = {str(s["precision"]) for s in self.settings["method"] if "precision" in s}
        place = " in ".join([f"on {machine['device']}", *sorted(precisions)])
        if place != self.run.machine:
            log.info("%s", place)
            self.run.machine = place

    def on_memory(self, peak: int | None) -> None:
        """Record the most memory that the process had, in bytes, if the system tells."""
        if peak is not None:
            self.record["peak_memory"] = peak

    def on_stage(self, record: dict[str, Any]) -> None:
        """Print that a stage resumes, or why it runs."""
        name, stage, done = self.outputs.name, record["stage"], record["steps"]
        if done:
            self.resumable = f"iteration {done} of {name} ({stage})"
            log.info("%s: resumes from iteration %d of the %s", name, done, stage)
        elif record.get("reason"):
            log.info("%s: %s: %s", name, stage, record["reason"])
        self.run.display.begin(name, stage, done, record["total"])

    def on_step(self, done: int, total: int, detail: str) -> None:
        self.run.display.step(self.outputs.name, done, total, detail)

    def on_save(self, restoration: Restoration, records: list[dict[str, Any]]) -> None:
        """Write the results so far: images, kernel, networks, and the record."""
        self.record["stages"] = [
            {**record, "seconds": round(record["seconds"], 2)} for record in records
        ]
        self.record["seconds"] = round(sum(record["seconds"] for record in records), 2)
        if restoration.losses:
            self.record["iterations_done"] = len(restoration.losses)
            self.record["loss"] = restoration.loss_names[-1]
            self.record["final_loss"] = restoration.losses[-1]
        files = self.experiment.render(self.photograph, restoration) | self.networks(restoration)
        if restoration.kernel is not None and not self.has_kernel:
            files["_k.png"] = encode_png(scale_kernel(restoration.kernel))
        self.record["files"] = sorted(files)
        # The record, which says that the result is not finished, goes first: whenever the run is
        # killed, no record calls files finished that do not exist yet.
        write_json(self.outputs.record, self.record)
        for suffix, content in files.items():
            write_whole(self.outputs.file(suffix), content)
        if restoration.losses:
            write_losses(self.outputs.losses, restoration.loss_names, restoration.losses)
        if self.experiment.page:
            self.saved = restoration
            self.write_page(unfinished=True)

    def write_page(self, unfinished: bool) -> None:
        """Write the page of what was saved last; the other results exist with or without it."""
        assert self.saved is not None
        try:
            page = page_of(
                self.experiment, self.photograph, self.saved, self.record, unfinished=unfinished
            )
            write_whole(self.outputs.page, render_page(page))
        except Exception as error:
            if not self.page_failed:
                log.warning("%s: no page: %s", self.outputs.name, describe(error))
            self.page_failed = True
            return
        if ".html" not in self.record["files"]:
            self.record["files"] = sorted([*self.record["files"], ".html"])
            write_json(self.outputs.record, self.record)
        self.run.show(self.outputs.page)

    def networks(self, restoration: Restoration) -> dict[str, bytes]:
        """The contents of the networks' files, by the suffixes of their names."""
        gx, gk = restoration.gx, restoration.gk
        if not self.experiment.saves_networks or not isinstance(gx, SkipNetwork):
            return {}
        shape, settings = restoration.blurry.shape, {**self.settings, **gx.arguments}
        contents = {"_xnet.pth": network_content(gx, shape, settings)}
        if isinstance(gk, KernelNetwork):
            contents["_knet.pth"] = network_content(gk, shape, settings)
        return contents

    def on_checkpoint(self, checkpoint: bytes, record: dict[str, Any]) -> None:
        """Write a checkpoint, and end the work on the image if a signal came."""
        done, name = record["steps"], self.outputs.name
        self.deaths = 0
        try:
            write_whole(self.outputs.checkpoint, checkpoint)
            self.resumable = f"iteration {done} of {name} ({record['stage']})"
            self.checkpoint_written = True
        except OSError as error:  # the work itself can continue
            if self.checkpoint_written:
                log.warning("%s: no checkpoint at iteration %d: %s", name, done, error)
            self.checkpoint_written = False
        signals = self.run.signals
        if signals.received is not None and self.run.pool.stops_in_order:
            raise Interrupted(signals.received, self.resume_hint())

    def resume_hint(self) -> str:
        """Say how to resume the image when it is interrupted."""
        if self.resumable is None:
            return f"the same command starts {self.outputs.name} over"
        command = "the same command" + " without --overwrite" * self.options.overwrite
        return f"{command} resumes from {self.resumable}"

    def finish(self) -> None:
        """Record that the results are complete, and print what is doubtful of them."""
        for stage in self.record.get("stages", []):
            for word in ("kept", "doubt"):
                if word in stage:
                    log.warning("%s: %s: %s", self.outputs.name, stage["stage"], stage[word])
        if self.saved is not None:
            self.write_page(unfinished=False)
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
        if self.experiment.page and self.outputs.page.exists():
            log.info("%s: before and after: %s", name, self.outputs.page)
