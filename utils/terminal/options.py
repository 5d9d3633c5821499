"""The options that all scripts share."""

import argparse
import fnmatch
import importlib.util
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from utils.engine.deblur import choose_device
from utils.engine.precision import PRECISIONS, choose_precision
from utils.engine.recipe import REPRODUCE, Recipe, recipes
from utils.errors import DataError
from utils.images.reading import list_images
from utils.terminal.program import Parser


@dataclass(frozen=True)
class Options:
    """What a command line asks for.

    Parameters
    ----------
    images : list of Path
        The blurry images, in order.
    save_path : Path
        Folder of the results.
    recipe_name : str
        The recipe's name.
    recipe : Recipe
        The recipe, with the length and the weight that were asked for.
    kernel_size : tuple of int or None
        Height and width for all images; None where each image's name decides.
    save_frequency : int
        Iterations from one refreshing of the results to the next.
    checkpoint_seconds : float
        Seconds from one checkpoint of an image in work to the next.
    seed : int
        The random seed.
    device : str
        A device that is there (see `utils.engine.deblur.choose_device`).
    precision : str
        ``fp32``, ``tf32`` or ``bf16`` (see `utils.engine.precision.choose_precision`).
    ray : str or None
        Address of the Ray cluster that computes (see `utils.runs.cluster.Cluster`); None where this
        process does.
    gpus_per_image : float
        How much of a GPU of the cluster one image takes.
    overwrite : bool
        Whether what is there is restored again, from the start, with whatever settings it was made.
    given : argparse.Namespace
        The command line as it was given, for the options that a script adds.
    """

    images: list[Path]
    save_path: Path
    recipe_name: str
    recipe: Recipe
    kernel_size: tuple[int, int] | None
    save_frequency: int
    checkpoint_seconds: float
    seed: int
    device: str
    precision: str
    ray: str | None
    gpus_per_image: float
    overwrite: bool
    given: argparse.Namespace


def parse_options(
    arguments: list[str],
    description: str,
    *,
    data_path: str,
    save_path: str,
    recipe: Recipe,
    where_to_get: str,
    add_options: Callable[[Parser], None] | None = None,
) -> Options:
    """Read a script's command line and look up the images that it names.

    Parameters
    ----------
    arguments : list of str
        The command line without the program's name.
    description : str
        The script's docstring, which becomes its ``--help``.
    data_path, save_path : str
        The script's default folders.
    recipe : Recipe
        The script's default recipe.
    where_to_get : str
        How to get the images; said where the default folder is missing or empty.
    add_options : callable, optional
        Adds the script's own options to the parser.

    Returns
    -------
    Options
        With at least one image.

    Raises
    ------
    DataError
        If there are no such images.
    SystemExit
        If the command is wrong (status 2), or asks for ``--help``.
    """
    choices = recipes(recipe)
    parser = Parser(description)
    parser.usage = "%(prog)s [options]"  # all of which are told below; help shall fit a screen
    parser.add_argument(
        "--data_path",
        nargs="+",
        default=[data_path],
        metavar="PATH",
        help=f"a folder of blurry images, or image files ({data_path})",
    )
    parser.add_argument(
        "--save_path", default=save_path, metavar="FOLDER", help=f"for the results ({save_path})"
    )
    parser.add_argument("--only", metavar="GLOB", help="restore only the names that match")
    parser.add_argument(
        "--recipe", choices=choices, default="default", help="the schedule (default)"
    )
    parser.add_argument(
        "--num_iter", type=int, metavar="N", help="change the length, and nothing else"
    )
    parser.add_argument(
        "--tv_weight", type=float, metavar="W", help="change the weight of the total variation"
    )
    parser.add_argument(
        "--kernel_size",
        type=int,
        nargs="+",
        metavar="K",
        help="size, or height and width, in place of the known one",
    )
    parser.add_argument(
        "--save_frequency",
        type=int,
        default=100,
        metavar="N",
        help="refresh the results every N iterations (%(default)s)",
    )
    parser.add_argument(
        "--checkpoint_seconds",
        type=float,
        default=60,
        metavar="S",
        help="how much work a killed run loses at most (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (0)")
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N (auto)"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32" if recipe == REPRODUCE else "auto",
        metavar="NAME",
        help="of Gx: auto, fp32, tf32 or bf16 (%(default)s)",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="compute on a Ray cluster, or all of this machine",
    )
    parser.add_argument(
        "--gpus_per_image", type=float, metavar="X", help="share of a GPU, with --ray (1)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="restore again what is there, with any settings"
    )
    if add_options:
        add_options(parser)
    given = parser.parse_args(arguments)

    if "" in (given.save_path, *given.data_path):
        parser.error("--save_path and --data_path: must not be empty")
    for option in ("num_iter", "save_frequency"):
        value = getattr(given, option)
        if value is not None and value < 1:
            parser.error(f"--{option} {value}: must be 1 or more")
    if not 0 <= given.checkpoint_seconds < math.inf:
        parser.error(f"--checkpoint_seconds {given.checkpoint_seconds}: must be 0 or more")
    if given.tv_weight is not None and not 0 <= given.tv_weight < math.inf:
        parser.error(f"--tv_weight {given.tv_weight}: must be 0 or more")
    if not 0 <= given.seed < 2**63:
        parser.error(f"--seed {given.seed}: must lie between 0 and 2^63 - 1")
    if given.kernel_size:
        shown = " ".join(map(str, given.kernel_size))
        if len(given.kernel_size) > 2:
            parser.error(f"--kernel_size {shown}: takes one number, or height and width")
        if any(size < 3 or size % 2 == 0 for size in given.kernel_size):
            parser.error(f"--kernel_size {shown}: must be odd and 3 or more")
    check_cluster_options(given, parser)
    try:
        device = choose_device(given.device)
    except ValueError as error:
        parser.error(f"--device: {error}")
    try:
        precision = given.precision
        if given.ray is None:
            precision = choose_precision(precision, device)
        elif precision == "auto":
            precision = "fp32"  # the same for all machines of the cluster, whatever they are
    except ValueError as error:
        parser.error(f"--precision: {error}")

    remedy = where_to_get if given.data_path == [data_path] else "give another --data_path"
    images = find_images(given.data_path, given.only, remedy)
    for image in images:
        if image.parent.resolve() == Path(given.save_path).resolve():
            parser.error(
                f"--save_path {given.save_path}: holds the blurry image {image.name}; give another"
            )
    recipe = choices[given.recipe]
    changes = {
        option: getattr(given, option)
        for option in ("num_iter", "tv_weight")
        if getattr(given, option) is not None
    }
    return Options(
        images=images,
        save_path=Path(given.save_path),
        recipe_name=given.recipe,
        recipe=replace(recipe, **changes),
        kernel_size=(given.kernel_size[0], given.kernel_size[-1]) if given.kernel_size else None,
        save_frequency=given.save_frequency,
        checkpoint_seconds=given.checkpoint_seconds,
        seed=given.seed,
        device=given.device,
        precision=precision,
        ray=given.ray,
        gpus_per_image=given.gpus_per_image or 1,
        overwrite=given.overwrite,
        given=given,
    )


def check_cluster_options(given: argparse.Namespace, parser: Parser) -> None:
    """End the program if what the command line says about a cluster is wrong."""
    if given.gpus_per_image is not None and not 0 < given.gpus_per_image <= 1:
        parser.error(f"--gpus_per_image {given.gpus_per_image}: must be above 0 and at most 1")
    if given.ray is None:
        if given.gpus_per_image is not None:
            parser.error("--gpus_per_image: needs --ray")
        return
    if given.ray not in ("local", "auto") and not re.fullmatch(r"[^:/]+:\d+", given.ray):
        parser.error(f"--ray {given.ray}: is none of HOST:PORT, auto, and no address at all")
    if given.device not in ("auto", "cpu"):
        parser.error(f"--device {given.device}: with --ray, Ray chooses the GPU; give auto or cpu")
    if importlib.util.find_spec("ray") is None:
        parser.error("--ray: needs Ray: python -m pip install -r requirements-ray.txt")


def find_images(paths: list[str], only: str | None, where_to_get: str) -> list[Path]:
    """List the images that ``--data_path`` and ``--only`` name.

    Parameters
    ----------
    paths : list of str
        Folders, whose images are taken in the order of their names, or files.
    only : str or None
        A pattern that an image's name, with or without suffix, must match.
    where_to_get : str
        What to say where a folder is missing or empty.

    Returns
    -------
    list of Path
        At least one image, no two of one name.

    Raises
    ------
    DataError
        If a path does not exist, a folder has no images, none matches, or two have one name.
    """
    images: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found = list_images(path)
            if not found:
                raise DataError(f"{path}: no images in this folder; {where_to_get}")
            images += found
        elif path.is_file():
            images.append(path)
        elif path.exists():
            raise DataError(f"{path}: neither a file nor a folder; {where_to_get}")
        else:
            raise DataError(f"{path}: no such folder or file; {where_to_get}")
    if only is not None:
        matching = [
            path
            for path in images
            if fnmatch.fnmatch(path.name, only) or fnmatch.fnmatch(path.stem, only)
        ]
        if not matching:
            raise DataError(
                f"--only {only}: matches none of the {len(images)} images, "
                f"of which the first is {images[0].name}"
            )
        images = matching
    images = list({path.resolve(): path for path in images}.values())
    by_name: dict[str, Path] = {}
    for path in images:
        other = by_name.setdefault(path.stem, path)
        if other is not path:
            raise DataError(
                f"{path} and {other} would write the same results; restore them one at a time, "
                "each with its own --save_path"
            )
    return images
