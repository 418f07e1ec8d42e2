"""Which caption belongs to which clip, and what is said where that can't be told."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import WriteZip

from soundlora.dataset.archive import open_archive
from soundlora.dataset.pairing import pair
from soundlora.dataset.problems import DuplicateNameError


def paired(source: Path) -> tuple[list[tuple[str, str | None]], list[str]]:
    with open_archive(source) as archive:
        pairs, orphans = pair(archive.members)
    return [(clip.name, caption.name if caption else None) for clip, caption in pairs], [each.name for each in orphans]


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_captions_find_their_clips(tmp_path: Path, write_zip: WriteZip) -> None:
    names = ["a/Kick.wav", "texts/kick.TXT", "snare.v2.mp3", "snare.txt", "readme.txt"]
    with open_archive(write_zip(tmp_path / "a.zip", dict.fromkeys(names, b"x"))) as archive:
        pairs, orphans = pair(archive.members)
    found = [(clip.name, caption.name if caption else None) for clip, caption in pairs]
    assert found == [("a/Kick.wav", "texts/kick.TXT"), ("snare.v2.mp3", None)]
    assert [orphan.name for orphan in orphans] == ["readme.txt", "snare.txt"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("kick.mp3", "kick.wav"), ("a/kick.wav", "b/Kick.WAV"), ("a/été.wav", "b/e\u0301te\u0301.flac")],
)
def test_two_clips_of_one_name_are_refused_with_both_names(
    first: str, second: str, tmp_path: Path, write_zip: WriteZip
) -> None:
    with (
        open_archive(write_zip(tmp_path / "a.zip", {first: b"x", second: b"y"})) as archive,
        pytest.raises(DuplicateNameError) as caught,
    ):
        pair(archive.members)
    composed = second.replace("e\u0301", "é")
    assert str(caught.value) == (
        f"{first} and {composed} have the same base name; file names must be unique across the whole archive, so "
        "rename or remove one of them."
    )


def test_two_captions_of_one_clip_are_refused_but_two_orphans_are_not(tmp_path: Path, write_zip: WriteZip) -> None:
    members = dict.fromkeys(["a/readme.txt", "b/readme.txt", "kick.wav"], b"x")
    with open_archive(write_zip(tmp_path / "a.zip", members)) as archive:
        assert len(pair(archive.members)[1]) == 2
    members |= dict.fromkeys(["a/kick.txt", "b/KICK.txt"], b"x")
    with open_archive(write_zip(tmp_path / "b.zip", members)) as archive, pytest.raises(DuplicateNameError) as caught:
        pair(archive.members)
    assert str(caught.value) == "a/kick.txt and b/KICK.txt are both captions of kick.wav; keep one of them."


def test_names_of_two_folders_on_the_disk_may_be_equal(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", "a/01.wav", "a/01.txt", "b/01.wav", "b/01.TXT", "b/02.wav", "texts/02.txt")
    pairs, orphans = paired(root)
    assert pairs == [("a/01.wav", "a/01.txt"), ("b/01.wav", "b/01.TXT"), ("b/02.wav", None)]
    assert orphans == ["texts/02.txt"]


def test_where_names_are_unique_captions_lie_in_any_folder(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", "clips/01.wav", "clips/02.wav", "texts/02.txt")
    assert paired(root) == ([("clips/01.wav", None), ("clips/02.wav", "texts/02.txt")], [])


def test_two_clips_of_one_name_in_one_folder_are_refused(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", "a/01.wav", "a/01.flac", "b/01.wav")
    with pytest.raises(DuplicateNameError, match=r"^a/01\.flac and a/01\.wav have the same base name"):
        paired(root)


def test_all_clashes_of_a_zip_are_named_at_once(tmp_path: Path, write_zip: WriteZip) -> None:
    numbers = [f"{number:02d}.wav" for number in range(25)]
    members = {f"{folder}/{name}": b"x" for folder in "ab" for name in numbers}
    with pytest.raises(DuplicateNameError) as caught:
        paired(write_zip(tmp_path / "a.zip", members))
    sentence = str(caught.value)
    assert sentence.startswith("25 base names are there more than once: a/00.wav and b/00.wav; a/01.wav and b/01.wav;")
    assert "a/19.wav and b/19.wav; and 5 more." in sentence
    assert sentence.endswith("so rename or remove one of each.")


def test_all_clips_with_two_captions_are_named_at_once(tmp_path: Path, write_zip: WriteZip) -> None:
    names = ["a.wav", "b.wav", "x/a.txt", "y/a.txt", "x/b.txt", "y/b.txt"]
    with pytest.raises(DuplicateNameError) as caught:
        paired(write_zip(tmp_path / "a.zip", dict.fromkeys(names, b"x")))
    assert str(caught.value) == (
        "x/a.txt and y/a.txt are both captions of a.wav; x/b.txt and y/b.txt are both captions of b.wav; keep one of "
        "each."
    )
