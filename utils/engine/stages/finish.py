"""The end of a fast method: image and kernel refined from what the networks found."""

from dataclasses import dataclass, replace
from typing import ClassVar

from utils.engine.memory import refinement_bytes
from utils.engine.stage import Restoration, Stage, Work


@dataclass(frozen=True)
class Finish(Stage):
    """Refine Gx's image and the kernel once more (see `utils.engine.finish.finish`).

    Parameters
    ----------
    beside : bool
        Whether the restored image stays as it is, and the finished one is written beside it;
        otherwise the finished one takes its place, and Gx's is written beside.
    fit_kernel : bool
        Whether to fit the kernel anew; not if it was given.
    """

    name: ClassVar[str] = "finish"
    beside: bool = False
    fit_kernel: bool = True

    def applies(self, restoration: Restoration) -> bool:
        return restoration.gx is not None

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        return refinement_bytes(image_size, kernel_size)

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        # SciPy takes a second to import, and --help needs none.
        from utils.engine.finish import finish
        from utils.engine.noise import estimate_residual
        from utils.engine.refine import explains_worse

        assert restoration.sharp is not None and restoration.kernel is not None
        blurry, before = restoration.blurry, (restoration.sharp, restoration.kernel)
        sharp, kernel = finish(
            blurry,
            *before,
            fit_kernel=self.fit_kernel,
            doubtful=restoration.doubtful,
            on_step=work.step,
        )
        sharp = sharp.clip(0, 1)
        if explains_worse(blurry, estimate_residual(blurry), before, (sharp, kernel)):
            work.note(kept="what was before, which explains the image better")
            sharp, kernel = before
        if self.beside:
            return replace(restoration, others={**restoration.others, "finished": sharp})
        others = {**restoration.others, "gx": restoration.sharp}
        return replace(restoration, sharp=sharp, kernel=kernel, others=others)
