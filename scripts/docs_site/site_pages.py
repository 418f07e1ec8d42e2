"""The pages of the site, made from the Markdown of docs/ and of the repository's root.

On a code host the Markdown is read as it lies there. The site differs in four things: links to files that are not part
of it lead to the repository, a link to a sound gets a player, the lists of docs/index.md become the navigation, and the
references are added.
"""

from __future__ import annotations

import html
import posixpath
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "https://github.com/soundlora/soundlora/blob/main"
# Pages that lie outside of docs/, and what they are called on the site.
OUTSIDE = {
    "CHANGELOG.md": "project/changes.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/reporting.md",
    "dev/log.md": "project/log.md",
}
# The references are made at the build, so docs/index.md can't link them. They go into this section of it.
REFERENCE_SECTION = "Look up"
REFERENCES = {
    "reference/python.md": ("Python reference", "every public name, from its docstring"),
    "reference/http.md": ("HTTP reference", "every route with its fields, from the server's OpenAPI documents"),
}

_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)\)")
# What parts links in a sentence; players stand apart as it is.
_BETWEEN = re.compile(r"(</audio></span>)(?:,| ·|\.(?=\n\n|\n?\Z))")
_ENTRY = re.compile(r"^(?P<indent> *)- \[(?P<title>[^\]]+)\]\((?P<target>[^()#\s]+\.md)\)", re.MULTILINE)


def site_path(path: str) -> str | None:
    """Return where a file of the repository lies on the site; None where it is not part of it."""
    if path in OUTSIDE:
        return OUTSIDE[path]
    inside = path.removeprefix("docs/")
    return inside if inside != path and (ROOT / path).is_file() else None


def sources() -> list[str]:
    """Return the repository's paths of all pages."""
    return [*OUTSIDE, *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


def page(source: str) -> str:
    """Return the Markdown of the page at `source` as the site's builder takes it."""
    text = (ROOT / source).read_text(encoding="utf-8")
    return _outside_code(text, lambda part: _BETWEEN.sub(r"\1", _LINK.sub(lambda match: _link(match, source), part)))


def navigation(index: str) -> dict[str, list[tuple[str, str]]]:
    """Return (title, page) of each section of the start page, in its order. Both lead to the same on the site."""
    found = {}
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        entries = [(match["title"], match["target"]) for match in _ENTRY.finditer(section)]
        if entries:
            found[section.splitlines()[0]] = entries
    return found


def start(references: Mapping[str, tuple[str, str]] = REFERENCES) -> str:
    """Return the start page with the references among its links, and with the navigation."""
    lines = []
    for name, (title, words) in references.items():
        lines.append(f"- [{title}]({name}): {words}")
    heading = f"## {REFERENCE_SECTION}\n\n"
    text = page("docs/index.md").replace(heading, heading + "\n".join(lines) + "\n")
    trees = []
    for caption, entries in navigation(text).items():
        inside = "\n".join(f"{title} <{target.removesuffix('.md')}>" for title, target in entries)
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{inside}\n```\n")
    return text + "\n" + "\n".join(trees)


def write(folder: Path, made: Mapping[str, str]) -> None:
    """Write all pages to `folder`, with their pictures; `made` has the text of pages by their place on the site.

    Sounds go to the folder `extra`, which lies on the site as it is.
    """
    for source in sources():
        place = folder / str(site_path(source))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(start() if source == "docs/index.md" else page(source), encoding="utf-8")
    for name, text in made.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "images", folder / "images")
    shutil.copytree(ROOT / "docs" / "sounds", folder / "extra" / "sounds")


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    return "".join(part if number % 2 else change(part) for number, part in enumerate(_CODE.split(text)))


def _link(match: re.Match[str], source: str) -> str:
    parts = urlsplit(match["target"])
    if parts.scheme or parts.netloc or not parts.path:
        return match[0]
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), parts.path))
    place = site_path(target)
    if place is None:
        address = f"{REPOSITORY}/{target}" + (f"#{parts.fragment}" if parts.fragment else "")
        return f"{match['picture']}[{match['text']}]({address})"
    address = posixpath.relpath(place, posixpath.dirname(str(site_path(source))) or ".")
    if PurePosixPath(place).suffix == ".wav":
        return _player(match["text"], address)
    return f"{match['picture']}[{match['text']}]({address}" + (f"#{parts.fragment})" if parts.fragment else ")")


def _player(text: str, address: str) -> str:
    """Return a link to a sound with a player beside it, which needs no script."""
    name, address = html.escape(text), html.escape(address)
    return (
        f'<span class="sound"><a href="{address}">{name}</a>'
        f'<audio controls preload="none" src="{address}" aria-label="{name}"></audio></span>'
    )
