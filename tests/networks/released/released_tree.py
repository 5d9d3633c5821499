"""The authors' networks as their files hold them: nested anonymous modules that can run.

It runs under PyTorch 1.0 and Python 3.7 as well, with which data/make_pytorch_1_0.py writes files
as old as the authors'. The structure is that of SPEC sections 2 and 7; only the classes'
names and attributes matter, since that is all that a pickle keeps.
"""

import contextlib
import sys
import types

import torch
from torch import nn

NON_LOCAL_FROM = 2


class Concat(nn.Module):
    def __init__(self, dim, *branches):
        super().__init__()
        self.dim = dim
        for i, branch in enumerate(branches):
            self.add_module(str(i), branch)

    def forward(self, x):
        outputs = [branch(x) for branch in self._modules.values()]
        height = min(output.shape[2] for output in outputs)
        width = min(output.shape[3] for output in outputs)
        cropped = []
        for output in outputs:
            top, left = (output.shape[2] - height) // 2, (output.shape[3] - width) // 2
            cropped.append(output[:, :, top : top + height, left : left + width])
        return torch.cat(cropped, dim=self.dim)


class NONLocalBlock2D(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.in_channels, self.inter_channels = channels, channels // 2
        pool = nn.MaxPool2d(2)
        self.g = nn.Sequential(nn.Conv2d(channels, channels // 2, 1), pool)
        self.W = nn.Sequential(nn.Conv2d(channels // 2, channels, 1), nn.BatchNorm2d(channels))
        self.theta = nn.Conv2d(channels, channels // 2, 1)
        self.phi = nn.Sequential(nn.Conv2d(channels, channels // 2, 1), pool)

    def forward(self, x):
        g, phi, theta = self.g(x).flatten(2), self.phi(x).flatten(2), self.theta(x)
        weights = theta.flatten(2).transpose(1, 2) @ phi / phi.shape[2]
        gathered = (weights @ g.transpose(1, 2)).transpose(1, 2).contiguous()
        return self.W(gathered.view(theta.shape)) + x


@contextlib.contextmanager
def classes_in(package):
    """Let the two classes stand under a package's name, where there is no such package."""
    modules = {name: types.ModuleType(name) for name in (
        package, f"{package}.common", f"{package}.non_local_dot_product",
    )}  # fmt: skip
    for cls, name in ((Concat, "common"), (NONLocalBlock2D, "non_local_dot_product")):
        cls.__module__ = f"{package}.{name}"
        setattr(modules[cls.__module__], cls.__name__, cls)
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def numbered(*modules):
    """Make a Sequential whose children are numbered from 1."""
    sequence = nn.Sequential()
    for i, module in enumerate(modules):
        sequence.add_module(str(i + 1), module)
    return sequence


def conv(in_channels, out_channels, size, stride=1):
    padding = nn.ReflectionPad2d((size - 1) // 2)
    return nn.Sequential(padding, nn.Conv2d(in_channels, out_channels, size, stride))


def block(in_channels, out_channels, size, stride=1):
    norm = nn.BatchNorm2d(out_channels)
    return [conv(in_channels, out_channels, size, stride), norm, nn.LeakyReLU(0.2)]


def scale(i, in_channels, channels=128, skip=16, scales=5):
    """Make the modules of scale i, and of those below it."""
    way_down = block(in_channels, channels, 3, stride=2)
    if i >= NON_LOCAL_FROM:
        way_down.append(NONLocalBlock2D(channels))
    way_down += block(channels, channels, 3)
    if i < scales - 1:
        way_down.append(numbered(*scale(i + 1, channels)))
    way_down.append(nn.Upsample(scale_factor=2, mode="bilinear"))
    return [
        Concat(1, numbered(*block(in_channels, skip, 1)), numbered(*way_down)),
        nn.BatchNorm2d(skip + channels),
        *block(skip + channels, channels, 3),
        *block(channels, channels, 1),
    ]


def image_network():
    """Make Gx."""
    return numbered(*scale(0, 8), conv(128, 1, 1), nn.Sigmoid())


def kernel_network(entries):
    """Make Gk for a kernel of so many entries."""
    return numbered(nn.Linear(200, 1000), nn.ReLU6(), nn.Linear(1000, entries), nn.Softmax(dim=0))


def pattern(i, shape):
    """Make numbers that tell tensor i of a state_dict from the others, and its elements apart."""
    count = int(torch.Size(shape).numel())
    return (i + (torch.arange(count) % 7).double() / 8).float().view(shape)
