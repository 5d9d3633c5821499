"""Where the data lies that is not part of the project, and how the scripts are run."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# One thread a process, in these and in all that they start: there are as many as cores, and threads
# that wait for each other's cores take several times as long.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

import utils.images.opencv  # noqa: F401  before any test imports cv2, which then has its limit

# A shell's background jobs, and all that they start, ignore it; the tests that send it need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def first_that_exists(*candidates: Path) -> Path:
    for candidate in candidates:
        if candidate.exists():
            return candidate
    pytest.skip(f"needs one of {', '.join(map(str, candidates))}")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of golden numbers."""
    return first_that_exists(SHARED / "reference")


@pytest.fixture(scope="session")
def levin() -> Path:
    """The folder of Levin's images."""
    return first_that_exists(ROOT / "datasets/levin", SHARED / "data/levin")


@pytest.fixture(scope="session")
def sample() -> Path:
    return ROOT / "datasets/sample"


@pytest.fixture
def run_script() -> Callable[..., subprocess.CompletedProcess]:
    """Run a script as a user does, from the project's root."""

    def run(script: str, *arguments: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, script, *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def assert_one_line() -> Callable[..., None]:
    """Check that a program ended with one line on stderr that holds all these words."""

    def check(result: subprocess.CompletedProcess, status: int, *words: object) -> None:
        lines = result.stderr.strip().splitlines()
        assert result.returncode == status, result.stderr
        assert len(lines) == 1, result.stderr
        for word in words:
            assert str(word) in lines[0], f"{word!r} is not in: {lines[0]}"

    return check


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window, in which nothing outside of this machine can be reached."""
    from selenium import webdriver  # takes a second, which most tests need not wait

    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for switch in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "host-resolver-rules=MAP * ~NOTFOUND",
        "force-color-profile=srgb",
        "force-device-scale-factor=1",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()
