from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import boto3
import pytest
from s3_server import BUCKET, bucket, serving_s3

from soundlora.errors import InputError
from soundlora.net import storage as module
from soundlora.net.storage import Storage, StorageError


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with serving_s3() as url:
        yield url


@pytest.fixture
def s3(s3_url: str) -> Iterator[Storage]:
    with bucket(s3_url):
        yield Storage(f"s3://{BUCKET}/some/prefix")


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "deep" / "files"))


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Storage)
    return found


def pieces(total: int, size: int = 1_000_000) -> Iterator[bytes]:
    for start in range(0, total, size):
        yield bytes([start // size % 251]) * min(size, total - start)


def read(storage: Storage, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(storage.stream(key, start, end))


def test_of_two_that_create_an_object_one_does(storage: Storage) -> None:
    storage.create("claims/a", b"first")
    with pytest.raises(FileExistsError):
        storage.create("claims/a", b"second")
    assert read(storage, "claims/a") == b"first"


def test_an_object_is_copied_and_folders_are_named(storage: Storage) -> None:
    storage.put("runs/a/files/x", b"content")
    storage.copy("runs/a/files/x", "runs/b/files/y")
    assert read(storage, "runs/b/files/y") == read(storage, "runs/a/files/x") == b"content"
    assert sorted(storage.folders("runs")) == ["a", "b"]
    assert storage.folders("nowhere") == []
    with pytest.raises(FileNotFoundError):
        storage.copy("runs/a/files/none", "runs/b/files/z")


def test_an_object_is_written_read_listed_and_deleted(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "lora.safetensors"
    source.write_bytes(b"0123456789")
    storage.put("files/a/lora.safetensors", source)
    storage.put("files/b/x", b"bytes")
    storage.put("files/ab/x", iter([b"of ", b"pieces"]))
    assert storage.size("files/a/lora.safetensors") == 10
    assert read(storage, "files/a/lora.safetensors") == b"0123456789"
    assert read(storage, "files/a/lora.safetensors", 2, 5) == b"234"
    assert read(storage, "files/a/lora.safetensors", 7) == b"789"
    assert read(storage, "files/a/lora.safetensors", 4, 4) == b""
    assert sorted(storage.list("files/a")) == [("files/a/lora.safetensors", 10)]
    assert sorted(size for _, size in storage.list("files")) == [5, 9, 10]
    storage.copy_to("files/ab/x", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"of pieces"
    storage.delete("files/b/x")
    storage.delete("files/b/x")
    assert sorted(key for key, _ in storage.list("files")) == ["files/a/lora.safetensors", "files/ab/x"]


def test_objects_are_joined_in_their_order_and_stay(storage: Storage) -> None:
    large = b"".join(pieces(9_000_000))
    for number, content in (("1", b"start, "), ("2", large), ("10", b", end")):
        storage.put(f"parts/a/{number}", content)
    storage.put("files/a/whole", b"what was there before")
    asyncio.run(storage.join("files/a/whole", ["parts/a/1", "parts/a/2", "parts/a/10"]))
    assert read(storage, "files/a/whole") == b"start, " + large + b", end"
    assert len(list(storage.list("parts/a"))) == 3
    with pytest.raises(FileNotFoundError):
        asyncio.run(storage.join("files/b/whole", ["parts/a/1", "parts/a/3"]))
    assert [key for key, _ in storage.list("files")] == ["files/a/whole"]


def test_a_join_that_fails_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "kept"))
    storage.put("parts/a/1", b"start")
    with pytest.raises(FileNotFoundError):
        asyncio.run(storage.join("files/a/whole", ["parts/a/1", "parts/a/2"]))
    assert not (tmp_path / "kept" / "files").exists()
    (tmp_path / "kept" / "parts" / "a" / "2").mkdir()
    with pytest.raises(StorageError, match="directory"):
        asyncio.run(storage.join("files/a/whole", ["parts/a/1", "parts/a/2"]))
    assert not (tmp_path / "kept" / "files").exists()


def test_what_is_missing_is_not_found_before_the_first_piece(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.stream("files/none")
    with pytest.raises(FileNotFoundError):
        storage.size("files/none")


def test_an_empty_file_is_a_file(storage: Storage) -> None:
    storage.put("files/a/empty", b"")
    assert storage.size("files/a/empty") == 0
    assert read(storage, "files/a/empty") == b""


def test_a_large_file_goes_in_parts_and_comes_back_in_pieces(storage: Storage) -> None:
    total = 20_000_000
    storage.put("files/a/large", pieces(total))
    found = list(storage.stream("files/a/large"))
    assert b"".join(found) == b"".join(pieces(total))
    assert len(found) > 1
    assert read(storage, "files/a/large", 7_999_990, 8_000_010) == bytes([7]) * 10 + bytes([8]) * 10


def test_a_source_that_fails_leaves_the_old_object_or_nothing(storage: Storage) -> None:
    def broken() -> Iterator[bytes]:
        yield from pieces(10_000_000)
        raise ValueError("the line is dead")

    storage.put("files/a/old", b"old")
    for key in ("files/a/old", "files/b/new"):
        with pytest.raises(ValueError, match="the line is dead"):
            storage.put(key, broken())
    assert sorted(storage.list("files")) == [("files/a/old", 3)]
    assert read(storage, "files/a/old") == b"old"


def test_arriving_pieces_are_written_and_a_cancelled_write_leaves_nothing(storage: Storage) -> None:
    async def arriving() -> AsyncIterator[bytes]:
        for piece in pieces(12_000_000):
            yield piece

    async def stalling() -> AsyncIterator[bytes]:
        async for piece in arriving():
            yield piece
        await asyncio.sleep(3600)

    async def scene() -> None:
        await storage.put_async("files/a/whole", arriving())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(storage.put_async("files/b/cancelled", stalling()), 0.5)

    asyncio.run(scene())
    assert sorted(storage.list("files")) == [("files/a/whole", 12_000_000)]


def test_a_folder_holds_nothing_of_what_failed_not_even_folders(local: Storage, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield from pieces(10_000_000)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        local.put("files/b/new", broken())
    local.put("files/c/x", b"x")
    local.delete("files/c/x")
    assert list((tmp_path / "deep" / "files").iterdir()) == []


def test_the_sweep_removes_what_a_killed_writer_left(local: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "files" / "files" / "a"
    folder.mkdir(parents=True)
    for name in ("old#1", "new#1"):
        (folder / name).write_bytes(b"part")
    past = time.time() - module._STALE_SECONDS - 1
    os.utime(folder / "old#1", (past, past))
    local.sweep()
    assert [path.name for path in folder.iterdir()] == ["new#1"]


def test_s3_objects_lie_below_the_prefix(s3: Storage, s3_url: str) -> None:
    s3.put("files/a/x", b"x")
    bucket = boto3.resource("s3", endpoint_url=s3_url, region_name="us-east-1").Bucket(BUCKET)
    assert [each.key for each in bucket.objects.all()] == ["some/prefix/files/a/x"]


def test_the_check_passes_and_leaves_nothing(storage: Storage) -> None:
    storage.check()
    assert list(storage.list("checks")) == []


@pytest.mark.parametrize("url", ["gs://bucket", "s3://", "http://host/x"])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="write s3://bucket/prefix"):
        Storage(url)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="name another folder"):
        Storage(str(tmp_path / "file"))


def test_a_bucket_that_does_not_exist_is_said_in_words(s3: Storage) -> None:
    wrong = Storage("s3://other")
    with pytest.raises((StorageError, FileNotFoundError)):
        wrong.put("a/b", b"x")
    with pytest.raises(InputError, match="s3://other"):
        wrong.check()
