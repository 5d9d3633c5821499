"""HTML pages: templates filled in, and the palette that all of them share."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_SHARED = Path(__file__).resolve().parent / "templates"


def fill_template(folder: Path, template: str, /, **values: Any) -> str:
    """Fill in a template, escaping all values for HTML.

    Parameters
    ----------
    folder : Path
        Where the template lies, and what it includes; ``palette.css`` is known to all.
    template : str
        The template's file name.
    **values
        What its variables stand for. Each that it uses must be given.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, _SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
