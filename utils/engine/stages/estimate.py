"""The start of a fast method: the kernel by classical means."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from utils.engine.memory import refinement_bytes
from utils.engine.stage import Restoration, Stage, Work
from utils.errors import DataError
from utils.images.kernels import pad_to_sharp

# An image of which no two pixels differ by this much shows nothing.
FLAT = 0.004

HARDLY_LIKELIER = (
    "the kernel explains the image's spectrum hardly better than no blur at all, so it may be "
    "wrong; compare the restored image with the blurry one"
)
UNTRUSTED = (
    "the kernel explains the image's spectrum less well than right ones mostly do, so it may be "
    "wrong; compare the restored image with the blurry one"
)
REFUSED = (
    "no kernel found explains the image's spectrum much better than no blur, so the image stays "
    "as it is; the file beside it that ends in _doubtful.png is what the likeliest kernel gives"
)
COLLAPSED = "the kernel has collapsed to a point: no blur was found; try another --kernel_size"


@dataclass(frozen=True)
class EstimateKernel(Stage):
    """Estimate the kernel from coarse to fine, and deconvolve the image with it.

    That is done twice, with the kernel's centre of mass or its extent's middle in the frame's. If
    neither kernel explains the image's power spectrum, there are up to three more estimates, which
    follow it closely at smaller scales. If that does not help, kernels are looked for by phase
    retrieval, if the image is large, and then by a beam search over the scales, in some windows
    too; they are refined until one is trusted. Each estimate also has kernels on its way, of which
    one counts if the last is not trusted or clearly behind; of what the estimates give, the
    likeliest is taken. Of a small image there is one more estimate from that kernel, of a large one
    if the frame may have cut it off. See `utils.engine.estimate_kernel.estimate_kernel`,
    `utils.engine.phase_search.find_by_phases` and `is_proven`, `utils.engine.beam.Beam`,
    `utils.engine.likelihood.spectral_misfits` and `is_trusted`.

    Parameters
    ----------
    windows : int
        In how many windows kernels are looked for besides the whole image, if there is room.
    margin : float
        How much smaller than that of an estimate's last kernel, if it is trusted, the misfit of one
        on its way must be; and how much smaller than all others that of one found by phases, if it
        is not trusted.
    """

    name: ClassVar[str] = "kernel estimate"
    windows: int = 2
    margin: float = 0.01

    def check(self, restoration: Restoration) -> None:
        from utils.engine.estimate_kernel import check_arguments

        check_arguments(restoration.blurry, restoration.kernel_size)
        if np.ptp(restoration.blurry) < FLAT:
            raise DataError("no blur can be estimated: the image is of one brightness everywhere")

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        return refinement_bytes(image_size, kernel_size)

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        # SciPy takes a second to import, and --help needs none.
        from utils.engine.kernel_search import KernelSearch
        from utils.engine.noise import estimate_noise

        noise = estimate_noise(restoration.blurry)
        work.note(noise=round(noise, 5))
        search = KernelSearch(restoration, noise, work)
        search.look_for_kernel()
        search.look_by_phases()
        if not search.trusts_one:
            search.look_by_beam(self.windows)
        kernel = search.settle(self.margin)
        if search.misfits:
            work.note(
                misfit=[round(min(misfits), 3) for misfits in search.misfits],
                of_no_blur=round(search.of_no_blur, 3),
            )
        found = deconvolved(restoration, kernel)
        work.save(found)
        return found


@dataclass(frozen=True)
class CheckKernel(Stage):
    """Leave the image as it is if the kernel explains its spectrum hardly better than no blur.

    That is so only if the kernel is not trusted (see
    `utils.engine.phase_search.is_trusted_or_proven`); what it gives is then written beside. Of one
    that is hardly likelier, or not trusted, a doubt is noted.

    Parameters
    ----------
    least : float
        The share of no blur's misfit that a kernel must explain, or it is refused.
    doubt : float
        How much smaller than that of no blur a kernel's misfit must be, or a doubt is noted.
    """

    name: ClassVar[str] = "kernel check"
    least: float = 0.3
    doubt: float = 0.03

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        from utils.engine.likelihood import NO_BLUR
        from utils.engine.phase_search import is_trusted_or_proven

        assert restoration.kernel is not None and restoration.sharp is not None
        blurry, kernel = restoration.blurry, restoration.kernel
        misfits = judge(blurry, kernel, NO_BLUR)
        work.step(1, 1)
        if misfits:
            misfit, of_no_blur = misfits
            trusted = is_trusted_or_proven(blurry, kernel, misfit, of_no_blur)
            if not trusted and misfit > (1 - self.least) * of_no_blur:
                work.note(doubt=REFUSED)
                point = np.zeros(kernel.shape)
                point[tuple((side - 1) // 2 for side in kernel.shape)] = 1
                return replace(
                    restoration,
                    kernel=point,
                    sharp=pad_to_sharp(blurry, kernel.shape),
                    others={**restoration.others, "doubtful": restoration.sharp},
                )
            if misfit > of_no_blur - self.doubt:
                work.note(doubt=HARDLY_LIKELIER)
            elif not trusted:
                work.note(doubt=UNTRUSTED)
        if kernel.max() == 1:
            work.note(doubt=COLLAPSED)
        return restoration


def judge(blurry: np.ndarray, *kernels: np.ndarray) -> list[float]:
    """The misfits of kernels (see `spectral_misfits`); none if the image cannot be judged by."""
    from utils.engine.likelihood import can_judge, spectral_misfits
    from utils.engine.noise import estimate_noise

    if not can_judge(blurry.shape, kernels[0].shape):
        return []
    return spectral_misfits(blurry, kernels, estimate_noise(blurry))


def deconvolved(restoration: Restoration, kernel: np.ndarray) -> Restoration:
    """The restoration with a kernel, and with what the sparse deconvolution makes of it."""
    from utils.engine.deconvolution import deconvolve, noise_weight
    from utils.engine.kernel_fit import CLIPPED
    from utils.engine.noise import estimate_residual

    blurry = restoration.blurry
    weight = noise_weight(estimate_residual(blurry))
    sharp = deconvolve(blurry, kernel, weight, clipped=blurry >= CLIPPED, full=True).clip(0, 1)
    return replace(restoration, kernel=kernel, sharp=sharp)
