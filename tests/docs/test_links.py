"""Relative links of the Markdown pages lead to files that are there, and to headings in them."""

import re
import string
import subprocess

import pytest

from tests.conftest import ROOT

FILES = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT, capture_output=True, text=True, check=True,
).stdout.splitlines()  # fmt: skip
PAGES = [name for name in FILES if name.endswith(".md") and (ROOT / name).exists()]


def without_code(text: str) -> str:
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^(?: {4}|\t).*$", "", text, flags=re.MULTILINE)


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code((ROOT / page).read_text()), re.MULTILINE)
    dropped = str.maketrans("", "", string.punctuation.replace("-", "").replace("_", ""))
    return {heading.lower().translate(dropped).replace(" ", "-") for heading in headings}


def links(page: str) -> list[str]:
    text = without_code((ROOT / page).read_text())
    return re.findall(r"\]\(([^)\s]+)\)|^\[[^]]+\]: (\S+)", text, re.MULTILINE)


def broken(page: str) -> list[str]:
    faults = []
    for link in (first or second for first, second in links(page)):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent.joinpath(path).resolve() if path else ROOT / page
        name = target.relative_to(ROOT).as_posix() if target.is_relative_to(ROOT) else ".."
        if name not in FILES or (anchor and anchor not in anchors(name)):
            faults.append(link)
    return faults


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path, monkeypatch):
    (tmp_path / "a.md").write_text("# A `b` c!\n[x](a.md#a-b-c) [y](no.md) [z](#no)\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(globals(), "FILES", ["a.md"])
    assert broken("a.md") == ["no.md", "#no"]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 1000
