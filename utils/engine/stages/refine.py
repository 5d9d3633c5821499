"""A stage that refines kernel and image together, under a denoiser as the prior."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from utils.engine.memory import refinement_bytes
from utils.engine.stage import Restoration, Stage, Work
from utils.engine.stages.estimate import judge


@dataclass(frozen=True)
class Refine(Stage):
    """Refine the kernel and the image by levels (see `utils.engine.refine.restore_by_levels`).

    Parameters
    ----------
    rounds : int
        Number of levels, geometrically spaced.
    highest : float
        The first level, a standard deviation in [0, 1] units.
    lowest : float
        The last level, in units of the residual's standard deviation, but at most `LOWEST`.
    margin : float
        If the refined kernel explains the image's power spectrum worse by more than this (see
        `utils.engine.likelihood.spectral_misfits`), the image is refined with the kernel as it was.
    """

    name: ClassVar[str] = "refinement"
    rounds: int = 12
    highest: float = 20 / 255
    lowest: float = 3.5
    margin: float = 0.015

    def applies(self, restoration: Restoration) -> bool:
        return restoration.has_blur

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        return refinement_bytes(image_size, kernel_size)

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        # SciPy takes a second to import, and --help needs none.
        from utils.engine.noise import estimate_residual
        from utils.engine.refine import LOWEST, explains_worse, restore_by_levels

        assert restoration.kernel is not None and restoration.sharp is not None
        residual = estimate_residual(restoration.blurry)
        lowest = min(self.lowest * residual, LOWEST)
        levels = np.geomspace(self.highest, lowest, self.rounds)
        done, total = 0, self.rounds

        def tell(sharp: np.ndarray, kernel: np.ndarray) -> None:
            nonlocal done
            level = levels[done % self.rounds]
            done += 1
            work.step(done, total, f"level {255 * level:.1f}")

        def refine(fit_kernel: bool) -> tuple[np.ndarray, np.ndarray]:
            assert restoration.kernel is not None
            return restore_by_levels(
                restoration.blurry,
                restoration.kernel,
                residual,
                levels,
                sharp=restoration.sharp,
                fit_kernel=fit_kernel,
                doubtful=restoration.doubtful,
                on_level=tell,
            )

        sharp, kernel = refine(fit_kernel=True)
        if self.loses(restoration, kernel):
            work.note(kept="the kernel, since the refined one explains the image's spectrum worse")
            total += self.rounds
            sharp, kernel = refine(fit_kernel=False)
        sharp = sharp.clip(0, 1)
        before = restoration.sharp, restoration.kernel
        if explains_worse(restoration.blurry, residual, before, (sharp, kernel)):
            work.note(kept="what was before, which explains the image better")
            return restoration
        found = replace(restoration, kernel=kernel, sharp=sharp)
        work.save(found)
        return found

    def loses(self, restoration: Restoration, refined: np.ndarray) -> bool:
        """Whether a refined kernel explains the image's spectrum clearly worse than before."""
        if self.margin == np.inf:
            return False
        assert restoration.kernel is not None
        misfits = judge(restoration.blurry, restoration.kernel, refined)
        return bool(misfits) and misfits[1] > misfits[0] + self.margin
