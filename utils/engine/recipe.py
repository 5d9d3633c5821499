"""Every number of the optimisation, in one place."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """How one image is restored.

    The defaults are those of the paper's experiments on Levin's images, with the authors' code
    as the source where the paper is silent.

    Parameters
    ----------
    num_iter : int
        Iterations.
    milestones : tuple of int
        Iterations, counted from 0, at which both learning rates are halved.
    mse_iterations : int or None
        For so many iterations the loss is the mean squared error; after them it is 1 - SSIM.
        None means the mean squared error throughout.
    image_rate, kernel_rate : float
        Adam's learning rates for Gx and Gk.
    tv_weight : float
        Weight of the total variation of Gx's output; 0 leaves it out. The paper names 1e-6 and
        recommends a weight in proportion to the noise.
    input_noise : float
        Standard deviation of the Gaussian noise that Gx's input gets afresh in every iteration.
    channels, scales : int
        Width and depth of Gx.

    References
    ----------
    .. [1] D. Ren, K. Zhang, Q. Wang, Q. Hu, W. Zuo, "Neural Blind Deconvolution Using Deep
       Priors", CVPR 2020, section 4.1.
    """

    num_iter: int = 5000
    milestones: tuple[int, ...] = (2000, 3000, 4000)
    mse_iterations: int | None = 1000
    image_rate: float = 0.01
    kernel_rate: float = 0.0001
    tv_weight: float = 0.0
    input_noise: float = 0.001
    channels: int = 128
    scales: int = 5

    def uses_mse(self, iteration: int) -> bool:
        """Tell whether an iteration, counted from 0, minimises the mean squared error."""
        return self.mse_iterations is None or iteration < self.mse_iterations

    def loss_name(self, iteration: int) -> str:
        """Name the loss of an iteration, counted from 0: ``MSE`` or ``1-SSIM``."""
        return "MSE" if self.uses_mse(iteration) else "1-SSIM"

    def learning_rates(self, iteration: int) -> tuple[float, float]:
        """Learning rates of Gx and Gk in an iteration, counted from 0."""
        halvings = sum(milestone <= iteration for milestone in self.milestones)
        return self.image_rate / 2**halvings, self.kernel_rate / 2**halvings


LEVIN = Recipe()
"""The authors' selfdeblur_levin.py."""

LAI = Recipe(mse_iterations=500)
"""The authors' selfdeblur_lai.py."""

YCBCR = Recipe(num_iter=2500, milestones=(1600, 1900, 2200), mse_iterations=500)
"""The authors' selfdeblur_ycbcr.py."""

NONBLIND = Recipe(num_iter=1000, milestones=(700, 800, 900), mse_iterations=0)
"""The authors' selfdeblur_nonblind.py: Gx alone, the kernel is given."""

REPRODUCE = Recipe(
    num_iter=2, milestones=(700, 800, 900), mse_iterations=0, image_rate=0.0001, kernel_rate=0.0
)
"""The authors' scripts that show their released networks, after one small step of Gx."""

PAPER_5K = Recipe(mse_iterations=None, tv_weight=1e-6)
"""The paper's model: mean squared error throughout, and total variation."""

PAPER_20K = replace(PAPER_5K, num_iter=20000, milestones=(5000, 10000, 15000))
"""The same with the longer schedule."""

QUICK = Recipe(
    num_iter=1200, milestones=(720, 900, 1080), mse_iterations=300, kernel_rate=0.0005, channels=64
)
"""Ours, for machines without a GPU: a narrower Gx and a short schedule with a faster Gk.

On im1_kernel1 it reaches 32.79 dB (float32). A kernel_rate of 0.001 with 150 mse_iterations gave
33.40 there, but gained 0.9 dB less on the sample's first image, whose kernel came out too sparse.
"""


def recipes(default: Recipe) -> dict[str, Recipe]:
    """Name the recipes of a script, given its own default."""
    if default == REPRODUCE:
        return {"default": default}  # the others would fit the networks anew
    return {"default": default, "quick": QUICK, "paper-5k": PAPER_5K, "paper-20k": PAPER_20K}
