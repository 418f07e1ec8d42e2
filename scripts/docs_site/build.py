"""Builds the site of docs/, see scripts/docs: python scripts/docs_site/build.py FOLDER

It needs Sphinx, MyST and Furo, and nothing from the net, neither while it builds nor when it is read.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import site_http
import site_pages
import site_python
from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
SETTINGS = {
    "project": "soundlora",
    "author": "soundlora contributors",
    "copyright": "soundlora contributors, Apache-2.0",
    "html_title": "soundlora",
    "html_theme": "furo",
    "html_static_path": [str(HERE / "style")],
    "html_css_files": ["site.css"],
    "html_show_sourcelink": False,
    "html_copy_source": False,
    "html_use_index": False,
    "extensions": ["myst_parser"],
    # Every heading that the Markdown links to is one of these.
    "myst_heading_anchors": 4,
    # Plain blocks are commands and what they print.
    "highlight_language": "text",
    "exclude_patterns": ["extra"],
    "smartquotes": False,
}

_ACCESS = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="All pages">',
    '<aside class="toc-drawer': '<aside aria-label="On this page" class="toc-drawer',
    # A block that is wider than the page is scrolled by the arrow keys.
    "<pre><span></span>": '<pre tabindex="0"><span></span>',
}


def build(out: Path) -> None:
    """Build the site in the folder `out`, which is made anew. A link to nowhere, or any other warning, is an error."""
    made = {"reference/python.md": site_python.reference(), "reference/http.md": site_http.reference()}
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        source.mkdir()
        site_pages.write(source, made)
        fresh = Path(scratch) / "site"
        app = Sphinx(
            srcdir=source,
            confdir=None,
            outdir=fresh,
            doctreedir=Path(scratch) / "doctrees",
            buildername="html",
            confoverrides=SETTINGS | {"html_extra_path": [str(source / "extra")]},
            status=None,
            warningiserror=True,
            exception_on_warning=False,
        )
        app.build()
        if app.statuscode:
            sys.exit("docs: the site was not built; the warnings above say why.")
        for page in fresh.rglob("*.html"):
            page.write_text(_told(page.read_text(encoding="utf-8")), encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(fresh, out, ignore=shutil.ignore_patterns(".buildinfo*", "_sources"))


def _told(page: str) -> str:
    """Return a page with what the theme leaves out for readers by ear and by keyboard."""
    for theirs, ours in _ACCESS.items():
        page = page.replace(theirs, ours)
    return page


if __name__ == "__main__":
    build(Path(sys.argv[1]))
