"""Tables as aligned text for the terminal and as Markdown, with every cell escaped.

A library such as tabulate would align them, but pass control sequences on to the terminal.
"""

from collections.abc import Callable, Sequence

from utils.errors import printable

Row = Sequence[str]


def format_table(
    header: Row, rows: Sequence[Row | None], justify: Callable[[str, int], str] = str.rjust
) -> str:
    """Align rows of text under a header.

    Parameters
    ----------
    header : sequence of str
        Titles of the columns.
    rows : sequence of (sequence of str, or None)
        The cells; a row may end early. None draws a rule across the table.
    justify : callable
        ``str.rjust`` or ``str.ljust``, for all columns but the first, which is aligned left.

    Returns
    -------
    str
        Lines without a final line break, safe to print (see `utils.errors.printable`).

    Examples
    --------
    >>> print(format_table(["image", "PSNR"], [["im1", "31.20"], None, ["mean", "31.20"]]))
    image   PSNR
    im1    31.20
    -----  -----
    mean   31.20
    """
    cells = [[printable(cell) for cell in row] for row in (header, *filter(None, rows))]
    cells = [row + [""] * (len(header) - len(row)) for row in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * width for width in widths]
    lines = []
    remaining = iter(cells)
    for row in (header, *rows):
        shown = rule if row is None else next(remaining)
        first = shown[0].ljust(widths[0])
        others = [justify(*cell) for cell in zip(shown[1:], widths[1:], strict=True)]
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def format_markdown(header: Row, rows: Sequence[Row]) -> str:
    """Format rows under a header as a Markdown table, all columns but the first aligned right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    escaped = ([_escape_markdown(cell) for cell in row] for row in (header, *rows))
    lines = [f"| {' | '.join(cells)} |" for cells in escaped]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)


def _escape_markdown(cell: str) -> str:
    cell = printable(cell.strip()).replace("&", "&amp;").replace("<", "&lt;")
    return cell.replace("\\", r"\\").replace("|", r"\|")
