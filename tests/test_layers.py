"""The folders are layers: what a file imports lies below it, and PyTorch comes where it must."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# From below to above; the first that a module's name begins with is its layer.
LAYERS = (
    ("utils.errors", "utils.log", "utils.pages", "utils.tables"),
    ("utils.images",),
    ("datasets.catalog",),
    ("networks",),
    ("statistic.metrics",),
    ("utils.engine",),
    ("utils.runs",),
    ("utils.terminal",),
    ("statistic", "datasets"),
    ("selfdeblur_", "benchmarks"),
)
PACKAGES = ("networks", "utils", "statistic", "datasets", "benchmarks")
FILES = sorted(
    [*ROOT.glob("selfdeblur_*.py"), *(f for p in PACKAGES for f in (ROOT / p).rglob("*.py"))]
)


def layer(module: str) -> int:
    for number, names in enumerate(LAYERS):
        if any(module == name or module.startswith((f"{name}.", "selfdeblur_")) for name in names):
            return number if not module.startswith("selfdeblur_") else len(LAYERS) - 1
    raise AssertionError(f"{module} has no layer")


def imported(file: Path) -> set[str]:
    """The project's modules that a file imports, anywhere in it."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = {
                name for name in inner if (ROOT / f"{name.replace('.', '/')}.py").exists()
            }
            modules |= submodules or {node.module}
    return {m for m in modules if m.split(".")[0] in PACKAGES or m.startswith("selfdeblur_")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_one_way(file):
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if module in PACKAGES or module == "utils":
        return
    own = layer(module)
    for other in imported(file):
        assert layer(other) <= own, f"{module} imports {other}"
        assert not other.startswith("selfdeblur_"), f"{module} imports the script {other}"


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("utils.images.reading, utils.images.writing, datasets.catalog", {"torch"}),
        ("statistic.evaluate, statistic.report.page, statistic.plots", {"torch"}),
        ("utils.engine.methods, utils.terminal.restore, utils.terminal.options", {"torch"}),
        ("utils.engine.deblur, utils.engine.restore", {"cv2", "PIL", "matplotlib"}),
        ("networks.fast.skip, networks.released.load", {"cv2", "PIL", "scipy"}),
    ],
)
def test_heavy_libraries_are_imported_where_they_are_needed(modules, absent):
    program = f"import sys, {modules}; print(*({absent!r} & sys.modules.keys()))"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []
