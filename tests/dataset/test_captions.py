"""Captions in every encoding people save them in, and the trigger phrase before them."""

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import FIXTURES, MakeWav

from soundlora.dataset import inspect_dataset
from soundlora.dataset.captions import one_line, read_caption, understand_caption, with_trigger, without_trigger

WORDS = st.text("ab猫é .,-_\u2028", max_size=12)


@pytest.mark.parametrize(
    "raw",
    [
        "Café – 猫".encode(),
        codecs.BOM_UTF8 + "Café – 猫".encode(),
        "Café – 猫".encode("utf-16"),
        codecs.BOM_UTF16_BE + "Café – 猫".encode("utf-16-be"),
    ],
)
def test_unicode_captions(raw: bytes) -> None:
    assert read_caption(raw) == "Café – 猫"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(encoding: str) -> None:
    assert read_caption("a dog barks, café".encode(encoding)) == "a dog barks, café"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"caf\xe9", "café"),
        (b"\x93rain\x94 \x96 soft", "“rain” – soft"),
        (b"une \x81 nuit d'\xe9t\xe9", "une \x81 nuit d'été"),
    ],
)
def test_latin_captions(raw: bytes, text: str) -> None:
    assert read_caption(raw) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b" \r\n\t\n", ""),
        (b"  one\r\ntwo  \r\n\r\n three\r", "one two three"),
        (b"one\ntwo", "one two"),
        ("one\u2028two".encode(), "one two"),
        (b"two  spaces stay", "two  spaces stay"),
    ],
)
def test_line_breaks_become_single_spaces(raw: bytes, text: str) -> None:
    assert read_caption(raw) == text


def test_a_start_that_ends_within_a_character_loses_only_that() -> None:
    raw = "雨の音".encode()[:-1]
    assert read_caption(raw, cut=True) == "雨の"
    assert read_caption(b"caf\xe9") == "café"


@given(st.binary(max_size=60))
def test_any_bytes_give_one_line(raw: bytes) -> None:
    for cut in (False, True):
        text = read_caption(raw, cut=cut)
        assert text == text.strip()
        assert len(text.splitlines()) <= 1


# Without what is no text, or looks like markup.
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<{%")))
def test_utf_8_round_trip(text: str) -> None:
    assert read_caption(codecs.BOM_UTF8 + text.encode()) == one_line(text)


@pytest.mark.parametrize(
    ("trigger", "caption", "result"),
    [
        ("zvk", "a dog barks", "zvk a dog barks"),
        ("zvk", "", "zvk"),
        ("", "a dog barks", "a dog barks"),
        ("", "", ""),
        ("zvk", "zvk a dog", "zvk a dog"),
        ("zvk", "zvk, a dog", "zvk, a dog"),
        ("zvk", "zvk", "zvk"),
        ("zvk", "ZVK a dog", "zvk a dog"),
        ("Zap Laser", "zap laser fires", "Zap Laser fires"),
        ("straße", "STRASSE am abend", "straße STRASSE am abend"),
        ("rain", "rainbow", "rain rainbow"),
        ("rain:", "rain:soft", "rain:soft"),
        ("  old\n radio ", " a voice ", "old radio a voice"),
    ],
)
def test_the_trigger_is_prepended_once(trigger: str, caption: str, result: str) -> None:
    assert with_trigger(trigger, caption) == result


@given(WORDS, WORDS)
def test_a_second_trigger_changes_nothing(trigger: str, caption: str) -> None:
    once = with_trigger(trigger, caption)
    assert with_trigger(trigger, once) == once


@pytest.mark.parametrize(
    ("trigger", "caption", "result"),
    [
        ("kit", "kit rain on a roof", "rain on a roof"),
        ("kit", "KIT, rain on a roof.", "rain on a roof."),
        ("kit", "rain, Kit, wind", "rain, wind"),
        ("kit", "rain on a roof, kit", "rain on a roof"),
        ("kit", "the kit in rain", "the in rain"),
        ("kit", "kit", ""),
        ("kit", "kit.", ""),
        ("kit", "kitten in a kit", "kitten in a"),
        ("[k1]", "a [k1] door", "a door"),
        ("rusty  gate", "Rusty gate in rain", "in rain"),
        ("rusty gate", "Rusty gate: heavy rain", "heavy rain"),
        ("", "rain ,  wind", "rain ,  wind"),
        ("猫", "猫 鳴く", "鳴く"),
    ],
)
def test_the_words_without_the_trigger(trigger: str, caption: str, result: str) -> None:
    assert without_trigger(trigger, caption) == result


@given(WORDS, WORDS)
def test_what_a_trigger_was_put_before_is_left_when_it_is_taken_away(trigger: str, caption: str) -> None:
    assert without_trigger(trigger, with_trigger(trigger, "")) in ("", one_line(trigger).strip())
    assert without_trigger("kit", with_trigger("kit", "rain")) == "rain"
    assert without_trigger(trigger, without_trigger(trigger, caption)) == without_trigger(trigger, caption)


# ----------------------------------------------------------------------------------------------------------------------
# what is not plain text in Unicode


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        ("cp1251.txt", "дождь по крыше", "is not UTF-8 and was read as cp1251"),
        ("sjis.txt", "雨の音が屋根に落ちる", "is not UTF-8 and was read as cp932"),
        ("utf32.txt", "rain on a roof", ""),
        ("html.txt", "rain & wind", "has HTML in it"),
        ("json_in_txt.txt", "rain on a roof", "is JSON, of which the caption was taken"),
        ("ctrl.txt", "rainred", "has control characters in it"),
        ("rtf_as_txt.txt", "", "is RTF and no plain text"),
    ],
)
def test_captions_as_people_leave_them(name: str, text: str, note: str) -> None:
    found, notes = understand_caption((FIXTURES / "captions" / name).read_bytes())
    assert found == text
    assert [note in each for each in notes] == ([True] if note else [])


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "громкий шум дождя ночью в лесу"),
        ("gb18030", "很大的雷声在远处"),
        ("big5", "屋頂上的雨聲"),
        ("cp949", "지붕 위의 비 소리"),
        ("cp1253", "βροχή στη στέγη"),
        ("cp1252", "pluie légère sur un toit"),
        ("cp1252", "Tür knarrt, dann Stille"),
        ("cp1252", "bruit d’été — fenêtre"),
    ],
)
def test_encodings_of_before_unicode_are_guessed_and_said(encoding: str, text: str) -> None:
    found, notes = understand_caption(text.encode(encoding))
    assert found == text
    assert len(notes) == 1
    assert encoding in notes[0]


# Each alone is too short to tell.
SHORT = {
    "cp1251": ["дождь", "гром", "собака лает", "шаги по снегу"],
    "cp932": ["雨", "犬が鳴く", "雷の音", "足音"],
    "gb18030": ["雨声", "狗叫", "雷声", "雪地上的脚步声"],
    "cp949": ["비", "개가 짖는다", "천둥", "눈 위의 발소리"],
    "cp1252": ["Tür", "Glöckchen klingen", "été", "Schritte im Schnee, gedämpft"],
}


@pytest.mark.parametrize("encoding", SHORT)
def test_the_captions_of_a_data_set_tell_their_encoding_together(encoding: str, tmp_path: Path, wav: MakeWav) -> None:
    texts = {f"{number}": text for number, text in enumerate(SHORT[encoding])}
    for name, text in {**texts, "ascii": "rain", "utf8": "дождь и 雨"}.items():
        (tmp_path / f"{name}.wav").write_bytes(wav(0.6))
        (tmp_path / f"{name}.txt").write_bytes(text.encode("utf-8" if name == "utf8" else encoding))
    for processes in (1, 2):
        report = inspect_dataset(tmp_path, duration=0.5, processes=processes)
        found = {Path(clip.name).stem: clip for clip in report.kept}
        assert {name: found[name].caption for name in texts} == texts
        assert found["utf8"].caption == "дождь и 雨"
        said = [any(f"was read as {encoding}" in each for each in clip.warnings) for clip in found.values()]
        assert sum(said) == len([text for text in texts.values() if not text.isascii()])


def test_a_caption_that_is_in_no_encoding_of_the_others_is_guessed_alone() -> None:
    text, notes = understand_caption("Café – été".encode("cp1252"), encoding="utf-7")
    assert text == "Café – été"
    assert "cp1252" in notes[0]


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be", "utf-32"])
def test_utf_32_with_and_without_a_mark(encoding: str) -> None:
    assert understand_caption("rain on a roof".encode(encoding)) == ("rain on a roof", [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b and c > d", "a < b and c > d"),
        ("{rain} on a roof", "{rain} on a roof"),
        ("[whispering] hello", "[whispering] hello"),
        ("a man <laughs> aloud", "a man <laughs> aloud"),
        ("R&B drums; 5 > 3", "R&B drums; 5 > 3"),
    ],
)
def test_signs_alone_are_no_markup(text: str, expected: str) -> None:
    assert understand_caption(text.encode()) == (expected, [])


def test_what_is_no_text_is_never_trained() -> None:
    for raw in (b"%PDF-1.7\n", b"PK\x03\x04\x14", b'{"volume": 3}', b"{\\rtf1 rain}"):
        text, notes = understand_caption(raw)
        assert text == ""
        assert "not used" in notes[0]
