"""What a result was computed on and with, for its record."""

import functools
import platform
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.engine.deblur import choose_device

VERSION = "2.0.0"
ROOT = Path(__file__).resolve().parents[2]


def describe_machine(device: str) -> dict[str, Any]:
    """The device, with a GPU's model, and the versions of the libraries."""
    chosen = choose_device(device)
    if chosen.type == "cuda":
        name = f"{chosen} ({torch.cuda.get_device_name(chosen)})"
    else:
        name = f"cpu ({torch.get_num_threads()} threads)"
    return {
        "device": name,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def forget_peak_memory() -> None:
    """Have `peak_memory` count from here on, where the system is Linux and allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int | None:
    """The most memory that this process has had, in bytes, on Linux; None elsewhere.

    `resource.getrusage` would include what its parent had when it started this process.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return 1024 * int(found[1]) if found else None


@functools.cache
def describe_project() -> dict[str, Any]:
    """This project's version, and its commit if it is in a git repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        git = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        commit = git.stdout.strip() if (ROOT / ".git").exists() else None
    except (OSError, subprocess.SubprocessError):
        commit = None
    return {"version": VERSION, "commit": commit}
