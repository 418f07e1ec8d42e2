"""Archives that are made to do harm, at the size at which they would, and those of other programs."""

import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from support import MakeWav

from soundlora.dataset import inspect_dataset
from soundlora.dataset.problems import InvalidArchiveError, TooManyFilesError

SEVEN_ZIP = shutil.which("7z") or shutil.which("7zz") or shutil.which("7za")


def local_header(name: bytes, size: int, packed: int, crc: int, method: int) -> bytes:
    return struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, method, 0, 0x21, crc, packed, size, len(name), 0) + name


def table_entry(name: bytes, size: int, packed: int, crc: int, method: int, offset: int) -> bytes:
    return (
        struct.pack(
            "<IHHHHHHIIIHHHHHII",
            0x02014B50,
            20,
            20,
            0,
            method,
            0,
            0x21,
            crc,
            packed,
            size,
            len(name),
            0,
            0,
            0,
            0,
            0,
            offset,
        )
        + name
    )


def with_table(body: bytes, entries: list[bytes]) -> bytes:
    """Return a zip of `body` and a table of contents; more than 65,535 entries need the 64-bit end."""
    table = b"".join(entries)
    count, start = len(entries), len(body)
    end64 = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, len(table), start)
    locator = struct.pack("<IIQI", 0x07064B50, 0, start + len(table), 1)
    short = min(count, 0xFFFF)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, short, short, len(table), start, 0)
    return body + table + (end64 + locator if count > 0xFFFF else b"") + end


@pytest.mark.parametrize(
    ("pattern", "error", "words"),
    [
        (b"%06d.wav", TooManyFilesError, "holds 100000 audio files, but at most 2000 are allowed"),
        (b"%06d.txt", None, ""),
        (b"%0100d.wav", InvalidArchiveError, "table of contents is too large"),
    ],
)
def test_a_hundred_thousand_entries(
    pattern: bytes, error: type[Exception] | None, words: str, tmp_path: Path, wav: MakeWav
) -> None:
    sound = wav(0.6)
    body = local_header(b"a.wav", len(sound), len(sound), zlib.crc32(sound), 0) + sound
    entries = [table_entry(pattern % number, 0, 0, 0, 0, 0) for number in range(100_000)]
    entries.append(table_entry(b"a.wav", len(sound), len(sound), zlib.crc32(sound), 0, 0))
    path = tmp_path / "a.zip"
    path.write_bytes(with_table(body, entries if error is None else entries[:-1]))
    if error is None:
        report = inspect_dataset(path, duration=0.5)
        assert (len(report.kept), len(report.orphan_captions)) == (1, 100_000)
        return
    with pytest.raises(error, match=words):
        inspect_dataset(path)


def test_a_zip_of_kilobytes_that_unpacks_to_terabytes_through_overlaps(tmp_path: Path) -> None:
    # 250 members that all quote the same packed bytes: 10 MB each time, packed to 10 kB.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(10_000_000)) + packer.flush()
    crc = zlib.crc32(bytes(10_000_000))
    body = local_header(b"000.wav", 10_000_000, len(packed), crc, 8) + packed
    entries = [table_entry(b"%03d.wav" % number, 10_000_000, len(packed), crc, 8, 0) for number in range(250)]
    (tmp_path / "a.zip").write_bytes(with_table(body, entries))
    with pytest.raises(InvalidArchiveError, match="has members that overlap each other"):
        inspect_dataset(tmp_path / "a.zip")


def test_a_bomb_that_lies_about_its_size_writes_no_more_than_it_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It states 1,000 bytes and would unpack to 100 MB.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(100_000_000)) + packer.flush()
    body = local_header(b"a.wav", 1_000, len(packed), 0, 8) + packed
    (tmp_path / "a.zip").write_bytes(with_table(body, [table_entry(b"a.wav", 1_000, len(packed), 0, 8, 0)]))
    (tmp_path / "work").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    written = []
    unlink = Path.unlink

    def weighed(self: Path, missing_ok: bool = False) -> None:
        written.append(self.stat().st_size)
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", weighed)
    with pytest.raises(InvalidArchiveError, match=r"a\.wav cannot be read, the archive is damaged"):
        inspect_dataset(tmp_path / "a.zip")
    assert max(written) <= 1_000


def test_a_bomb_by_ratio(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("a.wav", bytes(40 * 1024**2))
    with pytest.raises(InvalidArchiveError, match="unpacks to more than 200 times its packed size"):
        inspect_dataset(tmp_path / "a.zip")


def test_slips_links_and_passwords_write_nothing(tmp_path: Path, wav: MakeWav, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    for name in ("../slip.wav", "a/../../slip.wav", "/tmp/slip.wav", "..\\slip.wav", "C:\\slip.wav"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
            bundle.writestr("ok.wav", wav(0.6))
            bundle.writestr(name, wav(0.6))
        with pytest.raises(InvalidArchiveError, match="leads out of the archive"):
            inspect_dataset(tmp_path / "a.zip", duration=0.5)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "work"]


needs_seven_zip = pytest.mark.skipif(SEVEN_ZIP is None, reason="7z is not installed (Debian: 7zip)")


@pytest.fixture
def clips(tmp_path: Path, wav: MakeWav) -> Path:
    folder = tmp_path / "clips" / "sub folder"
    folder.mkdir(parents=True)
    for name in ("kick", "snäre", "太鼓"):
        (folder / f"{name}.wav").write_bytes(wav(0.6))
        (folder / f"{name}.txt").write_text(f"a {name}", encoding="utf-8")
    return tmp_path / "clips"


def seven_zip(clips: Path, *options: str) -> Path:
    assert SEVEN_ZIP is not None
    path = clips.parent / "a.zip"
    command = [SEVEN_ZIP, "a", "-tzip", *options, str(path), "."]
    subprocess.run(command, cwd=clips, check=True, stdout=subprocess.DEVNULL)
    return path


@needs_seven_zip
@pytest.mark.parametrize(
    "options",
    [("-mm=Copy",), ("-mm=Deflate",), ("-mm=Deflate64",), ("-mm=BZip2",), ("-mm=LZMA",), ("-mcu=on",), ("-mx=9",)],
    ids="".join,
)
def test_archives_of_7z(options: tuple[str, ...], clips: Path) -> None:
    report = inspect_dataset(seven_zip(clips, *options), duration=0.5)
    found = {Path(clip.name).stem: clip.caption for clip in report.kept}
    assert found == {"kick": "a kick", "snäre": "a snäre", "太鼓": "a 太鼓"}


@needs_seven_zip
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-psecret",), "is encrypted"),
        (("-psecret", "-mem=AES256"), "is encrypted"),
        (("-mm=PPMd",), "packed by PPMd, which cannot be read here"),
    ],
    ids=["zipcrypto", "aes", "ppmd"],
)
def test_archives_of_7z_that_are_refused(options: tuple[str, ...], words: str, clips: Path) -> None:
    with pytest.raises(InvalidArchiveError, match=words):
        inspect_dataset(seven_zip(clips, *options), duration=0.5)


@pytest.mark.skipif(shutil.which("zip") is None, reason="zip is not installed")
@pytest.mark.parametrize("options", [("-0",), ("-9",), ("-Z", "bzip2"), ("-fz",), ("-D",)], ids=" ".join)
def test_archives_of_zip(options: tuple[str, ...], clips: Path) -> None:
    path = clips.parent / "a.zip"
    subprocess.run(["zip", "-q", "-r", *options, str(path), "."], cwd=clips, check=True)
    report = inspect_dataset(path, duration=0.5)
    assert {clip.caption for clip in report.kept} == {"a kick", "a snäre", "a 太鼓"}


@pytest.mark.skipif(shutil.which("zip") is None, reason="zip is not installed")
def test_a_streamed_zip_whose_sizes_stand_behind_its_members(clips: Path) -> None:
    path = clips.parent / "a.zip"
    with path.open("wb") as file:
        subprocess.run(["zip", "-q", "-r", "-", "."], cwd=clips, check=True, stdout=file)
    assert len(inspect_dataset(path, duration=0.5).kept) == 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_four_gigabytes_are_inspected_in_little_memory(tmp_path: Path, wav: MakeWav) -> None:
    # Stored members of 1 GB of holes, so that the disk holds next to nothing: wav files that are silent.
    path, size = tmp_path / "a.zip", 1000**3
    sound = wav(0.6)
    head = sound[: sound.index(b"data")] + b"data" + struct.pack("<I", size - 200)
    head = head[:4] + struct.pack("<I", size - 8) + head[8:]
    crc = zlib.crc32(head)
    zeros = bytes(1024**2)
    left = size - len(head)
    while left:
        crc = zlib.crc32(zeros[: min(left, len(zeros))], crc)
        left -= min(left, len(zeros))
    entries, offset = [], 0
    with path.open("wb") as file:
        for number in range(4):
            name = b"silent%d.wav" % number
            file.seek(offset)
            entries.append(table_entry(name, size, size, crc, 0, offset))
            file.write(local_header(name, size, size, crc, 0) + head)
            offset = file.tell() + size - len(head)
        file.seek(offset)
        file.write(local_header(b"a.wav", len(sound), len(sound), zlib.crc32(sound), 0) + sound)
        entries.append(table_entry(b"a.wav", len(sound), len(sound), zlib.crc32(sound), 0, offset))
        body = file.tell()
        table = b"".join(entries)
        file.write(table)
        file.write(struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(entries), len(entries), len(table), body, 0))
    # Not ru_maxrss, which a process takes over from the one that started it.
    code = "import sys; from soundlora.dataset import inspect_dataset;"
    code += "report = inspect_dataset(sys.argv[1], duration=0.5); assert len(report.kept) == 1, report;"
    code += "assert len(report.skipped) == 4; "
    code += "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    result = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    assert path.stat().st_size > 4 * 1000**3
    assert os.stat(path).st_blocks * 512 < 10 * 1024**2
    assert int(result.stdout) * 1024 < 300 * 1000**2
