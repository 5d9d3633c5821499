"""Runs that start from networks in files: the authors' released ones, or our own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from networks.released.load import load_image_network, load_kernel_network
from utils.engine.deblur import State, draw_start
from utils.errors import DataError, UsageError, describe
from utils.images.colors import FULL_RANGE, Luma
from utils.images.files import write_whole
from utils.images.reading import read_image
from utils.runs.experiment import Experiment
from utils.runs.results import network_content, prepare_folder
from utils.runs.run import restore_all
from utils.terminal.options import Options
from utils.terminal.program import Parser
from utils.terminal.progress import say


def model_options(model_path: str) -> Callable[[Parser], None]:
    """Make what adds the options about networks to a command line.

    Parameters
    ----------
    model_path : str
        The default folder of networks.

    Returns
    -------
    callable
        For `parse_options`; it also has the results refreshed in every iteration.
    """

    def add_options(parser: Parser) -> None:
        parser.set_defaults(save_frequency=1)
        parser.add_argument(
            "--model_path",
            default=model_path,
            metavar="FOLDER",
            help=f"the networks, NAME_xnet.pth and NAME_knet.pth ({model_path})",
        )
        parser.add_argument(
            "--export",
            metavar="FOLDER",
            help="also write the networks here, for torch.load(..., weights_only=True)",
        )

    return add_options


def reproduce_all(
    options: Options,
    where_to_get: str,
    *,
    luma_range: Luma = FULL_RANGE,
    color_suffix: str | None = None,
) -> int:
    """Show what released networks give for all images that a command line asks for, and report.

    The files of the networks are read and never written. A kernel's size is that of its network.

    Parameters
    ----------
    options : Options
        Images, recipe, folders; with those of `model_options`.
    where_to_get : str
        How to get the networks; said where they are missing.
    luma_range, color_suffix
        As in `utils.runs.experiment.Experiment`.

    Returns
    -------
    int
        Exit status: 0 if every image is there and every network that was asked for is exported.

    Raises
    ------
    DataError
        If there is no folder of networks, or a folder for results cannot be written.
    UsageError
        If the networks would be exported to where they lie.
    """
    model_path = Path(options.given.model_path)
    if not model_path.is_dir():
        raise DataError(f"{model_path}: no such folder of networks; {where_to_get}")
    if options.given.export:
        prepare_folder(Path(options.given.export))
        if model_path.samefile(options.given.export):
            raise UsageError("--export: is the --model_path, which is never written; give another")

    def files(name: str) -> dict[str, Path]:
        found = {f"{letter}net": model_path / f"{name}_{letter}net.pth" for letter in "xk"}
        for path in found.values():
            if not path.is_file():
                raise DataError(f"{path}: no such network; {where_to_get}")
        return found

    def kernel_size(name: str) -> tuple[int, int]:
        return load_kernel_network(files(name)["knet"]).kernel_size

    def start(name: str, image_size: tuple[int, int], kernel_size: tuple[int, int]) -> State:
        return released_start(files(name), image_size, kernel_size, options)

    experiment = Experiment(
        kernel_size, luma_range, color_suffix, given=files, start=start, networks=""
    )
    status = restore_all(options, experiment)
    return max(status, export_all(options, files)) if options.given.export else status


def released_start(
    files: dict[str, Path],
    image_size: tuple[int, int],
    kernel_size: tuple[int, int],
    options: Options,
) -> State:
    """Load what an optimisation starts from; the random inputs are those of the seed.

    Parameters
    ----------
    files : dict of str to Path
        The networks' files, as ``xnet`` and ``knet``.
    image_size, kernel_size : tuple of int
        Height and width in pixels.
    options : Options
        Its recipe and seed count here.

    Returns
    -------
    State
        The networks as they are in the files.

    Raises
    ------
    ValueError
        If a file is not that network (see `networks.released`).
    """
    gx = load_image_network(files["xnet"])
    gk = load_kernel_network(files["knet"], kernel_size)
    channels, scales = gx.output.in_channels, len(gx.scales)
    if (channels, scales) != (options.recipe.channels, options.recipe.scales):
        raise ValueError(
            f"{files['xnet']}: Gx with {channels} channels and {scales} scales, where the released "
            f"ones have {options.recipe.channels} and {options.recipe.scales}"
        )
    start = draw_start(image_size, kernel_size, options.recipe, options.seed)
    return replace(start, gx=gx, gk=gk)


def export_all(options: Options, files: Callable[[str], dict[str, Path]]) -> int:
    """Write the networks of all images, as they were released, to the folder ``--export``.

    Parameters
    ----------
    options : Options
        Images and folder.
    files : callable
        Takes an image's name, returns its networks' files as ``xnet`` and ``knet``.

    Returns
    -------
    int
        Exit status: 0 if all are there, 1 if some could not be loaded, or others are in the way.
    """
    status = 0
    for path in options.images:
        try:
            image_size = read_image(path).shape[:2]
            sources = files(path.stem)
            gx = load_image_network(sources["xnet"])
            gk = load_kernel_network(sources["knet"], options.kernel_size)
            settings = {
                "channels": gx.output.in_channels,
                "scales": len(gx.scales),
                "kernel_size": list(gk.kernel_size),
            }
            for network, source in ((gx, sources["xnet"]), (gk, sources["knet"])):
                target = Path(options.given.export) / source.name
                content = network_content(network, image_size, settings)
                if not options.overwrite and target.exists() and target.read_bytes() != content:
                    raise DataError(f"{target} is there and differs; --overwrite replaces it")
                write_whole(target, content)
        except (DataError, ValueError, OSError) as error:
            say(f"{path.stem}: not exported: {describe(error)}")
            status = 1
    return status
