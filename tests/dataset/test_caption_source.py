"""Which caption a clip gets, and how the template puts it together."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MakeWav, WriteZip

from soundlora.dataset import inspect_dataset
from soundlora.dataset.caption_source import CaptionRule
from soundlora.dataset.caption_template import check_template, filled
from soundlora.dataset.report import ClipReport, DatasetReport
from soundlora.errors import InputError

OFFER = "clips have no caption but carry words"


@pytest.fixture
def library(tmp_path: Path, wav: MakeWav, write_zip: WriteZip) -> Path:
    """A zip of clips each of which says what it is in another place."""
    described = wav() + b"bext" + (602).to_bytes(4, "little") + b"described in the file".ljust(602, b"\0")
    files = {
        "file.wav": wav(frequency=200),
        "file.txt": b"from a file",
        "table.wav": wav(frequency=300),
        "metadata.csv": b"file_name,text,room\ntable.wav,from a table,hall\nfile.wav,no,cave\n",
        "SomeName_01.wav": described,
        "HeavyRain_01.wav": wav(frequency=400),
        "Door Slams/01.wav": wav(frequency=500),
        "99.wav": wav(frequency=600),
    }
    return write_zip(tmp_path / "library.zip", files)


def clips_of(source: Path, **settings: Any) -> tuple[dict[str, ClipReport], DatasetReport]:
    report = inspect_dataset(source, duration=0.5, **settings)
    return {clip.name: clip for clip in report.clips}, report


def test_by_default_files_and_tables_count_and_what_else_there_is_is_said(library: Path) -> None:
    clips, report = clips_of(library, trigger_phrase="zvk")
    assert {name: clip.caption for name, clip in clips.items() if clip.caption != "zvk"} == {
        "file.wav": "zvk from a file",
        "table.wav": "zvk from a table",
    }
    assert {clip.caption_source for clip in clips.values()} == {"file.txt", "metadata.csv", None}
    assert clips["99.wav"].warnings == ["it has no caption: the trigger phrase stands alone"]
    assert report.warnings[-1] == (
        f"3 {OFFER}, such as 'door slams' (folder name of Door Slams/01.wav); captions_from='all' uses them."
    )


def test_all_takes_what_clips_carry_in_one_order(library: Path) -> None:
    clips, report = clips_of(library, captions_from="all")
    assert {name: (clip.caption, clip.caption_source) for name, clip in clips.items()} == {
        "file.wav": ("from a file", "file.txt"),
        "table.wav": ("from a table", "metadata.csv"),
        "SomeName_01.wav": ("described in the file", "BWF description"),
        "HeavyRain_01.wav": ("heavy rain", "file name"),
        "Door Slams/01.wav": ("door slams", "folder name"),
        "99.wav": ("", None),
    }
    assert clips["HeavyRain_01.wav"].warnings == []
    assert clips["99.wav"].warnings == ["it has no caption: it is trained with an empty caption"]
    assert not any(OFFER in warning for warning in report.warnings)


def test_another_word_for_where_captions_come_from_is_refused(library: Path) -> None:
    with pytest.raises(InputError, match="captions_from is 'tags', but it must be one of files, all") as error:
        clips_of(library, captions_from="tags")
    assert error.value.field == "captions_from"


def test_a_template_takes_columns_tags_and_names(library: Path) -> None:
    clips, _ = clips_of(library, caption_template="{trigger}: {caption}, {ROOM}", trigger_phrase="zvk")
    assert clips["file.wav"].caption == "zvk: from a file, cave"
    assert clips["99.wav"].caption == "zvk"
    clips, _ = clips_of(library, caption_template="{caption} in a {room} [{folder}]", captions_from="all")
    assert clips["table.wav"].caption == "from a table in a hall]"
    assert clips["Door Slams/01.wav"].caption == "door slams [door slams]"


def test_a_template_without_the_trigger_has_it_before(library: Path) -> None:
    clips, report = clips_of(library, caption_template="{caption} ({room})", trigger_phrase="zvk")
    assert clips["file.wav"].caption == "zvk from a file (cave)"
    assert not any("alike" in warning for warning in report.warnings)


@pytest.mark.parametrize("template", ["{trigger} {roof}", "{caption.text}", "{0}", "{}", "{caption!r}"])
def test_an_unknown_field_is_refused_with_the_known_ones(library: Path, template: str) -> None:
    with pytest.raises(
        InputError, match=r"has a field \{.*\}, but the known ones are trigger, caption, .*, room\."
    ) as error:
        clips_of(library, caption_template=template)
    assert error.value.field == "caption_template"


@pytest.mark.parametrize("template", ["{trigger", "caption}", "{{caption}}", "{a{b}}"])
def test_a_lone_brace_is_refused_before_anything_is_read(template: str) -> None:
    with pytest.raises(InputError, match="its braces must stand around the names of fields"):
        check_template(template, known=False)


@pytest.mark.parametrize(
    ("template", "values", "caption"),
    [
        ("{trigger} {caption}, {room}", {"caption": "rain", "room": "hall"}, "zvk rain, hall"),
        ("{trigger} {caption}, {room}", {"caption": "rain"}, "zvk rain"),
        ("{trigger} {caption}, {room}", {"room": "hall"}, "zvk, hall"),
        ("{trigger} {caption}", {"caption": "ZVK rain"}, "zvk rain"),
        ("{trigger} {caption}", {"caption": "zvks"}, "zvk zvks"),
        ("{caption}, {trigger}", {"caption": "rain"}, "rain, zvk"),
        ("{genre}: {caption}.", {"caption": "rain"}, "zvk rain."),
        ("The sound of {caption}", {"caption": "rain"}, "zvk The sound of rain"),
        ("The sound of {caption}", {}, "zvk"),
        ("{caption}", {"caption": "{trigger} {room}"}, "zvk {trigger} {room}"),
        ("", {"caption": "rain"}, "zvk rain"),
        ("fixed", {"caption": "rain"}, "zvk"),
    ],
)
def test_fields_without_a_text_are_left_out(template: str, values: dict[str, str], caption: str) -> None:
    assert filled(template, "zvk", values) == caption


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(["", "{caption}", "{trigger} {caption}"]))
def test_the_usual_templates_are_alike(trigger: str, text: str, template: str) -> None:
    from soundlora.dataset.captions import one_line, with_trigger

    text = one_line(text)
    found = filled(template, trigger, {"caption": text})
    if text and template != "{trigger} {caption}":
        assert found == with_trigger(trigger, text)
    assert "{" not in found or "{" in trigger + text


def test_the_rule_asks_for_tags_where_they_count_alone(library: Path) -> None:
    from soundlora.dataset import open_archive
    from soundlora.dataset.sidecars import entries

    with open_archive(library) as archive:
        found = entries(archive, "")
        wants = {
            template: {entry.clip.name for entry in found.clips if rule.wants_tags(entry)}
            for template in ("", "{caption}")
            for rule in [CaptionRule(template=template).of(found, archive)]
        }
    assert "file.wav" not in wants[""]
    assert "table.wav" not in wants[""]
    assert len(wants[""]) == 4
    assert len(wants["{caption}"]) == 6
