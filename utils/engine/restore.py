"""Restore one image: run the stages of a method one after another. Reads and writes no files."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from utils.engine.checkpoint import (
    Checkpoint,
    CheckpointError,
    pack_checkpoint,
    unpack_checkpoint,
)
from utils.engine.deblur import choose_device
from utils.engine.memory import check_memory
from utils.engine.stage import Method, Restoration, Stage, Work


@dataclass(frozen=True)
class Task:
    """One image, and how to restore it.

    Parameters
    ----------
    method : tuple of Stage
        Its stages.
    restoration : Restoration
        The blurry image, and whatever else the method's first stage needs.
    seed : int
        Seed of all random numbers.
    settings : dict
        Everything that determines the result; kept in checkpoints.
    """

    method: Method
    restoration: Restoration
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def bytes_needed(self, roomy: bool = False) -> int:
        """Estimate the memory that the restoration needs (see `Stage.bytes_needed`)."""
        image_size, kernel_size = self.restoration.blurry.shape, self.restoration.kernel_size
        return max(stage.bytes_needed(image_size, kernel_size, roomy) for stage in self.method)


def restore(
    task: Task,
    *,
    device: str = "auto",
    checkpoint: bytes | None = None,
    save_every: int = 100,
    on_stage: Callable[[dict[str, Any]], None] | None = None,
    on_step: Callable[[int, int, str], None] | None = None,
    on_save: Callable[[Restoration, list[dict[str, Any]]], None] | None = None,
    checkpoint_due: Callable[[], bool] | None = None,
    on_checkpoint: Callable[[bytes, dict[str, Any]], None] | None = None,
) -> Restoration:
    """Restore one image by the stages of a method.

    Parameters
    ----------
    task : Task
        What to restore.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    checkpoint : bytes, optional
        What `on_checkpoint` got in an earlier run of the same task; this one resumes there. On the
        CPU it ends with the same bits as a run that never stopped.
    save_every : int
        Iterations of a fit from one intermediate result to the next.
    on_stage : callable, optional
        Takes the record of each stage as it begins or resumes: its name as ``stage``, the
        ``steps`` done, their ``total`` (0 while unknown), and ``seconds``.
    on_step : callable, optional
        Takes the steps done in the current stage, their total, and a detail such as the loss.
    on_save : callable, optional
        Takes the `Restoration` and the records of the stages so far, including their notes.
        Called by the stages, and after the last one.
    checkpoint_due : callable, optional
        Returns whether `on_checkpoint` should be called.
    on_checkpoint : callable, optional
        Takes the bytes of a checkpoint and the record of the current stage. Called when one is due,
        and when any stage but the first begins. What it raises ends the restoration.

    Returns
    -------
    Restoration
        What the stages have found.

    Raises
    ------
    CheckpointError
        If `checkpoint` is damaged, or of another method or other networks.
    DataError
        If a stage cannot restore the image, or needs more memory than is free.
    ValueError, FloatingPointError
        See `utils.engine.deblur.deblur`.
    """
    for stage in task.method:
        stage.check(task.restoration)
    if choose_device(device).type == "cpu":
        check_memory(task.bytes_needed())
    position = Position(task.restoration)
    if checkpoint:
        position.load(unpack_checkpoint(checkpoint), task)

    def show(done: int, total: int, detail: str) -> None:
        position.record.update(steps=done, total=total)
        if on_step:
            on_step(done, total, detail)

    saved: Restoration | None = None

    def save(restoration: Restoration) -> None:
        nonlocal saved
        position.clock()
        saved = restoration
        if on_save:
            on_save(restoration, position.records)

    def keep(state: Mapping[str, Any] | None) -> None:
        position.clock()
        if on_checkpoint:
            on_checkpoint(pack_checkpoint(position.checkpoint(task, state)), position.record)

    while position.stage < len(task.method):
        stage = task.method[position.stage]
        if not position.in_work:
            if not stage.applies(position.restoration):
                position.stage += 1
                continue
            position.begin(stage)
            if position.stage:
                keep(None)
        if on_stage:
            on_stage(position.record)
        work = Work(
            device=device,
            seed=task.seed,
            save_every=save_every,
            state=position.state,
            show=show,
            save=save,
            checkpoint_due=checkpoint_due or (lambda: False),
            keep=keep,
            note=position.record.update,
        )
        position.end(stage.run(position.restoration, work))
    if saved is not position.restoration:
        save(position.restoration)
    return position.restoration


class Position:
    """How far the restoration of an image has come.

    Parameters
    ----------
    restoration : Restoration
        What is known before the current stage.
    """

    def __init__(self, restoration: Restoration) -> None:
        self.restoration = restoration
        self.stage = 0
        self.in_work = False  # whether the current stage has begun
        self.state: Mapping[str, Any] | None = None  # of the current stage
        self.records: list[dict[str, Any]] = []
        self._clock = time.perf_counter()

    @property
    def record(self) -> dict[str, Any]:
        """The record of the current stage."""
        return self.records[-1]

    def begin(self, stage: Stage) -> None:
        """Begin the next stage."""
        self.clock()
        self.records.append({"stage": stage.name, "steps": 0, "total": 0, "seconds": 0.0})
        if stage.reason:
            self.record["reason"] = stage.reason
        self.state, self.in_work = None, True

    def end(self, restoration: Restoration) -> None:
        """End the current stage with what it has found."""
        self.clock()
        self.restoration, self.stage, self.in_work = restoration, self.stage + 1, False

    def clock(self) -> None:
        """Add the time since the last call to the record of the latest stage."""
        now = time.perf_counter()
        if self.records:
            self.record["seconds"] += now - self._clock
        self._clock = now

    def checkpoint(self, task: Task, state: Mapping[str, Any] | None) -> Checkpoint:
        """Make the checkpoint of this position."""
        start = ("blurry", "chroma", "doubtful")
        found = {k: v for k, v in vars(self.restoration).items() if k not in start}
        return Checkpoint(task.settings, self.stage, self.records, found, state)

    def load(self, checkpoint: Checkpoint, task: Task) -> None:
        """Resume from a checkpoint of a task."""
        if checkpoint.stage >= len(task.method):
            raise CheckpointError("of another method")
        try:
            self.restoration = replace(self.restoration, **checkpoint.found)
        except TypeError as error:
            raise CheckpointError("of another version of this program") from error
        self.stage, self.in_work = checkpoint.stage, True
        self.records, self.state = checkpoint.records, checkpoint.state
