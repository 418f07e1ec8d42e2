"""A base in a bucket: what it needs is fetched by byte ranges, once, and goes on where it was."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from s3_server import BUCKET, bucket, serving_s3
from safetensors.torch import load_file
from support import TINY_CHECKPOINT, TINY_ENCODER, BaseNames

from soundlora.errors import InputError, Interrupted, MachineError
from soundlora.net.storage import Storage, StorageError
from soundlora.weights import ranges
from soundlora.weights.base import open_base
from soundlora.weights.checkpoint import Checkpoint
from soundlora.weights.components import is_here
from soundlora.weights.fetch import fetch_base
from soundlora.weights.fetched import fetched

NAME = f"s3://{BUCKET}/bases/tiny"
WHOLE = Checkpoint(TINY_CHECKPOINT)
AUDIO_BYTES = sum(WHOLE.tensors[name].end - WHOLE.tensors[name].start for name in WHOLE.layout.audio)
HEADER_BYTES = min(info.start for info in WHOLE.tensors.values())
FILES = {path.name: path for path in TINY_ENCODER.iterdir() if path.suffix in (".json", ".safetensors")}


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with serving_s3() as url:
        yield url


@pytest.fixture
def stored(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The bucket with a base in the official layout, and an empty cache."""
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path / "cache"))
    with bucket(service) as found:
        found.upload_file(str(TINY_CHECKPOINT), "bases/tiny/tiny.safetensors")
        for name, path in FILES.items():
            found.upload_file(str(path), f"bases/tiny/text_encoder/{name}")
        yield found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What of each object is asked for."""
    asked: list[tuple[str, int, int]] = []
    plain = Storage.stream

    def stream(self: Storage, key: str, start: int = 0, end: int | None = None, **more: Any) -> Iterator[bytes]:
        asked.append((key, start, end or 0))
        return plain(self, key, start, end, **more)

    monkeypatch.setattr(Storage, "stream", stream)
    return asked


def test_of_a_base_in_a_bucket_the_audio_half_and_its_text_encoder_come(
    stored: Any, read: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch, tiny_base: BaseNames
) -> None:
    monkeypatch.setattr(ranges, "_GAP", 0)
    assert not is_here(NAME)
    base = open_base(f"{NAME}/")
    half, whole = load_file(base.checkpoint.paths[0]), load_file(TINY_CHECKPOINT)
    assert half.keys() == set(WHOLE.layout.audio)
    assert all(torch.equal(half[name], whole[name]) for name in half)
    assert (base.name, base.hash) == (NAME, tiny_base.open().hash)
    weights = [(start, end) for key, start, end in read if key == "tiny.safetensors"]
    assert sum(end - start for start, end in weights[2:]) == AUDIO_BYTES  # after its length and its header
    encoder = base.text_encoder_path
    assert {path.name for path in encoder.iterdir()} <= set(FILES)
    assert all(path.read_bytes() == FILES[path.name].read_bytes() for path in encoder.iterdir())
    read.clear()
    assert is_here(NAME)
    open_base(NAME)
    assert read == []


def test_a_file_may_be_named(stored: Any, tiny_base: BaseNames) -> None:
    stored.copy({"Bucket": BUCKET, "Key": "bases/tiny/tiny.safetensors"}, "bases/tiny/other.safetensors")
    assert open_base(f"{NAME}/tiny.safetensors").hash == tiny_base.open().hash


def test_a_fetch_that_was_stopped_goes_on_where_it_was(
    stored: Any, read: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_GAP", 0)

    def stop(done: int, size: int) -> None:
        if done > size // 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="are kept in"):
        fetch_base(NAME, stop)
    there = fetched(NAME, "base").on_disk
    assert there > 0
    read.clear()
    folder = fetch_base(NAME)
    again = sum(end - start for key, start, end in read if key == "tiny.safetensors" and start > 8)
    assert again < AUDIO_BYTES + HEADER_BYTES  # what was there is not asked for again
    assert Checkpoint(folder / "tiny.safetensors").fingerprint == WHOLE.fingerprint


def test_what_breaks_off_is_asked_for_from_there(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundlora.net.stored_file._WAITS", (0.0, 0.0))
    plain, broken = Storage.stream, iter([1000, 0, 5000])

    def stream(self: Storage, key: str, *place: Any, **more: Any) -> Iterator[bytes]:
        pieces = plain(self, key, *place, **more)
        most = next(broken, None) if key == "tiny.safetensors" and place[0] > 8 else None
        if most is None:
            yield from pieces
            return
        yield next(pieces)[:most]
        raise StorageError("it hung up")

    monkeypatch.setattr(Storage, "stream", stream)
    assert Checkpoint(fetch_base(NAME) / "tiny.safetensors").fingerprint == WHOLE.fingerprint
    assert next(broken, None) is None


def test_another_object_in_its_place_is_not_mixed_in(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(done: int, size: int) -> None:
        stored.put_object(Key="bases/tiny/tiny.safetensors", Body=TINY_CHECKPOINT.read_bytes() + b" ")

    monkeypatch.setattr(ranges, "_GAP", 0)
    with pytest.raises(MachineError, match=r"bases/tiny/tiny\.safetensors has changed on the server"):
        fetch_base(NAME, change)


def test_whole_files_are_held_against_the_hashes_beside_them(stored: Any) -> None:
    weights = next(name for name in FILES if name.endswith(".safetensors"))
    right = hashlib.sha256(FILES[weights].read_bytes()).hexdigest()
    for digest in ("0" * 64, right):
        stored.put_object(Key="bases/tiny/SHA256SUMS", Body=f"{digest}  text_encoder/{weights}\n".encode())
        if digest == right:
            assert (fetch_base(NAME) / "text_encoder" / weights).exists()
        else:
            with pytest.raises(MachineError, match="came with other bytes"):
                fetch_base(NAME)


def test_others_on_the_machine_wait_for_the_first(stored: Any) -> None:
    program = "import sys; from soundlora.weights.fetch import fetch_base; print(fetch_base(sys.argv[1]))"
    processes = [
        subprocess.Popen([sys.executable, "-c", program, NAME], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [process.communicate()[0].strip() for process in processes]
    assert said == [str(fetched(NAME, "base").folder)] * 2
    assert fetched(NAME, "base").complete


def test_what_is_no_base_is_said(stored: Any) -> None:
    with pytest.raises(InputError, match=r"There is no \.safetensors file at s3://sounds/elsewhere"):
        fetch_base(f"s3://{BUCKET}/elsewhere")
    stored.copy({"Bucket": BUCKET, "Key": "bases/tiny/tiny.safetensors"}, "bases/tiny/other.safetensors")
    with pytest.raises(InputError, match=r"holds 2 \.safetensors files with the transformer"):
        fetch_base(NAME)
