"""Blind deconvolution of one image: fit Gx and Gk so that their convolution gives it.

References
----------
.. [1] D. Ren, K. Zhang, Q. Wang, Q. Hu, W. Zuo, "Neural Blind Deconvolution Using Deep Priors",
   CVPR 2020.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from networks.fast.skip import fast_forward
from networks.fcn import KernelLogits, KernelNetwork, KnownKernel
from networks.skip import SkipNetwork, smallest_input
from utils.engine.allocator import freed_memory_kept
from utils.engine.blur import blur
from utils.engine.graph import Graphed
from utils.engine.losses import SimilarityTo, mse, total_variation
from utils.engine.memory import can_keep
from utils.engine.methods import LEVIN
from utils.engine.precision import choose_precision, float32_products, maps_in
from utils.engine.recipe import Recipe
from utils.engine.stage import Restoration

INPUT_CHANNELS = 8
INPUT_LENGTH = 200  # of Gk's random vector
INPUT_SCALE = 0.1  # both inputs are drawn from U(0, 0.1)

# Reading a loss makes a GPU wait for everything that is queued, so it is done less often there.
CHECK_EVERY = {"cpu": 1, "cuda": 50}


@dataclass
class State:
    """The state of an optimisation: everything that its next iteration depends on.

    Parameters
    ----------
    zx : (1, 8, H + kh - 1, W + kw - 1) float tensor
        Input of Gx.
    zk : (200,) float tensor
        Input of Gk.
    gx : SkipNetwork
        The image network.
    gk : KernelNetwork, KnownKernel or KernelLogits
        The kernel network, or what takes its place.
    seed : int
        Seeds the input noise if `noise_state` is of another kind of device.
    noise_state : uint8 tensor
        State of the random generator from which the input noise is drawn.
    noise_device : str
        The kind of device that this generator is on.
    adam : dict, optional
        The optimiser's ``state_dict``; None before the first iteration.
    losses : list of float
        The loss of every iteration so far.
    """

    zx: Tensor
    zk: Tensor
    gx: SkipNetwork
    gk: KernelNetwork | KnownKernel | KernelLogits
    seed: int
    noise_state: Tensor
    noise_device: str = "cpu"
    adam: dict[str, Any] | None = None
    losses: list[float] = field(default_factory=list)

    def pack(self) -> dict[str, Any]:
        """Collect what changes from one iteration to the next; the inputs can be drawn again."""
        return {
            "gx": self.gx.state_dict(),
            "gk": self.gk.state_dict(),
            "adam": self.adam,
            "noise_state": self.noise_state,
            "noise_device": self.noise_device,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
        }

    def load(self, packed: Mapping[str, Any]) -> None:
        """Restore what `pack` collected from networks of the same shapes.

        Raises
        ------
        ValueError
            If the networks differ; this state is then undefined.
        """
        try:
            self.gx.load_state_dict(packed["gx"])
            self.gk.load_state_dict(packed["gk"])
            self.adam = packed["adam"]
            weights = [*self.gx.parameters(), *self.gk.parameters()]
            for index, moments in (self.adam["state"] if self.adam else {}).items():
                if (
                    not moments["exp_avg"].shape
                    == moments["exp_avg_sq"].shape
                    == weights[index].shape
                ):
                    raise ValueError("moments of other weights")
            self.noise_state, self.noise_device = packed["noise_state"], packed["noise_device"]
            self.losses = packed["losses"].tolist()
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ValueError("of networks of another kind") from error


def choose_device(name: str = "auto") -> torch.device:
    """Find a device by name: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``, CUDA if available.

    Raises
    ------
    ValueError
        If the name is unknown, or there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (":" in name and (kind == "cpu" or not index.isdecimal())):
        raise ValueError(f"device {name!r} is unknown; use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= count:
        raise ValueError(f"device {name!r} does not exist ({count} CUDA devices found); use cpu")
    return torch.device(name)


def draw_start(
    image_size: tuple[int, int],
    kernel_size: tuple[int, int],
    recipe: Recipe = LEVIN,
    seed: int = 0,
    kernel: np.ndarray | None = None,
) -> State:
    """Draw the random inputs and the networks' weights as the authors' code does.

    The order of random numbers is: the seed, zx, Gx's weights; the seed again, zk, Gk's weights;
    then the input noise of each iteration. The process's own random generator is left as it was.

    Parameters
    ----------
    image_size, kernel_size : tuple of int
        Height and width of the blurry image and of the kernel in pixels.
    recipe : Recipe
        Only its channels and scales matter here.
    seed : int
        Random seed; the authors use 0.
    kernel : (kh, kw) array, optional
        The kernel, if it is known; then Gx alone is fitted.

    Returns
    -------
    State
        Before the first iteration; everything in float32 on the CPU.
    """
    sharp_size = [i + k - 1 for i, k in zip(image_size, kernel_size, strict=True)]
    cpu = torch.default_generator
    with torch.random.fork_rng(devices=[]):
        cpu.manual_seed(seed)
        zx = INPUT_SCALE * torch.zeros(1, INPUT_CHANNELS, *sharp_size).uniform_()
        gx = SkipNetwork(INPUT_CHANNELS, recipe.channels, recipe.scales, recipe.top_channels)
        cpu.manual_seed(seed)
        zk = INPUT_SCALE * torch.zeros(INPUT_LENGTH).uniform_()
        gk = KernelNetwork(kernel_size, INPUT_LENGTH) if kernel is None else KnownKernel(kernel)
        return State(zx, zk, gx, gk, seed, cpu.get_state())


def deblur(
    blurry: np.ndarray,
    kernel_size: tuple[int, int],
    recipe: Recipe = LEVIN,
    *,
    seed: int = 0,
    device: str = "auto",
    start: State | None = None,
    save_every: int = 100,
    on_save: Callable[[Restoration], None] | None = None,
    checkpoint_due: Callable[[], bool] | None = None,
    on_checkpoint: Callable[[State], None] | None = None,
    on_progress: Callable[[int, float], None] | None = None,
) -> Restoration:
    """Restore a blurry image whose kernel is unknown, by one joint fit.

    `utils.engine.restore.restore` runs a whole method, of which this may be one stage.

    Parameters
    ----------
    blurry : (H, W) array
        Gray image with values in [0, 1].
    kernel_size : tuple of int
        Height and width of the kernel in pixels, odd, 3 or more, no larger than the image.
    recipe : Recipe
        The schedule.
    seed : int
        Decides the random inputs, the first weights and the noise. On the CPU a seed gives the
        same bits again (with the same number of threads).
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` (see `choose_device`).
    start : State, optional
        Where to start, instead of what `draw_start` gives for the seed. Its dtype, float32 or
        float64, becomes that of the optimisation, and it is updated in place. On the CPU an
        optimisation that is resumed ends with the same bits as one that never stopped.
    save_every : int
        Iterations between two calls of `on_save`, which is also called after the last.
    on_save : callable, optional
        Takes the `Restoration` so far.
    checkpoint_due : callable, optional
        Returns, after every iteration but the last, whether to call `on_checkpoint`.
    on_checkpoint : callable, optional
        Takes the `State` so far, to resume from. It changes with the optimisation, so it must be
        copied or written.
    on_progress : callable, optional
        Takes the number of iterations done and the latest loss; called after every iteration on
        the CPU, less often on a GPU.

    Returns
    -------
    Restoration
        Image, kernel, networks and losses at the end.

    Raises
    ------
    ValueError
        If an argument is out of range; the message names it and its value.
    FloatingPointError
        If the loss becomes infinite or NaN. What `on_save` got before is still valid.
    Exception
        Whatever a callback raises ends the optimisation.
    """
    check_arguments(blurry, kernel_size, recipe, save_every)
    target_device = choose_device(device)
    precision = choose_precision(recipe.precision, target_device)
    state = start or draw_start(blurry.shape, kernel_size, recipe, seed)
    losses = state.losses
    if len(losses) >= recipe.num_iter:
        raise ValueError(f"start has done {len(losses)} of {recipe.num_iter} iterations")
    zx, zk = state.zx.to(target_device), state.zk.to(target_device)
    on_cpu = target_device.type == "cpu"
    # Measured: in float32 cuDNN takes longer for maps that lie channels last, up to 2.4 times.
    layout = torch.channels_last if on_cpu else torch.contiguous_format
    gx = state.gx.to(target_device)
    gx = gx.to(memory_format=layout)  # type: ignore[call-overload]
    gk = state.gk.to(target_device)
    y = torch.as_tensor(blurry, dtype=zx.dtype, device=target_device)[None, None]
    similarity = SimilarityTo(y)
    noise_generator = torch.Generator(target_device)
    if state.noise_device == target_device.type:
        noise_generator.set_state(state.noise_state)
    else:
        noise_generator.manual_seed((state.seed + len(losses)) % 2**63)
    groups = [{"params": gx.parameters()}, {"params": gk.parameters()}]
    adam = torch.optim.Adam(groups, fused=True, capturable=not on_cpu)
    if not on_cpu:
        for group in adam.param_groups:
            group["lr"] = torch.zeros((), device=target_device)
    if state.adam:
        adam.load_state_dict(adam.state_dict() | {"state": state.adam["state"]})
        for weight, moments in adam.state.items():
            # Fused Adam goes by their place in memory, which another kind of device has otherwise.
            for name in ("exp_avg", "exp_avg_sq"):
                moments[name] = torch.empty_like(weight).copy_(moments[name])
    # Drawn in the authors' memory layout, whatever layout Gx uses.
    noise = torch.empty_like(zx)

    def step(uses_mse: bool) -> tuple[Tensor, Tensor, Tensor]:
        noisy_zx = zx + recipe.input_noise * noise
        with maps_in(precision, target_device):
            x = fast_forward(gx, noisy_zx.contiguous(memory_format=layout))
        k = gk(zk)
        reblurred = blur(x, k)
        loss = mse(reblurred, y) if uses_mse else 1 - similarity(reblurred)
        if recipe.tv_weight:
            loss = loss + recipe.tv_weight * total_variation(x)

        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        return x.detach(), k.detach(), loss.detach()

    iterate = step if on_cpu else Graphed(step, target_device)
    unread: list[Tensor] = []
    keep = on_cpu and can_keep(blurry.shape, kernel_size, recipe)
    with freed_memory_kept(keep), float32_products(precision):
        for iteration in range(len(losses), recipe.num_iter):
            noise.normal_(generator=noise_generator)
            for group, lr in zip(adam.param_groups, recipe.learning_rates(iteration), strict=True):
                if on_cpu:
                    group["lr"] = lr
                else:
                    group["lr"].fill_(lr)
            x, k, loss = iterate(recipe.uses_mse(iteration))

            done = iteration + 1
            unread.append(loss.clone())
            saves = done % save_every == 0 or done == recipe.num_iter
            # Not after the last iteration, whose image could not be recomputed from the state.
            checkpoints = done < recipe.num_iter and checkpoint_due is not None and checkpoint_due()
            if saves or checkpoints or done % CHECK_EVERY[target_device.type] == 0:
                latest = torch.stack(unread).tolist()
                unread.clear()
                if not all(map(math.isfinite, latest)):
                    raise FloatingPointError(f"the loss became {latest[-1]} by iteration {done}")
                losses += latest
                if on_progress:
                    on_progress(done, losses[-1])
            if saves:
                sharp, kernel = (image[0, 0].cpu().numpy() for image in (x, k))
                names = [recipe.loss_name(i) for i in range(done)]
                restoration = Restoration(
                    blurry, kernel_size, kernel, sharp, gx, gk, list(losses), names
                )
                if on_save:
                    on_save(restoration)
            if checkpoints and on_checkpoint:
                state.noise_state = noise_generator.get_state()
                state.noise_device = target_device.type
                state.adam = adam.state_dict()
                on_checkpoint(state)
    return restoration


def check_arguments(
    blurry: np.ndarray, kernel_size: tuple[int, int], recipe: Recipe, save_every: int = 1
) -> None:
    """Raise a ValueError that names the first argument of `deblur` that is out of range."""
    if np.ndim(blurry) != 2:
        raise ValueError(f"blurry must be a gray image (H, W), not of shape {np.shape(blurry)}")
    if not (np.min(blurry) >= 0 and np.max(blurry) <= 1):
        raise ValueError(
            f"blurry must lie in [0, 1], not in [{np.min(blurry)}, {np.max(blurry)}]; "
            "divide by 255 for 8 bits"
        )
    for size in kernel_size:
        if size < 3 or size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and 3 or more, not {size}")
    if recipe.num_iter < 1 or save_every < 1:
        raise ValueError(f"num_iter {recipe.num_iter} and save_every {save_every} must be positive")
    (height, width), (kh, kw) = blurry.shape, kernel_size
    smallest = smallest_input(recipe.scales)
    if height < kh or width < kw:
        raise ValueError(f"the image, {height} x {width}, is smaller than the kernel, {kh} x {kw}")
    if height + kh - 1 < smallest or width + kw - 1 < smallest:
        raise ValueError(
            f"the image, {height} x {width}, is too small for the network, which with this kernel "
            f"takes {smallest - kh + 1} x {smallest - kw + 1} or more"
        )
