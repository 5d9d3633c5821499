"""Score all methods of a benchmark, and write the tables, the plots and the report."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statistic.benchmark import Benchmark
from statistic.known_images import restore_known
from statistic.methods import (
    Method,
    blurry_method,
    find_image_files,
    find_known,
    find_methods,
    find_misnamed,
    select,
)
from statistic.metrics import BORDER, MAXSHIFT
from statistic.report.page import write_report
from statistic.scoring import Score, ScoringJob, score_image
from statistic.summary import Statistics, summarise
from statistic.tables import as_json, format_csv, format_markdown, format_text
from utils.errors import printable
from utils.images.files import write_json, write_whole
from utils.runs.parallel import in_parallel
from utils.terminal.program import Parser, integer
from utils.terminal.progress import image_bar, say

Plot = Callable[[Path, Statistics], Path | None]


@dataclass(frozen=True)
class ScoringOptions:
    """What a command line asks for."""

    results: Path
    truths: Path | None  # folder of sharp images, instead of the benchmark's
    methods: list[str]  # names, in which * matches anything; empty for all methods
    maxshift: int  # see `statistic.metrics.comp_upto_shift`
    workers: int  # number of processes
    save_aligned: bool


def parse_options(arguments: list[str], description: str) -> ScoringOptions:
    """Parse the command line that both programs share; `description` becomes the ``--help``."""
    cores = os.cpu_count() or 1
    parser = Parser(description)

    add = parser.add_argument
    folder: dict[str, Any] = {"type": Path, "metavar": "FOLDER"}
    add("--results_path", dest="results", default=Path("results"), **folder, help="(results)")
    add("--gt_path", dest="truths", **folder, help="sharp images, instead of the default folders")
    names = "score only these; * matches anything"
    add("--methods", nargs="+", default=[], metavar="NAME", help=names)
    shifts = f"shift by up to N pixels, 0 to {BORDER} ({MAXSHIFT}; 5 at the time of the paper)"
    add("--maxshift", type=integer(0, BORDER), default=MAXSHIFT, metavar="N", help=shifts)
    processes = "processes (one per core)"
    add("--jobs", type=integer(1), dest="workers", default=cores, metavar="N", help=processes)
    add("--save_aligned", action="store_true", help="write each method's aligned/ images")
    return ScoringOptions(**vars(parser.parse_args(arguments)))


def evaluate(options: ScoringOptions, benchmark: Benchmark) -> Statistics:
    """Score all methods that a command line asks for.

    The statistics have a score for every image and method, including missing and unreadable ones.
    Raises a `DataError` if there are no results or no sharp images at all, and a `UsageError` if
    a method that is asked for does not exist.
    """
    for folder in find_misnamed(benchmark, options.results):
        say(f"{folder}: skipped, since no image in it is named like {benchmark.images[0].name}")
    methods = find_methods(benchmark, options.results)
    files = find_image_files(benchmark, options.results, options.truths)
    blurry = [method] if (method := blurry_method(benchmark, files)) else []
    known = find_known(methods, benchmark, options.results)
    failures: dict[str, str] = {}
    if benchmark.error_ratios:
        own = benchmark.known_kernel_folders(options.results)[-1]
        if known is None or known.folder == own:
            # Names are checked before the long work, which adds a method.
            names = [method.name for method in (*blurry, *methods)]
            select([*names, *([] if known else [own.name])], options.methods)
            failures = restore_known(files, own, benchmark.data.scored_luma, options.workers)
            methods = find_methods(benchmark, options.results)
            known = find_known(methods, benchmark, options.results)
    methods = [*blurry, *methods]
    if options.methods:
        selected = select([method.name for method in methods], options.methods)
        methods = [method for method in methods if method.name in selected]

    jobs = [
        ScoringJob(
            image=image,
            truth=files[image].truth,
            known=known.files.get(image) if known else None,
            known_failure=failures.get(image),
            restored={m.name: m.files[image] for m in methods if image in m.files},
            gray_scales={m.name: m.gray_scale(image) for m in methods},
            aligned=_aligned_files(methods, image) if options.save_aligned else {},
            maxshift=options.maxshift,
            luma=benchmark.data.scored_luma,
        )
        for image in files
        if any(image in method.files for method in methods)
    ]
    scores: dict[tuple[str, str], Score] = {}
    with image_bar(len(jobs)) as bar:
        for found in in_parallel(score_image, jobs, options.workers):
            scores.update({(score.method, score.image): score for score in found})
            bar.update()
    ordered = [
        scores.get((method.name, image), Score(method.name, image, None))
        for method in methods
        for image in files
    ]
    return Statistics(
        benchmark=benchmark,
        maxshift=options.maxshift,
        files=files,
        known=known.folder if known else None,
        methods=tuple(methods),
        scores=tuple(ordered),
        rows=tuple(summarise(methods, ordered)),
    )


def _aligned_files(methods: list[Method], image: str) -> dict[str, Path]:
    aligned = {}
    for method in methods:
        if method.kind != "blurry" and image in method.files:
            folder = method.folder / "aligned"
            folder.mkdir(exist_ok=True)
            aligned[method.name] = folder / f"{method.files[image].stem}.png"
    return aligned


def report(statistics: Statistics, results: Path, plots: Sequence[Plot]) -> int:
    """Print every score and the table of methods, and write them to files.

    Tables and plots go to ``statistics/NAME`` in the results folder, NAME being the benchmark's;
    for the report see `statistic.report.page.report_folder`. Each of `plots` draws one plot into a
    folder and returns its SVG file. The exit status that is returned is 1 if an image could not
    be scored although its file exists, else 0.
    """
    images = {image.name: image for image in statistics.benchmark.images}
    for method in statistics.methods:
        print(printable(f"{method.name} ({method.folder})"))
        for score in statistics.scores_of(method.name):
            if score.file:
                image = images[score.image]
                print(f"img={image.label} kernel={image.kernel}: {_figures(score)}")
        print()
    print(format_text(statistics))

    folder = results / "statistics" / statistics.benchmark.name
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "statistics.csv", format_csv(statistics).encode())
    write_json(folder / "statistics.json", as_json(statistics, folder))
    write_whole(folder / "statistics.md", format_markdown(statistics).encode())
    drawn = [file for plot in plots if (file := plot(folder, statistics))]
    page = write_report(statistics, results, drawn)
    print(printable(f"written: {folder}, {page}"), flush=True)
    return _print_problems(statistics)


def _figures(score: Score) -> str:
    if score.psnr is None:
        return "not scored"
    line = f"psnr={score.psnr:6.4f}, ssim={score.ssim:6.4f}"
    return line if score.error_ratio is None else f"{line}, errorRatio={score.error_ratio:6.4f}"


def _print_problems(statistics: Statistics) -> int:
    problems: dict[str, list[str]] = {}
    for method in statistics.methods:
        scores = statistics.scores_of(method.name)
        missing = [score.image for score in scores if not score.file]
        if missing:
            shown = ", ".join(missing[:8]) + (" and others" if missing[8:] else "")
            say(f"{method.name}: {len(missing)} of {len(scores)} images missing: {shown}")
        for score in scores:
            if score.problem:
                problems.setdefault(f"{score.image}: {score.problem}", []).append(method.name)
    for problem, methods in problems.items():
        say(f"{', '.join(methods)}: {problem}")
    return 1 if problems else 0
