"""Score all methods of a benchmark, and write what came out."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from statistic.benchmark import Benchmark
from statistic.methods import find_blurry, find_given, find_methods, place, select
from statistic.metrics import BORDER, MAXSHIFT
from statistic.scoring import Score, Task, score_image
from statistic.summary import Statistics, summarise
from statistic.tables import as_json, format_csv, format_markdown, format_text
from utils.command import Parser
from utils.files import write_json, write_whole
from utils.parallel import in_parallel
from utils.progress import image_bar

Plot = Callable[[Path, Statistics], None]


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
    OSError
        If an aligned image cannot be written.
    """
    methods = find_methods(benchmark, options.results)
    given = find_given(benchmark, options.results, options.truths)
    known = next(
        (
            method
            for folder in benchmark.known_kernel_folders
            for method in methods
            if method.folder == place(folder, options.results)
        ),
        None,
    )
    if blurry := find_blurry(benchmark, given):
        methods = [blurry, *methods]
    if options.methods:
        methods = select(methods, options.methods)

    aligned: dict[str, Path] = {}
    if options.save_aligned:
        for method in methods:
            if method.kind != "blurry":
                aligned[method.name] = method.folder / "aligned"
                aligned[method.name].mkdir(exist_ok=True)

    tasks = []
    for image in benchmark.images:
        restored = {m.name: m.files[image.name] for m in methods if image.name in m.files}
        if restored:
            tasks.append(
                Task(
                    image=image.name,
                    truth=given[image.name].truth,
                    known=known.files.get(image.name) if known else None,
                    restored=restored,
                    aligned={
                        name: aligned[name] / file.name
                        for name, file in restored.items()
                        if name in aligned
                    },
                    maxshift=options.maxshift,
                )
            )
    found: dict[tuple[str, str], Score] = {}
    with image_bar(len(tasks)) as bar:
        for scores in in_parallel(score_image, tasks, options.jobs):
            found.update({(score.method, score.image): score for score in scores})
            bar.update()
    scores = [
        found.get((method.name, image.name)) or Score(method.name, image.name, None)
        for method in methods
        for image in benchmark.images
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


def report(statistics: Statistics, folder: Path, plots: Sequence[Plot]) -> int:
    """Print every score and the table of methods, and write them to files.

    Parameters
    ----------
    statistics : Statistics
        What to report.
    folder : Path
        Where ``statistics.csv``, ``statistics.json``, ``statistics.md`` and the plots go.
    plots : sequence of callable
        Each draws one plot into a folder.

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

    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "statistics.csv", format_csv(statistics).encode())
    write_json(folder / "statistics.json", as_json(statistics, folder))
    write_whole(folder / "statistics.md", format_markdown(statistics).encode())
    for plot in plots:
        plot(folder, statistics)
    print(f"written: {folder}", flush=True)
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
