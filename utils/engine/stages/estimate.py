"""The start of a fast method: the kernel by classical means."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from utils.engine.memory import refinement_bytes
from utils.engine.stage import Restoration, Stage, Work

NO_BLUR = np.ones((1, 1))

HARDLY_LIKELIER = (
    "the kernel explains the image's spectrum hardly better than no blur at all, so it may be "
    "wrong; compare the restored image with the blurry one"
)
REFUSED = (
    "no blur at all explains the image's spectrum better than any kernel found, so the image stays "
    "as it is; the file beside it that ends in _doubtful.png is what the likeliest kernel gives"
)
COLLAPSED = "the kernel has collapsed to a point: no blur was found; try another --kernel_size"

Place = tuple[slice, slice]


@dataclass(frozen=True)
class EstimateKernel(Stage):
    """Estimate the kernel from coarse to fine, and deconvolve the image with the likeliest.

    A large image gives several kernels: one as a whole, and one for each of some windows. They
    mostly agree. Where one explains the image's spectrum clearly better, it is taken; and if no
    blur at all explains it better than all, the image stays as it is, and what the likeliest kernel
    gives is written beside. See `utils.engine.estimate_kernel.estimate_kernel` and
    `utils.engine.likelihood.spectral_misfits`.

    Parameters
    ----------
    windows : int
        How many windows give a kernel of their own, where there is room for them.
    margin : float
        How far ahead of the whole image's kernel that of a window must be to be taken, in units of
        the misfit.
    doubt : float
        How far ahead of no blur a kernel must be, lest a doubt is noted.
    most_clipped : float
        The largest share of clipped pixels with which a kernel is refused. They are explained by no
        kernel.
    """

    name: ClassVar[str] = "kernel estimate"
    windows: int = 2
    margin: float = 0.02
    doubt: float = 0.05
    most_clipped: float = 0.05

    def check(self, restoration: Restoration) -> None:
        from utils.engine.estimate_kernel import check_arguments

        check_arguments(restoration.blurry, restoration.kernel_size)

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        return refinement_bytes(image_size, kernel_size)

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        # SciPy takes a second to import, and --help needs none.
        from utils.engine.deconvolution import deconvolve, noise_weight
        from utils.engine.kernel_fit import CLIPPED
        from utils.engine.likelihood import can_judge, spectral_misfits
        from utils.engine.noise import estimate_noise, estimate_residual

        blurry = restoration.blurry
        noise = estimate_noise(blurry)
        work.note(noise=round(noise, 5))
        clipped = blurry >= CLIPPED
        kernels = self.estimate(restoration, work)
        best, refused = 0, False
        if can_judge(blurry.shape, restoration.kernel_size):
            *misfits, of_no_blur = spectral_misfits(blurry, [*kernels, NO_BLUR], noise)
            if min(misfits) < misfits[0] - self.margin or misfits[0] > of_no_blur:
                best = int(np.argmin(misfits))
            refused = misfits[best] > of_no_blur and clipped.mean() <= self.most_clipped
            work.note(ahead_of_no_blur=[round(of_no_blur - misfit, 3) for misfit in misfits])
            if misfits[best] > of_no_blur - self.doubt:
                work.note(doubt=HARDLY_LIKELIER)
        kernel = kernels[best]
        if kernel.max() == 1:
            work.note(doubt=COLLAPSED)
        weight = noise_weight(estimate_residual(blurry))
        sharp = deconvolve(blurry, kernel, weight, clipped=clipped, full=True).clip(0, 1)
        if refused:
            work.note(doubt=REFUSED)
            restoration = replace(restoration, others={**restoration.others, "doubtful": sharp})
            margins = [((side - 1) // 2, side // 2) for side in kernel.shape]
            kernel, sharp = np.pad(NO_BLUR, margins), np.pad(blurry, margins, "edge")
        found = replace(restoration, kernel=kernel, sharp=sharp)
        work.save(found)
        return found

    def estimate(self, restoration: Restoration, work: Work) -> list[np.ndarray]:
        """Estimate the kernel of the whole image, and of each window that there is room for."""
        from utils.engine.estimate_kernel import estimate_kernel

        blurry, doubtful = restoration.blurry, restoration.doubtful
        whole: Place = (slice(None), slice(None))
        places = [whole, *self.places(restoration)]
        kernels = list(work.state["kernels"]) if work.state else []
        before = int(work.state["before"]) if work.state else 0
        for number in range(len(kernels), len(places)):
            place, ahead = places[number], len(places) - number

            def tell(done: int, total: int, detail: str, ahead: int = ahead) -> None:
                nonlocal before
                known = {"kernels": kernels, "before": before}
                work.step(before + done, before + total * ahead, detail, lambda: known)
                if done == total:
                    before += total

            doubt = None if doubtful is None else doubtful[place]
            kernels.append(
                estimate_kernel(
                    blurry[place], restoration.kernel_size, doubtful=doubt, on_step=tell
                )
            )
        return kernels

    def places(self, restoration: Restoration) -> list[Place]:
        """The windows, partly apart from each other and from the whole image's own."""
        from utils.engine.estimate_kernel import window_for
        from utils.engine.kernel_fit import CLIPPED
        from utils.engine.windows import windows_beside

        blurry, doubtful = restoration.blurry, restoration.doubtful
        clipped = blurry >= CLIPPED if doubtful is None else doubtful | (blurry >= CLIPPED)
        first = window_for(blurry, restoration.kernel_size)
        return windows_beside(blurry, first, self.windows, clipped=clipped)
