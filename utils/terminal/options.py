"""The options that all scripts share."""

import argparse
import fnmatch
import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path

from utils.engine.methods import change_recipes
from utils.engine.recipe import PRECISIONS
from utils.engine.stage import Method
from utils.engine.stages.finish import Finish
from utils.engine.stages.fit import Fit, ImageFit, ReleasedFit
from utils.errors import DataError, printable
from utils.images.reading import list_images, list_unsupported
from utils.log import log
from utils.runs.options import AUTO, LOCAL, Options
from utils.terminal.program import HeightWidth, Parser, integer, kernel_side, nonempty_path, real
from utils.terminal.progress import show_messages


def parse_options(
    arguments: list[str],
    description: str,
    *,
    data_path: str,
    save_path: str,
    methods: dict[str, Method],
    where_to_get: str,
    known_kernel: bool = False,
    add_options: Callable[[Parser], None] | None = None,
) -> tuple[Options, argparse.Namespace]:
    """Parse a script's command line, and find the images that it names.

    Parameters
    ----------
    arguments : list of str
        The command line without the program's name.
    description : str
        The script's docstring, shown by ``--help``.
    data_path, save_path : str
        The script's default folders.
    methods : dict of str to tuple of Stage
        The methods that the script offers, by name; the first is its default.
    where_to_get : str
        Where to get the images; printed if the default folder is missing or empty.
    known_kernel : bool
        Whether the kernels are given, so that ``--finish`` leaves them as they are.
    add_options : callable, optional
        Adds the script's own options to the parser.

    Returns
    -------
    Options
        With at least one image.
    Namespace
        All values of the command line, the script's own options included.

    Raises
    ------
    DataError
        If there are no such images.
    SystemExit
        If the command is wrong (status 2), or asks for ``--help``.
    """
    show_messages()
    parser = Parser(description)
    parser.usage = "%(prog)s [options]"  # each of which has its line below
    add = parser.add_argument
    images = f"blurry images or folders of them ({data_path})"
    add(
        "--data_path",
        nargs="+",
        type=nonempty_path,
        default=[Path(data_path)],
        metavar="PATH",
        help=images,
    )
    results = f"for the results ({save_path})"
    add("--save_path", type=nonempty_path, default=Path(save_path), metavar="FOLDER", help=results)
    add("--only", metavar="GLOB", help="restore only images whose names match")
    names = f"{', '.join(methods)} (%(default)s)"
    default = next(iter(methods))
    add("--method", "--recipe", choices=methods, default=default, metavar="NAME", help=names)
    finish = "also write NAME_finished.png, the image as `fast` would finish it"
    add("--finish", action="store_true", help=finish)
    add("--num_iter", type=integer(1), metavar="N", help="length of the first fit (the method's)")
    weight = "weight of the total variation (the method's)"
    add("--tv_weight", type=real(0), metavar="W", help=weight)
    size = "size, or height and width, or auto where no kernel is given (by the name)"
    add("--kernel_size", type=kernel_side, nargs="+", action=HeightWidth, metavar="K", help=size)
    saves = "update the results every N iterations (%(default)s)"
    add("--save_frequency", type=integer(1), default=100, metavar="N", help=saves)
    checkpoints = "at most this much work is lost in a crash (%(default)s)"
    add("--checkpoint_seconds", type=real(0), default=60, metavar="S", help=checkpoints)
    add("--seed", type=integer(0, 2**63 - 1), default=0, metavar="N", help="random seed (0)")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N (auto)")
    precisions = "of Gx: auto, fp32, tf32 or bf16 (the method's)"
    add("--precision", choices=PRECISIONS, metavar="NAME", help=precisions)
    workers = "images side by side (as many as cores and memory allow)"
    add("--workers", type=integer(1), metavar="N", help=workers)
    threads = "per image (1; all cores for a single image)"
    add("--threads", type=integer(1), metavar="N", help=threads)
    ray = "compute on a Ray cluster, or all of this machine"
    add("--ray", nargs="?", const=LOCAL, metavar="ADDRESS", help=ray)
    share = "share of a GPU, with --ray (1)"
    add("--gpus_per_image", type=real(0.0001, 1), metavar="X", help=share)
    add("--overwrite", action="store_true", help="restore again what exists, whatever its settings")
    if add_options:
        add_options(parser)
    given = parser.parse_args(arguments)

    check_cluster_options(given, parser)
    method = methods[given.method]
    if not any(isinstance(stage, Fit) for stage in method):
        for option in ("num_iter", "tv_weight", "precision", "finish"):
            if getattr(given, option) not in (None, False):
                parser.error(
                    f"--{option}: --method {given.method} has no fit; leave the option out"
                )
    if given.finish:
        if isinstance(method[-1], Finish):
            parser.error(f"--finish: --method {given.method} always ends with it")
        method = (*method, Finish(beside=True, fit_kernel=not known_kernel))
    if given.kernel_size == AUTO and isinstance(method[0], (ImageFit, ReleasedFit)):
        parser.error(f"--kernel_size {AUTO}: the kernel is given here; leave the option out")
    is_default = given.data_path == [Path(data_path)]
    remedy = where_to_get if is_default else "give another --data_path"
    found = find_images(given.data_path, given.only, remedy)
    for image in found:
        if image.parent.resolve() == given.save_path.resolve():
            parser.error(
                f"--save_path {given.save_path}: holds the blurry image {image.name}; give another"
            )
    device, auto_precision = choose_machine(given, parser)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers_wanted = given.workers or (cores or 1 if device == "cpu" else 1)
    options = Options(
        images=found,
        save_path=given.save_path,
        method_name=given.method,
        method=change_recipes(
            method,
            num_iter=given.num_iter,
            tv_weight=given.tv_weight,
            precision=given.precision,
        ),
        auto_precision=auto_precision,
        kernel_size=given.kernel_size,
        save_frequency=given.save_frequency,
        checkpoint_seconds=given.checkpoint_seconds,
        seed=given.seed,
        device=device,
        workers=min(workers_wanted, len(found)),
        # Always one if there are several images, whatever their number: the bits depend on it.
        threads=given.threads or (1 if len(found) > 1 and device == "cpu" else None),
        ray=given.ray,
        gpus_per_image=given.gpus_per_image or 1,
        overwrite=given.overwrite,
    )
    return options, given


def choose_machine(given: argparse.Namespace, parser: Parser) -> tuple[str, str]:
    """Find the device that a command line asks for, and what ``auto`` precision means there."""
    from utils.engine.deblur import choose_device  # these import PyTorch, which takes seconds
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
    if given.ray is None:
        if given.gpus_per_image is not None:
            parser.error("--gpus_per_image: needs --ray")
        return
    if given.workers is not None or given.threads is not None:
        parser.error("--workers, --threads: not with --ray, which gives each image one core")
    if given.ray not in (LOCAL, "auto") and not re.fullmatch(r"[^:/]+:\d+", given.ray):
        parser.error(f"--ray {given.ray}: must be HOST:PORT, auto, or no address at all")
    if given.device not in ("auto", "cpu"):
        parser.error(f"--device {given.device}: with --ray, Ray chooses the GPU; give auto or cpu")
    if importlib.util.find_spec("ray") is None:
        parser.error("--ray: needs Ray: python -m pip install -r requirements-ray.txt")


def find_images(paths: list[Path], only: str | None, where_to_get: str) -> list[Path]:
    """Find the images that ``--data_path`` and ``--only`` name.

    Parameters
    ----------
    paths : list of Path
        Folders, whose images are taken in the order of their names, or files.
    only : str or None
        A pattern that an image's name, with or without suffix, must match.
    where_to_get : str
        Printed if a folder is missing or empty.

    Returns
    -------
    list of Path
        At least one image, no two of the same name.

    Raises
    ------
    DataError
        If a path does not exist, a folder has no images, none matches, or two have the same name.
    """
    images: list[Path] = []
    for path in paths:
        if path.is_dir():
            found, unsupported = list_images(path), list_unsupported(path)
            if unsupported:
                left_out = (
                    f"{path}: {len(unsupported)} HEIC, AVIF or raw files are not read, such as "
                    f"{unsupported[0].name}; save them as PNG, or raw ones as 16-bit TIFF"
                )
                if not found:
                    raise DataError(left_out)
                log.warning("%s", printable(left_out))
            if not found:
                raise DataError(f"{path}: no images in this folder; {where_to_get}")
            images += found
        elif path.is_file():
            images.append(path)
        else:
            fault = "neither a file nor a folder" if path.exists() else "no such folder or file"
            raise DataError(f"{path}: {fault}; {where_to_get}")
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
    """Make an `add_options` of `parse_options` for scripts that read networks.

    It also changes the default of ``--save_frequency`` to every iteration.
    """

    def add_options(parser: Parser) -> None:
        parser.set_defaults(save_frequency=1)
        networks = f"the networks, NAME_xnet.pth and NAME_knet.pth ({model_path})"
        parser.add_argument(
            "--model_path",
            type=nonempty_path,
            default=Path(model_path),
            metavar="FOLDER",
            help=networks,
        )
        copies = "also write the networks here, for torch.load(..., weights_only=True)"
        parser.add_argument("--export", type=nonempty_path, metavar="FOLDER", help=copies)

    return add_options
