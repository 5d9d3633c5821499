"""A hook of MkDocs: the site's files have the repository's paths, so that links work in both."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = ("*.md", "docs/*.md", "benchmarks/*.md", "datasets/*.md", "results/README.md")
LINKED = (
    "docs/*.css",
    "docs/*.png",
    "docs/*.ipynb",
    "docs/gallery/*.jpg",
    "CITATION.cff",
    "docs/make_picture.py",
    "utils/**/*.py",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    theme = [file for file in files if file.src_dir != config.docs_dir]
    own = [
        File(
            path.relative_to(root).as_posix(),
            str(root),
            config.site_dir,
            config.use_directory_urls,
        )
        for pattern in (*PAGES, *LINKED)
        for path in sorted(root.glob(pattern))
    ]
    return Files([*theme, *own])
