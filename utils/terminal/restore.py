"""What a script calls once it has said which images and which method."""

from pathlib import Path

from utils.images.colors import FULL_RANGE, Luma
from utils.runs.experiment import Experiment
from utils.runs.options import Options
from utils.terminal.progress import Bars

# PyTorch takes seconds to import, so that this is put off until a command line has been accepted.


def restore_images(options: Options, experiment: Experiment) -> int:
    """Restore all images that a command line asks for, and report (see `restore_all`)."""
    from utils.runs.run import restore_all

    return restore_all(options, experiment, Bars())


def reproduce_images(
    options: Options,
    model_path: str,
    export: str | None,
    where_to_get: str,
    *,
    luma: Luma = FULL_RANGE,
    scored_luma: Luma = FULL_RANGE,
    color_suffix: str | None = None,
) -> int:
    """Show what released networks give, and report (see `utils.runs.reproduce.reproduce_all`)."""
    from utils.runs.reproduce import reproduce_all

    return reproduce_all(
        options,
        Path(model_path),
        Path(export) if export else None,
        where_to_get,
        Bars(),
        luma=luma,
        scored_luma=scored_luma,
        color_suffix=color_suffix,
    )
