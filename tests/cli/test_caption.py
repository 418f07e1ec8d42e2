"""soundlora caption, as it is typed."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from support import Cli, assert_refused, tone, write_clip


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> Path:
    """Three clips with captions, and one that only has a name."""
    folder = Path(shutil.copytree(clips, tmp_path / "clips"))
    write_clip(folder / "DoorSlam_03.wav", tone(0.6))
    return folder


def texts(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8").strip() for path in sorted(folder.glob("*.txt"))}


def test_it_lists_captions_and_what_clips_would_get(soundlora: Cli, folder: Path) -> None:
    outcome = soundlora("caption", folder)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "DoorSlam_03.wav  no caption; file name says: door slam",
        "high.wav         a high tone  (high.txt)",
        "low.wav          a low tone  (low.txt)",
        "middle.wav       a middle tone  (middle.txt)",
        "1 clip would get a caption by --fill.",
    ]


def test_changes_are_said_and_written_and_can_be_taken_back(soundlora: Cli, folder: Path) -> None:
    before = texts(folder)
    flags = ["--fill", "--find", "tone", "--replace", "note", "--before", "zvk", "--after", ", dry"]
    dry = soundlora("caption", folder, *flags, "--dry-run")
    assert dry.out.splitlines()[-1] == "4 captions would change; nothing was written."
    assert texts(folder) == before

    done = soundlora("caption", folder, *flags)
    assert done.out.splitlines()[:2] == [
        "DoorSlam_03.wav: no caption → zvk door slam, dry",
        "high.wav: a high tone → zvk a high note, dry",
    ]
    kept = folder / ".captions_before_1.csv"
    assert done.out.splitlines()[-1] == f"4 captions written. The earlier ones are in {kept}, for --import."
    assert texts(folder)["low"] == "zvk a low note, dry"

    assert soundlora("caption", folder, *flags).out.splitlines() == ["0 captions written."]
    assert soundlora("caption", folder, "--import", kept).code == 0
    assert texts(folder) == before | {"DoorSlam_03": ""}


def test_a_table_goes_out_and_comes_back(soundlora: Cli, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    assert soundlora("caption", folder, "--export", table).out.splitlines()[-1] == f"{table}: 4 captions"
    table.write_text(
        table.read_text().replace("a low tone", "a deep tone").replace("DoorSlam_03.wav,", "DoorSlam_03.wav,slam")
    )
    outcome = soundlora("caption", folder, "--import", table, "--export", table)
    assert "low.wav: a low tone → a deep tone" in outcome.out
    assert texts(folder)["low"] == "a deep tone"
    assert texts(folder)["DoorSlam_03"] == "slam"
    assert "low.wav,a deep tone,low.txt" in table.read_text().splitlines()


def test_a_table_that_is_there_is_only_replaced_when_it_is_said(soundlora: Cli, folder: Path) -> None:
    """Whoever has edited it, and means to import it, loses nothing by a wrong word."""
    table, before = folder / "metadata.csv", texts(folder)
    table.write_text("file_name,caption,room\nlow.wav,a deep tone,hall\n")
    wrong = soundlora("caption", folder, "--before", "zvk", "--export", table)
    assert_refused(wrong, f"{table} exists already; replace what is there with --overwrite, or give another name with")
    assert "hall" in table.read_text()
    assert texts(folder) == before
    assert soundlora("caption", folder, "--export", table, "--overwrite").code == 0
    assert "hall" not in table.read_text()


def test_of_a_zip_a_new_one_is_written(soundlora: Cli, clips_zip: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.zip"
    outcome = soundlora("caption", clips_zip, "--before", "zvk", "--out", out)
    assert outcome.out.splitlines()[-1] == f"{out}: 3 captions changed; {clips_zip} stays as it was."
    with zipfile.ZipFile(out) as bundle:
        assert bundle.read("low.txt") == b"zvk a low tone\n"
    assert_refused(
        soundlora("caption", clips_zip, "--before", "zvk"), "A zip stays as it is; name a new one with --out."
    )
    assert soundlora("caption", clips_zip, "--before", "zvk", "--dry-run").code == 0


def test_a_captioner_of_ones_own(soundlora: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "captions_of_mine.py").write_text(
        "def say(path):\n    return 'a slam in ' + path.parent.name\n\ndef fail(path):\n    raise OSError('deaf')\n"
    )
    listed = soundlora("caption", folder, "--captioner", "captions_of_mine:say")
    assert listed.out.splitlines()[0] == "DoorSlam_03.wav  no caption; captioner says: a slam in clips"
    failed = soundlora("caption", folder, "--captioner", "captions_of_mine:fail", "--fill")
    assert failed.code == 0
    assert failed.out.splitlines()[0] == (
        "Note: The captioner failed on DoorSlam_03.wav (OSError: deaf); the clip keeps 'door slam' from its file name."
    )
    assert texts(folder)["DoorSlam_03"] == "door slam"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--find", "x"], "--find and --replace go together"),
        (["--replace", "x"], "--find and --replace go together"),
        (["--captioner-model", "x"], "--captioner-model goes with --captioner"),
        (["--captioner", "nowhere"], "--captioner is 'nowhere', but it must be MODULE:FUNCTION"),
        (["--captioner", "nowhere:f"], "nowhere:f can't be imported"),
        (["--import", "none.csv"], "none.csv can't be read"),
        (["--before", "zvk", "--out", "new.zip"], "--out goes with a zip"),
    ],
)
def test_what_does_not_fit_is_one_sentence(soundlora: Cli, folder: Path, flags: list[str], words: str) -> None:
    before = texts(folder)
    assert_refused(soundlora("caption", folder, *flags), words)
    assert texts(folder) == before


def test_a_table_of_other_files_is_refused_as_a_whole(soundlora: Cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file_name,caption\nlow.wav,x\nlost.wav,y\n")
    refused = soundlora("caption", folder, "--import", tmp_path / "t.csv")
    assert_refused(refused, "names files that are no clips here: lost.wav; --export writes a table as it must look")
    assert texts(folder)["low"] == "a low tone"


def test_inspect_says_where_captions_come_from(soundlora: Cli, folder: Path) -> None:
    outcome = soundlora("inspect", folder, "--duration", "0.5", "--captions-from", "all")
    assert "door slam  (caption from file name)" in outcome.out
    assert "a low tone\n" in outcome.out
    plain = soundlora("inspect", folder, "--duration", "0.5")
    assert "1 clip has no caption but carries words, such as 'door slam' (file name of DoorSlam_03.wav)" in plain.out
    refused = soundlora("inspect", folder, "--caption-template", "{caption} {room}")
    assert_refused(refused, "--caption-template has a field {room}, but the known ones are trigger, caption,")
    assert_refused(soundlora("inspect", folder, "--captions-from", "tags"), "--captions-from is 'tags', but it must be")
