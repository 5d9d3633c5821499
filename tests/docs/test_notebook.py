"""The notebook runs from its first cell to its last, and is small enough to be read on a page."""

import json
import sys

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs/selfdeblur.ipynb"
CODE = [
    "".join(cell["source"])
    for cell in json.loads(NOTEBOOK.read_text())["cells"]
    if cell["cell_type"] == "code"
]


def test_the_cells_run(monkeypatch, capsys):
    monkeypatch.chdir(NOTEBOOK.parent)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("SELFDEBLUR_ITERATIONS", "2")
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    names: dict = {"__name__": "__main__"}
    for number, cell in enumerate(CODE, 1):
        exec(compile(cell, f"cell {number}", "exec"), names)
    stages = ["blurry", "kernel estimate", "refinement", "joint fit 2", "finish"]
    assert list(names["scores"]) == stages
    assert len(shown) == 1 + 4 + 2
    assert names["scores"]["refinement"].psnr > names["scores"]["blurry"].psnr + 5
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-5:]] == [
        stage.split()[0] for stage in stages
    ]


def test_the_first_cell_needs_the_project_or_its_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        exec(CODE[0], {})
    except SystemExit as end:
        assert "REPOSITORY" in str(end)
    else:
        raise AssertionError("it went on without the project")


def test_its_outputs_are_small():
    assert NOTEBOOK.stat().st_size < 400_000
    assert str(ROOT) not in NOTEBOOK.read_text()
