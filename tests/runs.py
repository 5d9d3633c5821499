"""Short runs of the real script, and what two of them must have in common."""

import json

import pytest
import torch

from utils.engine.restore import restore
from utils.engine.stage import Work


class Interrupted(Exception):
    pass


def checkpoint_in(task, stage, steps=0):
    """The checkpoint of a restoration on the CPU that is stopped in a stage, after some steps."""
    kept = b""

    def keep(checkpoint, record):
        nonlocal kept
        kept = checkpoint
        if record["stage"] == stage and record["steps"] >= steps:
            raise Interrupted

    with pytest.raises(Interrupted):
        restore(task, device="cpu", checkpoint_due=lambda: True, on_checkpoint=keep)
    return kept


def quiet_work(notes):
    """What a stage runs with where nobody watches; it notes into this dict."""
    return Work(
        device="cpu", seed=0, save_every=1, state=None, show=lambda *step: None,
        save=lambda found: None, checkpoint_due=lambda: False, keep=lambda state: None,
        note=notes.update,
    )  # fmt: skip


def options(images, results, *more, workers=("--workers", "1")):
    return [
        "--data_path", str(images), "--save_path", str(results), "--method", "quick",
        "--num_iter", "8", "--save_frequency", "3", "--device", "cpu", "--precision", "fp32",
        *workers, *map(str, more),
    ]  # fmt: skip


def results_of(folder, name):
    """What must be the same: all but the seconds and the memory."""
    content = {}
    for suffix in ("_x.png", "_k.png", "_loss.csv"):
        content[suffix] = (folder / f"{name}{suffix}").read_bytes()
    for letter in "xk":
        saved = torch.load(folder / f"{name}_{letter}net.pth", weights_only=True)
        for key, tensor in saved["state_dict"].items():
            content[f"{letter} {key}"] = tensor.numpy().tobytes()
    record = json.loads((folder / f"{name}.json").read_text())
    record.pop("peak_memory", None)
    for timed in (record, *record["stages"]):
        del timed["seconds"]
    return content | {"record": record}
