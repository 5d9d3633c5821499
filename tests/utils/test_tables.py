"""The tables that programs print."""

from utils.tables import format_markdown, format_table

HEADER = ["image", "PSNR", "note"]


def test_columns_are_aligned_and_short_rows_filled():
    rows = [["im1", "31.25", "a"], ["longer name", "9.50"], None, ["mean", "20.38"]]
    assert format_table(HEADER, rows).splitlines() == [
        "image         PSNR  note",
        "im1          31.25     a",
        "longer name   9.50",
        "-----------  -----  ----",
        "mean         20.38",
    ]
    left = format_table(HEADER, rows[:2], str.ljust).splitlines()
    assert left[0] == "image        PSNR   note"
    assert left[2] == "longer name  9.50"


def test_a_table_without_rows_is_its_header():
    assert format_table(HEADER, []) == "image  PSNR  note"


def test_names_cannot_move_the_cursor_or_break_lines():
    table = format_table(HEADER, [["\x1b[2Jim1\n", "1"], ["é", "2"]])
    assert table.splitlines()[1] == r"\x1b[2Jim1\n     1"
    assert len(table.splitlines()) == 3


def test_markdown_shows_any_name():
    table = format_markdown(["image", "PSNR"], [["a|b<br>&\nc", " 1.0 "], ["c", "2.0"]])
    assert table.splitlines() == [
        "| image | PSNR |",
        "| --- | ---: |",
        r"| a\|b&lt;br>&amp;\\nc | 1.0 |",
        "| c | 2.0 |",
    ]
