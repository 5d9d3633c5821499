"""One image from its pixels to its restoration, in one go or from a checkpoint; no files."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from utils.engine.checkpoint import pack_checkpoint, resume, unpack_checkpoint
from utils.engine.deblur import (
    Restoration,
    State,
    choose_device,
    collapsed_to_black,
    deblur,
    draw_start,
)
from utils.engine.memory import check_memory
from utils.engine.recipe import NONBLIND, Recipe
from utils.errors import DataError


@dataclass(frozen=True)
class Task:
    """One image to restore.

    Parameters
    ----------
    blurry : (H, W) array
        Gray image with values in [0, 1].
    kernel_size : tuple of int
        Height and width of the kernel in pixels.
    recipe : Recipe
        The schedule.
    seed : int
        The random seed.
    precision : str
        ``fp32``, ``tf32`` or ``bf16``.
    settings : dict
        All that decides the result, to be kept in checkpoints.
    rescue : bool
        Whether an image that collapses to black is restored again with the kernel that was found.
    start : callable, optional
        Gives what the optimisation starts from, in place of what the seed gives.
    """

    blurry: np.ndarray
    kernel_size: tuple[int, int]
    recipe: Recipe
    seed: int
    precision: str
    settings: dict[str, Any]
    rescue: bool = False
    start: Callable[[], State] | None = None

    def draw_start(self) -> State:
        """Give what the first optimisation starts from."""
        if self.start:
            return self.start()
        return draw_start(self.blurry.shape, self.kernel_size, self.recipe, self.seed)


@dataclass(frozen=True)
class Stage:
    """One optimisation of an image: the first, or the one that rescues it.

    Parameters
    ----------
    recipe : Recipe
        The schedule.
    iterations_done : int
        Where it starts, or goes on.
    rescued_from : dict or None
        The fault of the first optimisation and what it had reached, where this is the second.
    """

    recipe: Recipe
    iterations_done: int
    rescued_from: dict[str, Any] | None


def restore(
    task: Task,
    *,
    device: str = "auto",
    checkpoint: bytes | None = None,
    save_every: int = 100,
    on_stage: Callable[[Stage], None] | None = None,
    on_save: Callable[[Restoration, float], None] | None = None,
    checkpoint_due: Callable[[], bool] | None = None,
    on_checkpoint: Callable[[bytes, int], None] | None = None,
    on_progress: Callable[[int, float], None] | None = None,
) -> Restoration:
    """Restore one image; where it collapses to black, once more with the kernel that was found.

    Parameters
    ----------
    task : Task
        What to restore.
    device, save_every, checkpoint_due, on_progress
        See `utils.engine.deblur.deblur`.
    checkpoint : bytes, optional
        What `on_checkpoint` got from an earlier run of the same task; this one goes on from there.
    on_stage : callable, optional
        Takes each `Stage` as it begins.
    on_save : callable, optional
        Takes the `Restoration` reached so far and the seconds that it took, those of earlier runs
        included.
    on_checkpoint : callable, optional
        Takes the bytes of a checkpoint and the number of iterations done, where one is due, and
        where a rescue begins.

    Returns
    -------
    Restoration
        What is reached at the end.

    Raises
    ------
    CheckpointError
        If `checkpoint` is damaged, or of another task.
    DataError
        If the image collapsed again, or needs more memory than there is.
    ValueError, FloatingPointError
        See `utils.engine.deblur.deblur`.
    """
    if choose_device(device).type == "cpu":
        check_memory(task.blurry.shape, task.kernel_size, task.recipe)
    earlier = unpack_checkpoint(checkpoint) if checkpoint else None
    began = time.perf_counter() - (earlier.seconds if earlier else 0)

    def optimise(
        state: State, recipe: Recipe, rescued_from: dict[str, Any] | None = None
    ) -> Restoration:
        def save(restoration: Restoration) -> None:
            if on_save:
                on_save(restoration, time.perf_counter() - began)

        def keep(state: State) -> None:
            if on_checkpoint:
                seconds = time.perf_counter() - began
                content = pack_checkpoint(state, task.settings, seconds, rescued_from)
                on_checkpoint(content, len(state.losses))

        if on_stage:
            on_stage(Stage(recipe, len(state.losses), rescued_from))
        if rescued_from and not state.losses:
            keep(state)
        return deblur(
            task.blurry,
            task.kernel_size,
            recipe,
            device=device,
            precision=task.precision,
            start=state,
            save_every=save_every,
            on_save=save,
            checkpoint_due=checkpoint_due,
            on_checkpoint=keep,
            on_progress=on_progress,
        )

    if earlier and earlier.rescued_from:
        rescued_from = earlier.rescued_from
        state = draw_rescue(task, np.zeros(task.kernel_size))  # the kernel is in the checkpoint
        resume(state, earlier)
    else:
        state = task.draw_start()
        if earlier:
            resume(state, earlier)
        restoration = optimise(state, task.recipe)
        if not (task.rescue and collapsed_to_black(restoration.image, task.blurry)):
            return restoration
        rescued_from = {
            "fault": "collapsed to black",
            "iterations_done": len(restoration.losses),
            "loss": task.recipe.loss_name(len(restoration.losses) - 1),
            "final_loss": restoration.losses[-1],
        }
        state = draw_rescue(task, restoration.kernel)

    restoration = optimise(state, rescue_recipe(task.recipe), rescued_from)
    if collapsed_to_black(restoration.image, task.blurry):
        raise DataError(
            "collapsed to black, and again with the kernel that was found; try another --seed or "
            "--kernel_size, with --overwrite"
        )
    return restoration


def rescue_recipe(recipe: Recipe) -> Recipe:
    """Give the schedule of an image's second optimisation, for networks and noise of the first."""
    return replace(
        NONBLIND, channels=recipe.channels, scales=recipe.scales, tv_weight=recipe.tv_weight
    )


def draw_rescue(task: Task, kernel: np.ndarray) -> State:
    """Draw what the second optimisation of an image starts from, with the kernel of the first."""
    recipe = rescue_recipe(task.recipe)
    return draw_start(task.blurry.shape, task.kernel_size, recipe, task.seed, kernel=kernel)
