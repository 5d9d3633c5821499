"""Short runs of the real script, and what two of them must have in common."""

import json

import torch


def options(images, results, *more, workers=("--workers", "1")):
    return [
        "--data_path", str(images), "--save_path", str(results), "--method", "quick",
        "--num_iter", "8", "--save_frequency", "3", "--device", "cpu", "--precision", "fp32",
        *workers, *map(str, more),
    ]  # fmt: skip


def results_of(folder, name):
    """What must be the same: all but the seconds."""
    content = {}
    for suffix in ("_x.png", "_k.png", "_loss.csv"):
        content[suffix] = (folder / f"{name}{suffix}").read_bytes()
    for letter in "xk":
        saved = torch.load(folder / f"{name}_{letter}net.pth", weights_only=True)
        for key, tensor in saved["state_dict"].items():
            content[f"{letter} {key}"] = tensor.numpy().tobytes()
    record = json.loads((folder / f"{name}.json").read_text())
    for timed in (record, *record["stages"]):
        del timed["seconds"]
    return content | {"record": record}
