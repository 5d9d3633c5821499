"""What a script says about its images: where their luminance is not to be trusted."""

import numpy as np

from utils.engine.kernel_fit import CLIPPED
from utils.images.reading import Photograph
from utils.runs.experiment import BRIGHT, Experiment


def test_colors_at_their_limit_are_doubtful_and_white_is_not():
    colors = np.array([[[255, 200, 0], [254, 20, 9], [253, 200, 0], [255, 255, 255]]]) / 255
    experiment = Experiment(lambda name: (5, 5))
    doubtful = experiment.doubtful(Photograph(colors, None, np.dtype("uint8")))
    np.testing.assert_array_equal(doubtful, [[True, True, False, False]])
    assert experiment.doubtful(Photograph(colors[..., 0], None, np.dtype("uint8"))) is None


def test_white_is_what_the_kernel_step_takes_for_a_highlight():
    assert BRIGHT == CLIPPED
