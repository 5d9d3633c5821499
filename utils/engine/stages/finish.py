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
    """

    name: ClassVar[str] = "finish"
    beside: bool = False

    def applies(self, restoration: Restoration) -> bool:
        return restoration.gx is not None

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        return refinement_bytes(image_size, kernel_size)

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        from utils.engine.finish import finish  # brings SciPy, which --help does not need

        assert restoration.sharp is not None and restoration.kernel is not None
        sharp, kernel = finish(
            restoration.blurry, restoration.sharp, restoration.kernel, on_step=work.step
        )
        sharp = sharp.clip(0, 1)
        if self.beside:
            return replace(restoration, others={**restoration.others, "finished": sharp})
        others = {**restoration.others, "gx": restoration.sharp}
        return replace(restoration, sharp=sharp, kernel=kernel, others=others)
