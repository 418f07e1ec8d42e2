"""Tables of captions, and sidecars of other names than NAME.txt."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MakeWav, WriteZip

from soundlora.dataset import Archive, inspect_dataset, tables
from soundlora.dataset.members import Member
from soundlora.dataset.report import ClipReport, DatasetReport
from soundlora.dataset.sidecars import entries
from soundlora.dataset.tables import read_tables


def table(name: str, content: str | bytes) -> Member:
    raw = content.encode() if isinstance(content, str) else content
    return Member(name, len(raw), None, lambda: io.BytesIO(raw))


def captions_of(report: DatasetReport) -> dict[str, tuple[str, str | None]]:
    return {clip.name: (clip.caption, clip.caption_source) for clip in report.clips}


@pytest.fixture
def three(wav: MakeWav) -> dict[str, bytes]:
    return {name: wav(frequency=100.0 * number) for number, name in enumerate(("a.wav", "b.wav", "in/c.wav"), 2)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,text,room\na.wav,rain,hall\nin/c.wav,wind,\n"),
        ("metadata.csv", "file_name;caption;room\r\na.wav;rain;hall\r\nin/c.wav;wind;\r\n"),
        ("Metadata.CSV", "\ufeffFile_Name,Transcription\nA.WAV,rain\n./in/c.wav,wind\n"),
        ("metadata.jsonl", '{"file_name": "a.wav", "text": "rain"}\n\n{"file_name": "in\\\\c.wav", "text": "wind"}\n'),
        ("captions.json", '{"a": "rain", "c.wav": {"caption": "wind"}}'),
        ("captions.json", '[{"file": "a.wav", "caption": "rain"}, {"path": "c", "prompt": "wind"}, 7]'),
    ],
)
def test_tables_of_all_kinds_give_captions(
    name: str, content: str, three: dict[str, bytes], tmp_path: Path, write_zip: WriteZip
) -> None:
    report = inspect_dataset(write_zip(tmp_path / "a.zip", three | {name: content.encode()}), duration=0.5)
    assert captions_of(report) == {"a.wav": ("rain", name), "b.wav": ("", None), "in/c.wav": ("wind", name)}
    assert report.ignored == []
    assert not any("Ignored" in warning for warning in report.warnings)


def test_a_table_in_a_folder_names_files_from_there_and_lists_become_words() -> None:
    read = read_tables(
        [
            table(
                "in/metadata.jsonl", '{"file_name": "c.wav", "text": "wind", "tags": ["cold", "dry"], "n": 3, "x": {}}'
            )
        ],
        ["c.wav", "in/c.wav"],
    )
    assert list(read.rows) == ["in/c.wav"]
    assert read.rows["in/c.wav"].fields == {"tags": "cold, dry", "n": "3", "x": ""}
    assert read.columns == ("tags", "n", "x")


def test_a_name_that_may_mean_two_clips_means_none() -> None:
    read = read_tables([table("metadata.csv", "file_name,text\nc,wind\n1/c.wav,rain\n")], ["1/c.wav", "2/c.wav"])
    assert {name: row.caption for name, row in read.rows.items()} == {"1/c.wav": "rain"}
    assert read.warnings == ("metadata.csv names files that are no clips here: c.",)


@pytest.mark.parametrize(
    ("name", "content", "warning"),
    [
        (
            "metadata.csv",
            "sound,words\na.wav,rain\n",
            "metadata.csv has no column file_name, so it is not used; its columns are sound, words.",
        ),
        (
            "metadata.csv",
            "file_name,room\na.wav,hall\n",
            "metadata.csv has no column caption or text, so it is not used; its columns are file_name, room.",
        ),
        ("metadata.jsonl", "{\n", "metadata.jsonl is not used: line 1 of it is no JSON."),
        ("metadata.jsonl", "[1]\n", "metadata.jsonl is not used from line 1 on, which is no JSON object."),
        ("captions.json", "[" * 100_000, "captions.json is not used: it is no JSON."),
        ("captions.json", "[" * 300_000, "captions.json holds more than 200000 values, so it is not used."),
        ("captions.json", "7", "captions.json must be a JSON object or a list of objects, so it is not used."),
        ("metadata.csv", "x" * 9_000_000, "metadata.csv is larger than 8 MiB, so it is not used."),
        (
            "metadata.csv",
            'file_name,text\na.wav,"' + "x" * 200_000 + '"\n',
            "metadata.csv can't be read as CSV (field larger than field limit (131072)), so it is not used.",
        ),
        (
            "metadata.csv",
            "file_name,text\nz1.wav,x\nz2.wav,x\nz3.wav,x\nz4.wav,x\n",
            "metadata.csv names files that are no clips here: z1.wav, z2.wav, z3.wav and 1 more.",
        ),
        (
            "metadata.csv",
            "file_name,text\na.wav,T\xfcr\n".encode("cp1252"),
            "metadata.csv is not UTF-8 and was read as cp1252; save it as UTF-8 if that is wrong.",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_a_sentence(name: str, content: str | bytes, warning: str) -> None:
    assert read_tables([table(name, content)], ["a.wav"]).warnings == (warning,)


def test_warnings_of_tables_are_in_the_report(three: dict[str, bytes], tmp_path: Path, write_zip: WriteZip) -> None:
    source = write_zip(tmp_path / "a.zip", three | {"captions.json": b'{"q.wav": "rain"}'})
    warnings = inspect_dataset(source, duration=0.5).warnings
    assert "captions.json names files that are no clips here: q.wav." in warnings


def test_other_sidecars_count_where_there_is_no_text_file(
    three: dict[str, bytes], tmp_path: Path, write_zip: WriteZip
) -> None:
    files = {
        "a.wav.txt": b"rain",
        "a.lab": b"no",
        "B.LAB": b"wind",
        "in/c.TXT": b"sea",
        "in/c.wav.txt": b"no",
        "z.lab": b"x",
    }
    report = inspect_dataset(write_zip(tmp_path / "a.zip", three | files), duration=0.5)
    assert captions_of(report) == {
        "a.wav": ("rain", "a.wav.txt"),
        "b.wav": ("wind", "B.LAB"),
        "in/c.wav": ("sea", "in/c.TXT"),
    }
    assert report.orphan_captions == ["in/c.wav.txt"]
    assert [file.name for file in report.ignored] == ["a.lab", "z.lab"]


def test_a_caption_file_counts_before_a_table_unless_it_is_empty(
    three: dict[str, bytes], tmp_path: Path, write_zip: WriteZip
) -> None:
    files = {
        "a.txt": b"rain",
        "b.txt": b" ",
        "metadata.csv": b"file_name,text\na.wav,no\nb.wav,wind\n",
        "metadata.jsonl": b'{"file_name": "in/c.wav", "text": "sea"}',
        "captions.json": b'{"c": "no"}',
    }
    report = inspect_dataset(write_zip(tmp_path / "a.zip", three | files), duration=0.5)
    assert captions_of(report) == {
        "a.wav": ("rain", "a.txt"),
        "b.wav": ("wind", "metadata.csv"),
        "in/c.wav": ("sea", "metadata.jsonl"),
    }
    assert [clip.warnings for clip in report.clips] == [[], [], []]


def test_several_processes_find_the_same(wav: MakeWav, tmp_path: Path, write_zip: WriteZip) -> None:
    files = {f"{number:02}.wav": wav(frequency=200.0 + number) for number in range(9)}
    rows = "".join(f"{name},sound {number}\n" for number, name in enumerate(files) if number % 2)
    files |= {"metadata.csv": f"file_name,text\n{rows}".encode(), "04.wav.txt": b"four"}
    source = write_zip(tmp_path / "a.zip", files)
    alone = inspect_dataset(source, duration=0.5)
    assert inspect_dataset(source, duration=0.5, processes=2) == alone
    assert alone.clips[1] == ClipReport(
        **(vars(alone.clips[1]) | {"caption": "sound 1", "caption_source": "metadata.csv"})
    )


@given(
    st.sampled_from(["metadata.csv", "metadata.jsonl", "captions.json"]),
    st.binary(max_size=300) | st.text().map(str.encode),
)
def test_any_bytes_become_rows_or_a_sentence(name: str, content: bytes) -> None:
    read = read_tables([table(name, content)], ["a.wav"])
    assert all(warning.endswith(".") for warning in read.warnings)


def test_rows_of_a_recording_hold_from_their_seconds_on() -> None:
    of_a = "a.wav,12.5,hail\na.wav,0,rain\na.wav,3,wind\na.wav,3,other\n"
    content = f"file_name,offset,text\n{of_a}b.wav,90,snow\nc.wav,x,fog\n"
    read = read_tables([table("metadata.csv", content)], ["a.wav", "b.wav", "c.wav"])
    # A clip that was cut out of a recording long ago has one row, wherever it was cut.
    assert {clip: row.caption for clip, row in read.rows.items()} == {"a.wav": "rain", "b.wav": "snow", "c.wav": "fog"}
    start = (0.0, read.rows["a.wav"])
    held = [(read.at("a.wav", offset) or start)[1].caption for offset in (0, 2.99, 2.9999, 10, 12.5, 300)]
    assert held == ["rain", "rain", "wind", "wind", "hail", "hail"]
    assert read.at("b.wav", 80) is None
    assert read.at("b.wav", 100) == (90.0, read.rows["b.wav"])
    assert read.at("none.wav", 100) is None


@pytest.mark.parametrize("value", ["", "-1", "nan", "inf", "soon", None, {"x": 1}, True])
def test_an_offset_that_is_none_is_the_start(value: object) -> None:
    rows = [{"file_name": "a.wav", "text": "rain"}, {"file_name": "a.wav", "text": "hail", "offset": value}]
    read = read_tables([table("captions.json", json.dumps(rows))], ["a.wav"])
    assert read.rows["a.wav"].caption == "rain"
    assert read.later["a.wav"] == ()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12.5", 12.5),
        ("12,5", 12.5),
        ("12.5s", 12.5),
        ("12.5 s", 12.5),
        ("12 sec", 12.0),
        ("1:02", 62.0),
        ("0:02,5", 2.5),
        ("61:00", 3660.0),
        ("1:00:02.25", 3602.25),
    ],
)
def test_offsets_are_seconds_or_times(text: str, seconds: float) -> None:
    content = f'file_name,offset,text\na.wav,0,rain\na.wav,"{text}",hail\n'
    read = read_tables([table("metadata.csv", content)], ["a.wav"])
    assert [(start, row.caption) for start, row in read.later["a.wav"]] == [(seconds, "hail")]
    assert read.warnings == ()


def test_offsets_that_are_no_seconds_are_named_where_their_rows_are_lost() -> None:
    rows = "a.wav,0,rain\na.wav,soon,hail\na.wav,-3,snow\nb.wav,verse,fog\nb.wav,chorus,wind\n"
    read = read_tables([table("metadata.csv", f"file_name,offset,text\n{rows}")], ["a.wav", "b.wav"])
    assert {clip: row.caption for clip, row in read.rows.items()} == {"a.wav": "rain", "b.wav": "fog"}
    assert read.warnings == (
        "Rows of tables whose offsets are no seconds are not used: soon, -3, chorus; write them as 62.5 or 1:02.5.",
    )


@pytest.mark.parametrize(
    ("content", "columns"),
    [("a.wav,rain\n", "a.wav, rain"), ("\ufeffa.wav;rain", "a.wav, rain"), ("a.wav|rain\n", "a.wav|rain")],
)
def test_a_table_of_one_line_that_names_no_columns_is_told(content: str, columns: str) -> None:
    read = read_tables([table("metadata.csv", content)], ["a.wav"])
    sentence = f"metadata.csv has no column file_name, so it is not used; its columns are {columns}."
    assert read.warnings == (sentence,)
    assert read_tables([table("metadata.csv", "file_name,text\n")], ["a.wav"]).warnings == ()
    assert read_tables([table("metadata.csv", "\n")], ["a.wav"]).warnings == ()


LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(["file_name", "text", "a.wav", "x"])


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)))
def test_any_json_becomes_texts(value: object) -> None:
    read = read_tables([table("captions.json", json.dumps(value))], ["a.wav"])
    assert all(isinstance(text, str) for row in read.rows.values() for text in (row.caption, *row.fields.values()))


def test_many_rows_and_tables_are_read_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    content = "file_name,text\n" + "z.wav,x\n" * 3 + "a.wav,rain\n"
    monkeypatch.setattr(tables, "_MOST_ROWS", 3)
    read = read_tables([table("metadata.csv", content)], ["a.wav"])
    assert read.rows == {}
    assert read.warnings[0] == "metadata.csv is not used from here on: there are more than 3 rows in all."
    monkeypatch.setattr(tables, "_MOST_ROWS", 300)
    many = [table(f"{number}/metadata.csv", content) for number in range(22)]
    assert read_tables(many, ["a.wav"]).warnings[0] == "Of 22 tables of captions only the first 20 are used."


def test_a_hundred_thousand_files_beside_the_clips_take_no_time_for_each(tmp_path: Path) -> None:
    def member(name: str) -> Member:
        return Member(name, 0, None, io.BytesIO)

    clips = [member(f"clip{number}.wav") for number in range(2000)]
    labels = [member(f"label{number}.lab") for number in range(100_000)]
    texts = [member(f"clip{number}.wav.txt") for number in range(0, 2000, 2)]
    found = entries(Archive((*clips, *texts), tuple(labels), ()), "")
    assert sum(entry.caption is not None for entry in found.clips) == 1000
    assert len(found.ignored) == 100_000
