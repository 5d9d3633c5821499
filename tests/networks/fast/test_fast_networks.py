"""The pieces of Gx that are computed in another way than they are meant, against the plain way."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.grad import conv2d_weight

from benchmarks.baseline import image
from networks.fast.activated import SlicedActivatedConv, activate, sliced_activated_conv
from networks.fast.convolution import (
    Convolution,
    StuffingConvolution,
    conv2d,
    filter_gradient,
    stuffing_conv2d,
)
from networks.fast.upsampled import (
    AddEdges,
    BorderStrips,
    Smoothing,
    UpsampledMoments,
    fast_joined_conv,
)
from networks.skip import SkipNetwork, conv

SIZES = [(9, 12), (8, 11), (10, 10), (13, 9), (2, 3)]


def random_map(*shape: int) -> torch.Tensor:
    """Make a map whose channels have means and deviations of their own."""
    x = 3 * torch.rand(shape[1], 1, 1, dtype=torch.double) + torch.randn(shape, dtype=torch.double)
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


def random_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def assert_same(fast, plain, maps, modules) -> None:
    """Compare values, gradients of maps and parameters, and running statistics."""
    twins = copy.deepcopy(modules)
    results = fast(*maps, *modules), plain(*maps, *twins)
    assert torch.allclose(*results, rtol=1e-10, atol=1e-10)
    weights = torch.randn_like(results[0])
    gradients = [
        torch.autograd.grad(result, [*maps, *(p for m in group for p in m.parameters())], weights)
        for result, group in zip(results, (modules, twins), strict=True)
    ]
    for of_fast, of_plain in zip(*gradients, strict=True):
        assert torch.allclose(of_fast, of_plain, rtol=1e-8, atol=1e-9)
    for module, twin in zip(modules, twins, strict=True):
        for (name, buffer), other in zip(module.named_buffers(), twin.buffers(), strict=True):
            assert torch.allclose(buffer.double(), other.double(), rtol=1e-10), name


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_joined_conv(height, width):
    def plain(skipped, low, norm, layer):
        enlarged = F.interpolate(low, scale_factor=2, mode="bilinear")[:, :, :height, :width]
        return layer(norm(torch.cat([skipped, enlarged], dim=1)))

    maps = random_map(1, 3, height, width), random_map(1, 4, (height + 1) // 2, (width + 1) // 2)
    modules = [random_norm(7), conv(7, 5, 3).double()]
    assert_same(fast_joined_conv, plain, maps, modules)


@pytest.mark.parametrize("out_channels", [1, 5])
@pytest.mark.parametrize("slice_length", [2**19, 36])
def test_activated_conv(monkeypatch, out_channels, slice_length):
    monkeypatch.setattr("networks.fast.activated.SLICE", slice_length)

    def plain(x, norm, layer):
        return layer(F.leaky_relu(norm(x), 0.2))

    modules = [random_norm(4), conv(4, out_channels, 1).double()]
    assert_same(sliced_activated_conv, plain, [random_map(1, 4, 7, 9)], modules)


def test_activated_conv_in_bfloat16():
    """As far from the exact numbers as the plain way in bfloat16 is, or nearer."""
    torch.manual_seed(0)
    x, norm, layer = random_map(1, 8, 20, 30), random_norm(8), conv(8, 5, 1).double()
    weights = torch.randn(1, 5, 20, 30, dtype=torch.double)

    def values(compute, dtype):
        own = x.detach().to(dtype).requires_grad_()
        modules = copy.deepcopy([norm, layer])
        if dtype == torch.bfloat16:
            modules = [module.float() for module in modules]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            result = compute(own, *modules)
        parameters = [p for module in modules for p in module.parameters()]
        gradients = torch.autograd.grad(result, [own, *parameters], weights.to(result.dtype))
        return torch.cat([v.double().flatten() for v in (result, *gradients)])

    def plain(x, norm, layer):
        return layer(activate(x, norm))

    exact = values(plain, torch.double)
    error = (values(sliced_activated_conv, torch.bfloat16) - exact).norm()
    assert error < 1.2 * (values(plain, torch.bfloat16) - exact).norm() < 0.05 * exact.norm()


def test_activated_conv_leaves_its_input_as_it_was():
    x = random_map(1, 4, 5, 6)
    before = x.detach().clone()
    modules = random_norm(4), conv(4, 3, 1).double()
    sliced_activated_conv(x, *modules).sum().backward()
    assert torch.equal(x, before)


@pytest.fixture(params=[4096, 7])
def positions(request, monkeypatch):
    """Let the filters' gradient take all positions at once, or hardly a row at a time."""
    monkeypatch.setattr("networks.fast.convolution.POSITIONS", request.param)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(9, 12), (8, 5), (3, 3), (4, 7)])
def test_convolution(positions, height, width, stride):
    layer = nn.Conv2d(3, 4, 3, stride).double()
    x = random_map(1, 3, height, width)

    def fast(x, layer):
        return Convolution.apply(x, layer.weight, layer.bias, stride)

    def plain(x, layer):
        return layer(x)

    assert_same(fast, plain, [x], [layer])


@pytest.mark.parametrize("cut", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize(("height", "width"), [(5, 6), (1, 4), (4, 1)])
def test_stuffing_convolution(positions, height, width, cut):
    layer = nn.ConvTranspose2d(3, 4, 3, 2, padding=1, output_padding=cut, bias=False).double()

    def fast(x, layer):
        return StuffingConvolution.apply(x, layer.weight, cut)

    def plain(x, layer):
        return layer(x)

    assert_same(fast, plain, [random_map(1, 3, height, width)], [layer])


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_convolutions_of_every_processor(monkeypatch, capability):
    """What is slow only with AVX2 is done in another way there only, in float32 and bfloat16."""
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    x, weight, bias = random_map(1, 3, 6, 7), torch.randn(4, 3, 3, 3).double(), torch.ones(4)
    weight.requires_grad_()
    y = conv2d(x, weight, bias.double())
    assert (type(y.grad_fn).__name__ == "ConvolutionBackward") == (capability == "AVX2")
    assert torch.equal(y, F.conv2d(x, weight, bias.double()))
    y = stuffing_conv2d(x, weight.transpose(0, 1), (1, 0))
    assert (type(y.grad_fn).__name__ == "StuffingConvolutionBackward") == (capability == "AVX2")
    with torch.autocast("cpu", torch.bfloat16):
        y = conv2d(x.float(), weight.float(), bias)
    assert y.dtype == torch.bfloat16


def test_filter_gradient_in_float32():
    x, grad = random_map(1, 8, 40, 50).detach(), random_map(1, 6, 38, 48).detach()
    exact = conv2d_weight(x, (6, 8, 3, 3), grad)
    error = filter_gradient(x.float(), grad.float(), stride=1) - exact
    assert error.norm() < 1e-6 * exact.norm()


def test_gradients_by_differences():
    x, low = random_map(1, 2, 6, 5), random_map(1, 2, 3, 4)
    assert torch.autograd.gradcheck(Smoothing.apply, x)
    assert torch.autograd.gradcheck(BorderStrips.apply, x)
    filters, bias = torch.randn(3, 2, 3, 3).double().requires_grad_(), torch.ones(3).double()
    assert torch.autograd.gradcheck(Convolution.apply, (x, filters, bias.requires_grad_(), 2))
    assert torch.autograd.gradcheck(
        StuffingConvolution.apply, (low, filters.mT.transpose(0, 1), (1, 0))
    )
    assert torch.autograd.gradcheck(lambda low: UpsampledMoments.apply(low, 5, 8), low)
    edges = [random_map(1, 2, 1, 5), random_map(1, 2, 1, 5)]
    edges += [random_map(1, 2, 6, 1), random_map(1, 2, 6, 1)]
    assert torch.autograd.gradcheck(lambda x, *e: AddEdges.apply(x * 1, *e), (x, *edges))
    norm, layer = random_norm(2), conv(2, 3, 1).double()

    def statistics_as_functions(x, gamma, beta, weight, bias):
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        rstd = (variance + 1e-5).rsqrt()
        return SlicedActivatedConv.apply(
            x, gamma, beta, mean.detach(), rstd.detach(), weight, bias, x.dtype
        )

    assert torch.autograd.gradcheck(
        statistics_as_functions, (x, norm.weight, norm.bias, layer.weight, layer.bias)
    )


@pytest.mark.parametrize("size", [(33, 40), (47, 61)])
def test_whole_network_in_float32(size):
    """In float32 the fast network is as near to the exact numbers as the plain one is."""
    torch.manual_seed(0)
    networks = [SkipNetwork(channels=16)]
    networks += [copy.deepcopy(networks[0]), copy.deepcopy(networks[0]).double()]
    zx = 0.1 * torch.rand(1, 8, *size)
    weights = torch.randn(1, 1, *size)
    images, gradients = [], []
    for gx, compute in zip(networks, (SkipNetwork.forward, image, image), strict=True):
        dtype = gx.output.weight.dtype
        result = compute(gx, zx.to(dtype))
        of_weights = torch.autograd.grad(result, list(gx.parameters()), weights.to(dtype))
        images.append(result.detach().double())
        gradients.append(torch.cat([gradient.double().flatten() for gradient in of_weights]))
    for of_fast, of_plain, exact in (images, gradients):
        assert (of_fast - exact).norm() < 3 * (of_plain - exact).norm()
        assert (of_plain - exact).norm() < 1e-2 * exact.norm()


def test_activate_is_leaky():
    x = random_map(1, 3, 6, 5)
    norm = random_norm(3)
    assert torch.equal(activate(x, norm), F.leaky_relu(norm(x), 0.2))
