"""Every link and every picture of the documentation leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from documentation import PAGES, ROOT, prose

_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")


def anchors(text: str) -> set[str]:
    """The names under which GitHub lets a page's headings be linked to."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        name, number = words, 0
        while name in found:
            number += 1
            name = f"{words}-{number}"
        found.add(name)
    return found


def broken(text: str, path: Path) -> list[str]:
    """The links of the page at `path` that lead nowhere. Addresses on the web are not looked at."""
    found = []
    for link in _LINK.findall(prose(text)):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = path.parent / unquote(parts.path) if parts.path else path
        inside = target.exists() and target.resolve().is_relative_to(ROOT)
        if not inside or (parts.fragment and parts.fragment not in anchors(target.read_text(encoding="utf-8"))):
            found.append(link)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(path: Path) -> None:
    assert broken(path.read_text(encoding="utf-8"), path) == []


def test_links_to_nowhere_are_found() -> None:
    text = "[a](bases.md#settings) [b](bases.md#nothing) [c](missing.md) ![d](images/missing.png) [e](#missing)\n"
    found = broken(text, ROOT / "docs" / "training.md")
    assert found == ["bases.md#nothing", "missing.md", "images/missing.png", "#missing"]


def test_headings_of_one_name_are_numbered() -> None:
    assert anchors("# A & B\n## `train`, twice\n## train twice\n") == {"a--b", "train-twice", "train-twice-1"}
