"""A beam search for the kernel, from coarse scales to fine, led by the image's power spectrum.

What comes of a hard image is chaotic: selections of edges that hardly differ find the kernel's
outline at some coarse scale or miss it, and the rounds of the next scales, which begin with few
edges, lose it again. So many are tried, the likeliest kernels of each scale go on, and with rounds
that begin with many edges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from utils.engine.estimate_kernel import (
    ROUNDS,
    TENTHS,
    USUAL,
    EdgeSelection,
    Start,
    at_scales,
    coarse_to_fine,
    list_scales,
    reduced_size,
    resize_kernel,
    spectrum_counts,
    time_of_rounds,
)
from utils.engine.kernel_size import similarity
from utils.engine.likelihood import Spectrum, can_judge
from utils.engine.noise import estimate_noise
from utils.engine.windows import Place, part_of

# Outlines by many selections of edges are looked for up to this scale, or the next finer one at
# which a segment of the image is large enough for the judge.
OUTLINE_SCALE = 0.5

# How many kernels go on to full size, to the scale before it, and to the others: the finer, the
# longer the rounds take.
KEPT = 4, 6, 8

# Kernels that correlate more than this are one.
_SAME = 0.98

_WEIGHTS = ((500.0, 8000.0), (2000.0, 8000.0), (125.0, 4000.0), (500.0, 16000.0), (50.0, 2000.0))
_STRONGEST = (0.1, 0.2, 0.4)

SELECTIONS = tuple(
    EdgeSelection(weights, strongest) for weights in _WEIGHTS for strongest in _STRONGEST
)
"""Selections of edges by which outlines are looked for in the whole image."""

WINDOW_SELECTIONS = tuple(EdgeSelection(weights, USUAL.strongest) for weights in _WEIGHTS)
"""Those for each further window."""

# Of a kernel that is known, rounds with many edges from the first on lose nothing.
CAREFUL = (
    EdgeSelection((8000.0, 8000.0), 0.2),
    EdgeSelection((16000.0, 16000.0), 0.8),
    EdgeSelection((32000.0, 32000.0), 0.2),
    EdgeSelection((32000.0, 32000.0), 0.8),
)
CAREFUL_ROUNDS = 10


@dataclass(frozen=True)
class Trial:
    """One way to a kernel at a scale.

    Parameters
    ----------
    place : int
        Which of the image's places to look at.
    selection : EdgeSelection
        Which edges show the kernel.
    rounds : int
        How many rounds of the two steps.
    start : (float, (h, w) array), optional
        The scale before and the kernel there; by default a blob.
    """

    place: int
    selection: EdgeSelection
    rounds: int
    start: Start | None


class Beam:
    """The likeliest kernels of an image, from scale to scale.

    Parameters
    ----------
    blurry : (H, W) float array
        The blurry image in [0, 1].
    kernel_size : (int, int)
        Height and width of the kernel at full size.
    places : sequence of (slice, slice)
        The whole image, and windows of it in which kernels are estimated as well. All are judged
        by the whole image's spectrum.
    doubtful : (H, W) bool array, optional
        See `utils.engine.estimate_kernel.estimate_kernel`.
    state : mapping, optional
        The `state` of another search for the same, to go on from there.

    Attributes
    ----------
    best : list of (int, (h, w) array)
        The number of the place and the kernel, the likeliest first, at the last scale that is done
        and large enough to be judged; none much like a likelier one.
    work, total : int
        What is done, and will be in all, as `estimate_kernel` counts its work.

    References
    ----------
    Lowerre: The Harpy speech recognition system. Carnegie Mellon University, 1976 (beam search).
    """

    def __init__(
        self,
        blurry: np.ndarray,
        kernel_size: tuple[int, int],
        places: Sequence[Place],
        doubtful: np.ndarray | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.at = [at_scales(blurry[place], part_of(doubtful, place)) for place in places]
        self.scales = list_scales(kernel_size)
        self.outline_scale = outline_scale(blurry.shape, kernel_size)
        self.kinds = [(0, selection) for selection in SELECTIONS]
        self.kinds += product(range(1, len(places)), WINDOW_SELECTIONS)
        state = state or {"number": 0, "outlines": [], "best": [], "made": []}
        self.number = int(state["number"])  # of the scale
        self.outlines: list[np.ndarray] = list(state["outlines"])  # at the scale before
        self.best: list[tuple[int, np.ndarray]] = list(state["best"])
        self.made: list[np.ndarray] = list(state["made"])  # by the trials at this scale
        self._works = [
            self._work_at(number, blurry.shape, kernel_size) for number in range(len(self.scales))
        ]

    @property
    def done(self) -> bool:
        """Whether full size is reached."""
        return self.number == len(self.scales)

    @property
    def state(self) -> dict[str, Any]:
        """What the search knows; it can go on from there to the same bits."""
        return {
            "number": self.number,
            "outlines": self.outlines,
            "best": self.best,
            "made": list(self.made),
        }

    @property
    def total(self) -> int:
        return sum(self._works)

    @property
    def work(self) -> int:
        before = sum(self._works[: self.number])
        if self.done or not self.made:
            return before
        return before + round(self._works[self.number] * len(self.made) / len(self.trials()))

    def step(self) -> str:
        """Make one trial, and describe it."""
        trials = self.trials()
        scale, size = self.scales[self.number]
        trial = trials[len(self.made)]
        kernel = coarse_to_fine(
            self.at[trial.place],
            [(scale, size)],
            rounds=trial.rounds,
            selection=trial.selection,
            start=trial.start,
            on_round=lambda _: None,
        )
        self.made.append(kernel)
        detail = f"scale {scale:.2f}, trial {len(self.made)} of {len(trials)}"
        if len(self.made) == len(trials):
            self._advance([trial.place for trial in trials])
        return detail

    def trials(self) -> list[Trial]:
        """List the trials at the present scale: outlines, and careful ones of the best kernels."""
        scale, _ = self.scales[self.number]
        before = self.scales[self.number - 1][0]
        trials = []
        if self._has_outlines(scale):
            starts: list[Start | None] = [(before, outline) for outline in self.outlines]
            trials += [
                Trial(place, selection, ROUNDS, start)
                for (place, selection), start in zip(
                    self.kinds, starts or [None] * len(self.kinds), strict=True
                )
            ]
        trials += [
            Trial(place, selection, CAREFUL_ROUNDS, (before, kernel))
            for place, kernel in self.best
            for selection in CAREFUL
        ]
        return trials

    def _advance(self, places: list[int]) -> None:
        """Keep the best kernels of this scale, among them those of the last one, enlarged."""
        scale, size = self.scales[self.number]
        reduced, _ = self.at[0](scale)
        if spectrum_counts(reduced.shape, size):
            found = list(zip(places, self.made, strict=True))
            growth = scale / self.scales[self.number - 1][0]
            found += [(place, resize_kernel(kernel, size, growth)) for place, kernel in self.best]
            spectrum = Spectrum(reduced, estimate_noise(reduced))
            self.best = []
            for place, kernel in sorted(found, key=lambda each: spectrum.misfit(each[1])):
                if all(similarity(kernel, other) < _SAME for _, other in self.best):
                    self.best.append((place, kernel))
                if len(self.best) == self._kept(self.number + 1):
                    break
        self.outlines = self.made[: len(self.kinds)] if self._has_outlines(scale) else []
        self.number, self.made = self.number + 1, []

    def _has_outlines(self, scale: float) -> bool:
        return scale <= self.outline_scale

    def _kept(self, number: int) -> int:
        """How many kernels go on to a scale; after the last one, to be refined."""
        return KEPT[min(max(len(self.scales) - 1 - number, 0), len(KEPT) - 1)]

    def _work_at(
        self, number: int, image_size: tuple[int, int], kernel_size: tuple[int, int]
    ) -> int:
        """What all trials at a scale take, if as many kernels as may be have come to it."""
        rounds = ROUNDS * len(self.kinds) if self._has_outlines(self.scales[number][0]) else 0
        coarser = self.scales[:number]
        if any(spectrum_counts(reduced_size(image_size, scale), size) for scale, size in coarser):
            rounds += CAREFUL_ROUNDS * len(CAREFUL) * self._kept(number)
        one = time_of_rounds(image_size, kernel_size, [self.scales[number]])[0]
        return round(TENTHS * rounds * float(one))


def outline_scale(image_size: tuple[int, int], kernel_size: tuple[int, int]) -> float:
    """The last scale at which an image's outlines are estimated; 1 if no smaller one will do.

    Examples
    --------
    >>> outline_scale((768, 1024), (51, 51)), outline_scale((255, 255), (51, 51))
    (0.5, 1.0)
    """
    for scale, size in list_scales(kernel_size):
        if scale > OUTLINE_SCALE - 1e-9 and can_judge(reduced_size(image_size, scale), size):
            return scale
    return 1.0
