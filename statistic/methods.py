"""Find the methods whose results lie in the results folder, and the files to compare them with."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from statistic.benchmark import Benchmark
from utils.errors import DataError, UsageError, describe
from utils.images.colors import FULL_RANGE, Luma
from utils.images.files import OVERVIEW, read_json
from utils.images.reading import SUFFIXES, find_image, list_images
from utils.terminal.progress import say

BLURRY = "blurry"  # the blurry images as a method; no folder may have this name

# Folders of sharp or blurry images, and what --save_aligned wrote.
_NOT_METHODS = ("groundtruth", "ground_truth", "gt", "blurry", "aligned")

# Folders of the published layout that are not part of a method's name.
_LAYOUT_FOLDERS = ("others", "imgs")

Kind = Literal["restored", "known", "blurry"]
Record = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A folder of restored images. The keys of all dicts are the blurry images' names."""

    name: str  # in the tables
    folder: Path
    kind: Kind  # "known": restored with the true kernels; "blurry": the blurry images themselves
    files: dict[str, Path]  # the restored images
    kernels: dict[str, Path] = field(default_factory=dict)  # the estimated kernels
    gray_luma: Luma | None = None  # the luminance of gray images that have no record

    @cached_property
    def records(self) -> dict[str, Record]:
        """How images were made, where this project's programs made them."""
        files = {image: self.folder / f"{image}.json" for image in self.files}
        return {image: record for image, file in files.items() if (record := _record(file))}

    def gray_scale(self, image: str) -> Luma | None:
        """The luminance that an image is if it is gray; None if that is unknown."""
        return _gray_scale(self.records.get(image)) or self.gray_luma

    @property
    def run_of(self) -> str:
        """What runs with different seeds have in common: the name without ``_seedN``."""
        return re.sub(r"_seed\d+(?=/|$)", "", self.name)

    @property
    def made_with(self) -> frozenset[str]:
        """The settings on record, without the seed."""
        return frozenset(_shared(record["settings"]) for record in self.records.values())

    @property
    def unfinished(self) -> list[str]:
        """The images whose records say that their runs have not ended."""
        return [name for name, record in self.records.items() if record.get("finished") is False]


@dataclass(frozen=True)
class ImageFiles:
    """The files of one image of a benchmark; None for what is missing."""

    truth: Path | None
    blurry: Path | None
    true_kernel: Path | None  # in either orientation


def find_methods(benchmark: Benchmark, results: Path) -> list[Method]:
    """Find every folder with images that are named after a benchmark's, sorted by method name.

    Those subfolders of the results whose names begin with the benchmark's are searched at any
    depth. Folders of sharp, blurry and aligned images are not methods. Raises a `DataError` if
    there are no methods, or if a folder's name is not UTF-8.
    """
    methods: list[Method] = []
    known = benchmark.known_kernel_folders(results)
    for folder in _folders(benchmark, results):
        files = _restored(folder, benchmark)
        if not files:
            continue
        path = folder.relative_to(results)
        name = _short_name(path, benchmark)
        taken = {BLURRY, *(method.name for method in methods)}
        if name in taken:
            name = path.as_posix()
        while name in taken:
            name = f"results/{name}"
        kernels = {image: folder / f"{image}_k.png" for image in files}
        kernels = {image: file for image, file in kernels.items() if file.is_file()}
        kind: Kind = "known" if folder in known else "restored"
        methods.append(Method(name, folder, kind, files, kernels))
    if not methods:
        first = benchmark.images[0].name
        names = " or ".join(f"{first}{ending}.png" for ending in benchmark.endings)
        raise DataError(
            f"no results: looked in {results / benchmark.name}* and all folders below for images "
            f"such as {names}; restore some first, or give another --results_path"
        )
    return sorted(methods, key=lambda method: method.name.casefold())


def find_misnamed(benchmark: Benchmark, results: Path) -> list[Path]:
    """Find the folders with images of which none is named after a benchmark's."""
    return [
        folder
        for folder in _folders(benchmark, results)
        if any(image.name != OVERVIEW for image in list_images(folder))
        and not _restored(folder, benchmark)
    ]


def find_known(methods: list[Method], benchmark: Benchmark, results: Path) -> Method | None:
    """Find the images restored with the true kernels: the authors' if there are any, or our own."""
    by_folder = {method.folder: method for method in methods}
    folders = benchmark.known_kernel_folders(results)
    return next((by_folder[folder] for folder in folders if folder in by_folder), None)


def blurry_method(benchmark: Benchmark, files: dict[str, ImageFiles]) -> Method | None:
    """Treat the blurry images as a method, to show what the others gain; None without any."""
    blurry = {name: image.blurry for name, image in files.items() if image.blurry}
    if not blurry:
        return None
    folder = next(iter(blurry.values())).parent
    # Gray ones were made from those in color, for instance by prepare_lai.py.
    return Method(BLURRY, folder, "blurry", blurry, gray_luma=benchmark.data.luma)


def find_image_files(
    benchmark: Benchmark, results: Path, truths: Path | None
) -> dict[str, ImageFiles]:
    """Find the files of all images of a benchmark, by the blurry images' names.

    `truths` is a folder of sharp images to be used instead of the benchmark's. Raises a
    `DataError` if there is not a single sharp image.
    """
    truth_folders = [truths] if truths else benchmark.truth_folders(results)
    kernel_folders = [*truth_folders, benchmark.data_folder / benchmark.data.kernel_folder]
    files = {
        image.name: ImageFiles(
            truth=_first(truth_folders, image.truth),
            blurry=_first(benchmark.blurry_folders(), image.name),
            true_kernel=_first(kernel_folders, benchmark.data.kernel_name(image.kernel)),
        )
        for image in benchmark.images
    }
    if not any(image.truth for image in files.values()):
        raise DataError(
            f"no sharp images such as {benchmark.images[0].truth}.png in "
            f"{' or '.join(map(str, truth_folders))}; {benchmark.where_to_get}, --gt_path names "
            "another folder"
        )
    return files


def select(names: list[str], patterns: list[str]) -> set[str]:
    """Select the names that match at least one pattern, in which ``*`` matches anything.

    Raises a `UsageError` if a pattern matches none.
    """
    selected: set[str] = set()
    for pattern in patterns:
        expression = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
        found = {name for name in names if expression.fullmatch(name)}
        if not found:
            raise UsageError(f"--methods {pattern}: no such method; there are {', '.join(names)}")
        selected |= found
    return selected


def _first(folders: list[Path], name: str) -> Path | None:
    return next(filter(None, (find_image(folder, name) for folder in folders)), None)


def _folders(benchmark: Benchmark, results: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:  # results must not be left out silently
        raise error

    for top in sorted(filter(Path.is_dir, results.glob(f"{benchmark.name}*"))):
        for folder, below, _ in os.walk(top, followlinks=True, onerror=fail):
            try:
                folder.encode()
            except UnicodeEncodeError:
                raise DataError(f"{folder}: its name is not UTF-8; rename the folder") from None
            below[:] = sorted(name for name in below if not _leads_back(Path(folder, name)))
            if Path(folder).name not in _NOT_METHODS:
                yield Path(folder)


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that contains it."""
    parents = folder.absolute().parents
    return folder.is_symlink() and folder.resolve() in [parent.resolve() for parent in parents]


def _short_name(folder: Path, benchmark: Benchmark) -> str:
    """The path inside the results folder without the folders that every layout has."""
    parts = [part for part in folder.parts if part not in _LAYOUT_FOLDERS]
    if parts[0] == benchmark.name and len(parts) > 1:
        del parts[0]
    return "/".join(parts)


def _restored(folder: Path, benchmark: Benchmark) -> dict[str, Path]:
    by_stem: dict[str, Path] = {}
    for file in sorted(list_images(folder), key=lambda file: SUFFIXES.index(file.suffix.lower())):
        by_stem.setdefault(file.stem, file)
    # Where an image has several endings, the preferred one comes last and replaces the others.
    return {
        image.name: by_stem[stem]
        for image in benchmark.images
        for stem in reversed([f"{image.name}{ending}" for ending in benchmark.endings])
        if stem in by_stem
    }


def _record(file: Path) -> Record | None:
    """The record of how an image was made, if one of this project's programs made it.

    Another program's file may have the same name; its image is scored all the same.
    """
    try:
        record = read_json(file) if file.exists() else None
    except (DataError, OSError) as error:
        say(f"not a record: {describe(error)}")
        return None
    is_record = isinstance(record, dict) and isinstance(record.get("settings"), dict)
    return record if is_record else None


def _shared(settings: dict[str, Any]) -> str:
    """An image's settings without the seed and what belongs to this image only."""
    shared = {
        name: value
        for name, value in settings.items()
        if name not in ("seed", "kernel_size", "method_name") and not name.endswith("_sha256")
    }
    return json.dumps(shared, sort_keys=True)


def _gray_scale(record: Record | None) -> Luma | None:
    """The luminance that was restored, by the values of black and white on record."""
    settings = record["settings"] if record else {}
    match settings.get("luma", settings.get("luma_range")):  # the latter in older records
        case [*_, float() | int() as black, float() | int() as white] if 0 <= black < white <= 1:
            return replace(FULL_RANGE, black=black, white=white)
    return None
