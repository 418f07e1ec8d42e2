"""A worker takes a request from its claim to its result, for real."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from example_zip import CLIPS, some_clips, zip_uri
from filelock import FileLock, Timeout
from rows import claimed
from support import BaseNames
from waiting import wait_until
from workplace import Place, hang_up

from soundlora.server.endpoints import GENERATION, GENERATION_WITH_LORA, TRAINING, endpoints
from soundlora.server.settings import Settings
from soundlora.server.store.requests import Request
from soundlora.server.work.generation import GenerationJob
from soundlora.server.work.job import Job
from soundlora.server.work.process import SETTINGS_VARIABLE, WORKER
from soundlora.server.work.training import TrainingJob
from soundlora.server.work.worker import work_of


def train(place: Place, **fields: Any) -> Request:
    payload = {"training_data_url": some_clips(), "number_of_steps": 100, "rank": 8, "audio_duration_seconds": 2}
    return place.requests.submit(TRAINING, payload | fields)


def test_data_that_cannot_be_trained_on_ends_in_the_endpoints_own_error(place: Place, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no sound")
    request = train(place, training_data_url=zip_uri(text))
    found = place.work()
    assert (found.id, found.status_code, found.units) == (request.id, 422, 0)
    (entry,) = found.response["detail"]
    assert entry["type"] == "archive_file_count_below_minimum"
    assert entry["loc"] == ["body", "training_data_url"]
    assert entry["ctx"]["min_count"] == 1
    assert str(tmp_path) not in str(found.response) + str(place.said(request.id))


def test_paths_of_the_servers_own_disk_are_not_taken(place: Place) -> None:
    train(place, training_data_url=str(CLIPS))
    assert place.work().response["detail"][0]["type"] == "file_download_error"


@pytest.mark.parametrize(
    ("base", "status", "kind", "sentence"),
    [
        ("Lightricks/LTX-2.3", 503, "runner_connection_error", "The server can't reach another server"),
        ("/srv/bases/mistyped.safetensors", 500, "runner_server_error", "The server can't use its base"),
    ],
)
def test_what_the_servers_owner_has_to_mend_is_no_fault_of_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, status: int, kind: str, sentence: str
) -> None:
    """A hub that is out of reach, and a base that isn't there: 5xx, no units, no folders."""
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    place = Place(tmp_path / "data", base=base, patience=0.1)
    try:
        request = train(place)
        found = place.work()
        said = place.said(request.id)
    finally:
        place.database.close()
    assert (found.status_code, found.error_type, found.units) == (status, kind, 0)
    assert set(found.response) == {"detail", "error_type"}
    assert found.response["detail"].startswith(sentence)
    assert found.error == found.response["detail"]
    assert not any(part in f"{found.response} {said}" for part in (str(tmp_path), "/srv", "127.0.0.1"))


@pytest.mark.parametrize(
    ("endpoint", "payload", "loc"),
    [
        (TRAINING, {"training_data_url": "https://example.com/clips.zip", "rank": 7}, ["body", "rank"]),
        (TRAINING, {"number_of_steps": 100}, ["body", "training_data_url"]),
        (TRAINING, [], ["body"]),
        (TRAINING, None, ["body"]),
        (GENERATION, {"prompt": "rain", "num_frames": "many"}, ["body", "num_frames"]),
    ],
)
def test_an_input_that_is_taken_no_more_ends_with_its_field_at_the_first_attempt(
    place: Place, endpoint: str, payload: Any, loc: list[str]
) -> None:
    """As one that an earlier version has accepted may be: the table takes what the routes would not."""
    request = place.requests.submit(endpoint, payload)
    found = place.work()
    assert (found.state, found.status_code, found.attempts, found.units) == ("completed", 422, 1, 0)
    assert found.response["detail"][0]["loc"] == loc
    assert found.error_type == found.response["detail"][0]["type"]
    assert found.error in place.said(request.id)


def test_an_endpoint_that_is_not_offered_is_no_work(place: Place) -> None:
    request = place.requests.submit("fal-ai/of-another-version", {"prompt": "rain"})
    found = place.work()
    assert (found.state, found.status_code, found.attempts, found.units) == ("completed", 422, 1, 0)
    assert "'fal-ai/of-another-version'" in found.response["detail"][0]["msg"]
    assert TRAINING in found.response["detail"][0]["msg"]
    assert place.files.of_request(request.id) == []


TRAININGS = [
    f"fal-ai/ltx23-trainer-v2/{name}"
    for name in ("t2a", "audio-extend-prefix", "audio-extend-suffix", "audio-inpaint", "a2a", "ic-lora/a2a")
]


def test_every_endpoint_has_its_work(place: Place) -> None:
    begun = {}
    for endpoint in endpoints(place.settings).values():
        payload = {"training_data_url": "x"} if endpoint.work == "training" else {"prompt": "rain"}
        job = Job(place.requests.submit(endpoint.id, payload), place.settings, place.files)
        begun[endpoint.id] = type(work_of(job))
    assert begun == dict.fromkeys(TRAININGS, TrainingJob) | dict.fromkeys(
        (GENERATION, GENERATION_WITH_LORA), GenerationJob
    )


def test_sound_is_generated_and_stored(place: Place) -> None:
    request = place.requests.submit(GENERATION, {"prompt": "rain", "num_frames": 25, "seed": 3})
    found = place.work()
    assert found.status_code == 200, found.error
    assert (found.response["seed"], found.response["prompt"]) == (3, "rain")
    (row,) = place.files.of_request(request.id)
    assert found.response["audio"]["url"] == row.path
    assert not (place.settings.runs / request.id).exists()


def test_a_request_may_name_a_base_that_the_operator_allows(quick_base_25: BaseNames, tmp_path: Path) -> None:
    place = Place(tmp_path / "data", base=str(tmp_path / "not-there"), allowed_bases=(quick_base_25.checkpoint,))
    place.requests.submit(GENERATION, {"prompt": "rain", "num_frames": 25, "seed": 3, "base": quick_base_25.checkpoint})
    found = place.work()
    assert found.status_code == 200, found.error
    place.requests.submit(GENERATION, {"prompt": "rain", "num_frames": 25, "seed": 3})
    assert place.work().status_code != 200, "the server's own base is not there"
    place.database.close()


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(place: Place) -> None:
    fields: dict[str, Any] = {"validation": [{"prompt": "fast high laser zaps"}]}
    whole = train(place, **fields)
    assert place.work().status_code == 200
    request = train(place, **fields)
    kills = 0
    while (found := place.find(request.id)).state != "completed":
        claimed, process = place.start()
        checkpoints = place.settings.runs / request.id / "run" / "checkpoints"
        seen = len(list(checkpoints.glob("*.pt"))) if checkpoints.exists() else 0
        while kills < 2 and process.poll() is None:
            if checkpoints.exists() and len(list(checkpoints.glob("*.pt"))) > seen:
                process.kill()
                kills += 1
                break
            time.sleep(0.05)
        process.wait()
        hang_up(process)
        assert claimed.owner is not None
        place.requests.release(claimed.id, claimed.owner, lost=True, reason="it died")
    assert kills == 2
    assert found.status_code == 200
    assert found.attempts == 3
    assert "Going on with the run of an earlier worker" in place.said(request.id)

    def lora(request_id: str) -> bytes:
        (row,) = place.files.of_request(request_id, "lora")
        return b"".join(place.files.storage.stream(row.key))

    assert lora(request.id) == lora(whole.id)


@pytest.mark.slow
def test_a_cancelled_run_stops_between_two_steps_and_bills_nothing(place: Place) -> None:
    request = train(place, number_of_steps=20000)
    _, process = place.start()
    while not any(message.startswith("Step ") for message in place.said(request.id)):
        assert process.poll() is None
        time.sleep(0.1)
    place.requests.cancel(request.id)
    assert process.wait(60) == 0
    hang_up(process)
    found = place.find(request.id)
    assert (found.status_code, found.error_type, found.units) == (499, "client_cancelled", 0)
    assert list((place.settings.runs / request.id / "run" / "checkpoints").glob("*.pt"))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["terminated", "left alone"])
def test_a_stopped_server_leaves_a_run_that_goes_on(place: Place, how: str) -> None:
    request = train(place, number_of_steps=20000)
    _, process = place.start()
    while not any(message.startswith("Step ") for message in place.said(request.id)):
        time.sleep(0.1)
    if how == "terminated":
        process.send_signal(signal.SIGTERM)
    hang_up(process)
    assert process.wait(60) == 0
    found = place.find(request.id)
    assert (found.state, found.attempts) == ("queued", 0)


@pytest.mark.slow
def test_a_run_is_stopped_at_the_wall_clock_limit(place: Place) -> None:
    place.settings = Settings(data_dir=place.settings.data_dir, max_run_seconds=12)
    train(place, number_of_steps=20000)
    found = place.work()
    assert (found.status_code, found.error_type, found.units) == (504, "generation_timeout", 0)


def test_a_worker_without_the_lease_touches_nothing(place: Place) -> None:
    request = place.requests.submit(GENERATION, {"prompt": "rain"})
    row, owner = claimed(place.requests)
    environment = os.environ | {SETTINGS_VARIABLE: place.settings.to_json()}
    process = subprocess.run([*WORKER, row.id, "another"], env=environment, capture_output=True, text=True)
    assert "belongs to another worker" in process.stderr
    assert place.find(request.id).owner == owner


def test_a_worker_that_stays_does_one_generation_after_another(place: Place, tmp_path: Path) -> None:
    """A wrong LoRA and a cancelled sound are no reason to end, and a training waits while it has the turn."""
    worker = place.stay(tmp_path / "turn")
    assert worker.stdout is not None
    sound = {"prompt": "rain", "num_frames": 25, "seed": 3}

    def done(request: Request) -> Request:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"done\n"
        return place.find(request.id)

    place.requests.submit(GENERATION, sound)
    first = done(place.give(worker))
    assert first.status_code == 200, first.error
    wrong = "data:application/octet-stream;base64,bm8gTG9SQQ=="
    place.requests.submit(GENERATION_WITH_LORA, sound | {"loras": [{"path": wrong}]})
    assert done(place.give(worker)).status_code == 422
    minute = {"num_inference_steps": 30, "num_frames": 480, "frames_per_second": 8}
    long = place.requests.submit(GENERATION, sound | minute)
    place.give(worker)
    wait_until(lambda: (place.find(long.id).progress or {}).get("stage") == "sampling")
    with pytest.raises(Timeout):
        FileLock(tmp_path / "turn", timeout=0).acquire()
    place.requests.cancel(long.id)
    assert done(long).error_type == "client_cancelled"
    place.requests.submit(GENERATION, sound)
    again = done(place.give(worker))
    rows = [place.files.of_request(request.id)[0] for request in (first, again)]
    assert len({b"".join(place.files.storage.stream(row.key)) for row in rows}) == 1
    hang_up(worker)
    assert worker.wait(60) == 0
    worker.stdout.close()
