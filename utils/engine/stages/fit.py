"""The paper's fits as stages: of both networks, and of Gx alone with a known kernel."""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from utils.engine.memory import fit_bytes, worth_keeping
from utils.engine.noise import estimate_noise
from utils.engine.recipe import Recipe
from utils.engine.stage import Restoration, Stage, Work
from utils.engine.stages.estimate import deconvolved, judge
from utils.errors import DataError

if TYPE_CHECKING:
    from utils.engine.deblur import State


@dataclass(frozen=True)
class Fit(Stage):
    """An optimisation of untrained networks until their convolution gives the blurry image.

    Parameters
    ----------
    recipe : Recipe
        The schedule.
    """

    recipe: Recipe

    def start(self, restoration: Restoration, seed: int) -> "State":
        """The networks and inputs that the optimisation starts from."""
        raise NotImplementedError

    def check(self, restoration: Restoration) -> None:
        from utils.engine.deblur import check_arguments

        check_arguments(restoration.blurry, restoration.kernel_size, self.recipe)

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        keeps = roomy and worth_keeping(image_size, kernel_size, self.recipe)
        return fit_bytes(image_size, kernel_size, self.recipe, keeps)

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        # PyTorch takes seconds, and --help needs none.
        from utils.engine.checkpoint import CheckpointError
        from utils.engine.deblur import deblur

        state = self.start(restoration, work.seed)
        if work.state:
            try:
                state.load(work.state)
            except ValueError as error:
                raise CheckpointError(str(error)) from error

        found = restoration

        def save(fit: Restoration) -> None:
            nonlocal found
            found = replace(
                restoration,
                kernel=fit.kernel,
                sharp=fit.sharp,
                gx=fit.gx,
                gk=fit.gk,
                losses=restoration.losses + fit.losses,
                loss_names=restoration.loss_names + fit.loss_names,
            )
            work.save(found)

        def show(done: int, loss: float) -> None:
            detail = f"{self.recipe.loss_name(done - 1)} {loss:.5f}"
            work.show(done, self.recipe.num_iter, detail)

        deblur(
            restoration.blurry,
            restoration.kernel_size,
            self.recipe,
            device=work.device,
            start=state,
            save_every=work.save_every,
            on_save=save,
            checkpoint_due=work.checkpoint_due,
            on_checkpoint=lambda state: work.keep(state.pack()),
            on_progress=show,
        )
        return found

    def settings(self) -> dict[str, Any]:
        settings = super().settings()
        return settings.pop("recipe") | settings


@dataclass(frozen=True)
class JointFit(Fit):
    """Fit Gx and Gk, both drawn at random: the paper's method."""

    name: ClassVar[str] = "joint fit"

    def start(self, restoration: Restoration, seed: int) -> "State":
        from utils.engine.deblur import draw_start

        return draw_start(restoration.blurry.shape, restoration.kernel_size, self.recipe, seed)


@dataclass(frozen=True)
class ImageFit(Fit):
    """Fit Gx alone, drawn at random, with the known kernel.

    Parameters
    ----------
    only_if_black : bool
        Run the stage only if the image so far has collapsed to black, in which case the kernel is
        still usable: the authors' remedy.
    """

    name: ClassVar[str] = "image fit"
    only_if_black: bool = False

    @property
    def reason(self) -> str:
        if self.only_if_black:
            return "collapsed to black, fitted again with the estimated kernel"
        return ""

    def applies(self, restoration: Restoration) -> bool:
        return not self.only_if_black or collapsed_to_black(restoration.image, restoration.blurry)

    def start(self, restoration: Restoration, seed: int) -> "State":
        from utils.engine.deblur import draw_start

        blurry, kernel = restoration.blurry, restoration.kernel
        return draw_start(blurry.shape, restoration.kernel_size, self.recipe, seed, kernel)

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        found = super().run(restoration, work)
        if self.only_if_black and collapsed_to_black(found.image, found.blurry):
            raise DataError(
                "collapsed to black, and again with the estimated kernel; try another --seed "
                "or --kernel_size, with --overwrite"
            )
        return found


@dataclass(frozen=True)
class SmallFit(Fit):
    """A fit that only a small and clean image gets.

    Parameters
    ----------
    largest : int
        The most pixels that an image may have. A fit takes a core some 1.5 ms a pixel, and what
        that of `FitFromKernel` adds to the refinement, 0.5 dB on Levin's images, is not worth
        minutes.
    noisiest : float
        The largest standard deviation of its noise, in [0, 1] units: Gx comes to fit the noise.
    """

    largest: int = 100_000
    noisiest: float = 0.015

    def suits(self, blurry: np.ndarray) -> bool:
        """Whether an image is small and clean enough."""
        return blurry.size <= self.largest and estimate_noise(blurry) <= self.noisiest

    def check(self, restoration: Restoration) -> None:
        if self.suits(restoration.blurry):
            super().check(restoration)

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        if image_size[0] * image_size[1] > self.largest:
            return 0
        return super().bytes_needed(image_size, kernel_size, roomy)


@dataclass(frozen=True)
class FitFromKernel(SmallFit):
    """Fit Gx, drawn at random, and the kernel, from the estimate that there is of it.

    Parameters
    ----------
    floor : float
        See `networks.fcn.KernelLogits`.
    """

    name: ClassVar[str] = "joint fit"
    floor: float = 1e-4

    def applies(self, restoration: Restoration) -> bool:
        return restoration.has_blur and self.suits(restoration.blurry)

    def start(self, restoration: Restoration, seed: int) -> "State":
        from networks.fcn import KernelLogits
        from utils.engine.deblur import draw_start

        assert restoration.kernel is not None
        blurry, kernel = restoration.blurry, restoration.kernel
        state = draw_start(blurry.shape, restoration.kernel_size, self.recipe, seed, kernel)
        return replace(state, gk=KernelLogits(kernel, self.floor))


@dataclass(frozen=True)
class FitIfUntrusted(SmallFit, JointFit):
    """Look for the kernel by the paper's method where no estimate of it is trusted.

    See `utils.engine.phase_search.is_trusted_or_proven`. The fit's kernel is taken if it explains
    the image's power spectrum better; its image and its networks are not.

    Parameters
    ----------
    margin : float
        How much smaller than the estimate's misfit that of the fit's kernel must be.
    """

    name: ClassVar[str] = "plain fit"
    margin: float = 0.01

    @property
    def reason(self) -> str:
        return "no estimate of the kernel explains the image's spectrum"

    def applies(self, restoration: Restoration) -> bool:
        from utils.engine.likelihood import NO_BLUR
        from utils.engine.phase_search import is_trusted_or_proven

        blurry, kernel = restoration.blurry, restoration.kernel
        if not self.suits(blurry):
            return False
        assert kernel is not None
        misfits = judge(blurry, kernel, NO_BLUR)
        return bool(misfits) and not is_trusted_or_proven(blurry, kernel, *misfits)

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        from utils.engine.kernel_fit import centre

        def save(fit: Restoration) -> None:
            work.save(replace(fit, gx=None, gk=None))

        fit = super().run(restoration, replace(work, save=save))
        assert fit.kernel is not None and restoration.kernel is not None
        kernel = centre(fit.kernel.astype(np.float64))
        before, after = judge(restoration.blurry, restoration.kernel, kernel)
        work.note(misfit=[round(before, 3), round(after, 3)])
        better = after < before - self.margin
        found = deconvolved(restoration, kernel) if better else restoration
        return replace(found, losses=fit.losses, loss_names=fit.loss_names)


@dataclass(frozen=True)
class ReleasedFit(Fit):
    """Continue with the given networks, from the random inputs of the seed."""

    name: ClassVar[str] = "released networks"

    def start(self, restoration: Restoration, seed: int) -> "State":
        from utils.engine.deblur import draw_start

        state = draw_start(restoration.blurry.shape, restoration.kernel_size, self.recipe, seed)
        assert restoration.gx is not None and restoration.gk is not None
        return replace(state, gx=deepcopy(restoration.gx), gk=deepcopy(restoration.gk))


def collapsed_to_black(restored: np.ndarray, blurry: np.ndarray) -> bool:
    """Return whether Gx has converged to a black image, as it does on some of Lai's.

    Blurring preserves an image's mean except for what enters at the border, so a restored image
    less than half as bright as the blurry one explains nothing.

    Parameters
    ----------
    restored, blurry : (H, W) array
        Images in [0, 1].

    Returns
    -------
    bool
        False for a blurry image that is black itself.
    """
    return bool(blurry.mean() > 1 / 255 and restored.mean() < blurry.mean() / 2)
