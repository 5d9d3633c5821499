"""The report: what is written beside the page, and what the page does in a real browser."""

import contextlib
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from scipy.ndimage import correlate
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from statistic.metrics import align
from statistic.report.page import FORMAT, PART_BYTES, render, report_folder
from statistic.statistic_lai import main as lai
from statistic.statistic_levin import main as levin
from tests.pictures import noisy, picture, put
from utils.errors import DataError
from utils.images.kernels import scale_kernel
from utils.images.reading import read_gray, read_image, read_kernel

# A method's folder can be called so. (Where the slash is, it is a folder in a folder.)
WICKED = "a</script><img src=x onerror=document.title='run' class=x>&amp; #1?100%25"
IMAGES = ("im1_kernel1_img", "im1_kernel2_img", "im2_kernel1_img")
MOVED = (2, -1)  # by this many rows and columns the method `moved` is off


def make_kernel(size):
    """A kernel that looks different when turned."""
    kernel = np.zeros((size, size))
    kernel[2, 2:-2] = 1
    kernel[2:-3, 2] = 0.6
    return kernel / kernel.sum()


def make_results():
    """Results on Levin's and Lai's benchmarks as they may lie in the working folder."""
    for number in (1, 2):
        put(Path(f"results/levin/groundtruth/im{number}.png"), picture(90, 120, seed=number))
    for number, size in ((1, 9), (2, 11)):
        # Number 2 is stored turned, as some of Levin's are.
        stored = np.rot90(make_kernel(size), 2 if number == 2 else 0)
        put(Path(f"datasets/levin/gt/kernel{number}.png"), scale_kernel(stored))
    for seed, name in enumerate(IMAGES):
        truth = read_gray(f"results/levin/groundtruth/{name[:3]}.png")
        kernel = make_kernel(9 if "kernel1" in name else 11)
        put(Path(f"datasets/levin/{name}.png"), correlate(truth, kernel, mode="reflect"))
        put(Path(f"results/levin/others/moved/{name}.png"), np.roll(truth, MOVED, (0, 1)))
        moved = np.roll(kernel, MOVED, (0, 1))
        put(Path(f"results/levin/others/moved/{name}_k.png"), scale_kernel(moved))
        put(Path(f"results/levin_noisy/{name}_x.png"), noisy(truth, 0.02, seed))
        put(Path(f"results/levin_noisy/{name}_k.png"), scale_kernel(kernel[1:-1, 1:-1]))
    put(Path(f"results/levin/others/{WICKED}/{IMAGES[0]}.png"), noisy(truth, 0.3, 9))
    Path(f"results/levin/others/{WICKED}/{IMAGES[0]}_k.png").write_bytes(b"no image")
    Path(f"results/levin/others/{WICKED}/{IMAGES[2]}.png").write_bytes(b"no image")
    truth = picture(80, 100, 3, seed=5)
    put(Path("results/lai/ground_truth/text_01.png"), truth)
    put(Path("results/lai/mine/text_01_kernel_02.png"), noisy(truth, 0.1, 1))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report on both benchmarks."""
    folder = tmp_path_factory.mktemp("work place #1")
    with contextlib.chdir(folder):
        make_results()
        assert levin(["--jobs", "1"]) == 1  # for one file is no image
        assert lai(["--jobs", "1"]) == 0
    return folder / "report"


@pytest.fixture(scope="module")
def page(report):
    return (report / "index.html").read_text()


def part_of(report, name="levin"):
    return json.loads((report / name / "part.json").read_text())


def scores_of(part, method):
    index = [entry["name"] for entry in part["methods"]].index(method)
    return {image["name"]: image["scores"][index] for image in part["images"]}


# What is written


def test_the_report_of_other_results_leaves_the_usual_one_alone():
    assert report_folder(Path("results")) == report_folder(Path("./results/")) == Path("report")
    assert report_folder(Path("/elsewhere/mine")) == Path("/elsewhere/mine/report")
    assert report_folder(Path("results/old")) == Path("results/old/report")


def test_every_address_in_the_page_is_a_file_beside_it(report, page):
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    addresses = re.findall(r'(?:src|href)="([^"#][^"]*)"', markup)
    parts = [part_of(report), part_of(report, "lai")]
    data = json.dumps(parts)
    addresses += re.findall(r'"(?:picture|kernel|truth|blurry|svg|png)": "([^"]+)"', data)
    assert len(addresses) > 20
    for address in set(addresses) - {"data:,"}:
        assert (report / unquote(address)).is_file(), address


def test_pictures_are_those_that_were_scored(report):
    scores = scores_of(part_of(report), "moved")
    for name in IMAGES:
        shown = report / unquote(scores[name]["picture"])
        original = report.parent / f"results/levin/others/moved/{name}.png"
        assert shown.read_bytes() == original.read_bytes()


def test_results_that_change_later_do_not_change_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    truth = picture(50, 50, 3, seed=1)
    put(Path("results/lai/ground_truth/text_01.png"), truth)
    result = Path("results/lai/mine/text_01_kernel_01.png")
    put(result, noisy(truth, 0.1, 1))
    lai(["--jobs", "1"])
    shown = tmp_path / "report/lai/restored/mine/text_01_kernel_01.png"
    scored = result.read_bytes()
    put(tmp_path / "other.png", noisy(truth, 0.2, 2))
    result.write_bytes((tmp_path / "other.png").read_bytes())
    assert shown.read_bytes() == scored
    lai(["--jobs", "1"])
    assert shown.read_bytes() == result.read_bytes() != scored
    # Nor does what is done to the report change the results. (Older reports held links.)
    shown.unlink()
    shown.hardlink_to(result)
    lai(["--jobs", "1"])
    shown.write_bytes(scored)
    assert result.read_bytes() != scored
    assert not list(tmp_path.rglob("*.part"))


def test_truths_that_browsers_do_not_show_are_converted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    truth = picture(50, 50, 3, seed=1)
    put(Path("results/lai/mine/text_01_kernel_01.png"), noisy(truth, 0.1, 1))
    Path("results/lai/ground_truth").mkdir()
    cv2.imwrite("results/lai/ground_truth/text_01.tif", np.uint8(255 * truth[..., ::-1]))
    lai(["--jobs", "1"])
    shown = read_image("report/lai/truth/text_01.png")
    assert np.array_equal(shown, read_image("results/lai/ground_truth/text_01.tif"))


def test_true_kernels_are_rotated_as_they_blur(report):
    for image in part_of(report)["images"]:
        if image["name"] in IMAGES:
            kernel = read_kernel(report / unquote(image["kernel"]))
            expected = make_kernel(len(kernel))
            assert np.abs(kernel - expected).max() < 0.01


def test_what_is_lacking_has_its_reason(report):
    scores = scores_of(part_of(report), WICKED)
    assert scores[IMAGES[1]]["problem"] == "missing"
    assert "not an image" in scores[IMAGES[2]]["problem"]
    assert scores[IMAGES[2]]["picture"] is None


def test_a_page_has_the_parts_of_both_benchmarks_and_none_of_another_format(report, page):
    assert re.findall(r'<section class="benchmark" id="(\w+)"', page) == ["lai", "levin"]
    stale = report / "old"
    stale.mkdir()
    old, foreign = {"format": FORMAT + 1, "name": "old"}, {"format": FORMAT, "name": "foreign"}
    try:
        for content in (json.dumps(old), json.dumps(foreign), "[1]", '{"format"', "\x80"):
            (stale / "part.json").write_bytes(content.encode("latin-1"))
            with contextlib.chdir(report.parent):
                lai(["--jobs", "1"])
            assert (report / "index.html").read_text().count('<section class="benchmark"') == 2
    finally:
        shutil.rmtree(stale)


HOSTILE = (
    "javascript:alert(1)//",
    "levin/javascript:alert(1)",
    "https://example.org/a.svg",
    "//example.org/a.svg",
    "/etc/passwd",
    "levin/../../secret.svg",
    "levin/%2e%2e/%2E%2E/secret.svg",
    'levin/a.svg"><script>alert(1)</script>',
    "levin/a.svg\nb",
    "data:text/html,<script>alert(1)</script>",
    ["levin/a.svg"],
    7,
)


@pytest.mark.parametrize("address", HOSTILE)
@pytest.mark.parametrize("place", ["svg", "png", "truth", "blurry", "picture", "kernel"])
def test_an_address_that_leads_elsewhere_is_refused(report, place, address):
    part = part_of(report)
    holder = {
        **dict.fromkeys(("svg", "png"), part["plots"][0]),
        **dict.fromkeys(("truth", "blurry"), part["images"][0]),
        **dict.fromkeys(("picture", "kernel"), part["images"][0]["scores"][0]),
    }[place]
    holder[place] = address
    with pytest.raises(DataError, match=f"{place} is not the address of a file in levin/"):
        render([part])


def test_hostile_parts_are_left_out_with_one_line_each(report, capsys):
    part = part_of(report)
    contents = {
        "address": part | {"plots": [part["plots"][0] | {"svg": "javascript:alert(1)"}]},
        "name": part | {"name": "x' onload='alert(1)"},
        "lacking": {key: part[key] for key in part if key != "plots"},
        "types": part | {"images": 7},
        "text": part | {"plots": "<script>alert(1)"},
        "deep": "[" * 100_000,
        "long": part | {"time": "9" * (PART_BYTES + 1)},
    }
    folders = {kind: report / f"hostile_{kind}" for kind in contents}
    for kind, content in contents.items():
        folders[kind].mkdir()
        if isinstance(content, dict):
            # But for its fault, it is a part of its folder.
            content = json.dumps({"name": folders[kind].name} | content, default=str)
            content = content.replace('"levin', f'"{folders[kind].name}')
        (folders[kind] / "part.json").write_text(content)
    try:
        with contextlib.chdir(report.parent):
            assert lai(["--jobs", "1"]) == 0
    finally:
        for folder in folders.values():
            shutil.rmtree(folder)
    lines = [line for line in capsys.readouterr().err.splitlines() if "part.json" in line]
    for kind, line in zip(sorted(contents), lines, strict=True):
        assert f"hostile_{kind}/part.json: " in line and "not in the report" in line
        assert len(line) < 400
    page = (report / "index.html").read_text()
    assert re.findall(r'<section class="benchmark" id="(\w+)"', page) == ["lai", "levin"]
    assert "alert(1)" not in page


def test_text_of_a_hostile_part_stays_text(report):
    part, wicked = part_of(report), "</script><script>alert(1)</script>"
    part["table"]["header"][0] = part["table"]["notes"][0] = part["results"] = wicked
    part["plots"][0]["title"] = '" onerror="alert(1)' + wicked
    part["images"][0]["name"] = part["methods"][0]["name"] = wicked
    part["figures"][0] = {"name": wicked, "title": wicked}
    part["images"][0]["scores"][0]["problem"] = wicked
    page = render([part])
    assert wicked not in page and 'onerror="alert' not in page
    assert page.count("<script") == page.count("</script>") == 2


def test_hundreds_of_images_need_no_more_picture_elements(report):
    part = part_of(report)
    few = render([part]).count("<img")
    part["images"] = part["images"] * 20
    assert render([part]).count("<img") == few


def test_names_appear_in_the_page_as_text(page):
    assert WICKED not in page
    assert "<img src=x" not in page
    # One script for each part's data and one that acts.
    assert page.count("<script") == page.count("</script>") == 3


def test_shift_is_where_the_restored_image_lies():
    truth = picture(90, 120, seed=1)
    assert align(np.roll(truth, MOVED, (0, 1)), truth).shift == MOVED
    between = (truth[:, :-1] + truth[:, 1:]) / 2  # at (y, x) stands what the truth has half a
    assert align(between, truth[:, :-1]).shift == (0, -0.5)  # pixel further right


# What the page does


class Page:
    """The report in a browser, with the names of its parts."""

    def __init__(self, browser, index, benchmark="levin"):
        self.browser = browser
        self.resize(1400, 1000)
        browser.get("about:blank")
        browser.get_log("performance"), browser.get_log("browser")
        browser.get(index.as_uri())
        self.section = browser.find_element(By.ID, benchmark)
        self.settle()

    def resize(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def settle(self):
        """Wait until all pictures are there and drawn."""
        self.browser.set_script_timeout(10)
        self.browser.execute_async_script(
            """
            const done = arguments[0];
            const shown = [...document.images].filter((img) => !img.hidden && img.src);
            Promise.all(shown.map((img) => img.decode().catch(() => null)))
              .then(() => requestAnimationFrame(() => requestAnimationFrame(done)));
            """
        )

    def find(self, selector):
        return self.section.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.section.find_elements(By.CSS_SELECTOR, selector)

    def choose(self, selector, text):
        Select(self.find(selector)).select_by_visible_text(text)
        self.settle()

    def column(self, table, index):
        script = "return [...arguments[0].tBodies[0].rows].map((row) => row.cells[arguments[1]]"
        return self.run(f"{script}.textContent.trim())", self.find(table), index)

    def header(self, table, title):
        headers = self.all(f"{table} thead th")
        return next((i, th) for i, th in enumerate(headers) if th.text.split("\n")[0] == title)

    def box(self, selector):
        """Left, top, width and height of an element in the window, in whole pixels."""
        script = (
            "const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
        )
        return np.rint(self.run(script, self.find(selector))).astype(int)

    def screenshot(self, selector):
        self.run("arguments[0].scrollIntoView({block: 'center'})", self.find(selector))
        left, top, width, height = self.box(selector)
        pixels = np.frombuffer(self.browser.get_screenshot_as_png(), np.uint8)
        window = cv2.imdecode(pixels, cv2.IMREAD_COLOR)
        # The last row and column may lie half outside.
        return window[top : top + height - 1, left : left + width - 1]

    def frame(self, port):
        """Where the truth's frame lies in a port: left, top, width, height in pixels."""
        return (self.box(f"{port} .frame") - [*self.box(port)[:2], 0, 0]).tolist()

    def zoom(self):
        return int(self.find(".zoom output").text.rstrip("×"))

    def zoom_to(self, zoom):
        while self.zoom() != zoom:
            self.find(".zoom .in" if self.zoom() < zoom else ".zoom .out").click()
        self.settle()


@pytest.fixture
def levin_page(browser, report):
    return Page(browser, report / "index.html")


def numbers(cells):
    """The figures of the cells that have one, as the page shows them."""
    found = [re.match(r"[\d.]+|inf|∞", cell) for cell in cells]
    return [np.inf if m[0] in ("inf", "∞") else float(m[0]) for m in found if m]


def test_the_table_of_methods_sorts_by_mouse_and_keyboard(levin_page):
    page, table = levin_page, "table.methods"
    index, header = page.header(table, "PSNR")
    unsorted = numbers(page.column(table, index))
    assert header.get_attribute("aria-sort") == "none"
    button = header.find_element(By.TAG_NAME, "button")
    button.click()
    assert header.get_attribute("aria-sort") == "descending"
    shown = numbers(page.column(table, index))
    assert shown == sorted(unsorted, reverse=True) != unsorted
    button.send_keys(Keys.ENTER)
    assert header.get_attribute("aria-sort") == "ascending"
    assert numbers(page.column(table, index)) == sorted(unsorted)

    index, ratio = page.header(table, "error ratio")
    ratio.find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert header.get_attribute("aria-sort") == "none"
    assert ratio.get_attribute("aria-sort") == "ascending"
    cells = page.column(table, index)
    lacking = [cell == "" for cell in cells]
    assert lacking == sorted(lacking)
    assert numbers(cells) == sorted(numbers(cells))

    index, name = page.header(table, "method")
    name.find_element(By.TAG_NAME, "button").click()
    names = page.column(table, index)
    assert WICKED in names
    assert names.index("blurry") < names.index("levin_noisy") < names.index("moved")
    name.find_element(By.TAG_NAME, "button").click()
    assert page.column(table, index) == names[::-1]


def test_the_table_of_images_sorts_with_what_is_lacking_last(levin_page):
    page, table = levin_page, "table.grid"
    index, header = page.header(table, "moved")
    for order in ("descending", "ascending"):
        header.find_element(By.TAG_NAME, "button").click()
        assert header.get_attribute("aria-sort") == order
        cells = page.column(table, index)
        assert len(cells) == 32
        assert cells[3:] == ["–"] * 29
        assert numbers(cells) == sorted(numbers(cells), reverse=order == "descending")
    page.choose("select.figure", "error ratio")
    assert header.get_attribute("aria-sort") == "ascending"


def expected_pixels(page, port, image, shift=(0, 0)):
    """What a port must show of a file: its pixels as squares, moved to where they fit the truth.

    -1 stands where there is nothing to show, and along the port's rounded border.
    """
    left, top, width, height = page.frame(port)
    zoom = page.zoom()
    shape = page.screenshot(port).shape[:2]
    axes = []
    for axis, (origin, side) in enumerate(((top, height), (left, width))):
        place = np.arange(shape[axis])
        pixel = np.floor((place - origin + shift[axis] * zoom) / zoom).astype(int)
        inside = (place >= origin) & (place < origin + side) & (pixel >= 0)
        inside &= (pixel < image.shape[axis]) & (place >= 4) & (place < shape[axis] - 4)
        axes.append((pixel.clip(0, image.shape[axis] - 1), inside))
    (rows, inside_rows), (columns, inside_columns) = axes
    shown = np.rint(255 * image[np.ix_(rows, columns)])
    return np.where(np.outer(inside_rows, inside_columns), shown, -1)


def read_truth(report, number=1):
    return read_gray(report.parent / f"results/levin/groundtruth/im{number}.png")


@pytest.mark.parametrize("percent", [30, 70])
def test_the_slider_wipes_between_the_files_pixels(levin_page, report, percent):
    page = levin_page
    page.choose("select.method", "moved")
    page.choose("select.left", "blurry")
    page.choose("select.right", "restored: moved")
    part = part_of(report)
    blurry = read_gray(report.parent / f"datasets/levin/{IMAGES[0]}.png")
    moved = read_gray(report.parent / f"results/levin/others/moved/{IMAGES[0]}.png")
    page.run(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
        page.find(".wipe"), percent,
    )  # fmt: skip
    shown = page.screenshot(".stage")
    middle = percent / 100 * shown.shape[1]
    shifts = [scores_of(part, name)[IMAGES[0]]["shift"] for name in ("blurry", "moved")]
    sides = (
        (expected_pixels(page, ".stage", blurry, shifts[0]), slice(0, int(middle) - 14)),
        (expected_pixels(page, ".stage", moved, shifts[1]), slice(int(middle) + 14, None)),
    )
    # The names of the two sides stand in the upper corners.
    for expected, columns in sides:
        expected, seen = expected[40:, columns], shown[40:, columns, 0]
        assert (expected >= 0).mean() > 0.3
        assert np.array_equal(seen[expected >= 0], expected[expected >= 0])


def test_the_slider_obeys_the_keyboard_and_the_divider_the_mouse(levin_page):
    page = levin_page
    slider, stage = page.find(".wipe"), page.find(".stage")

    def wiped():
        cut = page.find(".stage .layer.right").value_of_css_property("clip-path")
        return float(re.search(r"([\d.]+)(%|px)\)$", cut)[1])

    assert wiped() == 50
    slider.send_keys(Keys.ARROW_RIGHT)
    assert wiped() == float(slider.get_property("value")) == 50.5
    slider.send_keys(Keys.HOME)
    assert wiped() == 0
    slider.send_keys(Keys.END)
    assert wiped() == 100
    slider.send_keys(Keys.HOME)
    page.run("arguments[0].scrollIntoView({block: 'center'})", stage)
    width = stage.size["width"]
    handle = page.find(".divider")
    start = stage.location["x"] - handle.location["x"]
    ActionChains(page.browser).move_to_element(stage).perform()
    drag = ActionChains(page.browser).move_to_element_with_offset(stage, -width // 2 + 2, 0)
    drag.click_and_hold().move_by_offset(width // 4, 0).release().perform()
    assert start == pytest.approx(12, abs=1)
    assert wiped() == pytest.approx(25, abs=1)
    assert float(slider.get_property("value")) == pytest.approx(wiped(), abs=0.5)


def test_zoom_and_movement_are_the_same_for_all_images(levin_page, report):
    page = levin_page
    page.choose("select.method", "moved")
    panes = [f".pane.{name}" for name in ("blurry", "restored", "truth")]
    centres = []
    for zoom in (4, 8, 16):
        page.zoom_to(zoom)
        frames = [page.frame(pane) for pane in panes]
        assert frames[0] == frames[1] == frames[2]
        assert frames[0][2:] == [120 * zoom, 90 * zoom]
        truth = read_truth(report)
        shown = {pane: page.screenshot(pane) for pane in panes}
        expected = expected_pixels(page, ".pane.truth", truth)
        assert np.array_equal(shown[".pane.truth"][..., 0][expected >= 0], expected[expected >= 0])
        # The restored image is the truth, moved; but for the edges it fits when moved back.
        inner = (slice(60, -60), slice(60, -60))
        assert np.array_equal(shown[".pane.restored"][inner], shown[".pane.truth"][inner])
        for port in (".stage", ".pane.truth"):
            left, top, *_ = page.frame(port)
            size = page.find(port).size
            centres.append(((size["width"] / 2 - left) / zoom, (size["height"] / 2 - top) / zoom))
    assert np.ptp(centres[-2:], 0).max() < 0.1

    before = page.frame(panes[0])
    page.run("arguments[0].scrollIntoView({block: 'center'})", page.find(".row"))
    ActionChains(page.browser).click_and_hold(page.find(panes[2])).move_by_offset(
        -32, 48
    ).release().perform()
    after = [page.frame(pane) for pane in panes]
    assert after[0] == after[1] == after[2]
    assert np.subtract(after[0], before).tolist() == [-32, 48, 0, 0]

    page.find(".aligned").click()
    page.settle()
    restored, truth = (page.screenshot(pane) for pane in panes[1:])
    assert not np.array_equal(restored, truth)


def test_quarters_of_a_pixel_are_shown_from_four_on(levin_page):
    page = levin_page
    part_shift = page.run(
        "return JSON.parse(document.querySelector('#levin script.data').textContent)"
        ".images[0].scores[0].shift"
    )
    for zoom in (4, 8):
        page.zoom_to(zoom)
        moved = page.find(".pane.blurry img").value_of_css_property("transform")
        x, y = map(float, re.findall(r"-?[\d.]+", moved)[-2:])
        assert (-y / zoom, -x / zoom) == tuple(part_shift)


def test_the_stage_obeys_the_keyboard(levin_page):
    page = levin_page
    stage = page.find(".stage")
    zoom = page.zoom()
    stage.send_keys("+")
    assert page.zoom() > zoom
    page.zoom_to(16)
    before = page.frame(".stage")
    stage.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    after = page.frame(".stage")
    assert after[0] < before[0]
    assert after[1] < before[1]
    stage.send_keys("-")
    assert page.zoom() == 12


def test_kernels_are_shown_side_by_side_at_one_scale(levin_page):
    page = levin_page
    page.choose("select.method", "levin_noisy")
    estimated, true = (page.find(f".kernel.{name} img") for name in ("estimated", "true"))
    assert estimated.size["width"] / 7 == true.size["width"] / 9 == int(154 / 9)
    shown = [page.screenshot(f".kernel.{name}") for name in ("estimated", "true")]
    # The noisy image is not shifted, so both kernels lie in the middle.
    assert np.abs(np.subtract(*shown, dtype=float)).mean() < 2
    assert shown[0].max() == 255
    page.choose("select.method", WICKED)
    assert page.find(".kernel.estimated").text == "unreadable"
    page.choose("select.method", "blurry")
    assert page.find(".kernel.estimated").text == "not saved"


def test_a_kernel_moves_with_its_image(levin_page):
    # That both explain the blurry image only if they are moved alike:
    truth, kernel = picture(90, 120, seed=1), make_kernel(9)
    blurry = correlate(truth, kernel)
    again = correlate(np.roll(truth, MOVED, (0, 1)), np.roll(kernel, MOVED, (0, 1)))
    assert np.allclose(again[8:-8, 8:-8], blurry[8:-8, 8:-8])

    page = levin_page
    page.choose("select.method", "moved")
    for aligned in (True, False):
        shown = [page.screenshot(f".kernel.{name}") for name in ("estimated", "true")]
        inner = [pixels[4:-4, 4:-4] for pixels in shown]  # without the rounded corners
        assert np.array_equal(*inner) == aligned
        page.find(".aligned").click()


def test_the_keyboard_walks_through_images_and_methods(levin_page):
    page = levin_page
    cell = page.find("table.grid td[aria-selected=true]")
    assert cell.get_attribute("tabindex") == "0"
    assert len(page.all("table.grid tbody [tabindex='0']")) == 1
    cell.send_keys(Keys.ARROW_DOWN)
    page.settle()
    assert Select(page.find("select.image")).first_selected_option.text == IMAGES[1]
    assert unquote(page.find(".pane.truth img").get_attribute("src")).endswith("truth/im1.png")
    method = Select(page.find("select.method")).first_selected_option.text
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    page.settle()
    following = Select(page.find("select.method")).first_selected_option.text
    assert following != method
    names = page.run(
        "return [...arguments[0].tHead.rows[0].cells].map((cell) => cell.textContent.trim())",
        page.find("table.grid"),
    )
    assert names.index(following) == names.index(method) + 1
    assert page.find(".pane.restored + figcaption b").text == following
    active = page.browser.switch_to.active_element
    assert active.get_attribute("aria-selected") == "true"
    assert active.value_of_css_property("outline-style") == "solid"


def test_every_control_is_reached_by_tab_and_shows_its_focus(levin_page):
    page = levin_page
    page.run("document.activeElement.blur(); scrollTo(0, 0)")
    reached = []
    for _ in range(80):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        active = page.browser.switch_to.active_element
        if active.tag_name == "body":
            break
        assert active.value_of_css_property("outline-style") != "none", active.text
        reached.append(active.id)
    missing = [
        element.get_attribute("outerHTML")
        for selector in (
            "thead button",
            "select",
            ".wipe",
            ".stage",
            ".swap",
            ".aligned",
            ".zoom button",
            ".next",
            "table.grid td[aria-selected=true]",
        )
        for element in page.all(selector)
        if element.id not in reached
    ]
    assert missing == []


def test_a_reloaded_page_shows_what_it_showed(levin_page):
    page = levin_page
    page.choose("select.image", IMAGES[2])
    page.choose("select.method", WICKED)
    page.choose("select.left", "moved")
    page.browser.refresh()
    page.section = page.browser.find_element(By.ID, "levin")
    page.settle()
    chosen = [
        Select(page.find(f"select.{name}")).first_selected_option.text
        for name in ("image", "method", "left", "right")
    ]
    assert chosen == [IMAGES[2], WICKED, "moved", "truth"]
    assert "not an image" in page.find(".pane.restored .lack").text


def test_the_page_begins_with_an_image_of_the_method_and_follows_its_address(browser, report):
    page = Page(browser, report / "index.html", "lai")
    assert page.find(".pane.restored img").is_displayed()
    page = Page(browser, report / "index.html")
    page.run("location.hash = arguments[0]", f"levin/{IMAGES[1]}/moved/truth/blurry")
    WebDriverWait(browser, 5).until(
        lambda _: page.find(".pane.restored + figcaption b").text == "moved"
    )
    assert Select(page.find("select.image")).first_selected_option.text == IMAGES[1]
    assert page.find(".stage .tag.left").text == "truth"
    assert "∞ dB" in page.find(".pane.restored + figcaption").text
    # The link to a benchmark leaves alone what is shown of it.
    page.run("location.hash = 'levin'")
    page.settle()
    assert Select(page.find("select.image")).first_selected_option.text == IMAGES[1]


def test_names_are_shown_and_have_no_effect(levin_page):
    page = levin_page
    page.choose("select.method", WICKED)
    assert page.find(".pane.restored + figcaption b").text == WICKED
    assert page.find(".pane.restored img").get_property("naturalWidth") == 120
    assert WICKED in page.column("table.methods", 0)
    assert page.all("img.x") == []
    assert page.browser.title == "Deblurring results: Lai, Levin"


@pytest.mark.parametrize("benchmark", ["levin", "lai"])
def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(browser, report, benchmark):
    page = Page(browser, report / "index.html", benchmark)
    for select in ("select.method", "select.left", "select.right", "select.image"):
        for option in [o.text for o in Select(page.find(select)).options][:6]:
            page.choose(select, option)
    page.find("thead button").click()
    log = browser.get_log("performance")
    messages = [json.loads(entry["message"])["message"] for entry in log]
    addresses = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert (report / "index.html").as_uri() in addresses
    assert any(address.endswith(".svg") for address in addresses)
    assert all(address.startswith(("file://", "data:")) for address in addresses)
    assert "Network.loadingFailed" not in [message["method"] for message in messages]
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_colors_follow_the_reader(levin_page, scheme, dark):
    page = levin_page
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    paper, ink = (
        sum(map(int, re.findall(r"\d+", page.run(
            f"return getComputedStyle(document.body).{name}"))[:3]))
        for name in ("backgroundColor", "color")
    )  # fmt: skip
    assert (paper < ink) == dark
    assert abs(paper - ink) > 450


@pytest.mark.parametrize("width", [360, 800, 1200, 2400])
def test_the_page_fits_any_width(levin_page, width):
    page = levin_page
    page.resize(width, 900)
    WebDriverWait(page.browser, 5).until(lambda _: page.run("return innerWidth") == width)
    page.settle()
    root = "document.documentElement"
    assert page.run(f"return {root}.scrollWidth <= {root}.clientWidth")
    assert page.find(".stage").size["width"] > min(300, 0.4 * width)


def test_a_phone_shows_the_scores_beside_the_names(levin_page):
    page = levin_page
    page.resize(360, 740)
    WebDriverWait(page.browser, 5).until(lambda _: page.run("return innerWidth") == 360)
    _, ssim = page.header("table.methods", "SSIM")
    edges = "const box = arguments[0].getBoundingClientRect(); return [box.left, box.right]"
    assert page.run(edges, ssim)[1] <= 360
    scroll = page.find(".overview .scroll")
    page.run("arguments[0].scrollLeft = arguments[0].scrollWidth", scroll)
    name = page.find("table.methods tbody th")
    assert page.run(edges, name)[0] == pytest.approx(page.run(edges, scroll)[0], abs=1)
    assert page.find(".plots img").size["width"] > 500  # to be read, not to be guessed
