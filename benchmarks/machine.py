"""The line that says on what a benchmark ran."""

import datetime
import os
import platform
import re
from pathlib import Path

import torch


def describe_machine(device: torch.device) -> str:
    """Name the processor, what the benchmark has of it, the versions and the date."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    processor = found[1] if found else platform.processor()
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{processor}, {torch.get_num_threads()} threads on {os.cpu_count()} cores"
    software = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    return f"{hardware}; {software}; {datetime.date.today()}"
