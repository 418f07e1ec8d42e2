"""File names in the encodings that zip tools write, and which of them are rubbish or an attack."""

import unicodedata
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundlora.dataset import names


def entry(raw: bytes, *, utf8: bool = False) -> zipfile.ZipInfo:
    """Return the entry as zipfile reads it: CP437 unless the UTF-8 flag is set."""
    info = zipfile.ZipInfo(raw.decode("utf-8" if utf8 else "cp437"))
    info.flag_bits = 0x800 if utf8 else 0
    return info


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("drums/kick.wav".encode("ascii"), "drums/kick.wav"),
        ("été.wav".encode(), "été.wav"),  # Linux and macOS, without the flag
        ("été.wav".encode("cp437"), "été.wav"),
        ("Español/niña.wav".encode("cp437"), "Español/niña.wav"),
        ("naïve.wav".encode("cp437"), "naïve.wav"),
        ("太鼓の音.wav".encode("cp932"), "太鼓の音.wav"),
        ("表示能力.wav".encode("cp932"), "表示能力.wav"),  # two of these characters end in a backslash byte
        (b"drums\\kick.wav", "drums/kick.wav"),
        (b"kick.wav\0.txt", "kick.wav"),
    ],
)
def test_names_without_the_utf8_flag(raw: bytes, name: str) -> None:
    assert decoded(entry(raw)) == name


def decoded(info: zipfile.ZipInfo) -> str:
    return names.decode_name(info, names.encoding_of([info]))


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("gb18030", ["雨声在屋顶上", "狗叫", "门铃 01", "海浪"]),
        ("big5", ["雨聲在屋頂上", "狗叫聲", "門鈴", "海浪 02"]),
        ("cp932", ["雨の音", "犬の鳴き声", "ドアベル", "キック01"]),
        ("cp949", ["빗소리", "개 짖는 소리", "초인종", "바다 파도"]),
        ("cp866", ["дождь по крыше", "собака лает", "звонок", "море"]),
        ("cp1251", ["дождь по крыше", "собака лает", "звонок", "море"]),
        ("cp437", ["Türgeräusch", "café", "Straße", "Übung", "niño"]),
        ("cp1252", ["Türgeräusch", "café", "Straße", "été"]),
        ("cp852", ["žluťoučký kůň", "dešť", "zvonění"]),
    ],
)
def test_the_names_of_an_archive_tell_their_encoding_together(encoding: str, found: list[str]) -> None:
    entries = [entry(f"{name}.{kind}".encode(encoding)) for name in found for kind in ("wav", "txt")]
    common = names.encoding_of([*entries, entry(b"kick.wav"), entry("été.wav".encode())])
    assert [names.decode_name(info, common) for info in entries[::2]] == [f"{name}.wav" for name in found]


def test_accents_are_composed_so_that_clip_and_caption_meet() -> None:
    decomposed = unicodedata.normalize("NFD", "été.wav")
    assert decoded(entry(decomposed.encode(), utf8=True)) == "été.wav"


def test_what_cannot_be_printed_is_replaced() -> None:
    assert names.clean_name("a\x1b[31m\u202eb\udcff\n.wav") == "a�[31m�b��.wav"


@pytest.mark.parametrize("name", ["../a.wav", "a/../../b.wav", "/etc/a.wav", "C:/a.wav", ".."])
def test_escapes(name: str) -> None:
    assert names.is_escape(name)


@pytest.mark.parametrize("name", ["a.wav", "a/b..c.wav", "..a/b.wav", "A: intro.wav", "./a.wav"])
def test_no_escapes(name: str) -> None:
    assert not names.is_escape(name)


@pytest.mark.parametrize(
    "name", ["__MACOSX/._a.wav", "._a.wav", ".DS_Store", "x/Thumbs.db", "Desktop.ini", ".git/a.wav", "x/.cache/a.wav"]
)
def test_rubbish(name: str) -> None:
    assert names.is_rubbish(names.parts_of(name))


@pytest.mark.parametrize("name", ["a.wav", "x/a.wav", "./a.wav", "x//a.wav", "thumbs.wav"])
def test_no_rubbish(name: str) -> None:
    assert not names.is_rubbish(names.parts_of(name))


def test_base_names_ignore_folder_extension_and_capitals() -> None:
    assert names.base_name("Drums/Kick.V2.WAV") == names.base_name("other/kick.v2.txt") == "kick.v2"
    assert names.suffix("Drums/Kick.V2.WAV") == ".wav"


@given(st.binary(min_size=1, max_size=40))
def test_any_name_becomes_text_that_can_be_written(raw: bytes) -> None:
    name = decoded(entry(raw))
    assert name.encode("utf-8").decode() == name
    assert "\\" not in name
    assert unicodedata.is_normalized("NFC", name)
