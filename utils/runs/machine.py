"""What a result is computed on and with, for its record."""

import platform
from typing import Any

import numpy as np
import torch

from utils.engine.deblur import choose_device


def describe_machine(device: str) -> dict[str, Any]:
    """Tell the device that a name stands for, with the model of a GPU, and the versions."""
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
