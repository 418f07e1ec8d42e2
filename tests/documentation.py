"""The documentation as the tests read it: pages, sections, rows of tables, code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "dev").glob("*.md")),
]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of the same level or above it."""
    level, found, lines = 0, False, []
    in_code = False
    for line in text.splitlines():
        in_code ^= line.startswith("```")
        match = None if in_code else re.match(r"(#+) (.*)", line)
        if match and found and len(match[1]) <= level:
            break
        if found:
            lines.append(line)
        elif match and match[2] == heading:
            level, found = len(match[1]), True
    assert found, f"there is no heading {heading!r}"
    return "\n".join(lines)


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, heads and rules left out."""
    found: list[list[str]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("|") or _is_rule(line):
            continue
        if number + 1 < len(lines) and _is_rule(lines[number + 1]):
            continue
        found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    return found


def blocks(text: str, language: str = "") -> list[str]:
    """What stands between ``` and ```, of one language; those without any are for a shell, or show what it prints."""
    return [content for name, content in _FENCE.findall(text) if name == language]


def prose(text: str) -> str:
    """The page without its code blocks."""
    return _FENCE.sub("", text)


def spans(text: str) -> list[str]:
    """What stands between ` and ` outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", prose(text))


def _is_rule(line: str) -> bool:
    return re.fullmatch(r"\|[\s:|-]+\|", line) is not None
