"""Adam, the optimiser of both networks.

PyTorch's own gives the same numbers, but making one imports its compiler: some 800 modules and
seconds of every start that are never used here.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


class Adam:
    """Adam with PyTorch's defaults, for one network.

    Parameters
    ----------
    parameters : iterable of Parameter
        What is optimised, in place; may be empty.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: Iterable[Tensor], rate: float) -> None:
        """Move the parameters against their gradients.

        Parameters
        ----------
        gradients : iterable of tensor
            The loss's gradient with respect to each parameter.
        rate : float
            The learning rate of this step.
        """
        self.steps += 1
        mean_scale = 1 - BETA1**self.steps
        square_scale = 1 - BETA2**self.steps
        for parameter, gradient, mean, square in zip(
            self.parameters, gradients, self.means, self.squares, strict=True
        ):
            mean.lerp_(gradient, 1 - BETA1)
            square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            deviation = (square / square_scale).sqrt_().add_(EPS)
            parameter.addcdiv_(mean, deviation, value=-rate / mean_scale)

    def state(self) -> dict[str, Any]:
        """Give what the next step depends on besides the parameters; it changes with the steps."""
        return {"steps": self.steps, "means": self.means, "squares": self.squares}

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave for parameters of the same shapes."""
        self.steps = state["steps"]
        for name in ("means", "squares"):
            for own, given in zip(getattr(self, name), state[name], strict=True):
                own.copy_(given)
