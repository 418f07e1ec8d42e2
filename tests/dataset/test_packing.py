"""Members that zipfile can't unpack give the bytes that went in, or the sentence of a damaged archive."""

import gc
import lzma
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import inflate64
import pytest
import zstandard
from support import FIXTURES

from soundlora.dataset import inspect_dataset
from soundlora.dataset.archive import open_archive
from soundlora.dataset.members import Member
from soundlora.dataset.problems import InvalidArchiveError


def deflate64(content: bytes) -> bytes:
    packer = inflate64.Deflater()
    return bytes(packer.deflate(content) + packer.flush())


PACKERS: dict[int, Callable[[bytes], bytes]] = {
    9: deflate64,
    93: zstandard.ZstdCompressor(level=3).compress,
    95: lzma.compress,
}
CONTENT = os.urandom(100_000) + bytes(3_000_000) + b"end"


def write_packed(path: Path, method: int, content: bytes, *, packed: bytes | None = None) -> Path:
    """Write a zip of one member, "a.wav", that is packed by `method`. `packed` replaces its packed bytes."""
    packed = PACKERS[method](content) if packed is None else packed
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("a.wav", packed)
    raw = bytearray(path.read_bytes())
    table = raw.rindex(b"PK\1\2")
    for at, method_at, sum_at in ((0, 8, 14), (table, 10, 16)):
        struct.pack_into("<H", raw, at + method_at, method)
        struct.pack_into("<III", raw, at + sum_at, zlib.crc32(content), len(packed), len(content))
    path.write_bytes(raw)
    return path


def bytes_of(path: Path) -> bytes:
    with open_archive(path) as archive:
        (member,) = archive
        assert isinstance(member, Member)
        return b"".join(member.chunks())


@pytest.mark.parametrize("method", PACKERS)
def test_what_was_packed_comes_out(method: int, tmp_path: Path) -> None:
    assert bytes_of(write_packed(tmp_path / "a.zip", method, CONTENT)) == CONTENT
    assert bytes_of(write_packed(tmp_path / "b.zip", method, b"")) == b""


@pytest.mark.parametrize("method", PACKERS)
def test_nothing_that_was_unpacked_stays_in_memory(method: int, tmp_path: Path) -> None:
    path = write_packed(tmp_path / "a.zip", method, os.urandom(2_000_000))
    bytes_of(path)
    tracemalloc.start()
    try:
        bytes_of(path)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", PACKERS)
def test_damage_is_told(method: int, tmp_path: Path) -> None:
    packed = PACKERS[method](CONTENT)
    for broken in (packed[: len(packed) // 2], b"", packed[:5000] + bytes(200) + packed[5200:], os.urandom(5000)):
        with pytest.raises(InvalidArchiveError, match=r"a.wav cannot be read, the archive is damaged there \(.+\)"):
            bytes_of(write_packed(tmp_path / "a.zip", method, CONTENT, packed=broken))


def test_a_dictionary_that_would_take_gigabytes_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    content = os.urandom(1000)
    raw = packed.compress(content) + packed.flush()
    with pytest.raises(InvalidArchiveError, match="damaged"):
        bytes_of(write_packed(tmp_path / "a.zip", 93, content, packed=raw))


def test_a_member_that_unpacks_to_more_than_it_states_is_refused(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "a.zip", 93, b"x" * 10, packed=PACKERS[93](b"x" * 1000))
    with pytest.raises(InvalidArchiveError, match="damaged"):
        bytes_of(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deflate64.zip", {f"clip{n}.wav": f"rising tone {n}" for n in range(3)}),
        ("utf8_flag_wrong.zip", {"Türgeräusch.wav": "rain"}),
        ("names_in_gbk.zip", {"雨声在屋顶上.wav": "rain on a roof"}),
        ("zip_in_zip.zip", {f"clips.zip/clip{n}.wav": f"rising tone {n}" for n in range(3)}),
    ],
)
def test_archives_as_people_send_them(name: str, expected: dict[str, str]) -> None:
    report = inspect_dataset(FIXTURES / "archives" / name, duration=1.0)
    assert {clip.name: clip.caption for clip in report.kept} == expected
    assert [clip.seconds for clip in report.kept] == [pytest.approx(1.2)] * len(expected)
    assert ("opened: clips.zip" in " ".join(report.warnings)) == (name == "zip_in_zip.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, 9, 93, 95])
def test_a_name_that_is_not_the_utf_8_it_states_hides_nothing(method: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    if method in PACKERS:
        write_packed(path, method, CONTENT)
    else:
        with zipfile.ZipFile(path, "w", method) as bundle:
            bundle.writestr("a.wav", CONTENT)
    raw = bytearray(path.read_bytes().replace(b"a.wav", b"\xfc.wav"))
    for at, flags in ((0, 6), (raw.rindex(b"PK\1\2"), 8)):
        struct.pack_into("<H", raw, at + flags, 0x800)
    path.write_bytes(raw)
    with open_archive(path) as archive:
        (member,) = archive
        assert member.name == "ü.wav"
        assert b"".join(member.chunks()) == CONTENT
