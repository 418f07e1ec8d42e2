"""Captions in every encoding people save them in, and the trigger phrase before them."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundlora.dataset.captions import one_line, read_caption, with_trigger

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
    [(b"caf\xe9", "café"), (b"\x93rain\x94 \x96 soft", "“rain” – soft"), (b"\x81\xe9t\xe9", "\x81été")],
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


@given(st.text())
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
        ("zvk", "ZVK a dog", "zvk ZVK a dog"),
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
