from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from soundlora.net.storage import Storage
from soundlora.server.store.database import Database
from soundlora.server.store.files import FileRow, Files, parts_folder, safe_name
from soundlora.server.store.tables import files as table


@pytest.fixture
def files(tmp_path: Path) -> Files:
    database = Database(f"sqlite:///{tmp_path / 'soundlora.db'}")
    database.migrate()
    return Files(database, Storage(str(tmp_path / "files")))


def add(files: Files, path: Path, content: bytes = b"weights", lifetime: float | None = None, **more: str) -> FileRow:
    path.write_bytes(content)
    given = {"name": "lora.safetensors", "content_type": "application/octet-stream", "role": "lora", "key_id": "k"}
    return files.add(path, **given | more, lifetime=lifetime)


def let_pass(files: Files, file_id: str, seconds: float) -> None:
    """As if the file were so much older."""
    with files.database.write() as connection:
        connection.execute(
            sa.update(table).where(table.c.id == file_id).values(expires_at=table.c.expires_at - seconds)
        )


def test_a_file_is_stored_and_described_as_results_do(files: Files, tmp_path: Path) -> None:
    row = add(files, tmp_path / "x", request_id="r1")
    assert files.find(row.id) == row
    assert row.to_file() == {
        "url": f"/files/{row.id}/lora.safetensors",
        "content_type": "application/octet-stream",
        "file_name": "lora.safetensors",
        "file_size": 7,
        "file_data": None,
    }
    assert b"".join(files.storage.stream(row.key)) == b"weights"
    assert (tmp_path / "x").exists()


def test_files_of_a_request_are_found_by_role(files: Files, tmp_path: Path) -> None:
    first = add(files, tmp_path / "x", request_id="r1")
    second = add(files, tmp_path / "x", request_id="r1", role="preview")
    add(files, tmp_path / "x", request_id="r2")
    files.begin(name="unfinished", content_type="a/b", role="preview", key_id="k", request_id="r1")
    assert files.of_request("r1") == [first, second]
    assert files.of_request("r1", "preview") == [second]


def test_a_file_that_cannot_be_copied_leaves_no_row(files: Files, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.add(tmp_path / "missing", name="n", content_type="a/b", role="lora", key_id="")
    with files.database.read() as connection:
        assert connection.execute(sa.select(table)).all() == []


def test_a_deleted_file_is_gone_with_its_object(files: Files, tmp_path: Path) -> None:
    row = add(files, tmp_path / "x")
    files.delete(row.id)
    files.delete(row.id)
    assert files.find(row.id) is None
    assert list(files.storage.list("files")) == []
    with pytest.raises(FileNotFoundError):
        files.complete(row.id, 7)


def test_a_lifetime_ends_and_the_sweep_removes_what_is_over(files: Files, tmp_path: Path) -> None:
    kept = add(files, tmp_path / "x")
    young = add(files, tmp_path / "x", lifetime=60)
    old = add(files, tmp_path / "x", lifetime=60, request_id="r1")
    assert old.expires_at == pytest.approx(time.time() + 60, abs=30)
    let_pass(files, old.id, 61)
    assert files.find(old.id) is None
    assert files.of_request("r1") == []
    assert files.sweep() == 1
    assert sorted(files.storage.list("files")) == sorted([(kept.key, 7), (young.key, 7)])
    assert files.sweep() == 0


@pytest.mark.parametrize("wrong", ["", "x", "\0" * 32, "../" * 10 + "ab", "é" * 32])
def test_an_id_that_can_not_be_one_is_unknown(files: Files, wrong: str) -> None:
    assert files.find(wrong) is None


def test_an_upload_that_never_ends_is_swept_with_its_parts(files: Files) -> None:
    row = files.begin(name="n", content_type="a/b", role="upload", key_id="k")
    files.storage.put(f"{parts_folder(row.id)}/1", b"part")
    assert files.sweep() == 0
    let_pass(files, row.id, 25 * 3600)
    assert files.sweep() == 1
    assert list(files.storage.list("parts")) == []


def test_what_is_completed_no_longer_counts_as_unfinished(files: Files) -> None:
    row = files.begin(name="n", content_type="a/b", role="upload", key_id="k")
    assert row.size is None
    assert row.expires_at is not None
    done = files.complete(row.id, 5)
    assert (done.size, done.expires_at) == (5, None)


@pytest.mark.parametrize(
    ("given", "kept", "safe"),
    [
        ("clips.zip", "clips.zip", "clips.zip"),
        ("my clips (2).zip", "my clips (2).zip", "my_clips_2_.zip"),
        ("学習.zip", "学習.zip", "_.zip"),
        ("../../etc/passwd", "passwd", "passwd"),
        (r"C:\clips\a.zip", "a.zip", "a.zip"),
        (".hidden", ".hidden", "hidden"),
        ("..", "..", "file"),
        ("", "file", "file"),
        ("a\r\nb#1\0", "ab#1", "ab_1"),
        ("half \ud83d", "half ?", "half_"),
        ("x" * 300 + ".zip", "x" * 116 + ".zip", "x" * 116 + ".zip"),
        ("x" * 300, "x" * 120, "x" * 120),
    ],
)
def test_names_are_kept_for_people_and_made_safe_for_addresses(files: Files, given: str, kept: str, safe: str) -> None:
    row = files.begin(name=given, content_type="a/b", role="upload", key_id="k")
    assert row.name == kept
    assert safe_name(row.name) == safe
    assert row.path == f"/files/{row.id}/{safe}"
