"""The search for a kernel that explains an image: by estimates, by phases, by a beam search."""

from operator import itemgetter
from typing import Any

import numpy as np

from utils.engine.beam import Beam
from utils.engine.estimate_kernel import (
    Start,
    estimate_kernel,
    spectrum_ever_counts,
    window_for,
)
from utils.engine.kernel_fit import CLIPPED, centre, make_room
from utils.engine.likelihood import NO_BLUR, Spectrum, can_judge, is_trusted
from utils.engine.phase_search import LEAST_PIXELS, TRIES, find_by_phases, is_proven
from utils.engine.stage import Restoration, Work
from utils.engine.windows import Place, part_of, windows_beside

WHOLE: Place = (slice(None), slice(None))

# The first estimates: the weight of the spectrum at smaller scales, and whether they are by extent.
# So much weight makes a kernel fit what is chance there, too, which the rounds at full size mend.
# Where no smaller scale has a spectrum that tells enough, those with a weight are not made.
FIRST = ((0.0, False), (0.0, True), (4.0, False), (4.0, True), (0.5, True))

# One of several estimates may explain the spectrum by chance. To end the search, the first ones
# but the very first may leave only `FURTHER` of what any other may, and those by phases, whose
# starts were bent to the spectrum at full size, only `BY_PHASES`.
FURTHER = 0.75
BY_PHASES = 0.3

# Images of so many pixels have few edges, and want them gone over again.
SMALL = 100_000

# How many rounds of phase retrieval there are, with how many kernels each.
PHASE_ROUNDS = 2
PHASE_KERNELS = 3

# What phase retrieval takes for one kernel, as `estimate_kernel` counts its work.
_PHASE_WORK = 60

Judged = tuple[float, np.ndarray]  # a kernel and its misfit


class KernelSearch:
    """The search for an image's kernel: one estimate after another until one is trusted.

    Each has more than one kernel: besides the last, those on the way to it. What is found is kept
    with the work, so that an interrupted search goes on where it was.

    Parameters
    ----------
    restoration : Restoration
        The image and the kernel's size.
    noise : float
        The standard deviation of the image's noise.
    work : Work
        Of the stage.

    Attributes
    ----------
    estimates : list of list of (kh, kw) array
        The kernels of each estimate, its last one first.
    misfits : list of list of float
        Theirs; empty if the image is too small for any to be judged.
    of_no_blur : float
        The misfit of no blur at all.
    """

    def __init__(self, restoration: Restoration, noise: float, work: Work) -> None:
        self.blurry, self.doubtful = restoration.blurry, restoration.doubtful
        self.size, self.work = restoration.kernel_size, work
        spectral = spectrum_ever_counts(self.blurry.shape, self.size)
        self.first = tuple(each for each in FIRST if spectral or not each[0])
        state = work.state or {
            "first": self.first,
            "estimates": [],
            "by_phases": [],
            "beams": [],
            "before": 0,
        }
        if state.get("first") != self.first:
            from utils.engine.checkpoint import CheckpointError  # PyTorch takes seconds

            raise CheckpointError("of another version of this program")
        self.estimates: list[list[np.ndarray]] = list(state["estimates"])
        self.by_phases: list[np.ndarray] = list(state["by_phases"])  # to refine
        self.beams: list[dict[str, Any] | None] = list(state["beams"])
        self.before = int(state["before"])  # the work on estimates that is done
        self.searched = 0  # that on the beam searches that are over
        self.misfits: list[list[float]] = []
        self.proven: dict[int, bool] = {}  # whether the likeliest kernel of an estimate is
        self.of_no_blur = 0.0
        self.spectrum: Spectrum | None = None
        if can_judge(self.blurry.shape, self.size):
            self.spectrum = Spectrum(self.blurry, noise)
            self.of_no_blur = self.spectrum.misfit(NO_BLUR)
            self.misfits = [self._judge(kernels) for kernels in self.estimates]

    @property
    def trusts_one(self) -> bool:
        """Whether a kernel is trusted; true where none can be judged."""
        if not self.spectrum:
            return True
        return any(
            self._is_trusted(min(misfits), number) or self._proves_one(number)
            for number, misfits in enumerate(self.misfits)
        )

    def _is_trusted(self, misfit: float, number: int) -> bool:
        """Whether a kernel of an estimate is trusted, and may end the search."""
        return is_trusted(misfit, self.of_no_blur * self._share(number))

    def _is_by_phases(self, number: int) -> bool:
        first = len(self.first)
        return first <= number < first + len(self.by_phases)

    def _share(self, number: int) -> float:
        """The share that an estimate may leave of what the first may, to end the search."""
        if self._is_by_phases(number):
            return BY_PHASES
        return FURTHER if 0 < number < len(self.first) else 1.0

    def _proves_one(self, number: int) -> bool:
        """Whether the likeliest kernel of an estimate is trusted for its phases.

        Not one by phases: bent to the spectrum, they leave little of it in any case.
        """
        if self._is_by_phases(number):
            return False
        if number not in self.proven:
            found = zip(self.misfits[number], self.estimates[number], strict=True)
            misfit, kernel = min(found, key=itemgetter(0))
            self.proven[number] = is_proven(self.blurry, kernel, misfit, self.of_no_blur)
        return self.proven[number]

    def likeliest(self, margin: float) -> np.ndarray:
        """The kernel with the least misfit.

        Of each estimate, though, the last kernel counts if it is trusted and no other is ahead of
        it by more than a margin. Those by phases, which were bent to the spectrum, must be ahead of
        all others by as much, unless they are trusted.
        """
        if not self.spectrum:
            return self.estimates[0][0]
        found = []
        for number, each in enumerate(zip(self.misfits, self.estimates, strict=True)):
            misfit, kernel = self._choose(list(zip(*each, strict=True)), margin)
            if self._is_by_phases(number) and not self._is_trusted(misfit, number):
                misfit += margin
            found.append((misfit, kernel))
        return min(found, key=itemgetter(0))[1]

    def _choose(self, found: list[Judged], margin: float) -> Judged:
        """The first kernel if it is trusted and not behind by more than a margin, or the best."""
        least, _ = best = min(found, key=itemgetter(0))
        misfit, _ = preferred = found[0]
        if is_trusted(misfit, self.of_no_blur) and misfit <= least + margin:
            return preferred
        return best

    def settle(self, margin: float) -> np.ndarray:
        """Make one more estimate from the likeliest kernel where that helps; take the likeliest.

        If the frame may have cut that kernel off, it is moved first: what lies beyond the frame is
        fitted to by neither the estimates' last steps nor a refinement.
        """
        kernel = self.likeliest(margin)
        if not self.spectrum:
            return kernel
        moved = make_room(kernel)
        if moved is not kernel or self.blurry.size <= SMALL:
            stays_by_mass = moved is kernel and np.allclose(centre(kernel), kernel)
            self._estimate(WHOLE, (1.0, moved), by_extent=not stays_by_mass, doubtful=self.doubtful)
        return make_room(self.likeliest(margin))

    def look_for_kernel(self) -> None:
        """Estimate the kernel twice, and if neither is trusted, up to three times by the spectrum.

        The two differ in what lies in the frame's middle: the kernel's centre of mass, or its
        extent's. Each has kernels of its own that it loses the way to, so both are made even if the
        first is trusted, and the likelier one counts.
        """
        sure = 2 if self.spectrum else 1
        for number in range(len(self.estimates), len(self.first)):
            if number >= sure and self.trusts_one:
                return
            weight, by_extent = self.first[number]
            self._estimate(
                WHOLE,
                spectral_weight=weight,
                by_extent=by_extent,
                doubtful=self.doubtful,
                following=max(sure - 1 - number, 0),
            )

    def look_by_phases(self) -> None:
        """Look for kernels by phase retrieval, and refine them, in rounds until one is trusted.

        A round begins with the likeliest kernels so far, and the kernels with the sparsest images
        that come of it are refined: all, for the one that is trusted may not be the best.
        """
        if not self.spectrum or self.blurry.size < LEAST_PIXELS:
            return
        for number in range(PHASE_ROUNDS):
            if len(self.by_phases) == number * PHASE_KERNELS:
                if self.trusts_one:
                    return
                self._retrieve_phases(number)
            # As many of them are refined as there are estimates after the first ones.
            refined = len(self.estimates) - len(self.first)
            for kernel in self.by_phases[refined : (number + 1) * PHASE_KERNELS]:
                self._estimate(
                    WHOLE, (1.0, kernel), by_extent=True, doubtful=self.doubtful, is_bent=True
                )

    def _retrieve_phases(self, number: int) -> None:
        """Make a round of phase retrieval, which is the same whenever it is made."""
        assert self.spectrum is not None
        judged = [
            pair
            for each in zip(self.misfits, self.estimates, strict=True)
            for pair in zip(*each, strict=True)
        ]
        judged.sort(key=itemgetter(0))
        likeliest = [kernel for _, kernel in judged[:PHASE_KERNELS]]
        total = _PHASE_WORK * TRIES * PHASE_KERNELS

        def tell(found: int) -> None:
            detail = f"phases, trial {found} of {TRIES * PHASE_KERNELS}"
            self._tell(_PHASE_WORK * found, total, detail)

        generator = np.random.default_rng(number)
        found = find_by_phases(self.blurry, self.spectrum, likeliest, generator, tell)
        self.before += total
        self.by_phases += found[:PHASE_KERNELS]

    def look_by_beam(self, windows: int) -> None:
        """Look for kernels by a beam search, and refine them until one is trusted.

        At first nothing is left out as doubtful: where much is, the rest may show too little. If
        that does not help, there is another search with what is doubtful left out.

        Parameters
        ----------
        windows : int
            In how many windows besides the whole image, at most.
        """
        places = [WHOLE, *self._windows(windows)]
        left_out: list[np.ndarray | None] = [None]
        if self.doubtful is not None and self.doubtful.any():
            left_out.append(self.doubtful)
        refined = len(self.first) + len(self.by_phases)  # with the estimates before
        for number, doubtful in enumerate(left_out):
            if number == len(self.beams):
                self.beams.append(None)
            beam = Beam(self.blurry, self.size, places, doubtful, self.beams[number])
            while not beam.done:
                detail = beam.step()
                self.beams[number] = beam.state
                self._tell(beam.work, beam.total, detail)
            self.searched += beam.total
            for place, kernel in beam.best[len(self.estimates) - refined :]:
                self._estimate(places[place], (1.0, kernel), doubtful=doubtful)
                if self.trusts_one:
                    return
            refined += len(beam.best)

    def _windows(self, count: int) -> list[Place]:
        """The windows, partly apart from each other and from the whole image's own."""
        clipped = self.blurry >= CLIPPED
        if self.doubtful is not None:
            clipped |= self.doubtful
        first = window_for(self.blurry, self.size)
        return windows_beside(self.blurry, first, count, clipped=clipped)

    def _judge(self, kernels: list[np.ndarray]) -> list[float]:
        assert self.spectrum is not None
        return [self.spectrum.misfit(kernel) for kernel in kernels]

    def _estimate(
        self,
        place: Place,
        start: Start | None = None,
        spectral_weight: float = 0.0,
        by_extent: bool = False,
        doubtful: np.ndarray | None = None,
        following: int = 0,
        is_bent: bool = False,
    ) -> None:
        """Make an estimate, and say how many more of the same work are certain to follow.

        The kernel that it starts from and those on the way count as well, unless the start is bent
        to the spectrum: then they explain that well, but are not better for it.
        """
        attempt = f"start {len(self.estimates) + 1}, " if self.estimates else ""
        whole_work = 0
        candidates = [start[1]] if start else []

        def tell(done: int, total: int, detail: str) -> None:
            nonlocal whole_work
            whole_work = total
            self._tell(done, total * (1 + following), attempt + detail)

        kernel = estimate_kernel(
            self.blurry[place],
            self.size,
            start=start,
            spectral_weight=spectral_weight,
            by_extent=by_extent,
            doubtful=part_of(doubtful, place),
            on_step=tell,
            on_candidate=candidates.append,
        )
        self.before += whole_work
        self.estimates.append([kernel] if is_bent else [kernel, *candidates])
        if self.spectrum:
            self.misfits.append(self._judge(self.estimates[-1]))

    def _tell(self, done: int, total: int, detail: str) -> None:
        """Report the work done of what is begun, after all that was done before."""
        known = {
            "first": self.first,
            "estimates": self.estimates,
            "by_phases": self.by_phases,
            "beams": list(self.beams),
            "before": self.before,
        }
        before = self.before + self.searched
        self.work.step(before + done, before + total, detail, lambda: known)
