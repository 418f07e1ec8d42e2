"""The captions of a data set, read and changed together."""

import csv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MakeWav, WriteZip

from soundlora.dataset import InvalidArchiveError, inspect_dataset
from soundlora.dataset.caption_files import captions_of_table, write_table, write_texts, write_zip
from soundlora.dataset.caption_source import Offer
from soundlora.dataset.captioning import Changes, ClipCaption, advice, joined, read_captions
from soundlora.errors import InputError

MakeFolder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, wav: MakeWav) -> Path:
    """A folder of four clips: with a text file, a label, a row of a table and nothing but a name."""
    root = tmp_path / "clips"
    (root / "in").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "b.wav", "in/c.wav", "HeavyRain_02.wav"), 2):
        (root / name).write_bytes(wav(frequency=100.0 * number))
    (root / "A.TXT").write_text("a bell\nrings", encoding="utf-16")
    (root / "b.lab").write_text("wind")
    (root / "metadata.csv").write_text("file_name,text\nin/c.wav,the sea\n")
    return root


def clip(text: str, offer: str = "", name: str = "a.wav") -> ClipCaption:
    return ClipCaption(name, text, "a.txt", "a.txt", None, Offer(offer, "file name") if offer else None)


def texts_of(source: Path) -> dict[str, str]:
    return {clip.name: clip.text for clip in read_captions(str(source)).clips}


def test_captions_are_listed_with_where_they_come_from(folder: Path) -> None:
    found = read_captions(str(folder))
    assert [(clip.name, clip.text, clip.source, clip.file) for clip in found.clips] == [
        ("HeavyRain_02.wav", "", "", "HeavyRain_02.txt"),
        ("a.wav", "a bell rings", "A.TXT", "A.TXT"),
        ("b.wav", "wind", "b.lab", "b.txt"),
        ("in/c.wav", "the sea", "metadata.csv", "in/c.txt"),
    ]
    assert found.clips[0].offer == Offer("heavy rain", "file name")
    assert (found.is_folder, found.warnings) == (True, [])
    assert advice(found.clips) == "1 clip would get a caption by fill=True."
    assert advice(found.clips[1:]) == ""


def test_a_list_of_a_zip_leaves_nothing_behind(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    source = Path(shutil.make_archive(str(tmp_path / "clips"), "zip", folder))
    (tmp_path / "work").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    found = read_captions(str(source))
    assert [clip.path for clip in found.clips] == [None] * 4
    assert {clip.name: clip.text for clip in found.clips} == texts_of(folder)
    assert not found.is_folder
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        (Changes(fill=True), clip("", "rain"), "rain"),
        (Changes(fill=True), clip("wind", "rain"), None),
        (Changes(fill=True), clip(""), None),
        (Changes(find="wind", replace="storm"), clip("wind and wind"), "storm and storm"),
        (Changes(find="wind "), clip("wind and rain"), "and rain"),
        (Changes(find="rain", replace="storm"), clip("", "rain"), None),
        (Changes(fill=True, find="rain", replace="storm"), clip("", "rain"), "storm"),
        (Changes(before="zvk", after=", close"), clip("wind"), "zvk wind, close"),
        (Changes(before="zvk", after=", close"), clip("zvk wind, close"), None),
        (Changes(before="zvk"), clip("", "rain"), None),
        (Changes({"a.wav": "sea"}, before="zvk"), clip("wind"), "zvk sea"),
        (Changes({"a.wav": ""}, fill=True), clip("wind", "rain"), ""),
        (Changes({"b.wav": "sea"}), clip("wind"), None),
        (Changes(find="a", replace="b\n\nc"), clip("a"), "b c"),
    ],
)
def test_changes_are_made_in_their_order(changes: Changes, before: ClipCaption, after: str | None) -> None:
    assert changes.of([before]) == ({} if after is None else {"a.wav": after})


@given(st.text(max_size=20), st.text(max_size=20))
def test_joined_texts_are_one_line(text: str, more: str) -> None:
    found = joined(text, more)
    assert len(found.splitlines()) <= 1
    assert found == found.strip()


def test_a_folder_is_changed_in_place_and_the_earlier_captions_are_kept(folder: Path) -> None:
    found = read_captions(str(folder))
    wanted = Changes(fill=True, before="zvk")
    kept = write_texts(folder, found.clips, wanted.of(found.clips))
    new = {
        "HeavyRain_02.wav": "zvk heavy rain",
        "a.wav": "zvk a bell rings",
        "b.wav": "zvk wind",
        "in/c.wav": "zvk the sea",
    }
    assert texts_of(folder) == new
    assert {clip.name: clip.caption for clip in inspect_dataset(folder, duration=0.5).clips} == new
    assert sorted(path.name for path in folder.rglob("*.[tT]*")) == ["A.TXT", "HeavyRain_02.txt", "b.txt", "c.txt"]
    assert (folder / "A.TXT").read_text(encoding="utf-8") == "zvk a bell rings\n"

    assert kept == folder / ".captions_before_1.csv"
    with kept.open(newline="") as file:
        assert list(csv.reader(file))[:3] == [
            ["file_name", "caption", "source"],
            ["HeavyRain_02.wav", "", ""],
            ["a.wav", "a bell rings", "A.TXT"],
        ]
    again = read_captions(str(folder))
    back = Changes(captions_of_table(kept, again.clips)).of(again.clips)
    assert write_texts(folder, again.clips, back) == folder / ".captions_before_2.csv"
    assert texts_of(folder) == {"HeavyRain_02.wav": "", "a.wav": "a bell rings", "b.wav": "wind", "in/c.wav": "the sea"}


def test_new_captions_alone_leave_nothing_to_keep(folder: Path) -> None:
    found = read_captions(str(folder))
    assert write_texts(folder, found.clips, Changes(fill=True).of(found.clips)) is None
    assert (folder / "HeavyRain_02.txt").read_text() == "heavy rain\n"


def test_of_a_zip_a_new_one_is_written(folder: Path, tmp_path: Path, write_zip: WriteZip) -> None:
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}
    source = write_zip(tmp_path / "a.zip", files | {"cover.png": b"png", "__MACOSX/._a.wav": b"x"})
    raw = source.read_bytes()
    found = read_captions(str(source))
    write_zip_ = write_zip_of(source, tmp_path / "b.zip", found.clips)
    assert texts_of(write_zip_) == {
        "HeavyRain_02.wav": "heavy rain", "a.wav": "a bell rings!", "b.wav": "wind!", "in/c.wav": "the sea!",
    }  # fmt: skip
    with zipfile.ZipFile(write_zip_) as bundle:
        assert sorted(bundle.namelist()) == sorted([*files, "cover.png", "HeavyRain_02.txt", "b.txt", "in/c.txt"])
        assert {name: bundle.read(name) for name in files if name != "A.TXT"} == {
            name: content for name, content in files.items() if name != "A.TXT"
        }
    assert source.read_bytes() == raw
    with pytest.raises(InputError, match=r"b\.zip is there already"):
        write_zip_of(source, tmp_path / "b.zip", found.clips)


def write_zip_of(source: Path, out: Path, clips: list[ClipCaption]) -> Path:
    changes = Changes(fill=True).of(clips) | {clip.name: clip.text + "!" for clip in clips if clip.text}
    write_zip(source, out, clips, changes)
    return out


def test_a_table_comes_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    found = read_captions(str(folder))
    write_table(tmp_path / "t.csv", found.clips)
    assert captions_of_table(tmp_path / "t.csv", found.clips) == {clip.name: clip.text for clip in found.clips}


@given(st.text())
def test_any_caption_comes_back_from_a_table(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    from soundlora.dataset.captions import one_line

    path = tmp_path_factory.getbasetemp() / "any.csv"
    one = [clip(one_line(text).replace("\0", ""), name="a, b;c.wav")]
    write_table(path, one)
    assert captions_of_table(path, one) == {"a, b;c.wav": one_line(one[0].text)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file_name,caption,room\na.wav,rain,hall\n", "has a column 'room', but the known ones are file_name,"),
        ("file_name,text\na.wav,rain\n", "has a column 'text', but"),
        ("file_name\na.wav\n", "has no column caption"),
        ("file_name,caption\nq.wav,rain\nr.wav,x\n", "names files that are no clips here: q.wav, r.wav"),
        ("file_name,caption\na.wav,rain,more\n", "has a row with more cells than columns"),
        ('file_name,caption\na.wav,"' + "x" * 200_000, "can't be read as CSV"),
        ("x" * 9_000_000, "is larger than 8 MiB"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=r"t\.csv .*; export= writes a table as it must look\.") as error:
        captions_of_table(tmp_path / "t.csv", [clip("wind")])
    assert words in str(error.value)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv can't be read"):
        captions_of_table(tmp_path / "none.csv", [])


def test_a_captioner_speaks_for_clips_without_a_caption(folder: Path) -> None:
    asked: list[str] = []

    def captioner(path: Path) -> str:
        asked.append(path.name)
        return " rain that\nI hear "

    found = read_captions(str(folder), captioner)
    assert asked == ["HeavyRain_02.wav"]
    assert found.clips[0].offer == Offer("rain that I hear", "captioner")


@pytest.mark.parametrize(
    ("answer", "warning"),
    [
        (ValueError("too\nquiet"), "The captioner failed on HeavyRain_02.wav (ValueError: too quiet); the clip keeps"),
        (KeyError(), "The captioner failed on HeavyRain_02.wav (KeyError: no reason given); the clip keeps"),
        ("", "The captioner returned an empty text for HeavyRain_02.wav; the clip keeps"),
        (None, "The captioner returned no text but NoneType for HeavyRain_02.wav; the clip keeps"),
    ],
)
def test_where_a_captioner_fails_the_clip_keeps_its_other_caption(answer: object, warning: str, folder: Path) -> None:
    def captioner(path: Path) -> str:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    found = read_captions(str(folder), captioner)
    assert found.warnings == [f"{warning} 'heavy rain' from its file name."]
    assert found.clips[0].offer == Offer("heavy rain", "file name")


def test_what_can_not_be_changed_is_refused(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> None:
    with pytest.raises(InputError, match="no folder and no zip on this machine"):
        read_captions("https://example.org/a.zip")
    with pytest.raises(InputError, match="holds no clip"):
        read_captions(str(write_zip(tmp_path / "empty.zip", {"a.txt": b"x"})))
    inner = write_zip(tmp_path / "inner.zip", {"a.wav": wav()}).read_bytes()
    with pytest.raises(InputError, match=r"lie in in\.zip, a zip within it"):
        read_captions(str(write_zip(tmp_path / "outer.zip", {"in.zip": inner})))
    with pytest.raises(InvalidArchiveError, match="does not exist"):
        read_captions(str(tmp_path / "none"))
