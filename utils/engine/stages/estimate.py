"""The start of a fast method: the kernel by classical means."""

from dataclasses import dataclass, replace
from typing import ClassVar

from utils.engine.memory import refinement_bytes
from utils.engine.stage import Restoration, Stage, Work


@dataclass(frozen=True)
class EstimateKernel(Stage):
    """Estimate the kernel from coarse to fine, and deconvolve the image with it.

    See `utils.engine.estimate_kernel.estimate_kernel`.
    """

    name: ClassVar[str] = "kernel estimate"

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
        from utils.engine.estimate_kernel import estimate_kernel
        from utils.engine.kernel_fit import CLIPPED
        from utils.engine.noise import estimate_noise, estimate_residual

        blurry = restoration.blurry
        work.note(noise=round(estimate_noise(blurry), 5))
        kernel = estimate_kernel(
            blurry, restoration.kernel_size, doubtful=restoration.doubtful, on_step=work.step
        )
        weight = noise_weight(estimate_residual(blurry))
        sharp = deconvolve(blurry, kernel, weight, clipped=blurry >= CLIPPED, full=True)
        sharp = sharp.clip(0, 1)
        found = replace(restoration, kernel=kernel, sharp=sharp)
        work.save(found)
        return found
