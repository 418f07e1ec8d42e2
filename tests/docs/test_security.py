"""docs/security.md lists every file of tests/attacks, and none that does not exist."""

from documentation import ROOT, page, rows, section

PAGE = page("security.md")


def test_what_was_tried_is_what_the_suite_tries() -> None:
    told = {cells[0].strip("`") for cells in rows(section(PAGE, "What was tried"))}
    assert told == {path.name for path in (ROOT / "tests" / "attacks").glob("test_*.py")}


def test_the_slow_attack_is_a_slow_one() -> None:
    source = (ROOT / "tests" / "attacks" / "test_bodies.py").read_text(encoding="utf-8")
    before = source.partition("def test_300_000_errors_in_one_request")[0].rstrip().splitlines()
    assert before[-1] == "@pytest.mark.slow"
