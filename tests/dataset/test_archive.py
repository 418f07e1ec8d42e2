"""Archives as people make them, and as attackers do."""

import contextlib
import hashlib
import os
import stat
import struct
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import MakeWav, WriteZip, inputs

from soundlora.dataset import zip_file
from soundlora.dataset.archive import open_archive
from soundlora.dataset.members import read_start, save
from soundlora.dataset.pairing import pair
from soundlora.dataset.problems import InvalidArchiveError, TooManyFilesError


def member_names(path: Path) -> list[str]:
    with open_archive(path) as archive:
        return [member.name for member in archive]


def read_all(path: Path, **limits: Any) -> list[int]:
    """Read every member to its end; return how many bytes each gave beyond the size it states."""
    with open_archive(path, **limits) as archive:
        return [sum(map(len, member.chunks())) - member.size for member in archive]


def refused(path: Path, **limits: Any) -> str:
    """Return the sentence the archive is refused with, once all of it was read."""
    with pytest.raises(InvalidArchiveError) as caught:
        read_all(path, **limits)
    return str(caught.value)


def patch_table(path: Path, name: str, offset: int, value: bytes) -> None:
    """Overwrite bytes of a member's entry in the table of contents, `offset` counted from the entry's start."""
    content = bytearray(path.read_bytes())
    at = content.rindex(name.encode()) - 46
    assert content[at : at + 4] == b"PK\1\2"
    content[at + offset : at + offset + len(value)] = value
    path.write_bytes(content)


CLUTTER = {
    "__MACOSX/._kick.wav": b"x",
    "._kick.wav": b"x",
    ".DS_Store": b"x",
    "drums/Thumbs.db": b"x",
    "desktop.ini": b"x",
    ".hidden/snare.wav": b"x",
}


@pytest.mark.parametrize(
    "method",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
    ids=["stored", "deflate", "bzip2", "lzma"],
)
def test_members_come_in_order_with_their_bytes_and_without_clutter(
    method: int, tmp_path: Path, write_zip: WriteZip
) -> None:
    content = os.urandom(10_000) + bytes(3_000_000)
    path = write_zip(tmp_path / "a.zip", {"b.txt": b"hi", "drums/a.WAV": content, "doc.pdf": b"%", **CLUTTER}, method)
    with open_archive(path) as archive:
        caption, clip = archive.members
        assert (caption.name, clip.name) == ("b.txt", "drums/a.WAV")
        assert (caption.is_caption, clip.is_caption) == (True, False)
        assert archive.ignored == ("doc.pdf",)
        assert clip.size == len(content)
        with clip.open() as stream:
            assert stream.read() == content
        assert save(clip, tmp_path / "out") == hashlib.sha256(content).hexdigest()
        assert (tmp_path / "out").read_bytes() == content
        assert read_start(clip, 100) == content[:100]
        assert read_start(caption, 100) == b"hi"


def test_a_folder_reads_like_a_zip(tmp_path: Path) -> None:
    for name, content in {"b.txt": b"hi", "drums/a.WAV": b"sound", "doc.pdf": b"%", **CLUTTER}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with open_archive(tmp_path) as archive:
        assert [member.name for member in archive] == ["b.txt", "drums/a.WAV"]
        assert archive.ignored == ("doc.pdf",)
        assert archive.members[1].path == tmp_path / "drums/a.WAV"
        assert b"".join(archive.members[1].chunks()) == b"sound"


def test_the_zip_command_of_linux_is_read(tmp_path: Path) -> None:
    (tmp_path / "été").mkdir()
    (tmp_path / "été/太鼓.wav").write_bytes(b"sound")
    subprocess.run(["zip", "-q", "-r", "a.zip", "."], cwd=tmp_path, check=True)
    assert member_names(tmp_path / "a.zip") == ["été/太鼓.wav"]


def test_zip64_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle, bundle.open("a.wav", "w", force_zip64=True) as file:
        file.write(b"sound")
    assert member_names(tmp_path / "a.zip") == ["a.wav"]


@pytest.mark.parametrize(
    "name", ["../a.wav", "x/../../a.wav", "/tmp/a.wav", "C:\\a.wav", "..\\a.wav", "__MACOSX/../../a"]
)
def test_path_escapes_are_refused(name: str, tmp_path: Path, write_zip: WriteZip) -> None:
    path = write_zip(tmp_path / "a.zip", {"ok.wav": b"x", name: b"x"})
    shown = name.replace("\\", "/")
    assert (
        refused(path) == f"a.zip holds {shown}, a path that leads out of the archive; pack it again with plain names."
    )


def test_links_are_refused(tmp_path: Path, write_zip: WriteZip) -> None:
    info = zipfile.ZipInfo("a.wav")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr(info, "/etc/passwd")
    assert refused(tmp_path / "a.zip") == "a.wav in a.zip is a link; put the file itself in its place."


@pytest.mark.parametrize("target", ["plain.wav", "folder", "nowhere"])
def test_links_in_a_folder_are_passed_over(target: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (tmp_path / "plain.wav").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.wav").write_bytes(b"x")
    (root / "a.wav").symlink_to(tmp_path / target)
    (root / "b.wav").write_bytes(b"x")
    with open_archive(root) as archive:
        assert [member.name for member in archive] == ["b.wav"]
        assert archive.links == ("a.wav",)


def test_devices_are_refused_in_a_zip_and_passed_over_in_a_folder(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a.wav")
    info.external_attr = (stat.S_IFIFO | 0o644) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr(info, b"")
    assert refused(tmp_path / "a.zip") == "a.wav in a.zip is not a plain file; put the file itself in its place."
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set/a.wav")
    assert member_names(tmp_path / "set") == []


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    subprocess.run(["zip", "-q", "-P", "secret", "a.zip", "a.wav"], cwd=tmp_path, check=True)
    assert refused(tmp_path / "a.zip") == "a.wav in a.zip is encrypted; pack it again without a password."


@pytest.mark.parametrize(("method", "name"), [(6, "Implode"), (97, "WavPack"), (98, "PPMd"), (200, "method 200")])
def test_unknown_methods_are_refused(method: int, name: str, tmp_path: Path, write_zip: WriteZip) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.wav": b"x"})
    patch_table(path, "a.wav", 10, struct.pack("<H", method))
    assert f"a.wav in a.zip is packed by {name}, which cannot be read here" in refused(path)


def test_too_many_clips_are_refused_but_captions_do_not_count(tmp_path: Path, write_zip: WriteZip) -> None:
    members = {f"{number}.{kind}": b"x" for number in range(3) for kind in ("wav", "txt")}
    path = write_zip(tmp_path / "a.zip", members)
    with open_archive(path, max_media_files=3) as archive:
        assert len(archive.members) == 6
    sentence = "a.zip holds 3 audio files, but at most 2 are allowed; split it into several runs."
    assert refused(path, max_media_files=2) == sentence
    with pytest.raises(TooManyFilesError) as caught, open_archive(path, max_media_files=2):
        pass
    assert (caught.value.limit, caught.value.found) == (2, 3)
    assert caught.value.type == "archive_file_count_exceeds_maximum"
    assert (caught.value.ctx["max_count"], caught.value.ctx["provided_count"]) == (2, 3)


def test_the_unpacked_size_is_limited_and_counts_only_what_is_read(tmp_path: Path, write_zip: WriteZip) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.wav": bytes(1000), "b.wav": bytes(1000), "film.avi": bytes(9000)})
    with open_archive(path, max_unpacked_bytes=2000):
        pass
    assert refused(path, max_unpacked_bytes=1999).startswith("a.zip unpacks to 0.0 GiB, but at most 0.0 GiB")


def test_bombs_are_refused_by_ratio_but_short_silence_is_not(
    tmp_path: Path, write_zip: WriteZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.wav": bytes(2**20)})
    assert member_names(path) == ["a.wav"]
    monkeypatch.setattr(zip_file, "_RATIO_FROM_BYTES", 2**19)
    assert refused(path).startswith("a.wav in a.zip unpacks to more than 200 times its packed size")
    assert member_names(write_zip(tmp_path / "b.zip", {"a.wav": os.urandom(2**20)})) == ["a.wav"]


def test_members_that_share_their_bytes_are_refused(tmp_path: Path, write_zip: WriteZip) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{number}.wav": os.urandom(5000) for number in range(3)})
    with zipfile.ZipFile(path) as bundle:
        first = bundle.getinfo("0.wav")
    for number in (1, 2):
        patch_table(path, f"{number}.wav", 20, struct.pack("<II", 3 * first.compress_size, 5000))
    assert refused(path) == "a.zip has members that overlap each other; pack it again."


def test_a_huge_table_of_contents_is_refused_unread(
    tmp_path: Path, write_zip: WriteZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{number}.wav": b"" for number in range(2000)})
    assert len(member_names(path)) == 2000
    monkeypatch.setattr(zip_file, "_MAX_TABLE_BYTES", 70_000)
    assert refused(path).startswith("The archive's table of contents is too large")


@pytest.mark.parametrize(("size", "detail"), [(500, "Bad CRC-32"), (200_000, "100000 bytes instead of 200000")])
def test_lying_sizes_are_found_while_reading(size: int, detail: str, tmp_path: Path, write_zip: WriteZip) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.wav": bytes(100_000)})
    patch_table(path, "a.wav", 24, struct.pack("<I", size))
    assert refused(path).startswith(f"a.wav cannot be read, the archive is damaged there ({detail}")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_members_are_refused(method: int, tmp_path: Path, write_zip: WriteZip) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.wav": os.urandom(5000)}, method)
    content = bytearray(path.read_bytes())
    content[200:240] = bytes(40)
    path.write_bytes(content)
    assert "a.wav cannot be read, the archive is damaged there (" in refused(path)


def test_a_cut_zip_is_refused(tmp_path: Path, write_zip: WriteZip) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.wav": os.urandom(5000)})
    path.write_bytes(path.read_bytes()[:3000])
    assert refused(path).startswith("a.zip is cut off or damaged (")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "not a zip archive"),
        (b"RIFF" + bytes(1000), "not a zip archive"),
        (b"Rar!\x1a\x07\x00" + bytes(100), "a RAR archive, which is not read"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "a 7z archive, which is not read"),
        (b"\x1f\x8b" + bytes(100), "a gzip archive, which is not read"),
        (bytes(257) + b"ustar" + bytes(300), "a tar archive, which is not read"),
    ],
)
def test_what_is_no_zip_is_refused(content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    assert refused(tmp_path / "a.zip") == f"a.zip is {kind}; pack the clips as a .zip."


def test_a_missing_source_and_a_single_file_are_refused(tmp_path: Path, wav: MakeWav) -> None:
    assert refused(tmp_path / "a.zip") == f"{tmp_path}/a.zip does not exist; give a .zip or a folder of clips."
    (tmp_path / "a.wav").write_bytes(wav())
    sentence = f"{tmp_path}/a.wav is a single audio file; give a .zip or a folder of clips instead."
    assert refused(tmp_path / "a.wav") == sentence


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=inputs(1.5),
)
@given(data=st.data())
def test_no_mutation_of_a_zip_does_worse_than_a_sentence(
    data: st.DataObject, tmp_path: Path, write_zip: WriteZip
) -> None:
    content = bytearray(write_zip(tmp_path / "a.zip", {"a.wav": bytes(300), "b/été.txt": b"hi"}).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "b.zip").write_bytes(content)
    with contextlib.suppress(InvalidArchiveError):
        assert not any(read_all(tmp_path / "b.zip"))


# ----------------------------------------------------------------------------------------------------------------------
# zips within a source that holds no clip itself


def test_zips_within_are_opened_one_level_deep(tmp_path: Path, write_zip: WriteZip) -> None:
    deep = write_zip(tmp_path / "deep.zip", {"deep.wav": b"x"}).read_bytes()
    drums = write_zip(tmp_path / "drums.zip", {"kick.wav": b"kick", "deep.zip": deep, **CLUTTER}).read_bytes()
    rain = write_zip(tmp_path / "rain.zip", {"rain.wav": b"rain"}).read_bytes()
    outer = write_zip(tmp_path / "a.zip", {"x/drums.ZIP": drums, "rain.zip": rain, "rain.txt": b"rain falls"})
    with open_archive(outer) as archive:
        assert [member.name for member in archive] == ["rain.txt", "rain.zip/rain.wav", "x/drums.ZIP/kick.wav"]
        assert archive.opened == ("rain.zip", "x/drums.ZIP")
        assert archive.ignored == ("x/drums.ZIP/deep.zip",)
        assert len(archive.hidden) == len(CLUTTER)
        clips, orphans = pair(archive.members)
        assert [(clip.name, caption and caption.name) for clip, caption in clips] == [
            ("rain.zip/rain.wav", "rain.txt"),
            ("x/drums.ZIP/kick.wav", None),
        ]
        assert orphans == []
        assert b"".join(clips[1][0].chunks()) == b"kick"


def test_a_folder_of_zips_is_read(tmp_path: Path, write_zip: WriteZip) -> None:
    write_zip(tmp_path / "drums.zip", {"kick.wav": b"kick"})
    assert member_names(tmp_path) == ["drums.zip/kick.wav"]


def test_zips_beside_clips_stay_closed(tmp_path: Path, write_zip: WriteZip) -> None:
    backup = write_zip(tmp_path / "backup.zip", {"kick.wav": b"old"}).read_bytes()
    with open_archive(write_zip(tmp_path / "a.zip", {"kick.wav": b"new", "backup.zip": backup})) as archive:
        assert [member.name for member in archive] == ["kick.wav"]
        assert archive.ignored == ("backup.zip",)


def test_the_limits_count_what_lies_in_zips_within(tmp_path: Path, write_zip: WriteZip) -> None:
    clips = write_zip(tmp_path / "in.zip", {f"{number}.wav": bytes(1000) for number in range(3)}).read_bytes()
    path = write_zip(tmp_path / "a.zip", {"in.zip": clips}, zipfile.ZIP_STORED)
    assert member_names(path) == [f"in.zip/{number}.wav" for number in range(3)]
    assert refused(path, max_media_files=2).startswith("a.zip holds 3 audio files")
    assert refused(path, max_unpacked_bytes=2999).startswith("a.zip unpacks to")
    assert refused(path, max_unpacked_bytes=len(clips) - 1).startswith("a.zip unpacks to")
    many = write_zip(tmp_path / "b.zip", {f"{number}.zip": clips for number in range(101)})
    assert refused(many).startswith("It holds 101 zips and no clip")


def test_what_is_wrong_within_a_zip_within_is_told_by_its_name(tmp_path: Path, write_zip: WriteZip) -> None:
    path = write_zip(tmp_path / "a.zip", {"in.zip": b"Rar!\x1a\x07\x00" + bytes(100)})
    assert refused(path) == "in.zip is a RAR archive, which is not read; pack the clips as a .zip."
    escape = write_zip(tmp_path / "in.zip", {"../a.wav": b"x"}).read_bytes()
    assert refused(write_zip(path, {"in.zip": escape})).startswith("in.zip holds ../a.wav, a path that leads out")


def test_nothing_of_a_zip_within_is_left_behind(
    tmp_path: Path, write_zip: WriteZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    clips = write_zip(tmp_path / "in.zip", {"kick.wav": b"kick"}).read_bytes()
    path = write_zip(tmp_path / "a.zip", {"in.zip": clips})
    with open_archive(path):
        assert len(list((tmp_path / "work").rglob("*.zip"))) == 1
    assert list((tmp_path / "work").iterdir()) == []
