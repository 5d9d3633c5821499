"""The stages that methods are made of: each adds to what is known of an image."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from utils.images.kernels import crop_registered, crop_to_blurry

if TYPE_CHECKING:
    from networks.fcn import KernelLogits, KernelNetwork, KnownKernel
    from networks.skip import SkipNetwork


# Stands for a kernel's size until a stage has found it: a usual one.
UNKNOWN_SIZE = 31, 31


@dataclass(frozen=True)
class Restoration:
    """What is known of one image: the input, and what the stages have found so far.

    Parameters
    ----------
    blurry : (H, W) float array
        The blurry image in [0, 1], gray.
    kernel_size : tuple of int
        Height kh and width kw of the kernel in pixels, odd.
    kernel : (kh, kw) float array, optional
        The blur kernel, non-negative with sum 1, for `utils.engine.blur.blur`: a correlation.
    sharp : (H + kh - 1, W + kw - 1) float array, optional
        The sharp image in [0, 1], with the border that the kernel blurs into the blurry one.
    gx, gk : SkipNetwork, KernelNetwork or KnownKernel, optional
        The networks. Image and kernel are what they gave *before* their latest update.
    losses : list of float
        The loss of every iteration of all fits so far.
    loss_names : list of str
        What each of them is: ``MSE`` or ``1-SSIM``.
    others : dict of str to array
        Further sharp images that are written beside, by their names: ``gx`` as NAME_gx.png.
    chroma : (H, W, 2) float32 array, optional
        The blurry image's red and blue less its luminance, if they are to be restored as well.
    sharp_chroma : (H, W, 2) float32 array, optional
        The same of the restored image, in register with the blurry one.
    window : (int, int, int, int), optional
        Where the kernel was estimated: left, top, width and height in pixels.
    candidates : list of (str, array)
        The kernels at the sizes that were tried, and what they are.
    kernel_map : (R, C, h, w) array, optional
        The kernels of the image's equal parts, at a scale.
    kernel_field : (R, C, kh, kw) array, optional
        The kernels to restore those parts with, if the blur varies.
    doubtful : (H, W) bool array, optional
        Where a color was cut off, so that its luminance is too low.
    """

    blurry: np.ndarray
    kernel_size: tuple[int, int]
    kernel: np.ndarray | None = None
    sharp: np.ndarray | None = None
    gx: "SkipNetwork | None" = None
    gk: "KernelNetwork | KnownKernel | KernelLogits | None" = None
    losses: list[float] = field(default_factory=list)
    loss_names: list[str] = field(default_factory=list)
    others: dict[str, np.ndarray] = field(default_factory=dict)
    chroma: np.ndarray | None = None
    sharp_chroma: np.ndarray | None = None
    window: tuple[int, int, int, int] | None = None
    candidates: list[tuple[str, np.ndarray]] = field(default_factory=list)
    kernel_map: np.ndarray | None = None
    kernel_field: np.ndarray | None = None
    doubtful: np.ndarray | None = None

    @property
    def has_blur(self) -> bool:
        """Whether there is a kernel that is more than a point."""
        return self.kernel is not None and bool(self.kernel.max() < 1)

    @property
    def image(self) -> np.ndarray:
        """The restored image, (H, W): the middle of `sharp`, as the authors cut it out."""
        assert self.sharp is not None
        return crop_to_blurry(self.sharp, self.kernel_size)

    @property
    def registered_image(self) -> np.ndarray:
        """The restored image, (H, W), in register with the blurry one (see `crop_registered`)."""
        assert self.sharp is not None and self.kernel is not None
        return crop_registered(self.sharp, self.kernel)


@dataclass
class Work:
    """What a stage runs with: the device, the state to resume from, the callbacks to report to.

    Parameters
    ----------
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``.
    seed : int
        Seed of all random numbers.
    save_every : int
        Iterations from one intermediate result to the next.
    state : dict or None
        What the stage passed to `keep` before it was interrupted; None if it starts from scratch.
    show : callable
        Takes the steps done, their total (0 while unknown), and a detail such as the loss, for the
        progress bar.
    save : callable
        Takes the `Restoration` so far as an intermediate result.
    checkpoint_due : callable
        Returns whether `keep` should be called now.
    keep : callable
        Takes a state from which the stage can resume: a dict of tensors, arrays, numbers and
        strings, nested as needed; None if the stage can only start over. May raise to end the run.
    note : callable
        Takes keyword arguments to add to the stage's record.
    """

    device: str
    seed: int
    save_every: int
    state: Mapping[str, Any] | None
    show: Callable[[int, int, str], None]
    save: Callable[[Restoration], None]
    checkpoint_due: Callable[[], bool]
    keep: Callable[[Mapping[str, Any] | None], None]
    note: Callable[..., None]

    def step(
        self,
        done: int,
        total: int,
        detail: str = "",
        state: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """Report a step, and keep the state if a checkpoint is due.

        Parameters
        ----------
        done, total, detail
            See `show`.
        state : callable, optional
            Returns what `keep` takes; without it an interrupted stage starts over.
        """
        self.show(done, total, detail)
        if self.checkpoint_due():
            self.keep(state() if state else None)


class Stage:
    """One stage of a method: a frozen dataclass whose fields are its settings.

    A stage of your own needs a `name` and `run`; docs/methods.md shows one.
    """

    name: ClassVar[str]

    @property
    def reason(self) -> str:
        """Why the stage runs, if that is worth a message."""
        return ""

    def check(self, restoration: Restoration) -> None:
        """Raise a ValueError if the stage cannot handle the image; called before any stage runs."""

    def applies(self, restoration: Restoration) -> bool:
        """Return whether the stage should run, given what is known by then."""
        return True

    def bytes_needed(
        self, image_size: tuple[int, int], kernel_size: tuple[int, int], roomy: bool = False
    ) -> int:
        """Estimate the memory that the stage needs; with `roomy`, what makes it fast as well."""
        return 0

    def run(self, restoration: Restoration, work: Work) -> Restoration:
        """Run the stage.

        Parameters
        ----------
        restoration : Restoration
            What is known; not to be modified.
        work : Work
            What it runs with.

        Returns
        -------
        Restoration
            The same with what the stage has found.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Everything that determines the stage's result, as values for JSON."""
        return {"stage": self.name, **asdict(self)}  # type: ignore[call-overload]


Method = tuple[Stage, ...]
"""The stages that restore an image, in order."""
