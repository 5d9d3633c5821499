"""The programs that score folders of results: what they find, compute, write and say."""

import csv
import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import pytest

from statistic import evaluate as evaluation
from statistic import known_images, plots, published
from statistic.evaluate import ScoringOptions, evaluate
from statistic.methods import find_methods
from statistic.metrics import comp_upto_shift, crop, error_ratio, error_ratio_levin
from statistic.statistic_lai import LAI
from statistic.statistic_lai import main as lai
from statistic.statistic_levin import LEVIN
from statistic.statistic_levin import main as levin
from tests.pictures import noisy, picture, put
from utils.errors import DataError, UsageError
from utils.images.colors import MATLAB_GRAY, STUDIO_RANGE
from utils.images.files import MAX_JSON_BYTES
from utils.images.reading import read_gray, read_image
from utils.images.writing import encode_png

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data" / "levin"
SAVE = plots._save
NAMES = ("im1_kernel1_img", "im1_kernel2_img", "im2_kernel1_img")


def record(path, **settings):
    path.write_text(json.dumps({"settings": settings, "finished": True}))


def scores_in(folder):
    with (folder / "statistics.csv").open() as file:
        return {(row["method"], row["image"]): row for row in csv.DictReader(file)}


def refuse_constant(name):
    raise AssertionError(f"{name} is no JSON")


def statistics_in(folder):
    return json.loads((folder / "statistics.json").read_text(), parse_constant=refuse_constant)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty folder to work in, far from the checkout's data; plots are not written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plots, "_save", lambda figure, stem: None)
    return tmp_path


@pytest.fixture
def small(workplace):
    """Two methods, the images with known kernels and the truths of three small images."""
    for number in (1, 2):
        put(Path(f"results/levin/groundtruth/im{number}.png"), picture(60, 66, seed=number))
    for seed, name in enumerate(NAMES):
        truth = read_gray(f"results/levin/groundtruth/{name[:3]}.png")
        put(Path(f"results/levin/others/groundk/{name}.png"), noisy(truth, 0.01, seed))
        put(Path(f"results/levin/others/zuo/{name}.png"), noisy(truth, 0.02, seed + 10))
        moved = np.roll(truth, (2, -1), (0, 1))
        put(Path(f"results/levin/{name}_x.png"), noisy(moved, 0.03, seed + 20))
    return workplace


def test_every_layout_is_found(workplace):
    image = picture(45, 45)
    files = (
        "levin/im1_kernel1_img_x.png",
        "levin/im1_kernel1_img_k.png",
        "levin/im2_kernel3_img_k.png",
        "levin_reproduce/im1_kernel1_img_x.png",
        "levin_mine/im4_kernel8_img.png",
        "levin/others/zuo/im1_kernel1_img.png",
        "levin/others/groundk/im1_kernel1_img.png",
        "levin/SelfDeblur/imgs/im1_kernel1_img_x.png",
        "levin/SelfDeblur/imgs/im1_kernel1_img.png",
    )
    no_methods = (
        "levin/groundtruth/im1_kernel1_img.png",
        "levin/others/zuo/aligned/im1_kernel1_img.png",
        "levin/others/foreign/fishes_x.png",
        "sample/im1_kernel1_img_x.png",
        "statistics/levin/im1_kernel1_img.png",
    )
    for file in files + no_methods:
        put(Path("results") / file, image)
    methods = {method.name: method for method in find_methods(LEVIN, Path("results"))}
    assert list(methods) == [
        "groundk",
        "levin",
        "levin_mine",
        "levin_reproduce",
        "SelfDeblur",
        "zuo",
    ]
    own = Path("results/levin")
    assert methods["levin"].files == {"im1_kernel1_img": own / "im1_kernel1_img_x.png"}
    assert methods["levin"].kernels == {"im1_kernel1_img": own / "im1_kernel1_img_k.png"}
    assert methods["SelfDeblur"].files["im1_kernel1_img"].name == "im1_kernel1_img_x.png"
    assert {name: method.kind for name, method in methods.items() if method.kind != "restored"} == {
        "groundk": "known"
    }


def test_in_lai_color_takes_precedence_over_luminance(workplace):
    folder = Path("results/lai/SelfDeblur/imgs")
    put(folder / "text_05_kernel_04.png", picture(45, 45, 3))
    put(folder / "text_05_kernel_04_x.png", picture(45, 45))
    put(folder / "text_04_kernel_04_x.png", picture(45, 45))
    put(Path("results/lai/uniform/nonblind/blurry/text_05_kernel_04.png"), picture(45, 45))
    results = Path("results/lai/uniform/nonblind/blurry/results")
    put(results / "text_05_kernel_04_x.png", picture(45, 45))
    published_layout, nonblind = find_methods(LAI, Path("results"))
    assert [file.name for file in published_layout.files.values()] == [
        "text_04_kernel_04_x.png",
        "text_05_kernel_04.png",
    ]
    assert nonblind.name == "uniform/nonblind/blurry/results"


def test_no_two_methods_have_one_name(workplace):
    for folder in (
        "levin/SelfDeblur",
        "levin/SelfDeblur/imgs",
        "levin",
        "levin/levin",
        "levin/levin/levin",
        "levin/others/levin/levin",
    ):
        put(Path("results") / folder / "im1_kernel1_img_x.png", picture(45, 45))
    names = [method.name for method in find_methods(LEVIN, Path("results"))]
    assert len(set(names)) == 6


def test_no_method_has_the_name_of_the_blurry_images(small):
    blurry = read_image("results/levin/groundtruth/im1.png")
    put(Path(f"datasets/levin/{NAMES[0]}.png"), blurry)
    put(Path(f"results/levin/others/blurry/imgs/{NAMES[0]}.png"), noisy(blurry, 0.1, 1))
    statistics = evaluate(ScoringOptions(Path("results"), None, ["*blurry*"], 1, 1, False), LEVIN)
    assert [method.name for method in statistics.methods] == ["blurry", "levin/others/blurry/imgs"]
    own, found = (statistics.scores_of(method.name)[0].psnr for method in statistics.methods)
    assert own == np.inf and found < 30


def test_results_behind_a_link_are_found(workplace):
    put(Path("elsewhere/mine/im1_kernel1_img_x.png"), picture(45, 45))
    Path("results/levin/others").mkdir(parents=True)
    Path("results/levin/others/linked").symlink_to(Path("elsewhere/mine").resolve())
    Path("results/levin_linked").symlink_to(Path("elsewhere").resolve())
    names = [method.name for method in find_methods(LEVIN, Path("results"))]
    assert names == ["levin_linked/mine", "linked"]


def test_a_folder_that_is_not_named_in_utf_8_is_named(small):
    try:
        Path("results/levin/others/zuo").rename(os.fsdecode(b"results/levin/others/\xff"))
    except OSError:
        pytest.skip("this disk takes no such names")
    with pytest.raises(DataError, match="not UTF-8; rename"):
        levin(["--jobs", "1"])


def test_output_that_is_not_read_to_the_end_ends_the_program_quietly(small):
    program = [sys.executable, ROOT / "statistic/statistic_levin.py", "--jobs", "1"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 1
    assert "Errno" not in done.stderr and "Exception" not in done.stderr


def test_a_link_that_leads_back_is_not_followed(small):
    Path("results/levin/others/zuo/again").symlink_to(Path("results/levin").resolve())
    names = [method.name for method in find_methods(LEVIN, Path("results"))]
    assert names == ["groundk", "levin", "zuo"]


def test_images_of_any_format_are_found_and_others_reported(small, capsys):
    image = read_image(f"results/levin/others/zuo/{NAMES[0]}.png")
    folder = Path("results/levin/others")
    put(folder / "upper/im1_kernel1_img.png", image)
    (folder / "upper/im1_kernel1_img.png").rename(folder / "upper/im1_kernel1_img.PNG")
    (folder / "bmp").mkdir()
    cv2.imwrite(str(folder / "bmp/im1_kernel1_img.bmp"), np.uint8(np.rint(255 * image)))
    put(folder / "misnamed/im1_kernel1.png", image)
    put(folder.parent / "also_misnamed/im1_kernel1.png", image)
    put(folder.parent / "failed/overview.png", image)
    assert levin(["--jobs", "1", "--save_aligned"]) == 0
    scores = scores_in(small / "results/statistics/levin")
    for method in ("upper", "bmp"):
        assert scores[method, NAMES[0]]["psnr"] == scores["zuo", NAMES[0]]["psnr"]
        assert (folder / method / "aligned/im1_kernel1_img.png").exists()
    lines = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
    assert [line.partition(":")[0] for line in lines] == [
        "results/levin/also_misnamed", "results/levin/others/misnamed",
    ]  # fmt: skip
    assert all("im1_kernel1_img" in line for line in lines)


def test_the_benchmarks_have_all_their_images():
    assert len(LEVIN.images) == 32 and len(LAI.images) == 100
    assert LEVIN.images[9].name == "im2_kernel2_img" and LEVIN.images[9].truth == "im2"
    assert LAI.images[-1].name == "text_05_kernel_04" and LAI.images[-1].truth == "text_05"


def test_scores_are_those_of_the_metrics(small):
    assert levin(["--jobs", "1"]) == 0
    scores = scores_in(small / "results/statistics/levin")
    assert len(scores) == 3 * 32
    for method, ending in (("zuo", "others/zuo/{}.png"), ("levin", "{}_x.png")):
        for name in NAMES:
            truth = read_gray(f"results/levin/groundtruth/{name[:3]}.png")
            known = read_gray(f"results/levin/others/groundk/{name}.png")
            restored = read_gray(Path("results/levin", ending.format(name)))
            psnr, ssim, aligned = comp_upto_shift(restored, truth)
            aligned_known = comp_upto_shift(known, truth)[2]
            row = scores[method, name]
            assert float(row["psnr"]) == pytest.approx(psnr, abs=1e-8)
            assert float(row["ssim"]) == pytest.approx(ssim, abs=1e-8)
            ratio = error_ratio(aligned, aligned_known, crop(truth))
            assert float(row["error_ratio"]) == pytest.approx(ratio, abs=1e-8)
            ratio = error_ratio_levin(aligned, aligned_known, crop(truth))
            assert float(row["error_ratio_levin"]) == pytest.approx(ratio, abs=1e-8)
            assert row["problem"] == ""
    assert scores["zuo", "im4_kernel8_img"]["psnr"] == ""
    assert scores["zuo", "im4_kernel8_img"]["problem"] == "missing"


def test_gray_in_three_channels_is_scored_as_gray(small):
    gray = read_image(f"results/levin/others/zuo/{NAMES[0]}.png")
    color = np.dstack([gray] * 3)
    put(Path(f"results/levin/others/color/{NAMES[0]}.png"), color)
    opaque = encode_png(color, alpha=np.ones_like(gray))
    put(Path(f"results/levin/others/opaque/{NAMES[0]}.png"), gray)
    Path(f"results/levin/others/opaque/{NAMES[0]}.png").write_bytes(opaque)
    assert levin(["--jobs", "1"]) == 0
    scores = scores_in(small / "results/statistics/levin")
    for method in ("color", "opaque"):
        for figure in ("psnr", "ssim", "error_ratio"):
            expected = float(scores["zuo", NAMES[0]][figure])
            assert float(scores[method, NAMES[0]][figure]) == pytest.approx(expected, abs=1e-8)


def test_line_of_each_image_is_the_published_one(small, capsys):
    levin(["--jobs", "1", "--methods", "zuo"])
    scores = scores_in(small / "results/statistics/levin")
    out = capsys.readouterr().out
    row = {name: float(scores["zuo", NAMES[1]][name]) for name in ("psnr", "ssim", "error_ratio")}
    assert (
        "img=1 kernel=2: psnr={psnr:.4f}, ssim={ssim:.4f}, errorRatio={error_ratio:.4f}\n"
    ).format(**row) in out
    assert out.count("img=") == 3


def test_averages_missing_images_and_published_rows(small, capsys):
    Path("results/levin/im2_kernel1_img_x.png").unlink()
    assert levin(["--jobs", "1"]) == 0
    printed = capsys.readouterr()
    scores = scores_in(small / "results/statistics/levin")
    rows = {row["name"]: row for row in statistics_in(small / "results/statistics/levin")["rows"]}
    assert list(rows) == ["groundk", "levin", "zuo"]
    for figure in ("psnr", "ssim", "error_ratio", "error_ratio_levin"):
        by_hand = sum(float(scores["levin", name][figure]) for name in NAMES[:2]) / 2
        average = rows["levin"]["averages"][figure]
        assert average == {"mean": pytest.approx(by_hand), "images": 2, "deviation": None}
    assert rows["groundk"]["averages"]["error_ratio"]["mean"] == 1

    psnr = rows["levin"]["averages"]["psnr"]["mean"]
    (line,) = [line for line in printed.out.splitlines() if line.startswith("levin  ")]
    assert line.split()[1:5] == ["2", "of", "32", f"{psnr:.2f}"]
    assert "levin: 30 of 32 images missing: im1_kernel3_img, im1_kernel4_img" in printed.err
    assert "SelfDeblur (published)" in printed.out and "33.07" in printed.out

    table = (small / "results/statistics/levin/statistics.md").read_text().split("\n\n")[0]
    cells = [line.strip("|").split("|") for line in table.splitlines()]
    assert {len(row) for row in cells} == {6}
    assert len(cells) == 2 + 3 + len(published.LEVIN)
    assert cells[3][0].strip() == "levin" and cells[3][2].strip() == f"{psnr:.2f}"


def test_runs_with_different_seeds_are_averaged(workplace):
    truth = picture(60, 60)
    put(Path("gt/im1.png"), truth)
    for seed, folder in enumerate(("levin", "levin_seed1", "levin_seed2", "levin_seed3")):
        for name in NAMES[:2]:
            put(Path(f"results/{folder}/{name}_x.png"), noisy(truth, 0.01 * (seed + 1), seed))
            # A kernel that was given is a file of the run's own.
            settings = {"seed": seed, "kernel_sha256": f"{name}{seed}"}
            settings["num_iter"] = 500 if seed == 3 else 5000
            record(Path(f"results/{folder}/{name}.json"), **settings)
    # An image that one run lacks is left out of the mean over runs.
    Path(f"results/levin_seed1/{NAMES[1]}_x.png").unlink()
    assert levin(["--jobs", "1", "--gt_path", "gt"]) == 0
    scores = scores_in(workplace / "results/statistics/levin")
    rows = statistics_in(workplace / "results/statistics/levin")["rows"]
    assert [row["name"] for row in rows] == [
        "levin", "levin_seed1", "levin_seed2", "levin, 3 runs", "levin_seed3",
    ]  # fmt: skip
    runs = [float(scores[run, NAMES[0]]["psnr"]) for run in ("levin", "levin_seed1", "levin_seed2")]
    mean = sum(runs) / 3
    deviation = (sum((run - mean) ** 2 for run in runs) / 2) ** 0.5
    assert rows[3]["methods"] == ["levin", "levin_seed1", "levin_seed2"]
    assert rows[3]["averages"]["psnr"] == {
        "mean": pytest.approx(mean),
        "images": 1,
        "deviation": pytest.approx(deviation),
    }
    table = (workplace / "results/statistics/levin/statistics.md").read_text()
    assert f"| levin, 3 runs | 1 of 32 | {mean:.2f} ± {deviation:.2f} |" in table
    assert "Runs of levin do not have the same settings" in table

    Path(f"results/levin/{NAMES[0]}_x.png").unlink()  # now there is no image that all have
    assert levin(["--jobs", "1", "--gt_path", "gt"]) == 0
    rows = statistics_in(workplace / "results/statistics/levin")["rows"]
    assert "levin, 3 runs" not in [row["name"] for row in rows] and len(rows) == 4


def test_unfinished_images_are_reported(small, capsys):
    for name, finished in zip(NAMES, (True, False, False), strict=True):
        content = json.dumps({"settings": {"seed": 0}, "finished": finished})
        Path(f"results/levin/{name}.json").write_text(content)
    Path(f"results/levin/others/zuo/{NAMES[0]}.json").write_text('["finished"]')
    assert levin(["--jobs", "1"]) == 0
    note = "levin: 2 of 3 images are not finished"
    assert note in capsys.readouterr().out
    table = (small / "results/statistics/levin/statistics.md").read_text()
    assert note in table and table.count("not finished") == 1


def test_faulty_files_are_reported_and_the_rest_is_scored(small, capsys):
    zuo = Path("results/levin/others/zuo")
    (zuo / f"{NAMES[0]}.png").write_bytes(b"not a picture")
    put(zuo / f"{NAMES[1]}.png", picture(66, 66))
    assert levin(["--jobs", "1"]) == 1
    error = capsys.readouterr().err
    assert f"zuo: {NAMES[0]}: results/levin/others/zuo/{NAMES[0]}.png: not an image" in error
    assert "restored is 66 x 66, but truth is 60 x 66" in error
    scores = scores_in(small / "results/statistics/levin")
    assert scores["zuo", NAMES[0]]["psnr"] == scores["zuo", NAMES[1]]["psnr"] == ""
    assert "66 x 66" in scores["zuo", NAMES[1]]["problem"]
    assert float(scores["zuo", NAMES[2]]["psnr"]) > 30
    assert float(scores["levin", NAMES[0]]["psnr"]) > 25
    found = {row["name"]: row for row in statistics_in(small / "results/statistics/levin")["rows"]}
    assert found["zuo"]["averages"]["psnr"]["images"] == 1


def test_markdown_shows_any_name(small):
    name = r"a|b<br>&amp;\|"
    Path("results/levin/others/zuo").rename(Path("results/levin/others") / name)
    assert levin(["--jobs", "1"]) == 0
    table = (small / "results/statistics/levin/statistics.md").read_text()
    assert r"| a\|b&lt;br>&amp;amp;\\\| |" in table


def test_footnotes_say_how_figures_differ_from_the_published_ones(small):
    assert levin(["--jobs", "1"]) == 0
    table = (small / "results/statistics/levin/statistics.md").read_text()
    for note in ("255 as the peak", "48 dB less", "shifted by up to 5 pixels"):
        assert note in table


def test_a_missing_truth_is_reported(small, capsys):
    Path("results/levin/groundtruth/im2.png").unlink()
    assert levin(["--jobs", "1"]) == 1
    assert "groundk, levin, zuo: im2_kernel1_img: there is no sharp image im2.png" in (
        capsys.readouterr().err
    )


def test_a_faulty_image_with_known_kernel_loses_only_its_error_ratio(small, capsys):
    Path(f"results/levin/others/groundk/{NAMES[0]}.png").write_bytes(b"")
    assert levin(["--jobs", "1"]) == 1
    assert f"levin, zuo: {NAMES[0]}: no error ratio: results/levin/others/groundk/" in (
        capsys.readouterr().err
    )
    row = scores_in(small / "results/statistics/levin")["zuo", NAMES[0]]
    assert float(row["psnr"]) > 30 and row["error_ratio"] == ""
    assert "(over 2)" in (small / "results/statistics/levin/statistics.md").read_text()


def test_without_known_kernels_the_rest_is_scored(small):
    for file in Path("results/levin/others/groundk").iterdir():
        file.unlink()
    assert levin(["--jobs", "1"]) == 0
    row = scores_in(small / "results/statistics/levin")["zuo", NAMES[0]]
    assert float(row["psnr"]) > 30 and row["error_ratio"] == ""
    assert "No error ratios" in (small / "results/statistics/levin/statistics.md").read_text()


@pytest.mark.parametrize("program, benchmark", [(levin, "levin"), (lai, "lai")])
def test_no_results_and_no_truths(workplace, program, benchmark):
    with pytest.raises(DataError, match=rf"looked in here/{benchmark}\*.*--results_path"):
        program(["--results_path", "here"])
    name = {"levin": LEVIN, "lai": LAI}[benchmark].images[0].name
    put(Path(f"results/{benchmark}/{name}_x.png"), picture(45, 45))
    with pytest.raises(
        DataError, match=rf"in results/{benchmark}/ground.* or datasets/{benchmark}/"
    ):
        program([])
    with pytest.raises(DataError, match="in nowhere; .*--gt_path"):
        program(["--gt_path", "nowhere"])


def test_truths_of_the_results_take_precedence_over_those_of_the_data(small):
    put(Path("datasets/levin/gt/im1.png"), picture(60, 66, seed=9))
    put(Path("datasets/levin/im1_kernel1_img.png"), picture(60, 66, seed=1))
    levin(["--jobs", "1"])
    image = statistics_in(small / "results/statistics/levin")["images"][0]
    assert image["truth"] == "../../levin/groundtruth/im1.png"
    assert image["blurry"] == "../../../datasets/levin/im1_kernel1_img.png"
    scores = scores_in(small / "results/statistics/levin")
    assert scores["blurry", NAMES[0]]["psnr"] == "inf"


def test_methods_are_chosen_by_name(small):
    options = ScoringOptions(Path("results"), None, ["z*", "levin"], 10, 1, False)
    statistics = evaluate(options, LEVIN)
    assert [method.name for method in statistics.methods] == ["levin", "zuo"]
    # The error ratio needs the known kernels all the same.
    assert statistics.rows[0].averages["error_ratio"].images == 3
    with pytest.raises(UsageError, match="--methods nobody: .* groundk, levin, zuo"):
        levin(["--methods", "levin", "nobody"])
    for pattern in ("zu?", "[z]uo"):
        with pytest.raises(UsageError, match="no such method"):
            levin(["--methods", pattern])


def test_unknown_names_are_refused_before_the_long_work(small, monkeypatch):
    for file in Path("results/levin/others/groundk").iterdir():
        file.unlink()
    monkeypatch.setattr(evaluation, "restore_known", None)
    with pytest.raises(UsageError, match="--methods nobody"):
        levin(["--methods", "nobody"])


@pytest.mark.parametrize(
    "arguments", [["--maxshift", "16"], ["--maxshift", "-1"], ["--maxshift", "a"], ["--jobs", "0"]]
)
@pytest.mark.parametrize("program", [levin, lai])
def test_wrong_options_are_usage_errors(program, arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        program(arguments)
    assert exit.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_maxshift_is_respected(small):
    levin(["--jobs", "1"])
    wide = scores_in(small / "results/statistics/levin")
    levin(["--jobs", "1", "--maxshift", "1"])
    narrow = scores_in(small / "results/statistics/levin")
    assert float(wide["levin", NAMES[0]]["psnr"]) > float(narrow["levin", NAMES[0]]["psnr"]) + 1
    assert statistics_in(small / "results/statistics/levin")["maxshift"] == 1


def test_json_is_strict_and_its_paths_lead_to_the_files(small):
    put(
        Path("results/levin_true/im1_kernel1_img.png"),
        read_image("results/levin/groundtruth/im1.png"),
    )
    put(Path("results/levin_true/im1_kernel1_img_k.png"), picture(45, 45))
    Path("datasets/levin").mkdir(parents=True)
    os.rename("results/levin/groundtruth", "datasets/levin/gt")
    # Behind a link, .. leads elsewhere than the path seems to say.
    os.rename("results", "far")
    Path("deep/er").mkdir(parents=True)
    os.rename("far", "deep/er/far")
    Path("results").symlink_to("deep/er/far")
    levin(["--jobs", "1"])
    folder = small / "results/statistics/levin"
    statistics = statistics_in(folder)
    (method,) = [method for method in statistics["methods"] if method["name"] == "levin_true"]
    score = method["scores"][0]
    assert score["psnr"] == "Infinity" and score["error_ratio"] == 0
    assert float(score["psnr"]) == np.inf
    for file in (score["file"], score["estimated_kernel"], statistics["images"][0]["truth"]):
        assert (folder / file).is_file()
    assert (folder / statistics["known_kernel"]).is_dir()
    assert method["scores"][1]["problem"] == "missing" and method["scores"][1]["file"] is None


def test_lai_compares_luminance_and_saves_aligned_color(workplace, capsys):
    truth = picture(70, 64, 3)
    put(Path("results/lai/ground_truth/people_02.png"), truth)
    restored = np.roll(truth, (3, -2), (0, 1))
    put(Path("results/lai/others/10_xu/people_02_kernel_03.png"), restored)
    put(
        Path("results/lai/uniform/people_02_kernel_03_x.png"),
        noisy(STUDIO_RANGE.luminance(restored), 0.02, 1),
    )
    assert lai(["--jobs", "1", "--save_aligned"]) == 0
    out = capsys.readouterr().out
    row = scores_in(workplace / "results/statistics/lai")["uniform", "people_02_kernel_03"]
    luminance = read_gray("results/lai/uniform/people_02_kernel_03_x.png")
    psnr, ssim, aligned = comp_upto_shift(luminance, STUDIO_RANGE.luminance(truth))
    assert (float(row["psnr"]), float(row["ssim"])) == pytest.approx((psnr, ssim), abs=1e-8)
    assert f"img=people_02 kernel=3: psnr={psnr:.4f}, ssim={ssim:.4f}\n" in out
    assert "error ratio" not in out

    saved = read_image("results/lai/uniform/aligned/people_02_kernel_03_x.png")
    np.testing.assert_allclose(saved, aligned, atol=0.5 / 255 + 1e-9)
    saved = read_image("results/lai/others/10_xu/aligned/people_02_kernel_03.png")
    assert saved.shape == (40, 34, 3)
    inside = saved[(saved > 0) & (saved < 1)]
    assert inside.size > 0.9 * saved.size
    unclipped = ((saved > 0) & (saved < 1)).all(-1)
    # Y is that of the truth, to which the image is aligned; Cb and Cr are those of the place.
    difference = STUDIO_RANGE.luminance(saved) - crop(STUDIO_RANGE.luminance(truth))
    assert abs(difference[unclipped]).max() < 1 / 255
    for first, second in ((0, 1), (2, 1)):
        chroma = [image[..., first] - image[..., second] for image in (saved, crop(restored))]
        assert abs(chroma[0] - chroma[1])[unclipped].max() <= 1.01 / 255


def lai_color(truth):
    """A restored image in color, in 8 bits, and its luminance as selfdeblur_lai.py writes it."""
    color = np.rint(255 * noisy(0.92 * truth, 0.005, 1)) / 255
    return color, np.rint(255 * MATLAB_GRAY.luminance(color)) / 255


@pytest.mark.parametrize("luma", [MATLAB_GRAY, STUDIO_RANGE])
def test_gray_results_of_this_project_score_like_their_color_images(workplace, capsys, luma):
    """Those of earlier versions were in the studio range, which their records say, too."""
    truth = np.rint(255 * (0.1 + 0.8 * picture(70, 64, 3))) / 255
    put(Path("results/lai/ground_truth/people_02.png"), truth)
    color, _ = lai_color(truth)
    put(Path("results/lai/color/people_02_kernel_03.png"), color)
    put(Path("results/lai/gray/people_02_kernel_03_x.png"), luma.luminance(color))
    levels = [luma.black, luma.white]
    settings = {"luma": [luma.weights, *levels]}
    if luma == STUDIO_RANGE:
        settings = {"luma_range": levels}
    record(Path("results/lai/gray/people_02_kernel_03.json"), **settings)
    assert lai(["--jobs", "1", "--save_aligned"]) == 0
    scores = scores_in(workplace / "results/statistics/lai")
    in_color, in_gray = (scores[m, "people_02_kernel_03"] for m in ("color", "gray"))
    # But for the rounding to 8 bits.
    assert float(in_gray["psnr"]) == pytest.approx(float(in_color["psnr"]), abs=0.03)
    assert float(in_gray["ssim"]) == pytest.approx(float(in_color["ssim"]), abs=5e-4)
    note = "gray, gray images (1): converted from the range on record"
    assert note in capsys.readouterr().out
    # The aligned image is on its file's scale.
    saved = read_image("results/lai/gray/aligned/people_02_kernel_03_x.png")
    assert np.abs(saved - crop(luma.luminance(color))).max() <= 1.01 / 255


@pytest.mark.parametrize("settings", [None, {}, {"luma": "all"}, {"luma_range": [1, 0]}])
def test_gray_results_without_a_record_are_taken_for_y_and_named(workplace, capsys, settings):
    truth = picture(70, 64, 3)
    put(Path("results/lai/ground_truth/people_02.png"), truth)
    _, gray = lai_color(truth)
    put(Path("results/lai/gray/people_02_kernel_03_x.png"), gray)
    if settings is not None:
        record(Path("results/lai/gray/people_02_kernel_03.json"), **settings)
    assert lai(["--jobs", "1"]) == 0
    row = scores_in(workplace / "results/statistics/lai")["gray", "people_02_kernel_03"]
    expected = comp_upto_shift(gray, STUDIO_RANGE.luminance(truth))[0]
    assert float(row["psnr"]) == pytest.approx(expected, abs=1e-8)
    note = "gray, gray images without a record (1): taken for rgb2ycbcr's Y"
    assert note in capsys.readouterr().out
    assert note in (workplace / "results/statistics/lai/statistics.md").read_text()


def test_gray_blurry_images_of_lai_are_converted(workplace, capsys):
    truth = np.rint(255 * (0.1 + 0.8 * picture(70, 64, 3))) / 255
    put(Path("datasets/lai/ground_truth/people_02.png"), truth)
    color, gray = lai_color(truth)
    put(Path("datasets/lai/uniform_ycbcr/people_02_kernel_03.png"), gray)
    put(Path("results/lai/color/people_02_kernel_03.png"), color)
    assert lai(["--jobs", "1"]) == 0
    scores = scores_in(workplace / "results/statistics/lai")
    blurry, same = (float(scores[m, "people_02_kernel_03"]["psnr"]) for m in ("blurry", "color"))
    assert blurry == pytest.approx(same, abs=0.03)
    assert "blurry, gray images (1): converted" in capsys.readouterr().out


def test_no_name_reaches_the_terminal_raw(small, capsys):
    """Not even in messages about what is missing, misnamed or unreadable."""
    wicked = "a\x1b[2J\x1b]0;owned\x07\nb\u202e"
    others = Path("results/levin/others")
    put(others / wicked / f"{NAMES[0]}.png", picture(60, 66))
    (others / wicked / f"{NAMES[1]}.png").write_bytes(b"no image")
    (others / wicked / f"{NAMES[0]}.json").write_text("{")
    put(others / f"misnamed {wicked}/fishes.png", picture(60, 66))
    levin(["--jobs", "1"])
    printed = capsys.readouterr()
    assert r"a\x1b[2J\x1b]0;owned\x07\nb\u202e" in printed.out
    assert "misnamed" in printed.err and "JSON" in printed.err and "not an image" in printed.err
    for text in printed:
        assert all(line.isprintable() for line in text.split("\n"))
    table = (small / "results/statistics/levin/statistics.md").read_text().split("\n\n")[0]
    assert len(table.splitlines()) == 2 + 4 + len(published.LEVIN)


@pytest.mark.parametrize("kind", ["long", "deep", "pipe", "text"])
def test_files_that_are_not_records_are_skipped_with_one_line(small, capsys, kind):
    file = Path(f"results/levin/others/zuo/{NAMES[0]}.json")
    if kind == "pipe":
        os.mkfifo(file)
    else:
        content = {"long": " " * MAX_JSON_BYTES + "{}", "deep": "[" * 100_000, "text": "no JSON"}
        file.write_text(content[kind])
    assert levin(["--jobs", "1"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "record" in line]
    assert str(file) in line
    assert scores_in(small / "results/statistics/levin")["zuo", NAMES[0]]["psnr"]


def test_curves_show_the_share_of_images_below(small, monkeypatch):
    figures = {}
    monkeypatch.setattr(plots, "_save", lambda figure, stem: figures.update({stem.name: figure}))
    statistics = evaluate(ScoringOptions(Path("results"), None, [], 10, 1, False), LEVIN)
    plots.draw_error_ratios(Path("."), statistics)
    published_panel, levin_panel = figures["error_ratio"].axes
    curves = {line.get_label(): line for line in levin_panel.get_lines()}
    assert set(curves) == {"levin (3 of 32)", "zuo (3 of 32)"}
    ratios = sorted(s.error_ratio_levin for s in statistics.scores_of("zuo") if s.file)
    x, y = curves["zuo (3 of 32)"].get_data()
    assert curves["zuo (3 of 32)"].get_drawstyle() == "steps-post"
    for threshold in (ratios[0] - 1e-6, ratios[0] + 1e-6, ratios[1] + 1e-6, ratios[2] + 1e-6):
        share = 100 * sum(ratio < threshold for ratio in ratios) / 3
        assert y[np.searchsorted(x, threshold) - 1] == pytest.approx(share)

    plots.draw_heatmaps(Path("."), statistics)
    tables = {ax.get_title().split()[0]: ax for ax in figures["psnr"].axes if ax.images}
    shown = tables["zuo"].images[0].get_array()
    assert shown.shape == (4, 8)
    (score,) = [s for s in statistics.scores_of("zuo") if s.image == "im2_kernel1_img"]
    assert shown[1, 0] == score.psnr
    assert np.isnan(shown.filled(np.nan)[3, 7])


def test_bars_are_the_subsets_averages(workplace, monkeypatch):
    figures = {}
    monkeypatch.setattr(plots, "_save", lambda figure, stem: figures.update({stem.name: figure}))
    names = ("natural_01_kernel_01", "natural_02_kernel_01", "text_01_kernel_01")
    for seed, name in enumerate(names):
        truth = picture(60, 60, seed=seed)
        put(Path(f"results/lai/ground_truth/{name[:-10]}.png"), truth)
        put(Path(f"results/lai/uniform/{name}_x.png"), noisy(truth, 0.01 * (seed + 1), seed))
    statistics = evaluate(ScoringOptions(Path("results"), None, [], 10, 1, False), LAI)
    plots.draw_subsets(Path("."), statistics)
    (bars,) = figures["subsets"].axes[0].containers
    found = {score.image: score.psnr for score in statistics.scores if score.file}
    ticks = [tick.get_text() for tick in figures["subsets"].axes[1].get_xticklabels()]
    heights = {ticks[round(bar.get_x() + bar.get_width() / 2)]: bar.get_height() for bar in bars}
    assert heights == {
        "natural": pytest.approx((found[names[0]] + found[names[1]]) / 2),
        "text": pytest.approx(found[names[2]]),
        "all": pytest.approx(sum(found.values()) / 3),
    }


def test_plots_show_any_name(workplace, monkeypatch):
    figures = {}

    def draw(figure, stem):
        figure.savefig(io.BytesIO())
        figures[stem.name] = figure

    monkeypatch.setattr(plots, "_save", draw)
    truth = picture(60, 60)
    put(Path("results/levin/groundtruth/im1.png"), truth)
    put(Path("results/lai/ground_truth/text_01.png"), truth)
    for seed, method in enumerate(("groundk", "_mine", "$x_{$")):
        put(Path(f"results/levin/others/{method}/{NAMES[0]}.png"), noisy(truth, 0.1, seed))
        put(Path(f"results/lai/{method}/text_01_kernel_01.png"), noisy(truth, 0.1, seed))
    statistics = evaluate(ScoringOptions(Path("results"), None, [], 1, 1, False), LEVIN)
    plots.draw_error_ratios(Path("."), statistics)
    plots.draw_heatmaps(Path("."), statistics)
    statistics = evaluate(ScoringOptions(Path("results"), None, ["_*", "$*"], 1, 1, False), LAI)
    plots.draw_subsets(Path("."), statistics)
    for name, images in (("error_ratio", 32), ("subsets", 100)):
        labels = [text.get_text() for text in figures[name].legends[0].get_texts()]
        assert sorted(labels) == [rf"\$x_{{\$ (1 of {images})", f"_mine (1 of {images})"]


def test_plots_are_files_that_open_and_do_not_change(small, monkeypatch):
    monkeypatch.setattr(plots, "_save", SAVE)
    levin(["--jobs", "1"])
    folder = small / "results/statistics/levin"
    files = [
        folder / f"{stem}{suffix}"
        for stem in ("error_ratio", "psnr")
        for suffix in (".png", ".svg")
    ]
    before = [file.read_bytes() for file in files]
    for file in files:
        if file.suffix == ".png":
            assert min(read_image(file).shape[:2]) > 400
        else:
            assert ET.parse(file).getroot().tag.endswith("svg")
    levin(["--jobs", "1"])
    assert [file.read_bytes() for file in files] == before


def test_program_with_several_processes_gives_the_same(small):
    levin(["--jobs", "1"])
    files = [small / "results/statistics/levin" / f"statistics.{kind}" for kind in ("csv", "json")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    done = subprocess.run(
        [sys.executable, ROOT / "statistic/statistic_levin.py", "--jobs", "2"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert [file.read_bytes() for file in files] == before


@pytest.mark.skipif(not SHARED.exists(), reason="needs Levin's images beside the checkout")
def test_levins_images_give_the_error_ratios_of_octave(workplace):
    Path("results/levin/others/groundk").mkdir(parents=True)
    for folder, number in (("others/groundk/im1_kernel3_img.png", 5), ("im1_kernel3_img_x.png", 3)):
        content = (SHARED / f"im1_kernel{number}_img.png").read_bytes()
        Path("results/levin", folder).write_bytes(content)
    assert levin(["--jobs", "1", "--maxshift", "2", "--gt_path", str(SHARED / "gt")]) == 0
    row = scores_in(workplace / "results/statistics/levin")["levin", "im1_kernel3_img"]
    assert float(row["error_ratio"]) == pytest.approx(0.9350067991, abs=1e-9)
    assert float(row["error_ratio_levin"]) == pytest.approx(1.1521211858, abs=1e-9)


@pytest.mark.skipif(not SHARED.exists(), reason="needs Levin's images beside the checkout")
def test_images_are_restored_with_the_true_kernels_once(workplace, capsys, monkeypatch):
    Path("datasets/levin/gt").mkdir(parents=True)
    # The truths of kernels 4 and 5 are stored in opposite orientations.
    for file in ("im1_kernel4_img", "im1_kernel5_img", "gt/im1", "gt/kernel4", "gt/kernel5"):
        Path(f"datasets/levin/{file}.png").write_bytes((SHARED / f"{file}.png").read_bytes())
    for name in ("im1_kernel4_img", "im1_kernel5_img"):
        blurry = read_gray(f"datasets/levin/{name}.png")
        put(Path(f"results/levin/{name}_x.png"), blurry)
    assert levin(["--jobs", "1"]) == 0
    assert "restoring 2 images with their true kernels" in capsys.readouterr().err
    folder = workplace / "results/levin/known_kernel"
    assert {file.name for file in folder.iterdir()} == {
        f"im1_kernel{number}_img.{suffix}" for number in (4, 5) for suffix in ("png", "json")
    }
    scores = scores_in(workplace / "results/statistics/levin")
    for name in ("im1_kernel4_img", "im1_kernel5_img"):
        assert float(scores["known_kernel", name]["psnr"]) > 30
        assert float(scores["known_kernel", name]["error_ratio"]) == 1
        assert float(scores["levin", name]["error_ratio_levin"]) > 5
    assert statistics_in(workplace / "results/statistics/levin")["known_kernel"] == (
        "../../levin/known_kernel"
    )

    table = workplace / "results/statistics/levin/statistics.md"
    assert "Those images are our own" in table.read_text()

    # What was made from the same files is kept; what was not is made anew.
    four, five = (folder / f"im1_kernel{number}_img.png" for number in (4, 5))
    before = five.read_bytes()
    four.write_bytes(before)
    put(Path("datasets/levin/gt/kernel5.png"), np.ones((11, 11)))
    assert levin(["--jobs", "1"]) == 0
    assert "restoring 1 images" in capsys.readouterr().err
    assert four.read_bytes() == before != five.read_bytes()
    monkeypatch.setattr(known_images, "WEIGHT", 1.0)
    assert levin(["--jobs", "1"]) == 0
    assert "restoring 2 images" in capsys.readouterr().err
    assert four.read_bytes() != before

    # What cannot be made anew is not left either, and its lack is explained.
    Path("datasets/levin/gt/kernel5.png").write_bytes(b"")
    assert levin(["--jobs", "1"]) == 1
    assert "im1_kernel5_img: no error ratio: datasets/levin/gt/kernel5.png: not an image" in (
        capsys.readouterr().err
    )
    assert four.exists() and not five.exists()

    # The authors' images go before ours.
    put(Path("results/levin/others/groundk/im1_kernel5_img.png"), blurry)
    assert levin(["--jobs", "1"]) == 0
    scores = scores_in(workplace / "results/statistics/levin")
    assert float(scores["levin", "im1_kernel5_img"]["error_ratio"]) == 1
    assert "Those images are our own" not in table.read_text()


def test_nothing_of_torch_is_loaded():
    program = "import sys, statistic.statistic_levin; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
