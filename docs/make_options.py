"""Write docs/options.md from the programs' own command lines.

python docs/make_options.py    # again after an option has changed
"""

import argparse
import importlib
import re
import sys
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils.terminal.program import Parser, run_program

PAGE = ROOT / "docs/options.md"
SCRIPTS = (
    "selfdeblur_levin",
    "selfdeblur_lai",
    "selfdeblur_ycbcr",
    "selfdeblur_nonblind",
    "selfdeblur_levin_reproduce",
    "selfdeblur_lai_reproduce",
)
OTHERS = (
    "statistic.statistic_levin",
    "statistic.statistic_lai",
    "datasets.fetch",
    "datasets.prepare_levin",
    "datasets.prepare_lai",
    "datasets.make_synthetic",
    "datasets.make_sample",
)

# What --help has no room for.
NOTES = {
    "--data_path": "Formats, names, truths: [Files](files.md#blurry-images).",
    "--method": "Their stages: [Methods](methods.md).",
    "--num_iter": "The rest of its schedule is unchanged.",
    "--tv_weight": "The authors advise one in proportion to the noise.",
    "--kernel_size": "Takes precedence over the size that follows from the image's name.",
    "--window": "Left, top, width and height; otherwise the image decides.",
    "--chroma": "The authors keep it.",
    "--exif": (
        "`private` keeps camera, lens, date and exposure, but no place, name, serial number or "
        "thumbnail."
    ),
    "--open": "As soon as it exists; it reloads itself until the image is finished.",
    "--seed": "The authors' is 0.",
    "--precision": "[Which is which](speed.md#precision).",
    "--threads": "The bits of a result depend on the threads, not on the workers.",
    "--ray": "[Clusters](cluster.md).",
    "--gpus_per_image": "With 0.5 two images share one.",
    "--overwrite": "[Interruption](interruption.md).",
    "--no_rescue": "Otherwise they are fitted again with the estimated kernel.",
    "--model_path": "[Read safely](security.md#the-authors-released-networks).",
}

INTRODUCTION = """\
# Options

<!-- Written by docs/make_options.py from the programs' command lines; edit those. -->

Every program shows its own by `--help`. An option is written in full, as `--only '*kernel5*'`, and
what stands in parentheses below is its default. The exit status is 0 if everything was done, 1 if
some image failed or data is bad, 2 for a wrong command, and 130 or 143 after Ctrl-C or SIGTERM.
"""


class Parsed(Exception):
    """Carries a program's parser out of its `main`."""


def parser_of(module: str) -> Parser:
    """Get the parser of a program without running it."""

    def stop(parser: Parser, *_: object) -> None:
        raise Parsed(parser)

    main = importlib.import_module(module).main
    with patch.object(Parser, "parse_args", stop):
        try:
            main([])
        except Parsed as parsed:
            return parsed.args[0]
    raise AssertionError(f"{module} parses no command line")


def rows_of(parser: Parser, notes: dict[str, str]) -> dict[str, str]:
    """The rows of a program's table, by the options' first names."""
    rows = {}
    formatter = argparse.HelpFormatter(parser.prog)
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        values = ""
        if action.nargs != 0:
            names = action.metavar or " or ".join(map(str, action.choices or [action.dest]))
            values = formatter._format_args(action, str(names))
        shown = [f"`{name} {values}`".replace(" `", "`") for name in action.option_strings]
        key = (action.option_strings or [action.dest])[0]
        meaning = (action.help or "") % vars(action)
        meaning = re.sub(r"NAME_\w+\.\w+", r"`\g<0>`", meaning)
        if key in notes:
            meaning += f". {notes[key]}"
        rows[key] = f"| {', '.join(shown or [f'`{values}`'])} | {meaning} |"
    return rows


def table(rows: list[str]) -> str:
    return "\n".join(["| option | meaning |", "| --- | --- |", *rows])


def make_page() -> str:
    """The whole page."""
    scripts = {name: rows_of(parser_of(name), NOTES) for name in SCRIPTS}
    first = scripts[SCRIPTS[0]]
    shared = {key for key in first if all(first[key] == t.get(key) for t in scripts.values())}
    parts = [
        INTRODUCTION,
        "## All six scripts\n",
        table([row for key, row in first.items() if key in shared]),
    ]
    for name, rows in scripts.items():
        own = [row for key, row in rows.items() if key not in shared]
        parts += [f"\n## {name}.py\n\nBesides those of all six:\n", table(own)]
    for name in OTHERS:
        rows = rows_of(parser_of(name), {})
        parts += [f"\n## {name.replace('.', '/')}.py\n", table(list(rows.values()))]
    return "\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    Parser(__doc__).parse_args(arguments)
    PAGE.write_text(make_page())
    return 0


if __name__ == "__main__":
    run_program(main)
