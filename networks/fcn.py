"""Gk, the kernel network: one hidden layer and a softmax; and what replaces it for a known kernel.

References
----------
.. [1] D. Ren, K. Zhang, Q. Wang, Q. Hu, W. Zuo, "Neural Blind Deconvolution Using Deep Priors",
   CVPR 2020, section 3.2.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KernelNetwork(nn.Module):
    """Gk: maps a fixed random vector to a blur kernel.

    The softmax makes every kernel non-negative with sum 1.

    Parameters
    ----------
    kernel_size : tuple of int
        Height and width of the kernel in pixels.
    inputs : int
        Length of the random vector.
    hidden : int
        Width of the hidden layer.

    Examples
    --------
    >>> k = KernelNetwork((15, 13))(torch.rand(200))
    >>> k.shape, round(k.sum().item(), 5)
    (torch.Size([1, 1, 15, 13]), 1.0)
    """

    def __init__(self, kernel_size: tuple[int, int], inputs: int = 200, hidden: int = 1000):
        super().__init__()
        self.arguments = {"kernel_size": kernel_size, "inputs": inputs, "hidden": hidden}
        self.kernel_size = kernel_size
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, kernel_size[0] * kernel_size[1])

    def forward(self, zk: Tensor) -> Tensor:
        """Map the vector (inputs,) to the kernel (1, 1, kh, kw)."""
        entries = F.softmax(self.output(F.relu6(self.hidden(zk))), dim=-1)
        return entries.view(1, 1, *self.kernel_size)


class KnownKernel(nn.Module):
    """Takes Gk's place where the kernel is known, and returns it for any input.

    Parameters
    ----------
    kernel : (kh, kw) array
        Non-negative with sum 1.
    """

    kernel: Tensor

    def __init__(self, kernel: np.ndarray):
        super().__init__()
        self.arguments = {"kernel": np.zeros(kernel.shape)}  # the buffer has the numbers
        self.register_buffer("kernel", torch.as_tensor(kernel, dtype=torch.float32)[None, None])

    def forward(self, zk: Tensor) -> Tensor:
        """Return the kernel (1, 1, kh, kw)."""
        return self.kernel


class KernelLogits(nn.Module):
    """Takes Gk's place where an estimate of the kernel is there to start from: free logits.

    Parameters
    ----------
    kernel : (kh, kw) array
        The estimate, non-negative with sum 1.
    floor : float
        Added to every entry before the logarithm, so that entries of zero may grow.
    """

    def __init__(self, kernel: np.ndarray, floor: float):
        super().__init__()
        self.arguments = {"kernel": np.zeros(kernel.shape), "floor": floor}  # logits are weights
        estimate = torch.as_tensor(kernel, dtype=torch.float32)[None, None]
        self.logits = nn.Parameter(torch.log(estimate + floor))

    def forward(self, zk: Tensor) -> Tensor:
        """Return the kernel (1, 1, kh, kw), non-negative with sum 1, for any input."""
        return F.softmax(self.logits.flatten(), dim=0).view_as(self.logits)
