"""The fast network against the plain one: the whole, and each piece by itself."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.grad import conv2d_weight
from torch.utils._python_dispatch import TorchDispatchMode

from networks.fast.activated import SlicedNormActConv, norm_act, sliced_norm_act_conv
from networks.fast.convolution import (
    Convolution,
    TransposedConvolution,
    conv2d,
    conv_transpose2d,
    filter_gradient,
)
from networks.fast.skip import fast_forward
from networks.fast.upsampled import (
    AddEdges,
    BorderStrips,
    Smoothing,
    UpsampledMoments,
    fast_upsample_concat_conv,
    upsample_concat_conv,
)
from networks.skip import NonLocalBlock, SkipNetwork, conv

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
def test_upsample_concat_conv(height, width):
    def plain(skipped, low, norm, layer):
        enlarged = F.interpolate(low, scale_factor=2, mode="bilinear")[:, :, :height, :width]
        return layer(norm(torch.cat([skipped, enlarged], dim=1)))

    maps = random_map(1, 3, height, width), random_map(1, 4, (height + 1) // 2, (width + 1) // 2)
    modules = [random_norm(7), conv(7, 5, 3).double()]
    assert_same(fast_upsample_concat_conv, plain, maps, modules)


@pytest.mark.parametrize("out_channels", [1, 5])
@pytest.mark.parametrize("slice_length", [2**19, 36])
def test_norm_act_conv(monkeypatch, out_channels, slice_length):
    monkeypatch.setattr("networks.fast.activated.SLICE", slice_length)

    def plain(x, norm, layer):
        return layer(F.leaky_relu(norm(x), 0.2))

    modules = [random_norm(4), conv(4, out_channels, 1).double()]
    assert_same(sliced_norm_act_conv, plain, [random_map(1, 4, 7, 9)], modules)


def test_norm_act_conv_in_bfloat16():
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
        return layer(norm_act(x, norm))

    exact = values(plain, torch.double)
    error = (values(sliced_norm_act_conv, torch.bfloat16) - exact).norm()
    assert error < 1.2 * (values(plain, torch.bfloat16) - exact).norm() < 0.05 * exact.norm()


def test_norm_act_conv_leaves_its_input_as_it_was():
    x = random_map(1, 4, 5, 6)
    before = x.detach().clone()
    modules = random_norm(4), conv(4, 3, 1).double()
    sliced_norm_act_conv(x, *modules).sum().backward()
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


@pytest.mark.parametrize("output_padding", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize(("height", "width"), [(5, 6), (1, 4), (4, 1)])
def test_transposed_convolution(positions, height, width, output_padding):
    layer = nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding, bias=False).double()

    def fast(x, layer):
        return TransposedConvolution.apply(x, layer.weight, output_padding)

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
    y = conv_transpose2d(x, weight.transpose(0, 1), (1, 0))
    assert (type(y.grad_fn).__name__ == "TransposedConvolutionBackward") == (capability == "AVX2")
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
        TransposedConvolution.apply, (low, filters.mT.transpose(0, 1), (1, 0))
    )
    assert torch.autograd.gradcheck(lambda low: UpsampledMoments.apply(low, 5, 8), low)
    edges = [random_map(1, 2, 1, 5), random_map(1, 2, 1, 5)]
    edges += [random_map(1, 2, 6, 1), random_map(1, 2, 6, 1)]
    assert torch.autograd.gradcheck(lambda x, *e: AddEdges.apply(x * 1, *e), (x, *edges))
    norm, layer = random_norm(2), conv(2, 3, 1).double()

    def statistics_as_functions(x, gamma, beta, weight, bias):
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        rstd = (variance + 1e-5).rsqrt()
        return SlicedNormActConv.apply(
            x, gamma, beta, mean.detach(), rstd.detach(), weight, bias, x.dtype
        )

    assert torch.autograd.gradcheck(
        statistics_as_functions, (x, norm.weight, norm.bias, layer.weight, layer.bias)
    )


def plain_and_fast(
    channels: int, scales: int = 5, top_channels: int | None = None
) -> tuple[SkipNetwork, SkipNetwork]:
    """Make two equal networks, the second laid out as the optimisation does."""
    gx = SkipNetwork(channels=channels, scales=scales, top_channels=top_channels)
    # At the start the non-local blocks' last normalisation is zero and hides what lies before it.
    for module in gx.modules():
        if isinstance(module, NonLocalBlock):
            nn.init.normal_(module.norm.weight)
    return gx, copy.deepcopy(gx).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("channels", "top_channels", "capability"),
    [
        (8, None, "AVX2"),
        (32, None, "AVX512"),
        (64, 16, "AVX2"),
        (64, None, "AVX2"),
        (128, None, "AVX512"),
    ],
)
@pytest.mark.parametrize(
    ("scales", "size"),
    [(1, (33, 33)), (2, (34, 47)), (3, (40, 33)), (4, (37, 50)), (5, (33, 33)), (5, (47, 62))],
)
def test_whole_network(monkeypatch, channels, top_channels, capability, scales, size):
    """Image, every gradient and the running statistics, in float64."""
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    torch.manual_seed(0)
    networks = [gx.double() for gx in plain_and_fast(channels, scales, top_channels)]
    zx = torch.rand(1, 8, *size).double().requires_grad_()
    weights = torch.randn(1, 1, *size).double()
    images, gradients = [], []
    for gx, forward in zip(networks, (SkipNetwork.forward, fast_forward), strict=True):
        images.append(forward(gx, zx))
        gradients.append(torch.autograd.grad(images[-1], [zx, *gx.parameters()], weights))
    assert torch.allclose(*images, rtol=1e-10, atol=0)
    total = torch.stack([gradient.norm() for gradient in gradients[0]]).norm()
    names = ["zx", *(name for name, _ in networks[0].named_parameters())]
    for name, of_plain, of_fast in zip(names, *gradients, strict=True):
        # A bias before a normalisation has no gradient but rounding errors.
        size_of_gradient = max(of_plain.norm(), 1e-3 * total)
        assert (of_fast - of_plain).norm() < 1e-10 * size_of_gradient, name
    of_plain, of_fast = (dict(gx.named_buffers()) for gx in networks)
    for name, buffer in of_plain.items():
        assert torch.allclose(of_fast[name].double(), buffer.double(), rtol=1e-10), name


@pytest.mark.parametrize("size", [(33, 40), (47, 61)])
def test_whole_network_in_float32(size):
    """In float32 the fast network is as near to the exact numbers as the plain one is."""
    torch.manual_seed(0)
    networks = [SkipNetwork(channels=16)]
    networks += [copy.deepcopy(networks[0]), copy.deepcopy(networks[0]).double()]
    zx = 0.1 * torch.rand(1, 8, *size)
    weights = torch.randn(1, 1, *size)
    images, gradients = [], []
    forwards = fast_forward, SkipNetwork.forward, SkipNetwork.forward
    for gx, forward in zip(networks, forwards, strict=True):
        dtype = gx.output.weight.dtype
        result = forward(gx, zx.to(dtype))
        of_weights = torch.autograd.grad(result, list(gx.parameters()), weights.to(dtype))
        images.append(result.detach().double())
        gradients.append(torch.cat([gradient.double().flatten() for gradient in of_weights]))
    for of_fast, of_plain, exact in (images, gradients):
        assert (of_fast - exact).norm() < 3 * (of_plain - exact).norm()
        assert (of_plain - exact).norm() < 1e-2 * exact.norm()


@torch.no_grad()
def test_whole_network_in_bfloat16():
    """As exact as the plain network in bfloat16; how exact that is depends on the weights."""
    errors = []
    for seed in range(5):
        torch.manual_seed(seed)
        plain, fast = plain_and_fast(16)
        zx = torch.rand(1, 8, 47, 62)
        exact = plain(zx)
        with torch.autocast("cpu", torch.bfloat16):
            images = fast_forward(fast, zx), plain(zx)
        assert images[0].dtype == torch.float32
        errors.append([float((image - exact).norm() / exact.norm()) for image in images])
    of_fast, of_plain = np.median(errors, axis=0)
    assert 0 < of_fast < 2 * of_plain < 0.05


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_other_devices_take_plain_operations(height, width):
    """Shapes only: the meta device stands in for CUDA."""
    skipped = torch.rand(1, 3, height, width, device="meta")
    low = torch.rand(1, 4, (height + 1) // 2, (width + 1) // 2, device="meta")
    x = upsample_concat_conv(skipped, low, nn.BatchNorm2d(7).to("meta"), conv(7, 5, 3).to("meta"))
    assert x.shape == (1, 5, height, width)


class LargestResult(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation gives."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, torch.Tensor):
                self.numbers = max(self.numbers, value.numel())
        return result


def test_long_maps_need_no_matrix_of_their_length():
    """The maps are 16 x 4096 and smaller; upsampling as a matrix would be 4096 x 2048."""
    skipped, low = random_map(1, 2, 16, 4096), random_map(1, 2, 8, 2048)
    modules = random_norm(4), conv(4, 2, 3).double()
    with LargestResult() as largest:
        fast_upsample_concat_conv(skipped, low, *modules).sum().backward()
    assert 2 * 16 * 4096 <= largest.numbers < 2 * 2 * 16 * 4096


def test_norm_act_is_leaky():
    x = random_map(1, 3, 6, 5)
    norm = random_norm(3)
    assert torch.equal(norm_act(x, norm), F.leaky_relu(norm(x), 0.2))
