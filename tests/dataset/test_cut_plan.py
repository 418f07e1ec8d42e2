"""A plan is read as it was written, and what is wrong with an edited one is said with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from soundlora.dataset.cut_plan import Plan, PlannedPiece, PlannedRecording, named, read_plan
from soundlora.errors import InputError

RATE = 44_100


def plan() -> Plan:
    pieces = (
        PlannedPiece(0, 7, left_out="silence", why="below -60 dBFS"),
        PlannedPiece(7, 220_508, why="begins at silence, ends by length"),
        PlannedPiece(220_508, 441_009, caption="rain on tin"),
        PlannedPiece(441_009, 441_013, left_out="rest", why="between clips, shorter than 5 s"),
    )
    recordings = (
        PlannedRecording("a/rain.wav", RATE, 2, 441_013, "24 bits", "regen \N{UMBRELLA}", "", pieces),
        PlannedRecording("bad.wav", problem="it holds no audio stream"),
        PlannedRecording("kick.wav", RATE, 1, 44_100, "float", None, "", (PlannedPiece(0, 44_100),)),
    )
    return named(Plan({"shortest": 5.0, "format": "flac"}, 0.005, recordings), "flac")


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "prepared.json").write_text(plan().to_text(), encoding="utf-8")

    assert read_plan(tmp_path / "prepared.json") == plan()
    assert json.loads(plan().to_text()) == plan().to_json()


def test_it_is_read_as_editors_save_it(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "prepared.json").write_text(plan().to_text().replace("\n", "\r\n"), encoding=encoding, newline="")
        assert read_plan(tmp_path / "prepared.json") == plan()
    (tmp_path / "prepared.json").write_text(plan().to_text(), encoding="utf-16")
    with pytest.raises(InputError, match="is not UTF-8; save it as that"):
        read_plan(tmp_path / "prepared.json")


def test_a_piece_is_a_line() -> None:
    lines = plan().to_text().splitlines()

    assert sum('"offset"' in line for line in lines) == 5
    assert '        {"offset": 0.0, "length": 0.000159, "left_out": "silence", "why": "below -60 dBFS"},' in lines


def test_clips_are_named_after_their_recordings() -> None:
    names = [piece.clip for recording in plan().recordings for piece in recording.clips]

    # FLAC has no floats, and a recording that is a clip as a whole needs no number.
    assert names == ["rain_001.flac", "rain_002.flac", "kick.wav"]


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["a/01.wav", "b/01.wav"], ["01.wav", "01-2.wav"]),
        (["a.wav", "A.flac"], ["a.wav", "A-2.wav"]),
        (["con.wav"], ["_con.wav"]),
        ([".hidden.wav"], ["hidden.wav"]),
        (["ü" * 300 + ".wav"], ["ü" * 100 + ".wav"]),
        (["雨" * 83 + ".wav"], ["雨" * 66 + ".wav"]),  # 249 bytes, to which a number would be too much
    ],
)
def test_names_are_told_apart_and_portable(sources: list[str], names: list[str]) -> None:
    recordings = tuple(
        PlannedRecording(source, RATE, 1, 100, "16 bits", None, "", (PlannedPiece(0, 100),)) for source in sources
    )

    made = named(Plan({}, 0.0, recordings), "wav")

    assert [recording.clips[0].clip for recording in made.recordings] == names


def test_seconds_and_reasons_are_summed() -> None:
    assert plan().clips == 3
    assert plan().seconds == pytest.approx((220_501 + 220_501 + 44_100) / RATE)
    assert plan().source_seconds == pytest.approx((441_013 + 44_100) / RATE)
    assert plan().left_out() == {"silence": 7 / RATE, "rest": 4 / RATE}


def edited(tmp_path: Path, change: Any) -> Path:
    value = json.loads(plan().to_text())
    change(value)
    path = tmp_path / "prepared.json"
    path.write_text(json.dumps(value))
    return path


def test_what_no_piece_names_is_left_out_by_hand(tmp_path: Path) -> None:
    def change(value: Any) -> None:
        del value["recordings"][0]["pieces"][1]

    pieces = read_plan(edited(tmp_path, change)).recordings[0].pieces

    assert [(piece.start, piece.end, piece.left_out) for piece in pieces] == [
        (0, 7, "silence"),
        (7, 220_508, "by hand"),
        (220_508, 441_009, ""),
        (441_009, 441_013, "rest"),
    ]


def test_a_new_piece_gets_a_name(tmp_path: Path) -> None:
    def change(value: Any) -> None:
        value["recordings"][2]["pieces"] = [{"offset": 0.25, "length": 0.5}]

    [piece] = read_plan(edited(tmp_path, change)).recordings[2].clips

    assert (piece.start, piece.end, piece.clip) == (11_025, 33_075, "kick_001.wav")


def first(value: Any) -> Any:
    return value["recordings"][0]["pieces"][1]


CHANGES: dict[str, tuple[Any, str]] = {
    "another version": (lambda value: value.update(version=2), "no plan of version 1"),
    "no recordings": (lambda value: value.update(recordings=[]), "must be a list of recordings"),
    "no source": (lambda value: value["recordings"][0].pop("source"), 'recording 1 must have a "source"'),
    "no rate": (lambda value: value["recordings"][0].update(sample_rate=0), '"sample_rate" is 0'),
    "other samples": (lambda value: value["recordings"][0].update(keeps="12 bits"), "16 bits, 24 bits"),
    "no list": (lambda value: value["recordings"][0].update(pieces={}), 'its "pieces" must be a list'),
    "no object": (lambda value: value["recordings"][0]["pieces"].append(5), "piece 5 must be an object"),
    "no offset": (lambda value: first(value).pop("offset"), 'piece 2: its "offset" is None'),
    "a text": (lambda value: first(value).update(length="5"), "must be a number of seconds"),
    "below zero": (lambda value: first(value).update(offset=-1), "must be a number of seconds"),
    "no length": (lambda value: first(value).update(length=0), "piece 2 has no length"),
    "too long": (lambda value: first(value).update(length=50), "but the recording has 10.000 s"),
    "both": (lambda value: first(value).update(left_out="rest"), "take one of them out"),
    "a path": (lambda value: first(value).update(clip="../a.wav"), "is no name for a clip"),
    "another format": (lambda value: first(value).update(clip="a.mp3"), "is no name for a clip"),
    "a number": (lambda value: first(value).update(caption=5), 'its "caption" must be text'),
    "a name twice": (lambda value: first(value).update(clip="KICK.wav"), "two clips are named"),
    "a source twice": (lambda value: value["recordings"].append(value["recordings"][0]), "stands in it twice"),
    "no number": (lambda value: first(value).update(offset=float("nan")), "NaN is no number"),
    "no number either": (lambda value: value["settings"].update(silence=float("-inf")), "-Infinity is no number"),
    "too far": (lambda value: first(value).update(offset=10**400), "must be a number of seconds"),
    "too many": (lambda value: value["recordings"][0].update(samples=10**400), "must be a whole number above 0"),
    "an endless fade": (lambda value: value.update(fade=1e308), 'its "fade" is 1e+308'),
    "half a character": (lambda value: first(value).update(why="\ud800"), "half a character in it"),
    "a long name": (lambda value: first(value).update(clip="雨" * 80 + ".wav"), "is no name for a clip"),
    "no fade": (lambda value: value.pop("fade"), 'its "fade" is None'),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, name: str) -> None:
    change, words = CHANGES[name]
    path = edited(tmp_path, change)

    with pytest.raises(InputError) as refused:
        read_plan(path)

    assert str(path) in str(refused.value)
    assert words in str(refused.value)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "[" * 100_000, "\xff"])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prepared.json"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(InputError, match="prepared"):
        read_plan(path)


def test_a_plan_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        read_plan(tmp_path / "prepared.json")
