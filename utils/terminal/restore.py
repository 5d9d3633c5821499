"""What a script calls once it knows its images and its method.

PyTorch takes seconds to import, which is put off until the command line has been accepted.
"""

from argparse import Namespace

from utils.runs.experiment import Experiment
from utils.runs.options import Options
from utils.terminal.progress import Bars


def restore_images(options: Options, experiment: Experiment) -> int:
    """Restore all images of a command line (see `utils.runs.run.restore_all`)."""
    from utils.runs.run import restore_all

    return restore_all(options, experiment, Bars())


def reproduce_images(
    options: Options, given: Namespace, experiment: Experiment, where_to_get: str
) -> int:
    """Show what released networks give (see `utils.runs.reproduce.reproduce_all`).

    `given` has the values of `utils.terminal.options.model_options`.
    """
    from utils.runs.reproduce import reproduce_all

    paths = given.model_path, given.export
    return reproduce_all(options, experiment, *paths, where_to_get, Bars())
