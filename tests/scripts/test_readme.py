"""The README's examples work as written."""

import re

import numpy as np

from tests.conftest import ROOT
from utils.images.kernels import scale_kernel
from utils.images.reading import read_image
from utils.images.writing import to_uint8


def test_the_example_of_the_python_interface(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["10", "20", "30"]
    images = [read_image(tmp_path / f"restored_{done}.png") for done in (10, 20, 30)]
    assert all(image.shape == (64, 64) for image in images)
    assert not np.array_equal(images[0], images[2])
    result = names["result"]
    assert len(result.losses) == 30
    assert result.losses[14] < result.losses[0]  # while it is the mean squared error
    assert np.array_equal(np.rint(255 * images[2]), to_uint8(result.image))
    kernel = np.rint(255 * read_image(tmp_path / "kernel.png"))
    assert np.array_equal(kernel, to_uint8(scale_kernel(result.kernel)))
    assert kernel.shape == (11, 11) and kernel.max() == 255
