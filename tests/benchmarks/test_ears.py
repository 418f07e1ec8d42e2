"""Scores by ears are the laboratory's, of vectors; nothing is heard twice; a checkpoint is read as it was written."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("scipy")

import ears
import lab
from ear_networks import EARS, Ear
from tensor_bundle import read_bundle

CAPTIONS = {"zaps": "laser zaps", "gongs": "gong swells"}
PLAIN = ("defaults", "defaults", "zaps", 0)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ears, "TAKES", tmp_path / "takes")
    monkeypatch.setattr(ears, "VECTORS", tmp_path / "vectors")
    monkeypatch.setattr(ears, "DONE", tmp_path / "ears.jsonl")
    (tmp_path / "takes").mkdir()
    (tmp_path / "vectors").mkdir()
    return tmp_path


def keep(name: str, *numbers: float) -> None:
    """Keep vectors (sounds, 1), the same ones for every ear."""
    rows = np.array(numbers, np.float32)[:, None]
    np.savez(ears.VECTORS / f"{name}.npz", allow_pickle=False, **dict.fromkeys(EARS, rows))


def keep_run() -> None:
    keep("real zaps", 9, 10, 11)
    keep("base sndx laser zaps", 0, 0)
    keep("defaults defaults zaps 0 1", 7, 9)
    keep("defaults defaults zaps 0 0.6", 5, 5)


def test_a_score_is_the_distance_of_means_as_a_share_of_the_bases() -> None:
    keep_run()
    figures = ears.scores(PLAIN, CAPTIONS)
    assert figures == pytest.approx({f"{ear} at 1": 0.2 for ear in EARS} | {f"{ear} at 0.6": 0.5 for ear in EARS})


def test_without_a_trigger_the_base_is_that_of_the_prompt_without_it() -> None:
    assert ears.names_of(("captions", "no trigger", "zaps", 1), CAPTIONS) == [
        "real zaps",
        "base laser zaps",
        "captions no trigger zaps 1 1",
        "captions no trigger zaps 1 0.6",
    ]


def test_a_run_that_was_not_heard_whole_has_no_score() -> None:
    keep_run()
    (ears.VECTORS / "defaults defaults zaps 0 0.6.npz").unlink()
    assert ears.scores(PLAIN, CAPTIONS) is None


def test_takes_are_heard_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    heard = []

    def ear(folder: Path) -> Ear:
        def hear(sound: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
            heard.append(float(sound[0]))
            return sound[:2].numpy()

        return hear

    monkeypatch.setattr(ears, "EARS", {"pitch": ear})
    np.savez(ears.TAKES / "base x.npz", takes=np.array([[32767, 0, 0], [-32767, 0, 0]], np.int16))
    for _ in range(2):
        ears.listen(["base x", "not there"], tmp_path, tmp_path, float("inf"))
    assert heard == [1, -1]
    rows = ears.kept("base x")
    assert rows is not None
    assert rows["pitch"].tolist() == [[1, 0], [-1, 0]]
    assert ears.kept("not there") is None


def test_after_the_time_is_up_nothing_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears, "EARS", {})
    np.savez(ears.TAKES / "base x.npz", takes=np.zeros((1, 3), np.int16))
    ears.listen(["base x"], tmp_path, tmp_path, 0.0)
    assert ears.kept("base x") is None


def test_halves_of_the_same_sound_are_near_and_clips_of_another_are_told_apart() -> None:
    near, far = np.array([[0.0], [1], [0], [1]], np.float32), np.array([[10.0], [11], [10], [0]], np.float32)
    rows = ears.worth({"a": {"x": near}, "b": {"x": far}}, {"a": {"x": near + 10}, "b": {"x": far + 20}})
    # Of the six halves of 0, 1, 0, 1 two are a whole apart, and four are the same.
    assert rows["a"] == pytest.approx({"x, halves": 1 / 30, "x, told": 1})
    assert rows["b"]["x, told"] == 0.75


def test_what_is_written_is_found_again() -> None:
    ears.write_down([(PLAIN, {"pitch at 1": 1 / 3})])
    ears.write_down([(("rank", "4", "zaps", 0), {"pitch at 1": 2.0})])
    assert ears.found() == {PLAIN: {"pitch at 1": 0.33333}, ("rank", "4", "zaps", 0): {"pitch at 1": 2.0}}


def test_the_figures_of_the_laboratory_have_units_that_the_history_knows() -> None:
    results = {
        (factor, level, name, 0): {"score at 1": score, "score at 0.6": score, "moved": 0.5}
        for factor, level, score in (("defaults", "defaults", 0.4), ("rank", "4", 0.5))
        for name in ("zaps", "gongs")
    }
    figures = {figure.name: (figure.value, figure.unit) for figure in lab.figures_of(results)}
    assert figures["defaults, moved"] == (0.5, "of the base's")
    assert figures["rank: 4, score at 1, 2 pairs, ± 0.00"][0] == pytest.approx(0.1)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    tensors: dict[str, list[Any]] = {"layer/bias": [1.0, 2.0], "layer/kernel": [[3.0, 4.0], [5.0, 6.0]]}
    index = bundle(tmp_path, tensors)
    read = read_bundle(index)
    assert {name: tensor.tolist() for name, tensor in read.items()} == tensors


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.index"
    path.write_text(json.dumps({"no": "index"}))
    with pytest.raises(ValueError, match=r"x\.index is no index of a TensorFlow checkpoint"):
        read_bundle(path)


def bundle(folder: Path, tensors: dict[str, list[Any]]) -> Path:
    """Write a checkpoint whose keys share what they have in common with the one before."""
    data, entries, before = b"", [(b"", b"\x08\x01")], b""
    for name, numbers in tensors.items():
        array = np.array(numbers, "<f4")
        shape = b"".join(b"\x12\x02\x08" + bytes([size]) for size in array.shape)
        place = b"\x20" + bytes([len(data)]) + b"\x28" + bytes([array.nbytes])
        entries.append((name.encode(), b"\x08\x01\x12" + bytes([len(shape)]) + shape + place + b"\x35abcd"))
        data += array.tobytes()
    block = b""
    for key, value in entries:
        shared = next((n for n in range(len(before)) if before[n : n + 1] != key[n : n + 1]), len(before))
        block += bytes([shared, len(key) - shared, len(value)]) + key[shared:] + value
        before = key
    block += struct.pack("<II", 0, 1)
    top = bytes([0, 0, 2, 0, len(block)]) + struct.pack("<II", 0, 1)
    footer = bytes([0, 0, len(block) + 5, len(top)])
    table = block + bytes(5) + top + bytes(5) + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")
    (folder / "x.index").write_bytes(table)
    (folder / "x.data-00000-of-00001").write_bytes(data)
    return folder / "x.index"
