"""docs/security.md says what is so: what is open, what is fetched, and which tests try which attacks."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType

import pytest
from documentation import ROOT, page, rows, section

PAGE = page("security.md")
ATTACKS = ROOT / "tests" / "attacks"
TRIED = rows(section(PAGE, "What is tried"))
FILES = [name for cells in TRIED for name in re.findall(r"`([^`]+)`", cells[1])]


def attack(name: str) -> ModuleType:
    """A file of attacks as a module."""
    spec = importlib.util.spec_from_file_location(f"attacks_{name}", ATTACKS / f"test_{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its data classes look their own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_file_of_attacks_has_a_row() -> None:
    found = {f"tests/attacks/{path.name}" for path in ATTACKS.glob("test_*.py")}
    assert {name for name in FILES if name.startswith("tests/attacks/")} == found
    assert len(FILES) == len(set(FILES))


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_is_named_has_tests(name: str) -> None:
    assert re.search(r"^def test_\w+\(", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_row_says_what_is_tried() -> None:
    assert all(len(cells) == 2 and cells[0] and "`tests/" in cells[1] for cells in TRIED)


def test_what_is_open_is_what_the_tests_find_open() -> None:
    other_keys = attack("other_keys")
    table = PAGE[PAGE.index("Open to everybody") : PAGE.index("Uploads to a signed address")]
    named = {span for cells in rows(table) for span in re.findall(r"`([^`]+)`", cells[0])}
    expected = {route.replace(":path", "") for route in {*other_keys.PUBLIC, *other_keys.BY_ADDRESS}}
    assert named == expected


def test_what_is_fetched_is_what_the_tests_find_fetched() -> None:
    fetched = attack("private_addresses").FETCHED
    text = section(PAGE, "What is fetched").strip().split("\n\n")[0]
    named = {span.replace("[]", "") for span in re.findall(r"`([^`]+)`", text)} - {"http", "https", "data:"}
    assert named == fetched
    assert "webhook" in text


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("`1e400`", '"1e400"'),
        ("5,000 digits", '"9" * 5000'),
        ("beyond 64 bits", "9223372036854775808"),
    ],
)
def test_numbers_that_are_named_are_tried(said: str, found: str) -> None:
    assert said in PAGE
    assert found in (ATTACKS / "test_numbers.py").read_text()


def test_brackets_and_errors_are_as_many_as_is_said() -> None:
    text = (ATTACKS / "test_bodies.py").read_text()
    assert "100,000 brackets" in PAGE
    assert "100_000]" in text
    assert "300,000 errors" in PAGE
    assert "300_000)" in text


def test_addresses_are_tried_in_many_spellings_and_wrapped_in_the_ways_that_are_said() -> None:
    hidden = attack("private_addresses").HIDDEN
    assert len(set(hidden)) >= 80
    ways = ("[::127", "[::ffff:127", "[::ffff:0:127", "[64:ff9b::127", "[64:ff9b:1::127", "[2002:7f00", "[2001:0:7f00")
    assert "in seven ways" in PAGE
    assert all(any(host.startswith(way) for host in hidden) for way in ways)


def test_reports_are_told_in_private_and_both_pages_lead_to_each_other() -> None:
    policy = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "/security/advisories/new" in policy
    assert "docs/security.md" in policy
    assert "../SECURITY.md" in PAGE
