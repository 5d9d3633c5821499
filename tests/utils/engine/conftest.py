"""Pictures that several tests of the engine take."""

import numpy as np
import pytest

from tests.pictures import blur, hook
from utils.images.reading import read_gray


@pytest.fixture(scope="session")
def sharp(sample):
    return read_gray(sample / "gt/im1.png")


@pytest.fixture(scope="session")
def image(sharp):
    """Large enough for windows, with a kernel of 9 pixels."""
    scene = np.pad(sharp, ((0, 424 - sharp.shape[0]), (0, 1124 - sharp.shape[1])), "symmetric")
    return blur(scene, np.pad(hook(9, 9), 3))
