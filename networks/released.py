"""The names that the authors' released networks give to the tensors of ours.

Their Gx is a nest of anonymous modules that are addressed by number, and each deeper scale lies
inside the one above it.
"""

from networks.fcn import KernelNetwork
from networks.skip import NON_LOCAL_FROM, SkipNetwork


def released_image_modules(gx: SkipNetwork) -> dict[str, str]:
    """Tell where each of Gx's convolutions and normalisations lies in a released network.

    Parameters
    ----------
    gx : SkipNetwork
        A network of ours; its number of scales counts.

    Returns
    -------
    dict of str to str
        From the path of a module of ours (``scales.0.skip.conv``) to the path of the released
        one (``1.0.1.1``). Tensors have the same last name in both (``weight``, ``bias``, ...).
    """
    modules = {}
    outer = ""
    for i in range(len(gx.scales)):
        ours, way_down = f"scales.{i}.", f"{outer}1.1."
        modules |= {
            f"{ours}skip.conv": f"{outer}1.0.1.1",
            f"{ours}skip.norm": f"{outer}1.0.2",
            f"{ours}halve.conv": f"{way_down}1.1",
            f"{ours}halve.norm": f"{way_down}2",
        }
        following = 4
        if i >= NON_LOCAL_FROM:
            modules |= {
                f"{ours}non_local.g": f"{way_down}4.g.0",
                f"{ours}non_local.out": f"{way_down}4.W.0",
                f"{ours}non_local.norm": f"{way_down}4.W.1",
                f"{ours}non_local.theta": f"{way_down}4.theta",
                f"{ours}non_local.phi": f"{way_down}4.phi.0",
            }
            following = 5
        modules |= {
            f"{ours}encode.conv": f"{way_down}{following}.1",
            f"{ours}encode.norm": f"{way_down}{following + 1}",
            f"{ours}norm": f"{outer}2",
            f"{ours}decode.conv": f"{outer}3.1",
            f"{ours}decode.norm": f"{outer}4",
            f"{ours}mix.conv": f"{outer}6.1",
            f"{ours}mix.norm": f"{outer}7",
        }
        outer = f"{way_down}{following + 3}."
    return modules | {"output": "9.1"}


def released_keys(network: SkipNetwork | KernelNetwork) -> dict[str, str]:
    """Map the keys of a network's state_dict to those of the released networks.

    Parameters
    ----------
    network : SkipNetwork or KernelNetwork
        Gx or Gk.

    Returns
    -------
    dict of str to str
        Our key to theirs, for every entry of ``network.state_dict()``.
    """
    if isinstance(network, KernelNetwork):
        modules = {"hidden": "1", "output": "3"}
    else:
        modules = released_image_modules(network)
    keys = {}
    for key in network.state_dict():
        module, _, tensor = key.rpartition(".")
        keys[key] = f"{modules[module]}.{tensor}"
    return keys
