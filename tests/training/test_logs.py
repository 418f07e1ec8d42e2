from __future__ import annotations

import csv
import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from soundlora.errors import InputError
from soundlora.training.logs import check_logs, open_logs
from soundlora.training.run_folder import RunFolder
from soundlora.training.trainer import StepFigures

NUMBERS = {"loss", "sigma", "gradient_norm", "learning_rate"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create({"rank": 8}, {})
    return folder


def figures(step: int) -> StepFigures:
    return StepFigures(step, 1 / step, 0.5, 2.0, 1e-4, 'a.wav, "b".wav')


def write(kind: str, folder: RunFolder, steps: range, done: int = 0) -> None:
    (log,) = open_logs([kind, kind], folder, {"rank": 8}, done)
    for step in steps:
        log.held_out(step - 1, 2.0 / step)
        log.step(figures(step))
    log.close()


def test_csv_goes_on_where_the_runs_own_record_ends(folder: RunFolder) -> None:
    write("csv", folder, range(1, 6))
    for step in (1, 2):
        folder.log(vars(figures(step)))
    folder.log_held_out(0, 2.0)
    write("csv", folder, range(3, 5), done=2)
    with (folder.path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{key: str(value) for key, value in vars(figures(step)).items()} for step in (1, 2, 3, 4)]
    with (folder.path / "held_out.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["step", "loss"], ["0", "2.0"], ["2", str(2 / 3)], ["3", "0.5"]]


def test_tensorboard_shows_every_step_once_after_a_resumption(folder: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write("tensorboard", folder, range(1, 6))
    write("tensorboard", folder, range(3, 8), done=2)
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == NUMBERS | {"held_out_loss"}
    for name in NUMBERS:
        assert [event.step for event in events.Scalars(name)] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([1 / step for step in range(1, 8)])
    held_out = {event.step: event.value for event in events.Scalars("held_out_loss")}
    assert held_out == pytest.approx({step: 2 / (step + 1) for step in range(7)})


def test_wandb_gets_the_same_figures_and_a_resumed_run_keeps_its_id(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, Any]] = []
    told: list[tuple[int, dict[str, float]]] = []
    finished: list[bool] = []

    def init(**options: Any) -> Any:
        begun.append(options)
        return SimpleNamespace(
            id=options["id"] or "abc123",
            log=lambda values, step: told.append((step, values)),
            finish=lambda: finished.append(True),
        )

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, __spec__=SimpleNamespace()))
    check_logs(["wandb"])
    write("wandb", folder, range(1, 2))
    write("wandb", folder, range(2, 3), done=1)
    assert [options["id"] for options in begun] == [None, "abc123"]
    assert begun[0]["config"] == {"rank": 8}
    assert (begun[0]["project"], begun[0]["name"], begun[0]["resume"]) == ("soundlora", "run", "allow")
    assert [step for step, _ in told] == [0, 1, 1, 2]
    assert told[0][1] == {"held_out_loss": 2.0}
    assert set(told[1][1]) == NUMBERS
    assert finished == [True, True]


def records(data: bytes) -> Iterator[bytes]:
    """Of a W&B file: blocks of 32 KiB, each with pieces behind a checksum, their length and whether more follows."""
    at, parts = 7, b""
    while at + 7 <= len(data):
        left = -at % 32_768 or 32_768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            yield parts
            parts = b""


def test_the_real_wandb_keeps_every_figure_in_the_run_folder(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own file holds what was logged offline. Needs `pip install wandb`, which is optional."""
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    write("wandb", folder, range(1, 4))
    write("wandb", folder, range(4, 6), done=3)
    rows: dict[int, dict[str, float]] = {}
    ids = set()
    for path in sorted(folder.path.glob("wandb/offline-run-*/*.wandb")):
        for data in records(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.HasField("run"):
                ids.add(record.run.run_id)
            if record.HasField("history"):
                values = {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item
                }
                rows.setdefault(int(values["_step"]), {}).update(values)
    assert ids == {(folder.path / "wandb_id.txt").read_text().strip()}
    assert {step: row["loss"] for step, row in rows.items() if "loss" in row} == pytest.approx(
        {step: 1 / step for step in range(1, 6)}
    )
    assert {step: row["held_out_loss"] for step, row in rows.items() if "held_out_loss" in row} == pytest.approx(
        {step: 2 / (step + 1) for step in range(5)}
    )


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_with_how_to_get_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(InputError, match=f"The log {kind} needs the package {kind}; .* pip install {kind}"):
        check_logs([kind])


def test_csv_needs_nothing_and_others_there_are_not() -> None:
    check_logs(["csv"])
    with pytest.raises(InputError, match="log is 'paper', but it must be one of csv, tensorboard, wandb"):
        check_logs(["csv", "paper"])


def test_the_loss_of_a_step_that_preserves_the_base_has_a_name_of_its_own(folder: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (log,) = open_logs(["tensorboard"], folder, {}, 0)
    log.step(figures(1))
    log.step(replace(figures(2), preserving=True))
    log.close()
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    steps = {name: [event.step for event in events.Scalars(name)] for name in ("loss", "preserving_loss", "sigma")}
    assert steps == {"loss": [1], "preserving_loss": [2], "sigma": [1, 2]}
