"""The optimisation as the authors' code runs it: the plain networks and losses, in float32.

Speed and memory of utils/engine/deblur.py are compared with it. It gives the same numbers.
"""

from collections.abc import Iterator

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
            {"params": gx.parameters(), "lr": recipe.image_lr},
            {"params": gk.parameters(), "lr": recipe.kernel_lr},
        ]
    )
    generator = torch.Generator(device)
    if y.device.type == start.noise_device:
        generator.set_state(start.noise_state)
    else:
        generator.manual_seed(start.seed)
    for iteration in range(recipe.num_iter):
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
        yield x.detach(), k.detach(), loss.detach()


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
