"""The page of a restored photograph: what is in it, what it does in a browser, when it is there."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

import selfdeblur_ycbcr
import utils.runs.run
from tests.pictures import hook, picture, put
from utils.engine.stage import Restoration
from utils.runs.page import Page, describe_seconds, open_page, render_page

WICKED = '</script><img src=x onerror="alert(1)">\udcff'
HEIGHT, WIDTH = 600, 900
PAGE = Page(
    name="a photograph",
    before=picture(HEIGHT, WIDTH, 3, seed=1),
    after=picture(HEIGHT, WIDTH, 3, seed=2),
    kernel=hook(9, 13),
    windows=[(100, 50, 300, 200)],
    candidates=[("5 × 5", hook(5, 5)), ("9 × 13", hook(9, 13))],
    kernel_map=np.stack([[hook(9, 7), hook(9, 7)[::-1]]]),
    notes={"Noise": "0.5 gray levels of 255"},
    settings={"method": "fast", "kernel_size": [9, 13]},
    losses=[0.1, 0.03, 0.01],
)


def addresses(html):
    return re.findall(r'(?:src|href)="([^"]*)"', html)


def pictures(html, kind):
    found = re.findall(rf"data:image/{kind};base64,([^\"]+)", html)
    return [base64.b64decode(each, validate=True) for each in found]


# What is in it


def test_everything_is_in_one_file():
    html = render_page(PAGE).decode()
    assert addresses(html) and all(each.startswith("data:") for each in addresses(html))
    assert "url(" not in html and "@import" not in html and "fetch(" not in html
    before, after = (
        cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] / 255
        for each in pictures(html, "jpeg")
    )
    assert np.abs(before - PAGE.before).mean() < 0.05  # in full size, and which is which
    assert np.abs(after - PAGE.after).mean() < 0.05
    for text in ("9 × 13", "5 × 5", "0.5 gray levels of 255", "[9, 13]", 'lang="en"'):
        assert text in html
    assert html.count("<polyline") == 1
    assert "refresh" not in html


def test_kernels_are_white_where_they_are_largest():
    kernel, first, second, across = (
        cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_UNCHANGED)
        for each in pictures(render_page(PAGE).decode(), "png")
    )
    for shown, expected in ((kernel, hook(9, 13)), (first, hook(5, 5)), (second, hook(9, 13))):
        assert np.abs(shown - 255 * expected / expected.max()).max() <= 0.5
    assert across.shape == (11, 17)  # a row of two, with lines around and between them
    left = 255 * hook(9, 7) / hook(9, 7).max()
    assert np.abs(across[1:10, 1:8] - left).max() <= 0.5
    assert np.abs(across[1:10, 9:16] - left[::-1]).max() <= 0.5
    assert len({*across[0], *across[:, 8]}) == 1


def test_gray_images_and_little_else():
    page = Page("gray", picture(20, 30), picture(20, 30), hook(3, 3))
    html = render_page(page).decode()
    assert all(Image.open(io.BytesIO(each)).mode == "L" for each in pictures(html, "jpeg"))
    assert "<polyline" not in html and "<details" not in html and "<rect" not in html
    for losses in ([0.1], [float("nan")] * 3, [0.0, 0.0]):
        assert b"<polyline" not in render_page(replace(page, losses=losses))
    assert b"<polyline" in render_page(replace(page, losses=[0.2, 0.2, float("nan")]))
    many = render_page(replace(page, losses=list(1 / np.arange(1, 20_000))))
    assert len(many) < len(html) + 20_000


def test_images_keep_their_color_profile():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    html = render_page(replace(PAGE, profile=profile)).decode()
    for each in pictures(html, "jpeg"):
        assert Image.open(io.BytesIO(each)).info["icc_profile"] == profile


def test_an_unfinished_page_reloads_itself_and_says_so():
    html = render_page(replace(PAGE, unfinished=True)).decode()
    assert '<meta http-equiv="refresh" content="5">' in html
    assert "Not finished yet" in html


def test_whatever_a_name_holds_stays_text():
    page = replace(
        PAGE, name=WICKED, notes={WICKED: WICKED}, settings={WICKED: WICKED},
        candidates=[(WICKED, hook(3, 3))],
    )  # fmt: skip
    html = render_page(page).decode()
    assert "<img src=x" not in html and "&lt;img src=x" in html
    assert html.count("<script") == html.count("</script>") == 1


def test_durations_in_words():
    assert [describe_seconds(seconds) for seconds in (0.4, 59.6, 125, 7260)] == [
        "0 s", "1 min 0 s", "2 min 5 s", "2 h 1 min",
    ]  # fmt: skip


# What it does


class Shown:
    """The page in a browser."""

    def __init__(self, browser, file, width=1400, height=1000):
        self.browser = browser
        # A tab of its own: another's remembers what was seen.
        browser.switch_to.new_window("tab")
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get_log("performance"), browser.get_log("browser")
        browser.get(file.as_uri())
        browser.set_script_timeout(10)
        browser.execute_async_script(
            """
            const done = arguments[0];
            Promise.all([...document.images].map((img) => img.decode().catch(() => null)))
              .then(() => requestAnimationFrame(() => requestAnimationFrame(done)));
            """
        )

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def cut(self):
        clip = self.find(".stage .after").value_of_css_property("clip-path")
        return float(re.search(r"([\d.]+)%\)$", clip)[1])

    def spot(self):
        return [int(each) for each in re.findall(r"\d+", self.find(".where").text)]

    def pane(self, which):
        """The pixels of a pane of the magnifier."""
        script = """
            const canvas = document.querySelector(`canvas.${arguments[0]}`);
            return canvas.toDataURL("image/png").split(",")[1];
        """
        content = base64.b64decode(self.run(script, which))
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), float)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("work place #1") / "a photograph.html"
    path.write_bytes(render_page(PAGE))
    return path


@pytest.fixture(scope="module")
def jpegs():
    """Both images as their JPEGs show them."""
    return [
        np.asarray(Image.open(io.BytesIO(each)), float)
        for each in pictures(render_page(PAGE).decode(), "jpeg")
    ]


@pytest.fixture
def shown(browser, file):
    return Shown(browser, file)


def test_all_pictures_load_and_nothing_is_asked_for(shown):
    sizes = shown.run("return [...document.images].map((img) => img.naturalWidth)")
    assert sizes == [WIDTH, WIDTH, 13, 5, 13, 17]
    entries = shown.run("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert all(entry.startswith("data:") for entry in entries)
    asked = [
        message["params"]["request"]["url"]
        for entry in shown.browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    others = [url for url in asked if not url.startswith("data:")]
    assert len(others) == 1 and others[0].startswith("file:")
    assert shown.browser.get_log("browser") == []


def test_the_slider_obeys_keyboard_and_mouse(shown):
    slider = shown.find(".wipe")
    assert shown.cut() == 50
    slider.send_keys(Keys.ARROW_RIGHT)
    assert shown.cut() == 50.5
    slider.send_keys(Keys.HOME)
    assert shown.cut() == 0
    slider.send_keys(Keys.END)
    assert shown.cut() == 100
    ActionChains(shown.browser).move_to_element(slider).click().perform()
    assert shown.cut() == pytest.approx(50, abs=1)
    width = shown.find(".stage").size["width"]
    drag = ActionChains(shown.browser).click_and_hold(shown.find(".divider"))
    drag.move_by_offset(-width // 4, 0).release().perform()
    assert shown.cut() == pytest.approx(25, abs=1)
    assert float(slider.get_property("value")) == shown.cut()


def test_the_slider_uncovers_one_image_or_the_other(shown, jpegs):
    stage = shown.find(".stage")
    for key, expected in ((Keys.HOME, jpegs[1]), (Keys.END, jpegs[0])):
        shown.find(".wipe").send_keys(key)
        content = Image.open(io.BytesIO(base64.b64decode(stage.screenshot_as_base64)))
        seen = np.asarray(content.convert("RGB").resize((WIDTH, HEIGHT)), float)
        part = slice(450, 580), slice(60, 840)  # without names, windows and grip
        errors = [np.abs(seen[part] - each[part]).mean() for each in (expected, *jpegs)]
        assert errors[0] == min(errors) < 0.5 * max(errors)


def assert_same_spot(shown, jpegs):
    """Both panes show the pixels around the spot that the page names, one to one."""
    x, y = shown.spot()
    for which, expected in zip(("before", "after"), jpegs, strict=True):
        pane = shown.pane(which)
        height, width = pane.shape[:2]
        top, left = y - height // 2, x - width // 2
        # An odd pane's middle lies between two pixels.
        errors = [
            np.abs(pane - expected[t : t + height, l : l + width]).mean()
            for t in range(max(0, top - 1), top + 2)
            for l in range(max(0, left - 1), left + 2)  # noqa: E741
            if expected[t : t + height, l : l + width].shape == pane.shape
        ]
        assert min(errors) < 1, which


def test_the_magnifier_follows_pointer_and_keys(shown, jpegs):
    assert shown.spot() == [450, 300]
    assert_same_spot(shown, jpegs)
    stage = shown.find(".stage")
    size = stage.size
    ActionChains(shown.browser).move_to_element_with_offset(
        stage, -size["width"] // 20, size["height"] // 20
    ).perform()
    assert shown.spot() == pytest.approx([405, 330], abs=2)
    assert_same_spot(shown, jpegs)
    x, y = shown.spot()
    panes = shown.find(".panes")
    panes.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert shown.spot() == [x + 32, y - 16]
    ActionChains(shown.browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_LEFT).key_up(
        Keys.SHIFT
    ).perform()
    assert shown.spot() == [x + 31, y - 16]
    assert_same_spot(shown, jpegs)
    drag = ActionChains(shown.browser).click_and_hold(shown.find("canvas.after"))
    drag.move_by_offset(20, 10).release().perform()
    assert shown.spot() == [x + 11, y - 26]
    panes.send_keys(*[Keys.ARROW_LEFT, Keys.ARROW_DOWN] * 30)
    assert_same_spot(shown, jpegs)  # at the corner


def test_windows_are_where_they_are_said_to_be(shown):
    script = "const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
    stage, window = (shown.run(script, shown.find(each)) for each in (".stage", "rect.inner"))
    zoom = stage[2] / WIDTH
    expected = [stage[0] + 100 * zoom, stage[1] + 50 * zoom, 300 * zoom, 200 * zoom]
    assert window == pytest.approx(expected, abs=2)


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(shown):
    reached = []
    for _ in range(3):
        ActionChains(shown.browser).send_keys(Keys.TAB).perform()
        active = shown.browser.switch_to.active_element
        assert active.value_of_css_property("outline-style") == "solid"
        reached.append(active.get_attribute("class") or active.tag_name)
    assert reached == ["wipe", "panes", "summary"]


@pytest.mark.parametrize("width", [320, 390, 768, 1400])
def test_no_width_scrolls_sideways(browser, file, width):
    page = Shown(browser, file, width, 800)
    page.find("summary").click()
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.find(".stage").size["width"] > 0.5 * min(width, 640)
    if width < 500:
        panes = [page.find(f"canvas.{which}") for which in ("before", "after")]
        assert panes[0].location["y"] == panes[1].location["y"]  # side by side
        x, y = page.spot()
        page.find(".panes").send_keys(Keys.ARROW_LEFT)
        assert page.spot() == [x - 16, y]


def test_touch_moves_the_magnifier_and_the_slider(browser, file, jpegs):
    page = Shown(browser, file, 390, 800)
    box = page.run(
        "const b = document.querySelector('.stage').getBoundingClientRect();"
        "return [b.x, b.y, b.width, b.height]"
    )

    def touch(*points):
        for kind, place in (("touchStart", 0), *(("touchMove", i) for i in range(len(points)))):
            at = [{"x": points[place][0], "y": points[place][1]}]
            browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
        end = {"type": "touchEnd", "touchPoints": []}
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", end)

    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        touch((box[0] + 0.75 * box[2], box[1] + 0.25 * box[3]))
        assert page.spot() == pytest.approx([675, 150], abs=6)
        assert_same_spot(page, jpegs)
        middle = (box[0] + box[2] / 2, box[1] + box[3] / 2)
        touch(middle, (middle[0] - 40, middle[1]), (middle[0] - box[2] / 4, middle[1]))
        assert page.cut() == pytest.approx(25, abs=2)
    finally:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_a_reloaded_page_shows_the_same_again(shown):
    shown.find(".wipe").send_keys(Keys.HOME)
    shown.find(".panes").send_keys(Keys.ARROW_LEFT)
    spot = shown.spot()
    shown.browser.refresh()
    assert shown.cut() == 0
    assert shown.spot() == spot != [450, 300]


# When it is there


@pytest.fixture
def photograph(tmp_path, monkeypatch):
    """A photograph, an engine that restores it in two steps, and the pages that were written."""
    folder = tmp_path / "images"
    put(folder / "photo.png", picture(40, 44, 3))
    seen = []

    def find(blurry, kernel_size, recipe, *, start, on_save, **others):
        kernel = np.full(kernel_size, 1 / np.prod(kernel_size), np.float32)
        sharp = np.pad(blurry, 4, mode="edge")
        known = Restoration(blurry, kernel_size, kernel, sharp, start.gx, start.gk)
        for step in (1, 2):
            on_save(replace(known, losses=[0.1] * step, loss_names=["MSE"] * step))
            page = tmp_path / "out/photo.html"
            seen.append(page.read_bytes() if page.exists() else b"")

    monkeypatch.setattr("utils.engine.deblur.deblur", find)
    return folder, tmp_path / "out", seen


def restore(folder, results, *options):
    return selfdeblur_ycbcr.main(
        ["--data_path", str(folder), "--save_path", str(results), "--kernel_size", "9",
         "--method", "quick", "--num_iter", "2", "--device", "cpu", *options]
    )  # fmt: skip


def test_a_page_is_there_from_the_first_result_on(photograph):
    folder, results, seen = photograph
    assert restore(folder, results) == 0
    assert [b"Not finished yet" in content for content in seen] == [True, True]
    final = (results / "photo.html").read_bytes()
    assert b"Not finished yet" not in final and b"refresh" not in final
    assert b"44 \xc3\x97 40 pixels" in final and b"9 \xc3\x97 9 pixels" in final
    record = json.loads((results / "photo.json").read_text())
    assert record["finished"] and ".html" in record["files"]
    (results / "photo.html").unlink()
    assert restore(folder, results) == 0  # what is listed and lacks is made again
    assert len(seen) == 4 and (results / "photo.html").exists()


@pytest.mark.parametrize("error", [MemoryError(), ValueError("two\nlines"), OSError(28, "full")])
def test_no_page_never_costs_the_results(photograph, monkeypatch, capfd, error):
    def fail(page):
        raise error

    monkeypatch.setattr(utils.runs.run, "render_page", fail)
    folder, results, seen = photograph
    assert restore(folder, results) == 0
    record = json.loads((results / "photo.json").read_text())
    assert record["finished"] and ".html" not in record["files"]
    assert (results / "photo_x.png").exists() and not (results / "photo.html").exists()
    lines = [line for line in capfd.readouterr().err.splitlines() if "no page" in line]
    assert len(lines) == 1 and lines[0].startswith("photo: no page: ")
    assert restore(folder, results) == 0
    assert len(seen) == 2  # nothing was restored again


def test_one_broken_photograph_costs_the_others_nothing(photograph, capfd):
    folder, results, _ = photograph
    (folder / "broken.png").write_bytes((folder / "photo.png").read_bytes()[:200])
    assert restore(folder, results, "--workers", "1") == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if "broken." in line]
    assert len(lines) == 1 and lines[0].startswith("broken: failed: ") and "; " in lines[0]
    assert (results / "photo_x.png").exists() and (results / "photo.html").exists()
    assert not list(results.glob("broken*"))


def test_the_first_page_is_opened_once(photograph, monkeypatch):
    opened = []
    monkeypatch.setattr(utils.runs.run, "open_page", opened.append)
    folder, results, _ = photograph
    put(folder / "photo2.png", picture(40, 44, 3, seed=3))
    assert restore(folder, results, "--workers", "1") == 0
    assert opened == []
    for more in ((), ("--overwrite",)):
        assert restore(folder, results, "--workers", "1", "--open", *more) == 0
        assert opened == [results / "photo.html"]
        opened.clear()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a screen")
def test_a_browser_gets_the_pages_address_or_one_line_says_that_there_is_none(
    tmp_path, monkeypatch, caplog
):
    page = tmp_path / "a #1.html"
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    open_page(page)
    assert [record.getMessage() for record in caplog.records] == [
        f"--open: no browser can be opened here; open {page} yourself"
    ]
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/address\n')
    program.chmod(0o755)
    code = (
        "import sys; from pathlib import Path; from utils.runs.page import open_page; "
        "open_page(Path(sys.argv[1]))"
    )
    environment = os.environ | {"BROWSER": f"{program} %s"}
    subprocess.run([sys.executable, "-c", code, page], env=environment, check=True)
    assert (tmp_path / "address").read_text() == f"{page.as_uri()}\n"
