"""XMP in all its forms, beside other tags, and hostile XMP. `test_tags.py` reads what other programs wrote."""

import struct
from pathlib import Path

import pytest
from support import FIXTURES, MakeWav, WriteZip

from soundlora.dataset import inspect_dataset
from soundlora.dataset.decode import decode
from soundlora.dataset.tags import caption_of_tags, read_tags

SPACES = (
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:xmpDM="http://ns.adobe.com/xmp/1.0/DynamicMedia/"'
)


def packet(inner: str, attributes: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f"<rdf:RDF {SPACES}>"
        f'<rdf:Description rdf:about="" {attributes}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>'
        f'{" " * 200}<?xpacket end="w"?>'
    ).encode()


@pytest.fixture
def plain(wav: MakeWav) -> bytes:
    return wav()


def carrying(path: Path, wav: bytes, content: bytes, length: int | None = None, name: bytes = b"_PMX") -> Path:
    """A WAV with one more chunk."""
    head = name + struct.pack("<I", len(content) if length is None else length)
    path.write_bytes(wav + head + content + b"\0" * (len(content) % 2))
    return path


def li(text: str, language: str = "") -> str:
    return f'<rdf:li xml:lang="{language}">{text}</rdf:li>' if language else f"<rdf:li>{text}</rdf:li>"


GERMAN, FRENCH, DEFAULT = li("Regen", "de"), li("pluie", "fr"), li("rain", "x-default")
MARKER = li('<rdf:Description xmpDM:comment="a"><xmpDM:comment>cue</xmpDM:comment></rdf:Description>')
SHORT = 'xmpDM:genre="Ambience" xmpDM:scene="Roof" dc:format="WAV"'


@pytest.mark.parametrize(
    ("inner", "found"),
    [
        ("<dc:title>rain</dc:title>", {"XMP title": "rain"}),
        (f"<dc:title><rdf:Alt>{GERMAN}{DEFAULT}</rdf:Alt></dc:title>", {"XMP title": "rain"}),
        (f"<dc:title><rdf:Alt>{GERMAN}{FRENCH}</rdf:Alt></dc:title>", {"XMP title": "Regen"}),
        (
            f"<dc:subject><rdf:Bag>{li('rain')}<rdf:li/>{li('tin &amp; wood')}</rdf:Bag></dc:subject>",
            {"XMP keywords": "rain, tin & wood"},
        ),
        ("<dc:title><rdf:Alt/></dc:title><dc:description>  </dc:description>", {}),
        # The comment of a marker is not that of the sound.
        (
            f"<xmpDM:Tracks><rdf:Bag>{MARKER}</rdf:Bag></xmpDM:Tracks><xmpDM:logComment>windy</xmpDM:logComment>",
            {"XMP comment": "windy"},
        ),
    ],
    ids=["text", "default language", "first language", "keywords", "empty", "markers"],
)
def test_each_form_of_a_property_is_read(inner: str, found: dict[str, str], tmp_path: Path, plain: bytes) -> None:
    assert read_tags(carrying(tmp_path / "a.wav", plain, packet(inner))) == found


def test_attributes_and_other_encodings_are_read(tmp_path: Path, plain: bytes) -> None:
    path = carrying(tmp_path / "a.wav", plain, packet("", SHORT))
    assert read_tags(path) == {"XMP genre": "Ambience", "XMP scene": "Roof"}
    path = carrying(path, plain, packet("<dc:title>雨</dc:title>").decode().encode("utf-16"))
    assert read_tags(path) == {"XMP title": "雨"}


def test_other_tags_of_the_same_kind_stand_before_xmp(tmp_path: Path, plain: bytes) -> None:
    path = carrying(
        tmp_path / "a.wav", plain, packet("<dc:description>of XMP</dc:description><dc:title>title</dc:title>")
    )
    assert caption_of_tags(read_tags(path)) == ("of XMP", "XMP description")
    ixml = b"<BWFXML><BEXT><BWF_DESCRIPTION>of iXML</BWF_DESCRIPTION></BEXT></BWFXML>"
    path = carrying(path, path.read_bytes(), ixml, name=b"iXML")
    assert caption_of_tags(read_tags(path)) == ("of iXML", "iXML description")
    bext = b"of BWF".ljust(602, b"\0")
    path = carrying(path, path.read_bytes(), bext, name=b"bext")
    assert caption_of_tags(read_tags(path)) == ("of BWF", "BWF description")


def test_captions_and_templates_take_xmp(tmp_path: Path, write_zip: WriteZip) -> None:
    name = "wavefile_xmp.wav"
    data = write_zip(tmp_path / "a.zip", {name: (FIXTURES / "metadata" / name).read_bytes()})
    (clip,) = inspect_dataset(data, duration=0.1, captions_from="all").clips
    assert (clip.caption, clip.caption_source) == ("heavy rain on a tin roof", "XMP description")
    (clip,) = inspect_dataset(data, duration=0.1, caption_template="{title}, {keywords}; {genre}").clips
    assert clip.caption == "Rain on a roof, rain, roof; Ambience"


ENTITIES = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))


@pytest.mark.parametrize(
    ("content", "length", "found"),
    [
        (f'<!DOCTYPE x [<!ENTITY a0 "rain">{ENTITIES}]>'.encode() + packet("<dc:title>&a11;</dc:title>"), None, {}),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + packet("<dc:title>a</dc:title>"), None, {}),
        (packet("<dc:title>rain</dc:title>&unknown;<dc:description>no</dc:description>"), None, {"XMP title": "rain"}),
        (packet("<dc:title>rain</dc:title>" + "<a>" * 80_000), None, {"XMP title": "rain"}),
        (packet("<dc:title>" + "<dc:title>" * 20_000 + "deep"), None, {}),
        (packet("<dc:title>rain</dc:title><dc:description>" + "x" * 2_000_000), None, {"XMP title": "rain"}),
        (packet(f"<dc:title>{'x' * 200_000}</dc:title>"), None, {"XMP title": "x" * 16_000}),
        (packet("<dc:title>rain</dc:title>")[:-250], None, {"XMP title": "rain"}),
        (packet("<dc:title>rain</dc:title>"), 0xFFFFFFF0, {"XMP title": "rain"}),
        (b"\xff\xfe\x00", None, {}),
        (b"", None, {}),
    ],
    ids=[
        "entities",
        "outside",
        "unknown",
        "deep",
        "nested",
        "endless",
        "long",
        "cut",
        "claims much",
        "garbage",
        "none",
    ],
)
def test_hostile_xmp_gives_what_is_there(
    content: bytes, length: int | None, found: dict[str, str], tmp_path: Path, plain: bytes
) -> None:
    path = carrying(tmp_path / "a.wav", plain, content, length)
    tags = read_tags(path)
    assert {name: text[:16_000] for name, text in tags.items()} == found
    assert decode(path).seconds == pytest.approx(0.6)


def aiff(path: Path, *chunks: tuple[bytes, bytes]) -> Path:
    """An AIFF with chunks behind its sound."""
    raw = (FIXTURES / "metadata" / "exempi_xmp.aiff").read_bytes()
    begin, end = raw.index(b"COMM"), raw.index(b"APPL")
    behind = b"".join(name + struct.pack(">I", len(text)) + text + b"\0" * (len(text) % 2) for name, text in chunks)
    path.write_bytes(b"FORM" + struct.pack(">I", 4 + len(behind) + end - begin) + b"AIFF" + raw[begin:end] + behind)
    return path


def test_an_aiff_keeps_xmp_among_what_programs_keep_there_or_in_id3(tmp_path: Path) -> None:
    path, rain = tmp_path / "a.aiff", packet("<dc:title>rain</dc:title>")
    others = [(b"APPL", b"op-1 {}"), (b"APPL", b"XM"), (b"APPL", b"")]
    assert read_tags(aiff(path, *others)) == {}
    assert read_tags(aiff(path, *others, (b"APPL", b"XMP " + rain))) == {"XMP title": "rain"}
    # Of two packets the first one counts, as that of other chunks does.
    again = packet("<dc:title>wind</dc:title>")
    assert read_tags(aiff(path, (b"APPL", b"XMP " + rain), (b"APPL", b"XMP " + again))) == {"XMP title": "rain"}
    assert decode(path).seconds == pytest.approx(0.1)
    mp3 = (FIXTURES / "metadata" / "mutagen_xmp.mp3").read_bytes()
    tag = mp3[: 10 + sum(byte << shift for byte, shift in zip(mp3[6:10], (21, 14, 7, 0), strict=True))]
    assert read_tags(aiff(path, (b"ID3 ", tag))) == read_tags(FIXTURES / "metadata" / "mutagen_xmp.mp3")


def test_an_aiff_whose_xmp_claims_more_than_is_there(tmp_path: Path) -> None:
    path = aiff(tmp_path / "a.aiff", (b"APPL", b"XMP " + packet("<dc:title>rain</dc:title>")))
    raw = path.read_bytes()
    for length in (0xFFFFFFF0, 3, 4, 5):
        at = raw.index(b"APPL") + 4
        path.write_bytes(raw[:at] + struct.pack(">I", length) + raw[at + 4 :])
        assert read_tags(path) == ({"XMP title": "rain"} if length > 5 else {})


@pytest.mark.parametrize("name", ["exiftool_xmp.m4a", "mutagen_xmp.mp3", "flac_xmp.flac"])
def test_damaged_xmp_of_other_containers_raises_nothing(name: str, tmp_path: Path) -> None:
    raw = (FIXTURES / "metadata" / name).read_bytes()
    at = raw.index(b"<rdf:RDF")
    path = tmp_path / name
    for damage in (b"\xff\xff\xff\xff", b"<<<<", b"\0\0\0\0", b"\\x00"):
        path.write_bytes(raw[:at] + damage + raw[at + 4 :])
        assert not {tag for tag in read_tags(path) if not tag.startswith("XMP")}
