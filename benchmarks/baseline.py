"""The optimisation as the authors' code runs it: the plain networks and losses, in float32.

Speed, memory and quality of utils/engine/deblur.py are compared with it. It gives the same numbers.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.engine.deblur import State
from utils.engine.losses import C1, C2, WINDOW_SIZE, gaussian_window, total_variation
from utils.engine.recipe import Recipe


def baseline(
    blurry: np.ndarray,
    recipe: Recipe,
    start: State,
    device: str = "cpu",
    checkpoint_due: Callable[[], bool] | None = None,
    on_checkpoint: Callable[[State], None] | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Restore an image, an iteration at a time.

    Parameters
    ----------
    blurry : (H, W) array
        Gray image with values in [0, 1].
    recipe : Recipe
        The schedule.
    start : State
        Random inputs and networks; these are fitted in place.
    device : str
        ``cpu`` or ``cuda``.
    checkpoint_due, on_checkpoint : callable, optional
        See `utils.engine.deblur.deblur`.

    Yields
    ------
    x : (1, 1, H + kh - 1, W + kw - 1) tensor
        The sharp image.
    k : (1, 1, kh, kw) tensor
        The kernel.
    loss : scalar tensor
        The loss.
    """
    y = torch.as_tensor(blurry, dtype=start.zx.dtype, device=device)[None, None]
    zx, zk = start.zx.to(device), start.zk.to(device)
    gx, gk = start.gx.to(device), start.gk.to(device)
    window = gaussian_window(y.dtype, y.device)
    window = (window[:, None] * window).view(1, 1, WINDOW_SIZE, WINDOW_SIZE)
    optimiser = torch.optim.Adam(
        [
            {"params": gx.parameters(), "lr": recipe.image_rate},
            {"params": gk.parameters(), "lr": recipe.kernel_rate},
        ]
    )
    load_moments(optimiser, start)
    generator = torch.Generator(device)
    if y.device.type == start.noise_device:
        generator.set_state(start.noise_state)
    else:
        generator.manual_seed(start.seed)
    unread = []
    for iteration in range(len(start.losses), recipe.num_iter):
        for group, rate in zip(
            optimiser.param_groups, recipe.learning_rates(iteration), strict=True
        ):
            group["lr"] = rate
        x = gx(zx + recipe.input_noise * torch.zeros_like(zx).normal_(generator=generator))
        k = gk(zk)
        reblurred = F.conv2d(x, k)
        if recipe.uses_mse(iteration):
            loss = F.mse_loss(reblurred, y)
        else:
            loss = 1 - windowed_ssim(reblurred, y, window)
        if recipe.tv_weight:
            loss = loss + recipe.tv_weight * total_variation(x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        unread.append(loss.detach())
        if checkpoint_due is not None and iteration + 1 < recipe.num_iter and checkpoint_due():
            start.losses += torch.stack(unread).tolist()
            unread.clear()
            start.noise_state, start.noise_device = generator.get_state(), y.device.type
            start.moments = moments(optimiser)
            on_checkpoint(start)
        yield x.detach(), k.detach(), loss.detach()


def moments(optimiser: torch.optim.Adam) -> dict[str, dict[str, Any]]:
    """Return Adam's moments in the form of `State.moments`."""
    found = {}
    for name, group in zip(("gx", "gk"), optimiser.param_groups, strict=True):
        states = [optimiser.state[parameter] for parameter in group["params"]]
        found[name] = {
            "steps": int(states[0]["step"]) if states else 0,
            "means": [state["exp_avg"] for state in states],
            "squares": [state["exp_avg_sq"] for state in states],
        }
    return found


def load_moments(optimiser: torch.optim.Adam, start: State) -> None:
    """Load the moments of a `State` into Adam, if it has any."""
    for name, group in zip(("gx", "gk"), optimiser.param_groups, strict=True):
        if start.moments is None:
            return
        kept = start.moments[name]
        for parameter, mean, square in zip(
            group["params"], kept["means"], kept["squares"], strict=True
        ):
            optimiser.state[parameter] = {
                "step": torch.tensor(float(kept["steps"])),
                "exp_avg": mean.to(parameter),
                "exp_avg_sq": square.to(parameter),
            }


def windowed_ssim(a: Tensor, b: Tensor, window: Tensor) -> Tensor:
    """Compute SSIM with a two-dimensional window, one map after the other."""

    def local_mean(x: Tensor) -> Tensor:
        return F.conv2d(x, window, padding=WINDOW_SIZE // 2)

    mean_a, mean_b = local_mean(a), local_mean(b)
    variance_a = local_mean(a * a) - mean_a**2
    variance_b = local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2 * covariance + C2) / (variance_a + variance_b + C2)
    return (luminance * structure).mean()
