"""The options that all scripts share."""

import argparse
import fnmatch
import importlib.util
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

from utils.engine.methods import change_recipes
from utils.engine.recipe import PRECISIONS
from utils.engine.stage import Method
from utils.errors import DataError
from utils.images.reading import list_images
from utils.runs.options import LOCAL, Options
from utils.terminal.program import Parser
from utils.terminal.progress import show_messages


def parse_options(
    arguments: list[str],
    description: str,
    *,
    data_path: str,
    save_path: str,
    methods: dict[str, Method],
    where_to_get: str,
    add_options: Callable[[Parser], None] | None = None,
) -> tuple[Options, argparse.Namespace]:
    """Read a script's command line and look up the images that it names.

    Parameters
    ----------
    arguments : list of str
        The command line without the program's name.
    description : str
        The script's docstring, which becomes its ``--help``.
    data_path, save_path : str
        The script's default folders.
    methods : dict of str to tuple of Stage
        The methods that the script offers, by their names; the first is its default.
    where_to_get : str
        How to get the images; said where the default folder is missing or empty.
    add_options : callable, optional
        Adds the script's own options to the parser.

    Returns
    -------
    Options
        With at least one image.
    Namespace
        What the command line says for the script's own options.

    Raises
    ------
    DataError
        If there are no such images.
    SystemExit
        If the command is wrong (status 2), or asks for ``--help``.
    """
    show_messages()
    default = next(iter(methods))
    parser = Parser(description)
    parser.usage = "%(prog)s [options]"  # each of which has its line below
    parser.add_argument(
        "--data_path",
        nargs="+",
        default=[data_path],
        metavar="PATH",
        help=f"blurry images or folders of them ({data_path})",
    )
    parser.add_argument(
        "--save_path", default=save_path, metavar="FOLDER", help=f"for the results ({save_path})"
    )
    parser.add_argument("--only", metavar="GLOB", help="restore only the names that match")
    parser.add_argument(
        "--method",
        "--recipe",
        choices=methods,
        default=default,
        metavar="NAME",
        help=f"{', '.join(methods)} (%(default)s)",
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
        help="size, or height and width (by the name)",
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
        metavar="NAME",
        help="of Gx: auto, fp32, tf32 or bf16 (the method's)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="images side by side (as many as cores and memory allow)",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="of each image (1; of a single image all cores)"
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
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
    for option in ("num_iter", "save_frequency", "workers", "threads"):
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
    remedy = where_to_get if given.data_path == [data_path] else "give another --data_path"
    images = find_images(given.data_path, given.only, remedy)
    for image in images:
        if image.parent.resolve() == Path(given.save_path).resolve():
            parser.error(
                f"--save_path {given.save_path}: holds the blurry image {image.name}; give another"
            )
    device, auto_precision = choose_machine(given, parser)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = given.workers or (cores or 1 if device == "cpu" else 1)
    options = Options(
        images=images,
        save_path=Path(given.save_path),
        method_name=given.method,
        method=change_recipes(
            methods[given.method],
            num_iter=given.num_iter,
            tv_weight=given.tv_weight,
            precision=given.precision,
        ),
        auto_precision=auto_precision,
        kernel_size=(given.kernel_size[0], given.kernel_size[-1]) if given.kernel_size else None,
        save_frequency=given.save_frequency,
        checkpoint_seconds=given.checkpoint_seconds,
        seed=given.seed,
        device=device,
        workers=min(workers, len(images)),
        # Always one where there are several images: the bits depend on it.
        threads=given.threads or (1 if len(images) > 1 and device == "cpu" else None),
        ray=given.ray,
        gpus_per_image=given.gpus_per_image or 1,
        overwrite=given.overwrite,
    )
    return options, given


def choose_machine(given: argparse.Namespace, parser: Parser) -> tuple[str, str]:
    """Find the device that a command line asks for, and what ``auto`` precision means there."""
    from utils.engine.deblur import choose_device  # these bring PyTorch, which takes seconds
    from utils.engine.precision import choose_precision

    try:
        device = choose_device(given.device)
    except ValueError as error:
        parser.error(f"--device: {error}")
    if given.ray is not None:
        return given.device, "fp32"  # on all machines of the cluster, whatever they are
    try:
        choose_precision(given.precision or "fp32", device)
    except ValueError as error:
        parser.error(f"--precision: {error}")
    return str(device), choose_precision("auto", device)


def check_cluster_options(given: argparse.Namespace, parser: Parser) -> None:
    """End the program if what the command line says about a cluster is wrong."""
    if given.gpus_per_image is not None and not 0 < given.gpus_per_image <= 1:
        parser.error(f"--gpus_per_image {given.gpus_per_image}: must be above 0 and at most 1")
    if given.ray is None:
        if given.gpus_per_image is not None:
            parser.error("--gpus_per_image: needs --ray")
        return
    if given.workers is not None or given.threads is not None:
        parser.error("--workers, --threads: not with --ray, which gives each image one core")
    if given.ray not in (LOCAL, "auto") and not re.fullmatch(r"[^:/]+:\d+", given.ray):
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
