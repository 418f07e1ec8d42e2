from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from support import Cli, tone, write_clip

from soundlora.cli.report import about_clips, grouped, paragraph, print_report
from soundlora.dataset import ClipReport, DatasetReport

LONG = "a_recording_of_the_kitchen_sink_that_was_made_in_the_morning"


def report() -> DatasetReport:
    clips = [
        ClipReport(
            f"{LONG}_{number}.wav", "kept", "the sink drips into a bowl, far away, in a large and reverberant room",
            "x.txt", seconds=2.0, used_seconds=1.0, sample_rate=48_000, channels=2, codec="pcm_s24le",
            peak_dbfs=-6.0, loudness_lufs=-20.0, noise_floor_dbfs=-60.0, silence_start_seconds=0.0,
            silence_end_seconds=0.1, warnings=[f"it is very quiet: normalising raises it by {50 + number} dB"],
        )
        for number in range(5)
    ]  # fmt: skip
    reason = "it is 0.30 s long, shorter than the bucket of 1 s"
    clips.append(ClipReport("short.wav", "skipped", "", reason=reason, problem="too_short", seconds=0.3))
    return DatasetReport("clips", 1.0, clips, warnings=["Only 5 clips will be trained on; 10 or more are advised."])


def printed(width: int, *, terminal: bool) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None, soft_wrap=True)
    print_report(report(), console)
    return out.getvalue().splitlines()


def test_equal_notes_are_one_and_those_that_differ_in_figures_too() -> None:
    notes = [
        ("a.wav", "it has no caption"),
        ("b.wav", "it is 0.30 s long, shorter than 1 s"),
        ("c.wav", "it has no caption"),
        ("d.wav", "it is 0.05 s long, shorter than 1 s"),
        ("e.wav", "it is cut off"),
    ]
    assert grouped(notes) == [
        ("it has no caption", ["a.wav", "c.wav"]),
        ("it is 0.05 to 0.30 s long, shorter than 1 s", ["b.wav", "d.wav"]),
        ("it is cut off", ["e.wav"]),
    ]


@pytest.mark.parametrize(
    ("count", "number", "sentence"),
    [
        (1, None, "0.wav: it is cut off"),
        (3, None, "3 clips: it is cut off (0.wav, 1.wav, 2.wav)"),
        (5, None, "5 clips: it is cut off (0.wav, 1.wav, 2.wav and 2 more)"),
        (5, 2, "5 clips, marked (2) below: it is cut off"),
    ],
)
def test_a_note_says_which_clips_it_is_about(count: int, number: int | None, sentence: str) -> None:
    assert about_clips("it is cut off", [f"{each}.wav" for each in range(count)], number) == sentence


def test_sums_come_first_then_notes_then_clips() -> None:
    lines = printed(80, terminal=False)
    assert lines[0] == "5 kept, 1 skipped; 0 min  5.0 s at 1 s a clip."
    assert lines[1].startswith("bucket")
    notes = [line for line in lines if line.startswith("Note:")]
    assert notes == [
        "Note: Only 5 clips will be trained on; 10 or more are advised.",
        "Note: short.wav: skipped, since it is 0.30 s long, shorter than the bucket of 1 s",
        "Note: 5 clips, marked (1) below: it is very quiet: normalising raises it by 50 to 54 dB",
    ]
    table = next(number for number, line in enumerate(lines) if "loudness" in line)
    assert lines.index(notes[-1]) < table
    assert sum(line.endswith("reverberant room (1)") for line in lines[table:]) == 5
    assert sum(line.startswith("kept ") for line in lines[table:]) == 5


def test_in_a_terminal_of_80_columns_no_line_is_longer_and_no_word_is_broken() -> None:
    narrow, wide = printed(80, terminal=True), printed(300, terminal=True)
    assert max(map(len, narrow)) <= 80 < max(map(len, wide))
    words = set(re.split(r"\s+", " ".join(narrow)))
    assert {f"{LONG}_{number}.wav" for number in range(5)} <= words
    assert {"reverberant", "normalising", "pcm_s24le,"} <= words
    assert words - {"length", "format", "peak", "loudness", "noise", "silence"} <= {
        each + comma for each in re.split(r"\s+", " ".join(wide)) for comma in ("", ",")
    }


def test_a_word_longer_than_the_terminal_stays_whole() -> None:
    out = io.StringIO()
    console = Console(file=out, width=20, force_terminal=True, color_system=None, soft_wrap=True)
    paragraph(console, f"it lies in /{LONG}.wav, as ever", start="Note:")
    assert out.getvalue().splitlines() == ["Note: it lies in", f"/{LONG}.wav,", "as ever"]


def test_before_training_the_notes_follow_the_sums_and_are_said_once(
    soundlora: Cli, train_flags: list[str], clips: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in clips.glob("*.wav"):
        (data / path.name).write_bytes(path.read_bytes())
    for number in range(4):
        write_clip(data / f"short{number}.wav", tone(0.1 + number / 10))
    outcome = soundlora("train", data, "--out", tmp_path / "run", *train_flags)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert len(lines) == len(set(lines))
    sums = lines.index("Clips 3/3  3 clips kept, 4 skipped")
    skipped = lines.index(
        "Note: 4 clips: skipped, since it is 0.10 to 0.40 s long, shorter than the bucket of 0.5 s "
        "(short0.wav, short1.wav, short2.wav and 1 more)"
    )
    assert sums < skipped < next(number for number, line in enumerate(lines) if line.startswith("Previews"))
    uncaptioned = "it has no caption: it is trained with an empty caption (high.wav, low.wav, middle.wav)"
    assert lines[skipped + 1] == f"Note: 3 clips: {uncaptioned}"
