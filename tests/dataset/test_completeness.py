"""What headers promise beyond a file's end, up to numbers that no file system knows."""

import struct
from pathlib import Path

import pytest

from soundlora.dataset.completeness import breaks_off
from soundlora.dataset.riff import read_chunks

CLAIMS = [0, 24, 1000, 2**31, 2**44, 2**62, 2**63 - 13]
"""2**44 is beyond what ext4 seeks to, and the last one beyond what any system does."""


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_caf_is_cut_where_its_samples_are(tmp_path: Path, claim: int) -> None:
    head = b"caff" + struct.pack(">HH", 1, 0)
    path = tmp_path / "a.caf"
    path.write_bytes(head + b"data" + struct.pack(">q", claim) + bytes(100))
    assert breaks_off("caf", path) == (100 < claim < 2**62)
    path.write_bytes(head + b"free" + struct.pack(">q", claim) + bytes(100))
    assert not breaks_off("caf", path)


@pytest.mark.parametrize("claim", [*CLAIMS, 2**64 - 1])
def test_an_asf_is_cut_where_an_object_is(tmp_path: Path, claim: int) -> None:
    path = tmp_path / "a.wma"
    path.write_bytes(bytes(16) + struct.pack("<Q", 30) + bytes(22) + struct.pack("<Q", claim) + bytes(54))
    assert breaks_off("asf", path) == (78 < claim < 2**62)
    path.write_bytes(bytes(16) + struct.pack("<Q", claim) + bytes(76))
    assert breaks_off("asf", path) == (100 < claim < 2**62)


@pytest.mark.parametrize("claim", [*CLAIMS, 2**64 - 1])
def test_chunks_after_samples_of_any_claimed_length(tmp_path: Path, claim: int) -> None:
    path = tmp_path / "a.wav"
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 0, claim, 0, 0)
    text = b"bext" + struct.pack("<I", 4) + b"rain"
    path.write_bytes(b"RF64\xff\xff\xff\xffWAVE" + sizes + b"data\xff\xff\xff\xff" + bytes(24) + text)
    assert read_chunks(path) == ({"BWF description": "rain"} if claim in (0, 24) else {})
