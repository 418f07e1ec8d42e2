"""What sound files carry, written by FFmpeg's muxers and by mutagen, and hostile chunks."""

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from support import FIXTURES, MakeTone, MakeWav, WriteAudio

from soundlora.dataset.decode import decode
from soundlora.dataset.riff import read_chunks
from soundlora.dataset.tags import caption_of_tags, read_tags

SAID = {
    "title": "Rain on a roof",
    "comment": "heavy, steady",
    "genre": "Ambience",
    "description": "heavy rain on a tin roof",
    "keywords": "rain, roof",
}


def with_chunk(wav: bytes, name: bytes, content: bytes, length: int | None = None) -> bytes:
    """A WAV with one more chunk at its end."""
    head = name + struct.pack("<I", len(content) if length is None else length)
    return wav + head + content + b"\0" * (len(content) % 2)


def ixml(inner: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><BWFXML>{inner}</BWFXML>'.encode()


def bext(description: bytes) -> bytes:
    return description.ljust(256, b"\0") + b"\0" * 346


@pytest.fixture
def sound(tmp_path: Path, wav: MakeWav) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(wav())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "missing"),
    [
        ("a.wav", "pcm_s16le", {"description", "keywords"}),
        ("a.mp3", "mp3", set()),
        ("a.m4a", "aac", set()),
        ("a.mka", "aac", set()),
        ("a.caf", "pcm_s16le", set()),
    ],
)
def test_tags_that_ffmpeg_writes_are_read(
    name: str, codec: str, missing: set[str], tmp_path: Path, tone: MakeTone
) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as file:
        file.metadata.update(SAID)
        stream = file.add_stream(codec, rate=44_100, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(tone(0.5, 44_100)), format="flt", layout="mono")
        frame.sample_rate, frame.pts = 44_100, 0
        converter = av.AudioResampler(stream.format, "mono", 44_100, frame_size=stream.frame_size or None)
        for converted in [*converter.resample(frame), *converter.resample(None)]:
            file.mux(stream.encode(converted))
        file.mux(stream.encode(None))

    tags = read_tags(path)

    assert tags == {key: text for key, text in SAID.items() if key not in missing}


def test_the_description_of_a_broadcast_wave_that_ffmpeg_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w", options={"write_bext": "1"}) as file:
        file.metadata.update({"description": "Distant thunder", "title": "Storm"})
        stream = file.add_stream("pcm_s16le", rate=44_100, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 44_100, 0
        file.mux(stream.encode(frame))
    tags = read_tags(path)
    assert tags["BWF description"] == "Distant thunder"
    assert caption_of_tags(tags) == ("Distant thunder", "BWF description")


def _id3(path: Path) -> None:
    from mutagen.id3 import COMM, ID3, TCON, TIT2

    tags = ID3()
    tags.add(TIT2(encoding=1, text="Rain on a roof"))
    tags.add(COMM(encoding=3, lang="eng", text="heavy, steady"))
    tags.add(TCON(encoding=3, text="Ambience"))
    tags.save(path)


def _vorbis(path: Path) -> None:
    from mutagen.flac import FLAC

    tags = FLAC(path)
    tags.update({"TITLE": "Rain on a roof", "COMMENT": "heavy, steady", "GENRE": "Ambience"})
    tags.save()


def _mp4(path: Path) -> None:
    from mutagen.mp4 import MP4

    tags = MP4(path)
    tags.update({"\xa9nam": "Rain on a roof", "\xa9cmt": "heavy, steady", "\xa9gen": "Ambience"})
    tags.save()


def _wave(path: Path) -> None:
    from mutagen.id3 import COMM, TCON, TIT2
    from mutagen.wave import WAVE

    sound = WAVE(path)
    sound.add_tags()
    sound.tags.add(TIT2(encoding=3, text="Rain on a roof"))
    sound.tags.add(COMM(encoding=3, lang="eng", text="heavy, steady"))
    sound.tags.add(TCON(encoding=3, text="Ambience"))
    sound.save()


@pytest.mark.parametrize(
    ("name", "codec", "write"),
    [("a.mp3", "mp3", _id3), ("a.flac", "flac", _vorbis), ("a.m4a", "aac", _mp4), ("a.wav", "pcm_s16le", _wave)],
)
def test_tags_that_mutagen_writes_are_read(
    name: str, codec: str, write: Any, tmp_path: Path, tone: MakeTone, write_audio: WriteAudio
) -> None:
    path = write_audio(tmp_path / name, tone(0.5, 44_100), 44_100, codec=codec)
    write(path)

    assert read_tags(path) == {"title": "Rain on a roof", "comment": "heavy, steady", "genre": "Ambience"}
    assert caption_of_tags(read_tags(path)) == ("Rain on a roof", "title tag")
    assert decode(path).seconds == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("name", "missing"), [("a.wav", set()), ("a.flac", set()), ("a.ogg", set()), ("a.aiff", {"genre"})]
)
def test_tags_that_libsndfile_writes_are_read(name: str, missing: set[str], tmp_path: Path, tone: MakeTone) -> None:
    said = {"title": "Rain on a roof", "comment": "heavy, steady", "genre": "Ambience", "artist": "Somebody"}
    with soundfile.SoundFile(tmp_path / name, "w", 44_100, 1) as file:
        for key, text in said.items():
            setattr(file, key, text)
        file.write(tone(0.5, 44_100)[0])
    assert read_tags(tmp_path / name) == {key: text for key, text in said.items() if key not in missing}


XMP = {
    "XMP title": "Rain on a roof",
    "XMP description": "heavy rain on a tin roof",
    "XMP keywords": "rain, roof",
    "XMP comment": "wind after 2 s",
    "XMP genre": "Ambience",
}
RAIN = {"title": "Rain on a roof", "comment": "heavy, steady", "genre": "Ambience"}
OTHERS: dict[str, tuple[dict[str, str], str | None, str]] = {
    # What is read, what is the caption, and where it stands.
    "sox.flac": (RAIN, "Rain on a roof", "title tag"),
    "sox.ogg": (RAIN, "Rain on a roof", "title tag"),
    "sox.mp3": (RAIN, "Rain on a roof", "title tag"),
    "sox.aiff": (RAIN, "Rain on a roof", "title tag"),
    "sox_comment.aiff": ({"comment": "heavy rain on tin"}, "heavy rain on tin", "comment tag"),
    "sox_default.flac": ({"comment": "Processed by SoX"}, None, ""),
    "sndfile_bext.wav": (
        {"BWF description": "heavy rain on a tin roof", "title": "Take 3", "comment": "wind after 2 s"},
        "heavy rain on a tin roof",
        "BWF description",
    ),
    "sndfile_lines.wav": ({"BWF description": "gravel steps"}, "gravel steps", "BWF description"),
    # 256 bytes are 85 characters and a third of one.
    "sndfile_full.wav": ({"BWF description": "雨" * 85}, "雨" * 85, "BWF description"),
    "sndfile_info.wav": ({"title": "Rain on a roof", "comment": "heavy"}, "Rain on a roof", "title tag"),
    "flac.flac": (
        {
            "title": "Rain on a roof",
            "description": "heavy rain on a tin roof",
            "comment": "close",
            "keywords": "rain, roof",
        },
        "heavy rain on a tin roof",
        "description tag",
    ),
    "metaflac.flac": ({"description": "été 雨"}, "été 雨", "description tag"),
    "vorbiscomment.ogg": (
        {"description": "heavy rain on a tin roof", "genre": "Ambience"},
        "heavy rain on a tin roof",
        "description tag",
    ),
    "opusenc.opus": (
        {"title": "Rain on a roof", "description": "heavy rain", "comment": "close"},
        "heavy rain",
        "description tag",
    ),
    "lame.mp3": (RAIN, "Rain on a roof", "title tag"),
    "lame_v1.mp3": (RAIN | {"genre": "Ambient"}, "Rain on a roof", "title tag"),
    "lame_utf16.mp3": ({"title": "雨の音"}, "雨の音", "title tag"),
    "id3v2.mp3": ({"comment": "heavy rain"}, "heavy rain", "comment tag"),
    "wavpack.wv": (RAIN, "Rain on a roof", "title tag"),
    "kid3.wav": (RAIN, "Rain on a roof", "title tag"),
    "kid3_info.wav": ({"title": "Rain on a roof", "comment": "heavy, steady"}, "Rain on a roof", "title tag"),
    "kid3.aiff": (RAIN, "Rain on a roof", "title tag"),
    "kid3.mp3": ({"description": "heavy rain"}, "heavy rain", "description tag"),
    "atomicparsley.m4a": (RAIN | {"description": "heavy rain"}, "heavy rain", "description tag"),
    "exiftool.m4a": (
        {"title": "Rain on a roof", "description": "heavy rain on a tin roof", "comment": "close"},
        "heavy rain on a tin roof",
        "description tag",
    ),
    "exiftool_keys.m4a": (
        {"title": "Rain on a roof", "description": "heavy rain on a tin roof", "keywords": "rain, roof"},
        "heavy rain on a tin roof",
        "description tag",
    ),
    "exiftool_xmp.m4a": (XMP, "heavy rain on a tin roof", "XMP description"),
    "wavefile_xmp.wav": (XMP, "heavy rain on a tin roof", "XMP description"),
    "mutagen_xmp.mp3": (XMP, "heavy rain on a tin roof", "XMP description"),
    "flac_xmp.flac": (XMP, "heavy rain on a tin roof", "XMP description"),
    "exempi_xmp.aiff": (
        XMP | {"title": "Rain on a roof", "comment": "wind after 2 s"},
        "heavy rain on a tin roof",
        "XMP description",
    ),
    "wavefile_ixml.wav": (
        {"iXML description": "heavy rain on a tin roof", "iXML note": "wind after 2 s", "iXML scene": "12A"},
        "heavy rain on a tin roof",
        "iXML description",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_other_programs_wrote_is_read(name: str) -> None:
    said, caption, source = OTHERS[name]

    tags = read_tags(FIXTURES / "metadata" / name)

    assert tags == said
    assert caption_of_tags(tags) == (None if caption is None else (caption, source))


def test_every_sound_of_other_programs_is_read_and_its_command_written_down() -> None:
    readme = (FIXTURES / "metadata" / "README.md").read_text(encoding="utf-8")
    found = {path.name for path in (FIXTURES / "metadata").iterdir()}

    assert found == {*OTHERS, "README.md"}
    assert all(f" {name}" in readme for name in OTHERS)


def test_a_comment_in_small_letters_is_no_description(tmp_path: Path) -> None:
    """FFmpeg names DESCRIPTION so, but a program may do that, too."""
    raw = (FIXTURES / "metadata" / "sox_default.flac").read_bytes()
    assert raw.count(b"Comment=Processed by SoX") == 1
    (tmp_path / "a.flac").write_bytes(raw.replace(b"Comment=Processed by SoX", b"comment=rain on metal 12"))
    assert read_tags(tmp_path / "a.flac") == {"comment": "rain on metal 12"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\0\1" + bytes(6) + b"\0\4rain", {"comment": "rain"}),
        (b"\0\1" + bytes(6) + b"\xff\xffrain", {"comment": "rain"}),
        (b"\0\1" + bytes(6) + b"\0\4r\xe9ve", {"comment": "réve"}),
        (b"\0\1" + bytes(6) + b"\0\x1aTITLE=rain\nARRANGER=nobody", {"title": "rain"}),
        (b"\0\1" + bytes(6) + b"\0\0", {}),
        (b"\0\1\0", {}),
        (b"", {}),
    ],
    ids=["whole", "cut", "of before Unicode", "tags", "empty", "short", "nothing"],
)
def test_the_comment_of_an_aiff(tmp_path: Path, content: bytes, found: dict[str, str]) -> None:
    plain = (FIXTURES / "metadata" / "sox_comment.aiff").read_bytes()
    at = plain.index(b"COMM")
    chunk = b"COMT" + struct.pack(">I", len(content)) + content + bytes(len(content) % 2)
    body = b"AIFF" + chunk + plain[at:]
    (tmp_path / "a.aiff").write_bytes(b"FORM" + struct.pack(">I", len(body)) + body)

    assert read_tags(tmp_path / "a.aiff") == found
    assert decode(tmp_path / "a.aiff").seconds == pytest.approx(0.1)


def test_riffs_own_fields_and_an_encoding_from_before_unicode(sound: Path) -> None:
    def field(name: bytes, text: bytes) -> bytes:
        text += b"\0" * (1 + (len(text) + 1) % 2)
        return name + struct.pack("<I", len(text)) + text

    fields = field(b"IKEY", b"T\xfcr, Holz") + field(b"ISBJ", b"A door") + field(b"IGNR", b"Foley")
    content = b"INFO" + fields
    wav = with_chunk(sound.read_bytes(), b"LIST", content)
    sound.write_bytes(wav[:4] + struct.pack("<I", len(wav) - 8) + wav[8:])
    tags = read_tags(sound, "cp1252")
    assert tags == {"keywords": "Tür, Holz", "subject": "A door", "genre": "Foley"}
    assert caption_of_tags(tags) == ("A door", "subject tag")


def test_a_recorders_lines_in_the_description_give_their_note_alone(sound: Path) -> None:
    description = b"sSPEED=025.000-ND\r\nsTAKE=003\r\nsSCENE=12\r\nsNOTE=gravel steps\r\nsTRK1=Boom\r\n"
    plain = sound.read_bytes()
    sound.write_bytes(with_chunk(plain, b"bext", bext(description)))
    assert read_tags(sound) == {"BWF description": "gravel steps"}
    sound.write_bytes(with_chunk(plain, b"bext", bext(b"zTAKE=003\r\nzTRK1=Boom\r\n")))
    assert caption_of_tags(read_tags(sound)) is None


def test_ixml_gives_its_description_note_and_category(sound: Path) -> None:
    inner = (
        "<PROJECT>P</PROJECT><NOTE>windy</NOTE><SCENE>Beach</SCENE><BEXT><BWF_DESCRIPTION>waves &amp; wind"
        "</BWF_DESCRIPTION></BEXT><ASWG><category>WATER</category></ASWG><TRACK_LIST><TRACK><NAME>L</NAME></TRACK>"
        "</TRACK_LIST>"
    )
    sound.write_bytes(with_chunk(sound.read_bytes(), b"iXML", ixml(inner)))
    assert read_tags(sound) == {
        "iXML description": "waves & wind",
        "iXML note": "windy",
        "iXML scene": "Beach",
        "category": "WATER",
    }
    assert caption_of_tags(read_tags(sound)) == ("waves & wind", "iXML description")


def test_ixml_in_utf_16_is_read(sound: Path) -> None:
    raw = '<?xml version="1.0" encoding="UTF-16"?><BWFXML><NOTE>雨</NOTE></BWFXML>'.encode("utf-16")
    sound.write_bytes(with_chunk(sound.read_bytes(), b"iXML", raw))
    assert read_tags(sound) == {"iXML note": "雨"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_ixml_with_entities_is_not_parsed(encoding: str, sound: Path) -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    raw = f'<!DOCTYPE x [<!ENTITY a0 "rain">{entities}]><BWFXML><NOTE>&a11;</NOTE></BWFXML>'.encode(encoding)
    sound.write_bytes(with_chunk(sound.read_bytes(), b"iXML", raw))
    assert read_tags(sound) == {}


@pytest.mark.parametrize(
    ("name", "content", "length", "found"),
    [
        (b"iXML", ixml("<NOTE>rain</NOTE>")[:-12], None, {}),
        (b"iXML", ixml("<NOTE>rain</NOTE><USER>")[:-9], None, {"iXML note": "rain"}),
        (b"iXML", b"<BWFXML>" + b"<a>" * 60_000 + b"<NOTE>deep</NOTE>", None, {"iXML note": "deep"}),
        (b"iXML", b"<BWFXML><NOTE>" + b"x" * 2_000_000, None, {}),
        (b"iXML", ixml(f"<NOTE>A{'1' * 200_000}</NOTE>"), None, {"iXML note": f"A{'1' * 200_000}"}),
        (b"iXML", b"\xff\xfe\x00", None, {}),
        (b"iXML", ixml("<NOTE>rain</NOTE>"), 0xFFFFFFF0, {"iXML note": "rain"}),
        (b"iXML", ixml("<NOTE>rain</NOTE>") + bytes(1001), None, {"iXML note": "rain"}),
        (b"iXML", b"", None, {}),
    ],
    ids=["cut", "open", "deep", "endless", "digits", "garbage", "claims much", "padded", "empty"],
)
def test_damaged_and_hostile_chunks_give_what_is_there(
    name: bytes, content: bytes, length: int | None, found: dict[str, str], sound: Path
) -> None:
    sound.write_bytes(with_chunk(sound.read_bytes(), name, content, length))
    assert read_chunks(sound) == found
    assert decode(sound).seconds == pytest.approx(0.6)


@pytest.mark.parametrize(("content", "found"), [(b"short", {"BWF description": "short"}), (b"", {})])
def test_a_cut_description_gives_what_is_there(content: bytes, found: dict[str, str], sound: Path) -> None:
    sound.write_bytes(with_chunk(sound.read_bytes(), b"bext", content))
    assert read_chunks(sound) == found


def test_a_long_file_names_its_sound_in_64_bits(sound: Path) -> None:
    plain = sound.read_bytes()
    at = plain.index(b"data")
    samples = plain[at + 8 :]
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, len(plain) + 28, len(samples), len(samples) // 2, 0)
    head = b"RF64\xff\xff\xff\xffWAVE" + ds64 + plain[12:at] + b"data\xff\xff\xff\xff"
    sound.write_bytes(with_chunk(head + samples, b"bext", bext(b"a long take of rain")))
    assert read_chunks(sound) == {"BWF description": "a long take of rain"}


def test_a_file_that_is_no_sound_carries_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    for content in (b"", b"RIFF", b"text", b"RIFF\0\0\0\0WAVE" + b"\0" * 100_000):
        path.write_bytes(content)
        assert read_tags(path) == {}


@given(st.binary(max_size=600))
def test_any_bytes_after_the_header_raise_nothing(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + content)
    assert all(isinstance(text, str) for text in read_chunks(path).values())
