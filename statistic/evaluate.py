"""Score all methods of a benchmark, and write what came out."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from statistic.benchmark import Benchmark
from statistic.known_images import restore_known
from statistic.methods import (
    check_names,
    find_blurry,
    find_given,
    find_known,
    find_methods,
    find_misnamed,
    place,
    select,
)
from statistic.metrics import BORDER, MAXSHIFT
from statistic.report.page import write_report
from statistic.scoring import Score, Task, score_image
from statistic.summary import Statistics, summarise
from statistic.tables import as_json, format_csv, format_markdown, format_text
from utils.images.files import write_json, write_whole
from utils.runs.parallel import in_parallel
from utils.terminal.program import Parser
from utils.terminal.progress import image_bar, say

Plot = Callable[[Path, Statistics], Path | None]


@dataclass(frozen=True)
class Options:
    """What a command line asks for.

    Parameters
    ----------
    results : Path
        The results folder.
    truths : Path or None
        Folder of sharp images, in place of the benchmark's.
    methods : list of str
        Names of methods, in which ``*`` stands for anything; none for all.
    maxshift : int
        Up to how many pixels images are shifted.
    jobs : int
        How many processes work.
    save_aligned : bool
        Whether the aligned images are written.
    """

    results: Path
    truths: Path | None
    methods: list[str]
    maxshift: int
    jobs: int
    save_aligned: bool


def parse_options(arguments: list[str], description: str) -> Options:
    """Read the command line that both programs share.

    Parameters
    ----------
    arguments : list of str
        The command line without the program's name.
    description : str
        The program's docstring, which becomes its ``--help``.

    Returns
    -------
    Options
        With values that lie in their ranges.

    Raises
    ------
    SystemExit
        If the command is wrong (status 2), or asks for ``--help``.
    """
    cores = os.cpu_count() or 1
    parser = Parser(description)
    parser.add_argument(
        "--results_path", default="results", metavar="FOLDER", help="the results (results)"
    )
    parser.add_argument(
        "--gt_path", metavar="FOLDER", help="the sharp images, in place of the default's folders"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="NAME",
        help="score only these; * stands for anything",
    )
    parser.add_argument(
        "--maxshift",
        type=int,
        default=MAXSHIFT,
        metavar="N",
        help=f"shift by up to N pixels, 0 to {BORDER} ({MAXSHIFT}; the paper's time had 5)",
    )
    parser.add_argument(
        "--jobs", type=int, default=cores, metavar="N", help=f"processes (one a core: {cores})"
    )
    parser.add_argument(
        "--save_aligned", action="store_true", help="write each method's aligned/ images"
    )
    given = parser.parse_args(arguments)
    if not 0 <= given.maxshift <= BORDER:
        parser.error(f"--maxshift {given.maxshift}: must lie between 0 and {BORDER}")
    if given.jobs < 1:
        parser.error(f"--jobs {given.jobs}: must be 1 or more")
    return Options(
        results=Path(given.results_path),
        truths=Path(given.gt_path) if given.gt_path else None,
        methods=given.methods,
        maxshift=given.maxshift,
        jobs=given.jobs,
        save_aligned=given.save_aligned,
    )


def evaluate(options: Options, benchmark: Benchmark) -> Statistics:
    """Score all methods that a command line asks for.

    Parameters
    ----------
    options : Options
        Where the results are, and how to score them.
    benchmark : Benchmark
        Which images they are of.

    Returns
    -------
    Statistics
        With a score for every image and method, missing ones and faulty ones too.

    Raises
    ------
    DataError
        If there are no results or no sharp images at all.
    UsageError
        If there is no such method as is asked for.
    OSError
        If an aligned image cannot be written.
    """
    for folder in find_misnamed(benchmark, options.results):
        say(f"{folder}: passed over, for no image in it is named like {benchmark.images[0].name}")
    methods = find_methods(benchmark, options.results)
    given = find_given(benchmark, options.results, options.truths)
    blurry = find_blurry(benchmark, given)
    known = find_known(methods, benchmark, options.results)
    failures: dict[str, str] = {}
    if benchmark.known_kernel_folders:
        own = place(benchmark.known_kernel_folders[-1], options.results)
        if known is None or known.folder == own:
            # Before the long work; what it adds may be asked for too.
            there = [method.name for method in (blurry, *methods) if method]
            check_names([*there, *([] if known else [own.name])], options.methods)
            failures = restore_known(given, own, benchmark.luma_range, options.jobs)
            methods = find_methods(benchmark, options.results)
            known = find_known(methods, benchmark, options.results)
    if blurry:
        methods = [blurry, *methods]
    if options.methods:
        methods = select(methods, options.methods)

    aligned: dict[str, Path] = {}
    if options.save_aligned:
        aligned = {m.name: m.folder / "aligned" for m in methods if m.kind != "blurry"}
        for folder in aligned.values():
            folder.mkdir(exist_ok=True)

    tasks = []
    for image in given:
        files = {method.name: method.files[image] for method in methods if image in method.files}
        if files:
            tasks.append(
                Task(
                    image=image,
                    truth=given[image].truth,
                    known=known.files.get(image) if known else None,
                    known_failure=failures.get(image),
                    restored=files,
                    aligned={
                        m: aligned[m] / f"{file.stem}.png"
                        for m, file in files.items()
                        if m in aligned
                    },
                    maxshift=options.maxshift,
                    luma_range=benchmark.luma_range,
                )
            )
    found: dict[tuple[str, str], Score] = {}
    with image_bar(len(tasks)) as bar:
        for scores in in_parallel(score_image, tasks, options.jobs):
            found.update({(score.method, score.image): score for score in scores})
            bar.update()
    scores = [
        found.get((method.name, image)) or Score(method.name, image, None)
        for method in methods
        for image in given
    ]
    return Statistics(
        benchmark=benchmark,
        maxshift=options.maxshift,
        given=given,
        known=known.folder if known else None,
        methods=tuple(methods),
        scores=tuple(scores),
        rows=tuple(summarise(methods, scores)),
    )


def report(statistics: Statistics, results: Path, plots: Sequence[Plot]) -> int:
    """Print every score and the table of methods, and write them to files.

    Parameters
    ----------
    statistics : Statistics
        What to report.
    results : Path
        The results folder. Tables and plots go to ``statistics/NAME`` in it, NAME being the
        benchmark's; for the report see `statistic.report.page.report_folder`.
    plots : sequence of callable
        Each draws one plot into a folder, and tells its SVG file.

    Returns
    -------
    int
        Exit status: 1 if an image could not be scored though its file is there, else 0.
    """
    images = {image.name: image for image in statistics.benchmark.images}
    for method in statistics.methods:
        print(f"{method.name} ({method.folder})")
        for score in statistics.scores_of(method.name):
            if score.file:
                image = images[score.image]
                print(f"img={image.image} kernel={image.kernel}: {_figures(score)}")
        print()
    print(format_text(statistics))

    folder = results / "statistics" / statistics.benchmark.name
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "statistics.csv", format_csv(statistics).encode())
    write_json(folder / "statistics.json", as_json(statistics, folder))
    write_whole(folder / "statistics.md", format_markdown(statistics).encode())
    drawn = [file for plot in plots if (file := plot(folder, statistics))]
    page = write_report(statistics, results, drawn)
    print(f"written: {folder}, {page}", flush=True)
    return _complain(statistics)


def _figures(score: Score) -> str:
    if score.psnr is None:
        return "not scored"
    line = f"psnr={score.psnr:6.4f}, ssim={score.ssim:6.4f}"
    return line if score.error_ratio is None else f"{line}, errorRatio={score.error_ratio:6.4f}"


def _complain(statistics: Statistics) -> int:
    for method in statistics.methods:
        scores = statistics.scores_of(method.name)
        missing = [score.image for score in scores if not score.file]
        if missing:
            shown = ", ".join(missing[:8]) + (" and others" if missing[8:] else "")
            print(
                f"{method.name}: {len(missing)} of {len(scores)} images missing: {shown}",
                file=sys.stderr,
            )
    problems: dict[str, list[str]] = {}
    for score in statistics.scores:
        if score.problem:
            problems.setdefault(f"{score.image}: {score.problem}", []).append(score.method)
    for problem, methods in problems.items():
        print(f"{', '.join(methods)}: {problem}", file=sys.stderr)
    return 1 if problems else 0
