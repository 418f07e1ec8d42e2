"""Trainings that are trained on, and that are stopped and kept, by workers."""

from __future__ import annotations

import json
from typing import Any

from example_zip import some_clips
from workplace import Place

from soundlora.pipeline.lengthen import make_longer
from soundlora.server.endpoints import TRAINING
from soundlora.server.store.listing import steps_done
from soundlora.server.store.requests import Request
from soundlora.server.store.stopping import ask_to_stop

INPUT: dict[str, Any] = {"number_of_steps": 100, "rank": 8, "audio_duration_seconds": 1, "name": "kit"}


def names(place: Place, request: Request, role: str) -> list[str]:
    return [row.name for row in place.files.of_request(request.id) if row.role == role]


def test_a_finished_training_is_trained_on_and_billed_for_what_was_added(place: Place) -> None:
    payload = INPUT | {"training_data_url": some_clips(), "schedule": "constant"}
    first = place.requests.submit(TRAINING, payload)
    finished = place.work()
    assert (finished.status_code, finished.units, finished.response["steps"]) == (200, 100, 100), finished.error
    checkpoints = [f"kit-{step}.safetensors" for step in (25, 50, 75, 100)]
    assert sorted(names(place, first, "checkpoint")) == sorted(checkpoints)
    assert [file["file_name"] for file in finished.response["checkpoints"]] == checkpoints
    assert steps_done(finished, place.settings) == 100
    kept = place.settings.runs / first.id
    assert {path.name for path in kept.iterdir() if path.is_file()} <= {"worker.log"}
    assert [path.name for path in (kept / "run" / "checkpoints").glob("*.pt")] == ["step_000100.pt"]

    longer = place.requests.submit(TRAINING, payload | {"number_of_steps": 250})
    make_longer(kept / "run", place.settings.runs / longer.id / "run", 250)
    ended = place.work()
    assert (ended.status_code, ended.units, ended.response["steps"]) == (200, 150, 250), ended.error
    assert ended.response["lora_file"]["file_name"] == "kit-250.safetensors"
    assert "Going on from step 100 of 250" in place.said(longer.id)
    assert {"kit-100.safetensors", "kit-250.safetensors"} <= set(names(place, longer, "checkpoint"))
    assert steps_done(place.find(first.id), place.settings) == 100, "the shorter one is as it was"


def test_a_training_that_is_stopped_succeeds_with_what_it_has_learnt_and_costs_nothing(place: Place) -> None:
    request = place.requests.submit(TRAINING, INPUT | {"training_data_url": some_clips(), "number_of_steps": 20000})
    found = place.work("Step 1 of 20000", lambda: ask_to_stop(place.database, request.id))
    assert (found.status_code, found.units, found.error) == (200, 0, None)
    steps = found.response["steps"]
    assert 1 <= steps < 20000
    assert found.response["lora_file"]["file_name"] == f"kit-{steps}.safetensors"
    assert f"Stopped after {steps} of 20000 steps, to keep what it has learnt" in place.said(request.id)
    config = json.loads((place.settings.runs / request.id / "run" / "config.json").read_text())
    assert (config["number_of_steps"], config["asked_steps"]) == (steps, 20000)
    assert not ask_to_stop(place.database, request.id)


def test_a_cancelled_training_gives_out_what_it_had_learnt(place: Place) -> None:
    first = place.requests.submit(TRAINING, INPUT | {"training_data_url": some_clips(), "number_of_steps": 20000})
    cancelled = place.work("Step 1 of 20000", lambda: place.requests.cancel(first.id))
    assert cancelled.error_type == "client_cancelled"
    (state,) = (place.settings.runs / first.id / "run" / "checkpoints").glob("*.pt")
    done = int(state.stem.removeprefix("step_"))

    again = place.requests.submit(TRAINING, first.input, stop_asked=True)
    (place.settings.runs / first.id).rename(place.settings.runs / again.id)
    found = place.work()
    assert (found.status_code, found.units, found.response["steps"]) == (200, 0, done), found.error
