"""The page's tables are those of the laboratory and its ears, and its prose names no difference that isn't in them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from documentation import section
from made_up_laboratory import made_up

pytest.importorskip("scipy")

import ears
import lab
import what_helps
from agreement import Results
from ear_networks import EARS

from soundlora.pipeline.presets import PRESETS

FIGURES = ["score at 1", "score at 0.6", "moved"]
RESULTS = made_up(FIGURES, [1, 1, 0])
HEARD = made_up([f"{ear} at 1" for ear in EARS], [1, -1, 0], noise=0.01)
PAGE = what_helps.PAGE.read_text(encoding="utf-8")
DIFFERENCE = re.compile(r"[+-]\d+\.\d+")


def block(name: str, results: Results = RESULTS, heard: Results = HEARD) -> str:
    page = f"Before.\n\n<!-- figures: {name} -->\nold\n{what_helps.END}\n\nAfter.\n"
    made = what_helps.rewritten(page, results, heard)
    assert made.startswith(f"Before.\n\n<!-- figures: {name} -->\n")
    assert made.endswith(f"\n{what_helps.END}\n\nAfter.\n")
    return made.partition("-->\n")[2].partition(f"\n{what_helps.END}")[0]


def cells(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if not line.startswith("| -")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def unfounded(page: str) -> list[str]:
    """The differences in the prose that no table of the page has."""
    blocks = re.findall(r"<!-- figures: \w+ -->.*?" + re.escape(what_helps.END), page, re.DOTALL)
    prose = page
    for each in blocks:
        prose = prose.replace(each, "")
    known = set(DIFFERENCE.findall("".join(blocks)))
    return [figure for figure in DIFFERENCE.findall(prose) if figure not in known]


def test_the_page_has_the_tables_of_the_results() -> None:
    assert PAGE.count("<!-- figures: ") == 6
    assert what_helps.rewritten(PAGE, lab.found(), ears.found()) == PAGE


def test_the_prose_names_only_differences_of_the_tables() -> None:
    assert unfounded(PAGE) == []


def test_a_difference_that_is_in_no_table_is_found() -> None:
    page = f"By +0.20 and -0.31.\n<!-- figures: levels -->\n+0.20 ± 0.01\n{what_helps.END}\n"
    assert unfounded(page) == ["-0.31"]


def test_every_factor_has_its_paragraph() -> None:
    for factor in lab.FACTORS:
        if factor != lab.DEFAULTS:
            assert section(PAGE, factor.capitalize()).strip(), factor


def test_a_level_has_its_differences_and_what_each_ear_says() -> None:
    head, *rows = cells(block("levels"))
    table = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert head == ["level", *FIGURES, "pitch", "voice", "timbre"]
    row = table["rank: 4"]
    assert re.fullmatch(r"\+0\.[12]\d ± 0\.0\d", row["score at 1"])
    assert (row["pitch"], row["voice"]) == ("farther", "nearer")
    assert table["averaging: none"]["score at 1"].startswith("noise, ")
    assert row["timbre"] == "noise"


def test_a_preset_stands_with_its_flags_and_the_sounds_of_its_kind() -> None:
    assert what_helps.PRESET_SOUNDS.keys() == PRESETS.keys()
    rows = {row[0]: row[1:] for row in cells(block("presets", lab.found()))[1:]}
    assert rows.keys() == {f"`{name}`" for name in PRESETS}
    assert rows["`one-shots`"][:2] == ["`--rank 128` `--duration 1` `--short pad`", "zaps, blips, tabla"]
    found = lab.found()
    differences = [
        found["rank", "128", sound, seed]["score at 1"] - found[lab.DEFAULTS, lab.DEFAULTS, sound, seed]["score at 1"]
        for sound in ("zaps", "blips", "tabla")
        for seed in (0, 1)
    ]
    assert rows["`one-shots`"][2] == f"{np.mean(differences):+.2f}"


def test_a_level_without_every_sound_is_left_out() -> None:
    few = {key: each for key, each in RESULTS.items() if key[1] != "4" or key[2:] in (("zaps", 0), ("gongs", 0))}
    assert "rank: 4" not in block("levels", few)
    assert "rank: 8" in block("levels", few)


def test_a_level_that_was_not_heard_yet_stands_without_words() -> None:
    row = next(row for row in cells(block("levels", heard={})) if row[0] == "rank: 4")
    assert row[-3:] == ["", "", ""]


def test_runs_are_counted_with_the_means_of_the_defaults() -> None:
    text = block("runs", made_up(FIGURES, [1, 1, 0], noise=0), made_up(FIGURES, [1, 1, 0], seeds=1))
    assert text.splitlines() == [
        "There are 112 runs, 16 pairs a level, and 6 of 35 levels have every sound.",
        "The ears have heard 56 of these runs.",
        "With the defaults the score is 0.50 at strength 1 and 0.50 at 0.6, and other prompts are moved by 0.50.",
    ]


def test_ears_that_rank_alike_and_contrary_are_told() -> None:
    rows = {row[0]: row[1] for row in cells(block("agreement"))}
    assert rows["pitch"].startswith(("1.00", "0.9"))
    assert rows["voice"].startswith(("-1.00", "-0.9"))
    assert rows["itself, the first seed against the others"].endswith("6 levels")


def test_what_an_ear_says_is_counted_by_what_log_mel_says() -> None:
    rows = {row[0]: row[1:] for row in cells(block("words"))}
    assert rows["pitch"][1:] == ["2 / 0 / 0", "0 / 1 / 0", "0 / 0 / 3"]
    assert rows["voice"][1:] == ["0 / 0 / 2", "0 / 1 / 0", "3 / 0 / 0"]
    assert rows["pitch"][0] in ("5 of 6", "6 of 6")
    assert rows["voice"][0] in ("0 of 6", "1 of 6")


def test_ears_are_worth_the_mean_over_sounds() -> None:
    names = (ears.LOG_MEL, *EARS)
    heard: Results = {}
    for sound, halves in (("zaps", 0.1), ("gongs", 0.3)):
        figures = {f"{ear}, halves": halves for ear in names} | {f"{ear}, told": 1 - halves for ear in names}
        heard[ears.REAL, ears.REAL, sound, 0] = figures
    assert cells(block("worth", heard=heard))[1:] == [[ear, "0.20", "80 %"] for ear in names]


def test_a_mark_that_asks_for_what_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError, match="sorrows"):
        block("sorrows")


def test_check_writes_nothing_and_fails_where_the_page_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("| level", "| heaven", 1), encoding="utf-8")
    monkeypatch.setattr(what_helps, "PAGE", page)
    monkeypatch.setattr("sys.argv", ["what_helps.py", "--check"])
    assert what_helps.main() == 1
    assert "page.md differs" in capsys.readouterr().err
    assert "| heaven" in page.read_text(encoding="utf-8")


def test_the_picture_shows_each_factor_that_was_tried(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    what_helps.draw(RESULTS, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
