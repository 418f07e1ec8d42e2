from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from soundlora.errors import MachineError
from soundlora.system.whole_files import (
    clear_left,
    machine_error,
    partial,
    second_name,
    temporary_folder,
    whole,
    write_whole,
)


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "a" * 240 + ".wav", "音" * 85], ids=["a", "ü", "wav", "音"])
def test_a_name_of_255_bytes_is_written_under_another_one_that_fits(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert len(os.fsencode(partial(path, "12345678").name)) <= 255
    assert partial(path) != partial(tmp_path / (name[:-1] + "b")), "as the cut leaves no difference between them"
    write_whole(path, b"content")
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_a_name_that_fits_is_kept_whole(tmp_path: Path) -> None:
    assert partial(tmp_path / "a.wav").name == "a.wav.partial"
    assert partial(tmp_path / "a.wav", "0f").name == "a.wav.0f.partial"
    assert partial(tmp_path / os.fsdecode(b"\xff")).name == os.fsdecode(b"\xff.partial")


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with whole(path) as first:
        first.write_bytes(b"first")
        with whole(path) as second:
            second.write_bytes(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_says_what_is_lacking_and_how_to_mend_it() -> None:
    full = machine_error(OSError(errno.ENOSPC, "No space left on device", "/disk/x"))
    assert (str(full), full.lack) == (
        "/disk/x can't be written (No space left on device); make room on its disk.",
        "disk",
    )
    read = machine_error(OSError(errno.EACCES, "Permission denied", "/x"))
    assert str(read) == "/x can't be used (Permission denied); mend that, or name another one."
    written = machine_error(OSError(errno.EROFS, "Read-only file system"), Path("/x"), "name another with --out")
    assert str(written) == "/x can't be written (Read-only file system); mend that, or name another with --out."


def test_without_a_folder_for_temporary_files_a_sentence_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**given: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.TemporaryDirectory", none)
    with (
        pytest.raises(MachineError, match=r"No usable temporary directory .* name one with TMPDIR\."),
        temporary_folder(),
    ):
        pass


def test_what_a_kill_left_half_written_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    left = [partial(tmp_path / "a.json", "0a1b2c3d"), partial(tmp_path / "deeper" / ("é" * 127), "ffffffff")]
    others = [tmp_path / "a.json", partial(tmp_path / "base.safetensors"), tmp_path / "deeper" / "mine.takes.partial"]
    for path in [*left, *others]:
        path.write_bytes(b"half")
    clear_left(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(others)


@pytest.mark.parametrize("links", [True, False])
def test_a_second_name_is_a_link_or_a_copy_and_takes_the_place_of_an_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr("soundlora.system.operating_system.os.link", refuse)
    path, other = tmp_path / "lora", tmp_path / "gate"
    other.write_bytes(b"older")
    path.write_bytes(b"content")
    for _ in range(2):  # the second time the names are the same file already
        second_name(path, other)
        assert (other.read_bytes(), other.samefile(path)) == (b"content", links)
        assert sorted(tmp_path.iterdir()) == [other, path]
    write_whole(path, b"newer")
    assert other.read_bytes() == b"content"
