"""Which tensor of a released network is which of ours.

The released networks are nests of anonymous modules that are addressed by number, and each deeper
scale of Gx is inside the one above it: ``1.1.7.1.0.2`` is the normalisation of the skip connection
of the second scale.
"""

from networks.fcn import KernelNetwork
from networks.skip import NON_LOCAL_FROM, SkipNetwork

GK = {"hidden": "1", "output": "3"}
OUTPUT = "9.1"  # of Gx

# From a module of one of our scales to the same one in a released scale.
SCALE = {
    "skip.conv": "1.0.1.1",
    "skip.norm": "1.0.2",
    "downsample.conv": "1.1.1.1",
    "downsample.norm": "1.1.2",
    "norm": "2",
    "decode.conv": "3.1",
    "decode.norm": "4",
    "pointwise.conv": "6.1",
    "pointwise.norm": "7",
}
NON_LOCAL = {
    "non_local.g": "1.1.4.g.0",
    "non_local.out": "1.1.4.W.0",
    "non_local.norm": "1.1.4.W.1",
    "non_local.theta": "1.1.4.theta",
    "non_local.phi": "1.1.4.phi.0",
}

RENAMED = {"halve": "downsample", "mix": "pointwise"}  # in Gx since this project began


def released_keys(network: SkipNetwork | KernelNetwork) -> dict[str, str]:
    """Map the keys of a network's state_dict to those of the released networks.

    Parameters
    ----------
    network : SkipNetwork or KernelNetwork
        Gx, with any number of scales, or Gk.

    Returns
    -------
    dict of str to str
        Our key to theirs, for every entry of ``network.state_dict()``.
    """
    modules = GK if isinstance(network, KernelNetwork) else image_modules(len(network.scales))
    keys = {}
    for key in network.state_dict():
        module, _, tensor = key.rpartition(".")
        keys[key] = f"{modules[module]}.{tensor}"
    return keys


def image_modules(scales: int) -> dict[str, str]:
    """Map the modules of our Gx that have tensors to those of the released one."""
    modules = {"output": OUTPUT}
    outer = ""
    for i in range(scales):
        names, after = SCALE, 4  # the number of what follows on the way down
        if i >= NON_LOCAL_FROM:
            names, after = SCALE | NON_LOCAL, 5
        names = names | {"encode.conv": f"1.1.{after}.1", "encode.norm": f"1.1.{after + 1}"}
        modules |= {f"scales.{i}.{ours}": f"{outer}{theirs}" for ours, theirs in names.items()}
        outer += f"1.1.{after + 3}."
    return modules


def current_key(key: str) -> str:
    """Translate a key of a file that an earlier version of this project wrote."""
    return ".".join(RENAMED.get(part, part) for part in key.split("."))
