"""Runs that start from networks in files: the authors' released ones, or our own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from networks.released.load import load_image_network, load_kernel_network
from utils.engine.methods import REPRODUCE
from utils.engine.stage import Restoration
from utils.errors import DataError, UsageError, describe
from utils.images.files import write_whole
from utils.images.reading import read_image
from utils.log import log
from utils.runs.display import Display
from utils.runs.experiment import Experiment
from utils.runs.options import Options
from utils.runs.results import network_content, prepare_folder
from utils.runs.run import restore_all

Files = Callable[[str], dict[str, Path]]
"""Takes an image's name, returns the files of its networks as ``xnet`` and ``knet``."""


def reproduce_all(
    options: Options,
    experiment: Experiment,
    model_path: Path,
    export: Path | None,
    where_to_get: str,
    display: Display,
) -> int:
    """Show what released networks give for all images of a command line, and print the summary.

    Parameters
    ----------
    options, experiment, display
        As in `utils.runs.run.restore_all`; but a kernel has the size of its network.
    model_path : Path
        Folder of the networks, which is only read.
    export : Path or None
        Folder to write the networks to in a form that is safe to load.
    where_to_get : str
        Where to get the networks; printed if they are missing.

    Returns
    -------
    int
        Exit status: 0 if every image is restored and every network exported, if that was asked for.

    Raises
    ------
    DataError
        If there is no folder of networks, or a folder for results cannot be written.
    UsageError
        If the networks would be exported to their own folder.
    """
    if not model_path.is_dir():
        raise DataError(f"{model_path}: no such folder of networks; {where_to_get}")
    if export:
        prepare_folder(export, "--export")
        if model_path.samefile(export):
            raise UsageError("--export: is the --model_path, which is never written; give another")

    def files(name: str) -> dict[str, Path]:
        found = {f"{letter}net": model_path / f"{name}_{letter}net.pth" for letter in "xk"}
        for path in found.values():
            if not path.is_file():
                raise DataError(f"{path}: no such network; {where_to_get}")
        return found

    experiment = replace(
        experiment,
        kernel_size=lambda name: load_kernel_network(files(name)["knet"]).kernel_size,
        files=files,
        start=lambda path, restoration: with_networks(restoration, files(path.stem)),
        saves_networks=False,
    )
    status = restore_all(options, experiment, display)
    return max(status, export_all(options, files, export)) if export else status


def with_networks(restoration: Restoration, files: dict[str, Path]) -> Restoration:
    """Load the networks that an image starts with; raise a ValueError if they do not fit."""
    gx = load_image_network(files["xnet"])
    gk = load_kernel_network(files["knet"], restoration.kernel_size)
    found = gx.arguments["channels"], gx.arguments["scales"]
    released = REPRODUCE.channels, REPRODUCE.scales
    if found != released:
        raise ValueError(
            "{}: Gx with {} channels and {} scales, where the released ones have {} and {}".format(
                files["xnet"], *found, *released
            )
        )
    return replace(restoration, gx=gx, gk=gk)


def export_all(options: Options, files: Files, folder: Path) -> int:
    """Write the networks of all images, as released, to a folder; return the exit status."""
    status = 0
    assert not isinstance(options.kernel_size, str)  # the command line allows none
    for path in options.images:
        try:
            image_size = read_image(path).shape[:2]
            sources = files(path.stem)
            gx = load_image_network(sources["xnet"])
            gk = load_kernel_network(sources["knet"], options.kernel_size)
            settings = {**gx.arguments, "kernel_size": list(gk.kernel_size)}
            for network, source in ((gx, sources["xnet"]), (gk, sources["knet"])):
                target = folder / source.name
                content = network_content(network, image_size, settings)
                if not options.overwrite and target.exists() and target.read_bytes() != content:
                    raise DataError(f"{target} exists and differs; --overwrite replaces it")
                write_whole(target, content)
        except (DataError, ValueError, OSError) as error:
            log.error("%s: not exported: %s", path.stem, describe(error))
            status = 1
    return status
