"""A stage of somebody's own between two fits, through the whole path, with kills and resume."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.pictures import picture, put
from tests.runs import results_of

SCRIPT = """
import sys
from dataclasses import dataclass, replace

sys.path.insert(0, {root!r})
import numpy as np

from utils.engine.recipe import Recipe
from utils.engine.stage import Stage
from utils.engine.stages.fit import ImageFit, JointFit
from utils.runs.experiment import Experiment
from utils.terminal.options import parse_options
from utils.terminal.program import run_program
from utils.terminal.restore import restore_images


@dataclass(frozen=True)
class Smooth(Stage):
    name = "smooth"
    rounds: int = 12

    def run(self, restoration, work):
        done, sharp = 0, restoration.sharp
        if work.state:
            done, sharp = work.state["done"], work.state["sharp"]
        for done in range(done + 1, self.rounds + 1):
            sharp = (sharp + np.roll(sharp, 1, 0) + np.roll(sharp, 1, 1)) / 3
            work.step(done, self.rounds, state=lambda: {{"done": done, "sharp": sharp}})
        kernel = np.sqrt(restoration.kernel)
        return replace(restoration, sharp=sharp, kernel=kernel / kernel.sum())


RECIPE = Recipe(num_iter=20, channels=8, scales=3)
METHOD = (JointFit(RECIPE), Smooth(), ImageFit(RECIPE))


def main(arguments):
    options, _ = parse_options(
        arguments, "A toy.", data_path="", save_path="", methods={{"toy": METHOD}}, where_to_get=""
    )
    return restore_images(options, Experiment(lambda name: (5, 5)))


if __name__ == "__main__":
    run_program(main)
"""
NAMES = ("a", "b")


@pytest.fixture
def start(tmp_path):
    """Start the script on two images."""
    script = tmp_path / "toy.py"
    script.write_text(SCRIPT.format(root=str(ROOT)))
    for seed, name in enumerate(NAMES):
        put(tmp_path / "images" / f"{name}.png", picture(40, 43, seed=seed))

    def run(results, *more):
        return subprocess.Popen(
            [sys.executable, script, "--data_path", tmp_path / "images", "--save_path", results,
             "--save_frequency", "7", "--checkpoint_seconds", "0", *more],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_custom_stage_survives_kills(start, tmp_path, workers):
    whole = start(tmp_path / "whole")
    assert whole.wait(120) == 0

    results, moments, kills = tmp_path / "results", random.Random(int(workers)), 0
    while True:
        process = start(results, "--workers", workers)
        while not list(results.glob(".*.lock")) and process.poll() is None:
            time.sleep(0.005)
        try:
            process.wait(moments.uniform(0, 1.5) if kills < 3 else 120)
        except subprocess.TimeoutExpired:
            process.send_signal(moments.choice([signal.SIGKILL, signal.SIGTERM]))
            kills += 1
        errors = process.communicate(timeout=60)[1]
        assert "Traceback" not in errors
        if process.returncode == 0:
            break
        for lock in results.glob(".*.lock"):
            lock.unlink()
    assert kills
    for name in NAMES:
        assert results_of(results, name) == results_of(tmp_path / "whole", name)
        record = results_of(results, name)["record"]
        assert [stage["stage"] for stage in record["stages"]] == [
            "joint fit", "smooth", "image fit",
        ]  # fmt: skip
