"""soundlora prepare: what it prints and writes, and its refusals in the words of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import Cli, assert_refused

RATE = 16_000


@pytest.fixture
def card(tmp_path: Path) -> Path:
    samples = np.random.default_rng(0).normal(0, 0.1, (31 * RATE, 1)).clip(-0.8, 0.8)
    samples[10 * RATE : 15 * RATE] = 0
    (tmp_path / "card").mkdir()
    soundfile.write(tmp_path / "card" / "rain.wav", samples, RATE)
    (tmp_path / "card" / "rain.txt").write_text("heavy rain")
    return tmp_path / "card"


def test_clips_are_written_and_summed_up(card: Path, tmp_path: Path, soundlora: Cli) -> None:
    outcome = soundlora("prepare", str(card), "--out", str(tmp_path / "out"))

    assert outcome.code == 0, outcome.err
    assert "rain.wav: 31.0 s, 16000 Hz mono, 16 bits, 5 clips" in outcome.out
    assert "5 clips of 31.0 s, 25.0 s in all; left out: 4.9 s silence, 1.1 s rest." in outcome.out
    assert f"5 written to {tmp_path / 'out'}." in outcome.out
    assert len(list((tmp_path / "out").glob("*.wav"))) == len(list((tmp_path / "out").glob("*.txt"))) == 5

    again = soundlora("prepare", str(card), "--out", str(tmp_path / "out"))
    assert f"0 written to {tmp_path / 'out'}, 5 were there already." in again.out


def test_a_dry_run_prints_the_plan_and_writes_nothing(card: Path, tmp_path: Path, soundlora: Cli) -> None:
    outcome = soundlora("prepare", str(card), "--dry-run", "--out", str(tmp_path / "out"))

    assert outcome.code == 0, outcome.err
    assert "      10.100 s     4.870 s  left out: silence  (below -60 dBFS)" in outcome.out
    assert "rain_003.wav  (begins at silence, ends by length)" in outcome.out
    assert "Nothing was written." in outcome.out
    assert not (tmp_path / "out").exists()


def test_the_plan_as_json(card: Path, soundlora: Cli) -> None:
    outcome = soundlora("prepare", str(card), "--dry-run", "--json", "--shortest", "2", "--longest", "6")

    plan = json.loads(outcome.out)
    assert (plan["settings"]["shortest"], plan["settings"]["longest"]) == (2, 6)
    pieces = plan["recordings"][0]["pieces"]
    assert sum(piece["length"] for piece in pieces) == pytest.approx(31)
    assert all(2 <= piece["length"] <= 6 for piece in pieces if "clip" in piece)


def test_an_edited_plan(card: Path, tmp_path: Path, soundlora: Cli) -> None:
    assert soundlora("prepare", str(card), "--out", str(tmp_path / "out")).code == 0
    plan = json.loads((tmp_path / "out" / "prepared.json").read_text())
    plan["recordings"][0]["pieces"] = [{"offset": 20, "length": 0.5, "clip": "drop.wav"}]
    (tmp_path / "plan.json").write_text(json.dumps(plan))

    outcome = soundlora("prepare", str(card), "--out", str(tmp_path / "new"), "--plan", str(tmp_path / "plan.json"))

    assert outcome.code == 0, outcome.err
    assert "1 clip of 31.0 s, 0.5 s in all; left out: 30.5 s by hand." in outcome.out
    assert soundfile.info(tmp_path / "new" / "drop.wav").frames == RATE // 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--out is missing: give a folder for the clips, or --dry-run"),
        (["--dry-run", "--shortest", "5", "--longest", "2"], "--shortest is 5, above --longest, which is 2"),
        (["--dry-run", "--longest", "2"], "--shortest is missing"),
        (["--dry-run", "--duration", "5", "--longest", "2"], "leave one of them out"),
        (["--dry-run", "--duration", "90"], "--duration is 90, but it must be from 0.1 to 60"),
        (["--dry-run", "--plan", "plan.json", "--fade", "0"], "leave out --fade"),
        (["--dry-run", "--plan", "plan.json"], "The plan plan.json can't be read"),
        (["--dry-run", "--silence", "0"], "31.0 s are silence"),
        (["--dry-run", "--format", "ogg"], "--format is 'ogg'"),
        (["--out", "."], "name a folder elsewhere with --out"),
    ],
)
def test_refusals_name_the_flags(
    card: Path, soundlora: Cli, monkeypatch: pytest.MonkeyPatch, flags: list[str], words: str
) -> None:
    monkeypatch.chdir(card)

    assert_refused(soundlora("prepare", str(card), *flags), words)
    assert sorted(path.name for path in card.iterdir()) == ["rain.txt", "rain.wav"]


def test_nothing_left_says_what_to_do(card: Path, soundlora: Cli) -> None:
    soundfile.write(card / "rain.wav", np.random.default_rng(0).normal(0, 1e-4, 20 * RATE), RATE)

    assert_refused(soundlora("prepare", str(card), "--dry-run"), "20.0 s are silence; lower --silence -80.")
