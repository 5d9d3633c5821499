"""Figures have one home: what the pages quote is what the CSVs of benchmarks/ average to."""

import csv
import re
from collections import defaultdict
from statistics import mean

import pytest

from statistic import published
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
README_ROWS = {
    "the authors' code, a third party's run": "original_run",
    "ours, `--method fast`": "fast",
    "ours, by the authors' recipe": "default_gpu",
    "the same, with `--finish`": "default_gpu_finished",
    "our deconvolution with the *known* kernel": "known_kernel",
}
RESULTS_ROWS = {
    "blurry": "blurry",
    "the original code, a third party's run": "original_run",
    "the same, finished": "original_run_finished",
    "`fast`": "fast",
    "our deconvolution with the known kernel": "known_kernel",
    "`default` ([on a GPU](#the-authors-recipe-at-full-length))": "default_gpu",
    "`default`, finished": "default_gpu_finished",
    "`quick` ([on a GPU](#quick-on-levins-images))": "quick_gpu",
    "`quick`, finished": "quick_gpu_finished",
}
SEEDS = ["default", "default_gpu", "default_gpu_seed1", "default_gpu_seed2"]
PAPER = next(row for row in published.LEVIN if row.method == "SelfDeblur")
PSNR, SSIM = r"(?<![\d.])[1-4]\d\.\d\d(?!\d)", r"(?<![\d.])0?\.[5-9]\d\d(?!\d)"


def read_table(name):
    """The rows of a CSV in benchmarks/."""
    with open(ROOT / "benchmarks" / name, newline="") as file:
        return list(csv.DictReader(file))


def averages(name):
    """The averages of a CSV's columns, those of each method apart: ``{method: {column: mean}}``."""
    values = defaultdict(lambda: defaultdict(list))
    for row in read_table(name):
        for column, value in row.items():
            if column not in ("image", "method") and value:
                values[row.get("method", "")][column].append(float(value))
    return {m: {c: mean(v) for c, v in columns.items()} for m, columns in values.items()}


def short(ssim):
    return f"{ssim:.3f}".lstrip("0")


def agree(shown, values):
    """Whether figures are what these values round to; the CSVs' own are rounded to four digits."""
    assert len(shown) == len(values)
    return all(
        abs(float(text) - value) <= 0.5 * 10.0 ** -len(text.partition(".")[2]) + 0.5001e-4
        for text, value in zip(shown, values, strict=True)
    )


def table_rows(page, heading=""):
    """The rows of a page's tables, from a heading on, by their first cells."""
    text = (ROOT / page).read_text()
    lines = text[text.index(heading) :].splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"
    ]
    return {first: rest for first, *rest in reversed(cells)}


@pytest.mark.parametrize("row", README_ROWS)
def test_the_readme_quotes_the_averages(row):
    found = averages("levin.csv")[README_ROWS[row]]
    assert table_rows("README.md")[row][:2] == [f"{found['psnr']:.2f}", short(found["ssim"])]


def test_the_readme_quotes_the_paper():
    row = table_rows("README.md")["the paper"]
    assert row == [f"{PAPER.psnr:.2f}", short(PAPER.ssim), ""]


def test_the_readme_quotes_the_times():
    rows, measured = (
        table_rows("README.md"),
        table_rows("benchmarks/RESULTS.md", "## The fast method"),
    )
    of_two_at_once = averages("levin.csv")["fast"]["seconds"] / 2
    assert rows["ours, `--method fast`"][2] == f"{of_two_at_once:.0f} s"
    known = "our deconvolution with the *known* kernel"
    assert rows[known][2].split()[:2] == [measured[known.replace("*", "")][4].split()[0], "s"]


@pytest.mark.parametrize("row", RESULTS_ROWS)
def test_the_results_are_the_averages(row):
    found = averages("levin.csv")[RESULTS_ROWS[row]]
    psnrs = [float(r["psnr"]) for r in read_table("levin.csv") if r["method"] == RESULTS_ROWS[row]]
    shown = table_rows("benchmarks/RESULTS.md", "## The fast method")[row]
    averaged = [found[column] for column in ("psnr", "ssim", "error_ratio")]
    assert agree(shown[:4], [*averaged, min(psnrs)])


def test_the_results_by_image_are_the_csvs():
    rows = table_rows("benchmarks/RESULTS.md", "By image, PSNR")
    csv_rows = {(r["method"], r["image"].removesuffix("_img")): r for r in read_table("levin.csv")}
    images = [image for method, image in csv_rows if method == "fast"]
    assert len(images) == 32
    for image in images:
        shown = [figure for cell in rows[image] for figure in cell.split(" / ")]
        original, finished, fast = (
            csv_rows[method, image] for method in ("original_run", "original_run_finished", "fast")
        )
        columns = [(row, name) for row in (original, finished, fast) for name in ("psnr", "ssim")]
        columns += [(fast, "error_ratio"), (fast, "seconds")]
        assert agree(shown, [float(row[name]) for row, name in columns]), image


@pytest.mark.parametrize(
    ("heading", "methods"),
    [
        (
            "## The authors' recipe at full length",
            (
                "blurry",
                "original_run",
                "original_run_finished",
                "default_gpu",
                "default_gpu_finished",
            ),
        ),
        ("How far two runs part", SEEDS),
        ("How far two runs part", [f"{method}_finished" for method in SEEDS]),
        ("### On a CPU", ("blurry", "original_run", "default", "default_finished")),
        (
            "## `quick` on Levin's images",
            ("original_run", "quick_gpu", "quick_gpu_finished", "fast"),
        ),
    ],
)
def test_the_other_tables_of_levin_are_the_csvs(heading, methods):
    rows = table_rows("benchmarks/RESULTS.md", heading)
    csv_rows = {(r["method"], r["image"].removesuffix("_img")): r for r in read_table("levin.csv")}
    images = [image for method, image in csv_rows if method == methods[-1]]
    assert images
    apart = all(method.endswith("_finished") for method in methods)
    for image in images:
        row = rows[f"{image}, finished" if apart else image]
        shown = [figure for cell in row for figure in cell.split(" / ")]
        measured = [
            csv_rows[method, image][name] for method in methods for name in ("psnr", "ssim")
        ]
        assert agree(shown, [float(value) for value in measured]), image


def known_figures():
    """Every average that a page may quote, as it is quoted."""
    rows = [*published.LEVIN, *published.LAI]
    figures = {f"{row.psnr:.2f}" for row in rows} | {short(row.ssim) for row in rows}
    for file in sorted((ROOT / "benchmarks").glob("*.csv")):
        for columns in averages(file.name).values():
            for value in columns.values():
                figures |= {f"{value:.2f}", short(value)}
    return figures


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_quoted_figure_has_a_source(page):
    quoted = re.findall(f"{PSNR}|{SSIM}", page.read_text())
    assert {figure.lstrip("0") for figure in quoted} - known_figures() == set()


def test_a_changed_figure_is_noticed(tmp_path, monkeypatch):
    table = (ROOT / "benchmarks/levin.csv").read_text()
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/levin.csv").write_text(
        table.replace("fast,im1_kernel1_img,3", "fast,im1_kernel1_img,2")
    )
    for page in ("README.md", "docs/scores.md"):
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text((ROOT / page).read_text())
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    with pytest.raises(AssertionError):
        test_the_readme_quotes_the_averages("ours, `--method fast`")
    with pytest.raises(AssertionError):
        test_every_quoted_figure_has_a_source(tmp_path / "README.md")
    test_every_quoted_figure_has_a_source(tmp_path / "docs/scores.md")
