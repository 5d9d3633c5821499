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
    judged : bool
        Whether to choose the kernel, and refine the image anew with it if it is not the fitted one:
        the one halfway between that and the given one, whose errors mostly are smaller than
        either's, unless one of the two explains the power spectrum better (see
        `utils.engine.likelihood.spectral_misfits`). Otherwise the fitted one is taken.
    spoils : float
        A fitted kernel has failed, and the given one is taken, if what its image leaves of the
        blurry one is more than this many times what was left before.
    """

    name: ClassVar[str] = "refinement"
    rounds: int = 12
    highest: float = 20 / 255
    lowest: float = 3.5
    judged: bool = True
    spoils: float = 1.25

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
        done, total = 0, self.rounds * (1 + self.judged)

        def tell(sharp: np.ndarray, kernel: np.ndarray) -> None:
            nonlocal done
            level = levels[done % self.rounds]
            done += 1
            work.step(done, total, f"level {255 * level:.1f}")

        def refine(kernel: np.ndarray, fit_kernel: bool) -> tuple[np.ndarray, np.ndarray]:
            sharp, kernel = restore_by_levels(
                restoration.blurry,
                kernel,
                residual,
                levels,
                sharp=restoration.sharp,
                fit_kernel=fit_kernel,
                doubtful=restoration.doubtful,
                on_level=tell,
            )
            return sharp.clip(0, 1), kernel

        before = restoration.sharp, restoration.kernel
        sharp, fitted = refine(restoration.kernel, fit_kernel=True)
        kernel = self.choose(restoration, sharp, fitted) if self.judged else fitted
        if kernel is restoration.kernel:
            work.note(kept="the kernel, since the fitted one explains the image less well")
        if kernel is not fitted:
            sharp, _ = refine(kernel, fit_kernel=False)
        if explains_worse(restoration.blurry, residual, before, (sharp, kernel)):
            work.note(kept="what was before, which explains the image better")
            return restoration
        found = replace(restoration, kernel=kernel, sharp=sharp)
        work.save(found)
        return found

    def choose(self, restoration: Restoration, sharp: np.ndarray, fitted: np.ndarray) -> np.ndarray:
        """The kernel to take: the fitted one, the given one, or the one halfway between."""
        from utils.engine.likelihood import BETTER
        from utils.engine.refine import unexplained

        blurry, given = restoration.blurry, restoration.kernel
        assert given is not None and restoration.sharp is not None
        left = unexplained(blurry, sharp, fitted)
        if left > self.spoils * unexplained(blurry, restoration.sharp, given):
            return given
        halfway = (given + fitted) / 2
        kernels = [fitted, given, halfway]
        misfits = judge(blurry, *kernels)
        if not misfits or misfits[-1] <= min(misfits) + BETTER:
            return halfway
        return kernels[int(np.argmin(misfits))]
