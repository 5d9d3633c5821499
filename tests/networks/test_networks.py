"""Gx, plain and fast, and Gk: golden numbers, sizes, the non-local block's algebra."""

import csv

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from networks.fast.skip import fast_forward
from networks.fcn import KernelNetwork
from networks.released.load import released_keys
from networks.skip import NonLocalBlock, SkipNetwork, smallest_input
from tests.networks.golden import set_golden_weights

every_forward = pytest.mark.parametrize("forward", [SkipNetwork.forward, fast_forward])


def relative_error(result: torch.Tensor, expected: np.ndarray) -> float:
    difference = result.detach().numpy().reshape(expected.shape).astype(float) - expected
    return np.linalg.norm(difference) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def golden(reference):
    with np.load(reference / "golden_forward.npz") as file:
        return dict(file)


@every_forward
@torch.no_grad()
def test_gx_gives_the_golden_image(golden, forward):
    gx = SkipNetwork()
    set_golden_weights(gx)
    zx = torch.from_numpy(golden["zx"])
    in_single, in_double = forward(gx, zx), forward(gx.double(), zx.double())
    # The golden image was computed in float32 and is 1.6e-5 off the exact one at its worst pixel.
    assert relative_error(in_double, golden["x"]) < 1e-5
    assert abs(in_double.numpy() - golden["x"]).max() < 2e-5
    assert relative_error(in_single, golden["x"]) < 2e-5


@torch.no_grad()
def test_gk_gives_the_golden_kernel(golden):
    gk = KernelNetwork((15, 13))
    set_golden_weights(gk)
    k = gk(torch.from_numpy(golden["zk"]))
    assert k.shape == (1, 1, 15, 13)
    assert relative_error(k, golden["k"]) < 1e-5


@pytest.mark.parametrize(
    ("network", "table"),
    [
        (SkipNetwork(), "released_xnet_state.csv"),
        (KernelNetwork((17, 17)), "released_knet_state.csv"),
    ],
)
def test_every_tensor_has_its_released_twin(reference, network, table):
    with open(reference / table, newline="") as file:
        (_, shape_column), *rows = csv.reader(file)
    assert "shape" in shape_column
    state = network.state_dict()
    ours = {
        theirs: "x".join(map(str, state[key].shape)) or "scalar"
        for key, theirs in released_keys(network).items()
    }
    assert ours == dict(rows)


def test_number_of_parameters():
    assert sum(weight.numel() for weight in SkipNetwork().parameters()) == 2_365_521


@every_forward
@pytest.mark.parametrize("size", [(33, 33), (34, 40), (47, 33), (64, 64), (65, 63), (97, 130)])
@torch.no_grad()
def test_gx_keeps_every_size(size, forward):
    x = forward(SkipNetwork(channels=4), torch.rand(1, 8, *size))
    assert x.shape == (1, 1, *size)
    assert x.min() > 0 and x.max() < 1


@every_forward
@pytest.mark.parametrize("scales", [1, 2, 3])
@torch.no_grad()
def test_gx_takes_its_smallest_input_and_nothing_smaller(scales, forward):
    gx = SkipNetwork(channels=4, scales=scales)
    smallest = smallest_input(scales)
    assert forward(gx, torch.rand(1, 8, smallest, smallest)).shape == (1, 1, smallest, smallest)
    with pytest.raises((RuntimeError, ValueError)):
        forward(gx, torch.rand(1, 8, smallest - 1, smallest - 1))


@every_forward
def test_gx_uses_every_weight(forward):
    gx = SkipNetwork(channels=4)
    # At the start the non-local blocks' last normalisation is zero and hides what lies before it.
    for module in gx.modules():
        if isinstance(module, NonLocalBlock):
            torch.nn.init.ones_(module.norm.weight)
    # A bias before a normalisation shifts nothing: its gradient is zero but for rounding, and once
    # in some sixty times it is zero. Hence three inputs, whose gradients add up.
    for _ in range(3):
        forward(gx, torch.rand(1, 8, 65, 65)).square().sum().backward()
    without = [name for name, weight in gx.named_parameters() if not weight.grad.any()]
    assert without == []


@torch.no_grad()
def test_non_local_block_is_the_product_over_all_pairs_of_positions():
    torch.manual_seed(1)
    block = NonLocalBlock(8).double()
    torch.nn.init.normal_(block.norm.weight)
    x = torch.randn(1, 8, 11, 14, dtype=torch.double)
    g = F.max_pool2d(block.g(x), 2).flatten(2)[0]
    phi = F.max_pool2d(block.phi(x), 2).flatten(2)[0]
    theta = block.theta(x).flatten(2)[0]
    pairs = theta.T @ phi / phi.shape[1]
    gathered = torch.stack([pairs @ channel for channel in g]).view(1, 4, 11, 14)
    assert torch.allclose(block(x), block.norm(block.out(gathered)) + x, atol=1e-12)


@torch.no_grad()
def test_non_local_block_is_the_identity_at_the_start():
    x = torch.randn(1, 8, 9, 9)
    assert torch.equal(NonLocalBlock(8)(x), x)


@torch.no_grad()
def test_kernels_are_distributions_in_row_major_order():
    gk = KernelNetwork((3, 5), inputs=4, hidden=6)
    zk = torch.rand(4)
    k = gk(zk)
    assert (k >= 0).all()
    assert k.sum().item() == pytest.approx(1)
    logits = gk.output(gk.hidden(zk).clamp(0, 6))
    assert torch.allclose(k[0, 0, 1], torch.softmax(logits, 0)[5:10])
