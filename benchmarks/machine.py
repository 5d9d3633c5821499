"""What the benchmarks set and report of the machine they run on."""

import argparse
import datetime
import os
import platform
import re
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from utils.engine.deblur import choose_device
from utils.engine.precision import choose_precision
from utils.errors import UsageError


def chosen(given: argparse.Namespace) -> tuple[torch.device, str]:
    """Find the device and the precision that ``--device`` and ``--precision`` name."""
    try:
        device = choose_device(given.device)
        return device, choose_precision(given.precision, device)
    except ValueError as error:
        raise UsageError(str(error)) from error


def use_threads(count: int | None) -> None:
    """Set PyTorch's number of threads on the CPU to ``--threads``, if it is given."""
    if count is None:
        return
    if count < 1:
        raise UsageError(f"--threads {count}: must be 1 or more")
    torch.set_num_threads(count)


def describe_machine(device: torch.device) -> str:
    """Describe the processor, the threads in use, the versions and the date."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    processor = found[1] if found else platform.processor()
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{processor}, {torch.get_num_threads()} threads on {os.cpu_count()} cores"
    software = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    return f"{hardware}; {software}; {datetime.date.today()}"
