"""The search for a kernel that explains an image: by one estimate, another, and many outlines."""

from itertools import product

import numpy as np

from utils.engine.estimate_kernel import (
    SPECTRAL_WEIGHT,
    USUAL,
    EdgeSelection,
    Start,
    at_scales,
    estimate_kernel,
    resize_kernel,
    window_for,
)
from utils.engine.kernel_fit import CLIPPED
from utils.engine.likelihood import NO_BLUR, Spectrum, can_judge, is_trusted
from utils.engine.outlines import (
    SELECTIONS,
    WINDOW_SELECTIONS,
    estimate_outline,
    outline_scale,
    rank_outlines,
    work_of_outline,
)
from utils.engine.stage import Restoration, Work
from utils.engine.windows import Place, part_of, windows_beside

WHOLE: Place = (slice(None), slice(None))


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
        state = work.state or {"estimates": [], "outlines": [], "before": 0}
        self.estimates: list[list[np.ndarray]] = list(state["estimates"])
        self.outlines: list[np.ndarray] = list(state["outlines"])
        self.before = int(state["before"])  # the work on estimates that is done
        self.works: list[int] = []  # that on each outline
        self.misfits: list[list[float]] = []
        self.of_no_blur = 0.0
        self.spectrum: Spectrum | None = None
        if can_judge(self.blurry.shape, self.size):
            self.spectrum = Spectrum(self.blurry, noise)
            self.of_no_blur = self.spectrum.misfit(NO_BLUR)
            self.misfits = [self._judge(kernels) for kernels in self.estimates]

    @property
    def trusts_one(self) -> bool:
        """Whether a kernel is trusted, as one must be that cannot be judged."""
        if not self.spectrum:
            return True
        return is_trusted(min(map(min, self.misfits)), self.of_no_blur)

    def likeliest(self, margin: float) -> np.ndarray:
        """The kernel with the least misfit, or the usual one if it is behind by a margin at most.

        The usual one has no such privilege if only the other is trusted, or if it is less likely
        than no blur.
        """
        usual = self.estimates[0][0]
        if not self.spectrum:
            return usual
        misfits, kernels = sum(self.misfits, []), sum(self.estimates, [])
        least, of_usual = min(misfits), misfits[0]
        if (
            least < of_usual - margin
            or of_usual > self.of_no_blur
            or (self.trusts_one and not is_trusted(of_usual, self.of_no_blur))
        ):
            return kernels[misfits.index(least)]
        return usual

    def look_for_kernel(self) -> None:
        """Estimate the kernel as usual; if that is not trusted, let the spectrum count as well."""
        if not self.estimates:
            self._estimate(WHOLE, USUAL)
        if len(self.estimates) == 1 and not self.trusts_one:
            self._estimate(WHOLE, USUAL, spectral_weight=SPECTRAL_WEIGHT)

    def look_among_outlines(self, windows: int, count: int) -> None:
        """Estimate kernels from the likeliest of many outlines, until one is trusted.

        Parameters
        ----------
        windows : int
            How many windows may give outlines of their own.
        count : int
            From how many of all outlines kernels are estimated; after them, from the likeliest of
            each window, for those of one place are often wrong alike.
        """
        scale = outline_scale(self.blurry.shape, self.size)
        places = [WHOLE, *self._windows(windows)]
        at = [at_scales(self.blurry[place], part_of(self.doubtful, place)) for place in places]
        kinds = [(0, selection) for selection in SELECTIONS]
        kinds += product(range(1, len(places)), WINDOW_SELECTIONS)
        self.works = [
            work_of_outline(self.blurry[places[where]].shape, self.size, scale)
            for where, _ in kinds
        ]
        for where, selection in kinds[len(self.outlines) :]:
            self.outlines.append(estimate_outline(at[where], self.size, scale, selection))
            left = sum(self.works[len(self.outlines) :])
            self._tell(0, left, f"outline {len(self.outlines)} of {len(kinds)}")

        starts: list[tuple[Place, EdgeSelection, Start]] = []
        ranked = rank_outlines(self.blurry, self.outlines, scale)
        chosen = ranked[:count]
        for window in range(1, len(places)):
            chosen += [number for number in ranked if kinds[number][0] == window][:1]
        for number in dict.fromkeys(chosen):
            (where, selection), outline = kinds[number], self.outlines[number]
            starts.append((places[where], selection, (scale, outline)))
            if scale < 1:
                # The steps of the finer scales find what the outline lacks, or lose what it has.
                enlarged = resize_kernel(outline, self.size, 1 / scale)
                starts.append((places[where], selection, (1.0, enlarged)))
        for start in starts[len(self.estimates) - 2 :]:
            self._estimate(*start)
            if self.trusts_one:
                break

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
        selection: EdgeSelection,
        start: Start | None = None,
        spectral_weight: float = 0.0,
    ) -> None:
        attempt = f"start {len(self.estimates) + 1}, " if self.estimates else ""
        whole_work = 0
        candidates: list[np.ndarray] = []

        def tell(done: int, total: int, detail: str) -> None:
            nonlocal whole_work
            whole_work = total
            self._tell(done, total, attempt + detail)

        kernel = estimate_kernel(
            self.blurry[place],
            self.size,
            selection=selection,
            start=start,
            spectral_weight=spectral_weight,
            doubtful=part_of(self.doubtful, place),
            on_step=tell,
            on_candidate=candidates.append,
        )
        self.before += whole_work
        self.estimates.append([kernel, *candidates])
        if self.spectrum:
            self.misfits.append(self._judge(self.estimates[-1]))

    def _tell(self, done: int, total: int, detail: str) -> None:
        """Report so much done of what is begun, after all that was done before."""
        known = {"estimates": self.estimates, "outlines": self.outlines, "before": self.before}
        before = self.before + sum(self.works[: len(self.outlines)])
        self.work.step(before + done, before + total, detail, lambda: known)
