"""Our Adam against PyTorch's."""

import subprocess
import sys

import torch

from utils.engine.adam import Adam


def test_follows_pytorchs_over_changing_rates():
    torch.manual_seed(0)
    ours = [torch.randn(3, 4, dtype=torch.double).requires_grad_(), torch.ones(5).double()]
    ours[1].requires_grad_()
    theirs = [weight.detach().clone().requires_grad_() for weight in ours]
    adam, reference = Adam(ours), torch.optim.Adam(theirs)
    for step in range(20):
        rate = 0.01 / 2 ** (step // 5)
        gradients = [torch.randn_like(weight) for weight in ours]
        adam.step(gradients, rate)
        for weight, gradient in zip(theirs, gradients, strict=True):
            weight.grad = gradient.clone()
        reference.param_groups[0]["lr"] = rate
        reference.step()
    for weight, expected in zip(ours, theirs, strict=True):
        assert torch.allclose(weight, expected, rtol=0, atol=1e-14)


def test_a_run_does_not_import_the_compiler():
    program = (
        "import sys, numpy as np; from utils.deblur import deblur; from utils.recipe import Recipe;"
        "deblur(np.ones((9, 9)), (3, 3), Recipe(num_iter=1, channels=4, scales=1), device='cpu');"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
