"""The schedule of one fit; `utils.engine.methods` has the paper's numbers and its code's."""

from dataclasses import dataclass

PRECISIONS = ("auto", "fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Recipe:
    """How the networks are fitted.

    The defaults are those of the paper's experiments on Levin's images, with the authors' code
    as the source where the paper is silent.

    Parameters
    ----------
    num_iter : int
        Iterations.
    milestones : tuple of int
        Iterations, counted from 0, at which both learning rates are halved.
    mse_iterations : int or None
        For this many iterations the loss is the mean squared error, then 1 - SSIM. None means the
        mean squared error throughout.
    image_lr, kernel_lr : float
        Adam's learning rates for Gx and Gk.
    tv_weight : float
        Weight of the total variation of Gx's output; 0 disables it. The paper uses 1e-6 and
        recommends a weight in proportion to the noise.
    input_noise : float
        Standard deviation of the Gaussian noise added to Gx's input, drawn in every iteration.
    channels, scales : int
        Width and depth of Gx.
    top_channels : int or None
        Its width at full size, if less.
    precision : str
        Arithmetic of Gx: ``fp32``, ``tf32``, ``bf16`` or ``auto`` (see `utils.engine.precision`).

    References
    ----------
    .. [1] D. Ren, K. Zhang, Q. Wang, Q. Hu, W. Zuo, "Neural Blind Deconvolution Using Deep
       Priors", CVPR 2020, section 4.1.
    """

    num_iter: int = 5000
    milestones: tuple[int, ...] = (2000, 3000, 4000)
    mse_iterations: int | None = 1000
    image_lr: float = 0.01
    kernel_lr: float = 0.0001
    tv_weight: float = 0.0
    input_noise: float = 0.001
    channels: int = 128
    scales: int = 5
    top_channels: int | None = None
    precision: str = "fp32"

    def uses_mse(self, iteration: int) -> bool:
        """Whether the loss of an iteration, counted from 0, is the mean squared error."""
        return self.mse_iterations is None or iteration < self.mse_iterations

    def loss_name(self, iteration: int) -> str:
        """The loss of an iteration, counted from 0: ``MSE`` or ``1-SSIM``."""
        return "MSE" if self.uses_mse(iteration) else "1-SSIM"

    def learning_rates(self, iteration: int) -> tuple[float, float]:
        """Learning rates of Gx and Gk in an iteration, counted from 0."""
        halvings = sum(milestone <= iteration for milestone in self.milestones)
        return self.image_lr / 2**halvings, self.kernel_lr / 2**halvings
