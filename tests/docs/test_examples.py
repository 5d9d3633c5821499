"""The examples of the README and of docs/ work as written."""

import re
from dataclasses import replace

import numpy as np
import pytest

import utils.engine.methods as methods
from statistic.metrics import psnr
from tests.conftest import ROOT
from utils.engine.restore import Task, restore
from utils.engine.stage import Restoration
from utils.images.kernels import scale_kernel
from utils.images.reading import read_gray, read_image
from utils.images.writing import to_uint8


def run_example(page: str) -> dict:
    """Run a page's only Python example in the current folder, and return its names."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    names: dict = {"__name__": "example"}
    exec(compile(example, page, "exec"), names)
    return names


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_no_other_page_has_an_example():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    with_example = {page.name for page in pages if "```python" in page.read_text()}
    assert with_example == {"README.md", "api.md", "methods.md"}


def test_the_readme_restores_the_sample(folder):
    run_example("README.md")
    truth = read_gray(folder / "datasets/sample/gt/im1.png")
    blurry = read_gray(folder / "datasets/sample/im1_kernel5_img.png")
    restored = read_gray(folder / "restored.png")
    assert psnr(255 * restored, 255 * truth) > psnr(255 * blurry, 255 * truth) + 5
    kernel = np.rint(255 * read_image(folder / "kernel.png"))
    assert kernel.shape == (11, 11) and kernel.max() == 255


def test_the_interface_shows_a_fit(folder, capsys):
    names = run_example("docs/api.md")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["10", "20", "30"]
    images = [read_image(folder / f"restored_{done}.png") for done in (10, 20, 30)]
    assert all(image.shape == (64, 64) for image in images)
    assert not np.array_equal(images[0], images[2])
    result = names["result"]
    assert len(result.losses) == 30
    assert result.losses[14] < result.losses[0]  # while it is the mean squared error
    assert np.array_equal(np.rint(255 * images[2]), to_uint8(result.image))
    kernel = np.rint(255 * read_image(folder / "kernel.png"))
    assert np.array_equal(kernel, to_uint8(scale_kernel(result.kernel)))
    assert kernel.shape == (11, 11) and kernel.max() == 255


def test_the_stage_of_your_own_runs_and_resumes(sample, monkeypatch):
    tiny = replace(methods.QUICK, num_iter=2, milestones=(), channels=4, precision="fp32")
    monkeypatch.setattr(methods, "QUICK", tiny)
    method = run_example("docs/methods.md")["METHOD"]
    blurry = read_gray(sample / "im1_kernel5_img.png")[:64, :64]
    task = Task(method, Restoration(blurry, (11, 11)))
    records: list[dict] = []
    whole = restore(task, device="cpu", on_save=lambda _, all_of_them: records.extend(all_of_them))
    assert [record["stage"] for record in records[-3:]] == ["joint fit", "smooth", "image fit"]

    steps = 0
    checkpoints: list[bytes] = []

    def count(done, total, detail):
        nonlocal steps
        steps += total == 12

    class Killed(Exception):
        pass

    def keep(checkpoint, record):
        checkpoints.append(checkpoint)
        if steps == 5:
            raise Killed

    with pytest.raises(Killed):
        restore(
            task,
            device="cpu",
            on_step=count,
            checkpoint_due=lambda: steps == 5,
            on_checkpoint=keep,
        )
    resumed: list[int] = []
    again = restore(
        task,
        device="cpu",
        checkpoint=checkpoints[-1],
        on_step=lambda done, total, detail: resumed.append(done) if total == 12 else None,
    )
    assert resumed == list(range(6, 13))
    assert np.array_equal(again.sharp, whole.sharp)
