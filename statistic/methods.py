"""Find the methods whose results lie in the results folder, and the files to hold them against."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from statistic.benchmark import Benchmark
from utils.errors import DataError, UsageError
from utils.images.reading import SUFFIXES, find_image, list_images

# These hold sharp or blurry images, or what --save_aligned wrote.
_NO_METHODS = ("groundtruth", "ground_truth", "gt", "blurry", "aligned")

_BLURRY = "blurry"  # the name of the blurry images as a method, which no folder may take

# Folders of the published layout that say nothing about which method it is.
_UNSPOKEN = ("others", "imgs")


@dataclass(frozen=True)
class Method:
    """A folder of restored images.

    Parameters
    ----------
    name : str
        The method's name in the tables.
    folder : Path
        Where its images lie.
    kind : str
        ``restored``; ``known`` if the true kernels were used; ``blurry`` for the blurry images
        themselves.
    files : dict of str to Path
        The restored images' files by the blurry images' names, in the benchmark's order.
    kernels : dict of str to Path
        The estimated kernels' files, likewise.
    run_of : str
        What several runs with different seeds have in common: the name without ``_seedN``.
    made_with : frozenset of str
        The settings that the records beside the images tell, but for the seed.
    unfinished : tuple of str
        The images whose records say that their runs have not come to their end.
    """

    name: str
    folder: Path
    kind: Literal["restored", "known", "blurry"]
    files: dict[str, Path]
    kernels: dict[str, Path]
    run_of: str
    made_with: frozenset[str]
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """What is known about one image of a benchmark.

    Parameters
    ----------
    truth : Path or None
        The sharp image's file; None where there is none.
    blurry : Path or None
        The blurry image's file.
    kernel : Path or None
        The true kernel's file. Its orientation is not to be relied on.
    """

    truth: Path | None
    blurry: Path | None
    kernel: Path | None


def find_methods(benchmark: Benchmark, results: Path) -> list[Method]:
    """Find every folder with images that are named after a benchmark's.

    Parameters
    ----------
    benchmark : Benchmark
        Levin's or Lai's.
    results : Path
        The results folder. Looked through are its subfolders whose names begin with the
        benchmark's, at any depth.

    Returns
    -------
    list of Method
        By name. Folders of sharp, blurry and aligned images are no methods.

    Raises
    ------
    DataError
        If there is no such folder, or one whose name is not UTF-8.
    """
    methods = []
    known = [place(folder, results) for folder in benchmark.known_kernel_folders]
    for folder in _folders(benchmark, results):
        name = _short_name(folder.relative_to(results), benchmark)
        taken = {_BLURRY, *(method.name for method in methods)}
        if name in taken:
            name = folder.relative_to(results).as_posix()
        while name in taken:
            name = f"results/{name}"
        kind = "known" if folder in known else "restored"
        if method := _method(name, folder, kind, benchmark):
            methods.append(method)
    if not methods:
        first = benchmark.images[0].name
        names = " or ".join(f"{first}{ending}.png" for ending in benchmark.endings)
        raise DataError(
            f"no results: looked in {results / benchmark.name}* and all folders below for images "
            f"such as {names}; restore some first, or give another --results_path"
        )
    return sorted(methods, key=lambda method: method.name.casefold())


def find_misnamed(benchmark: Benchmark, results: Path) -> list[Path]:
    """Find the folders of other methods with images, none of which is named after a benchmark's.

    Parameters
    ----------
    benchmark : Benchmark
        Levin's or Lai's.
    results : Path
        The results folder.

    Returns
    -------
    list of Path
        Folders below ``others``.
    """
    return [
        folder
        for folder in _folders(benchmark, results)
        if "others" in folder.relative_to(results).parts
        if list_images(folder) and not _restored(folder, benchmark)
    ]


def find_known(methods: list[Method], benchmark: Benchmark, results: Path) -> Method | None:
    """Find the images restored with the true kernels, which error ratios refer to.

    Parameters
    ----------
    methods : list of Method
        All methods of the results folder.
    benchmark : Benchmark
        Levin's or Lai's.
    results : Path
        The results folder.

    Returns
    -------
    Method or None
        The one in the first of the benchmark's folders; None where there is none.
    """
    by_folder = {method.folder: method for method in methods}
    folders = _places(benchmark.known_kernel_folders, results)
    return next((by_folder[folder] for folder in folders if folder in by_folder), None)


def find_blurry(benchmark: Benchmark, given: dict[str, Given]) -> Method | None:
    """Take the blurry images themselves as a method, to see what the others gain.

    Parameters
    ----------
    benchmark : Benchmark
        Levin's or Lai's.
    given : dict of str to Given
        See `find_given`.

    Returns
    -------
    Method or None
        None where there are no blurry images.
    """
    files = {name: files.blurry for name, files in given.items() if files.blurry}
    if not files:
        return None
    folder = next(iter(files.values())).parent
    return Method(_BLURRY, folder, "blurry", files, {}, _BLURRY, frozenset())


def find_given(benchmark: Benchmark, results: Path, truths: Path | None) -> dict[str, Given]:
    """Find the sharp and the blurry images and the true kernels.

    Parameters
    ----------
    benchmark : Benchmark
        Levin's or Lai's.
    results : Path
        The results folder.
    truths : Path or None
        Where sharp images are looked for in place of the benchmark's folders.

    Returns
    -------
    dict of str to Given
        By the blurry images' names, in the benchmark's order.

    Raises
    ------
    DataError
        If there is not a single sharp image.
    """
    truth_folders = [truths] if truths else _places(benchmark.truth_folders, results)
    kernel_folders = [*truth_folders, *_places(benchmark.kernel_folders, results)]
    blurry_folders = _places(benchmark.blurry_folders, results)
    given = {
        image.name: Given(
            truth=_first(truth_folders, image.truth),
            blurry=_first(blurry_folders, image.name),
            kernel=_first(kernel_folders, benchmark.kernel_name.format(image.kernel)),
        )
        for image in benchmark.images
    }
    if not any(files.truth for files in given.values()):
        looked = " or ".join(map(str, truth_folders))
        raise DataError(
            f"no sharp images such as {benchmark.images[0].truth}.png in {looked}; "
            f"{benchmark.where_to_get}, --gt_path names another folder"
        )
    return given


def select(methods: list[Method], patterns: list[str]) -> list[Method]:
    """Keep the methods whose names match.

    Parameters
    ----------
    methods : list of Method
        All methods.
    patterns : list of str
        Names, in which ``*`` stands for anything.

    Returns
    -------
    list of Method
        At least one, in their order.

    Raises
    ------
    UsageError
        If a pattern matches none.
    """
    check_names([method.name for method in methods], patterns)
    return [method for method in methods if any(_matches(method.name, each) for each in patterns)]


def check_names(names: list[str], patterns: list[str]) -> None:
    """Raise a `UsageError` if a pattern (see `select`) matches none of the methods' names."""
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            found = ", ".join(names)
            raise UsageError(f"--methods {pattern}: no such method; there are {found}")


def _matches(name: str, pattern: str) -> bool:
    return bool(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL))


def place(folder: str, results: Path) -> Path:
    """Fill the results path into one of a benchmark's folders."""
    return Path(folder.format(results=results))


def _places(folders: tuple[str, ...], results: Path) -> list[Path]:
    return [place(folder, results) for folder in folders]


def _first(folders: list[Path], name: str) -> Path | None:
    return next(filter(None, (find_image(folder, name) for folder in folders)), None)


def _folders(benchmark: Benchmark, results: Path) -> Iterator[Path]:
    for top in sorted(filter(Path.is_dir, results.glob(f"{benchmark.name}*"))):
        for folder, below, _ in os.walk(top, followlinks=True, onerror=_raise):
            try:
                folder.encode()
            except UnicodeEncodeError:
                raise DataError(f"{folder}: its name is not UTF-8; rename the folder") from None
            below[:] = sorted(name for name in below if not _leads_back(Path(folder, name)))
            if Path(folder).name not in _NO_METHODS:
                yield Path(folder)


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in."""
    around = folder.absolute().parents
    return folder.is_symlink() and folder.resolve() in [each.resolve() for each in around]


def _raise(error: OSError) -> None:
    """A folder that cannot be read is no reason to leave its results out without a word."""
    raise error


def _short_name(folder: Path, benchmark: Benchmark) -> str:
    """The folder below the results without what every folder of the layout has."""
    first, *others = (part for part in folder.parts if part not in _UNSPOKEN)
    parts = others if others and first == benchmark.name else [first, *others]
    return "/".join(parts)


def _method(name: str, folder: Path, kind: str, benchmark: Benchmark) -> Method | None:
    files = _restored(folder, benchmark)
    if not files:
        return None
    kernels = {image: file for image in files if (file := folder / f"{image}_k.png").is_file()}
    run_of = re.sub(r"_seed\d+(?=/|$)", "", name)
    records = _records(folder, files)
    return Method(
        name, folder, kind, files, kernels, run_of,
        made_with=frozenset(_shared(record["settings"]) for record in records.values()),
        unfinished=tuple(i for i, record in records.items() if record.get("finished") is False),
    )  # fmt: skip


def _restored(folder: Path, benchmark: Benchmark) -> dict[str, Path]:
    by_stem: dict[str, Path] = {}
    for file in sorted(list_images(folder), key=lambda file: SUFFIXES.index(file.suffix.lower())):
        by_stem.setdefault(file.stem, file)
    # Of several endings the most wanted one comes last, and stays.
    return {
        image.name: by_stem[stem]
        for image in benchmark.images
        for stem in reversed([f"{image.name}{ending}" for ending in benchmark.endings])
        if stem in by_stem
    }


def _records(folder: Path, images: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The records that say how images were made, where our programs made them."""
    records = {}
    for image in images:
        try:
            record = json.loads((folder / f"{image}.json").read_text())
        except (OSError, ValueError):
            continue  # made by another program: its scores count all the same
        if isinstance(record, dict) and isinstance(record.get("settings"), dict):
            records[image] = record
    return records


def _shared(settings: dict[str, Any]) -> str:
    """An image's settings without the seed and what belongs to the one image."""
    shared = {
        name: value
        for name, value in settings.items()
        if name not in ("seed", "kernel_size") and not name.endswith("_sha256")
    }
    return json.dumps(shared, sort_keys=True)
