"""Runs as the page reads them."""

from __future__ import annotations

import json
from pathlib import Path

from fastapi.testclient import TestClient

from soundlora.server.endpoints import TRAINING
from soundlora.server.http.state import Service
from soundlora.server.store.finish import Outcome


def begin(service: Service) -> tuple[str, str]:
    id = service.requests.submit(TRAINING, {"training_data_url": "data:x," + "y" * 200, "trigger_phrase": "rain"}).id
    claimed = service.requests.claim()
    assert claimed is not None
    assert claimed.owner is not None
    return id, claimed.owner


def test_a_run_is_shown_with_what_it_has_made_so_far(client: TestClient, service: Service, tmp_path: Path) -> None:
    id, owner = begin(service)
    service.requests.beat(
        id, owner, progress={"stage": "training", "step": 5}, lines=[(1.0, "INFO", "hello")], curve=[(1, "loss", 0.5)]
    )
    preview = tmp_path / "step_000000_prompt_0.wav"
    preview.write_bytes(b"sound")
    service.files.add(preview, name=preview.name, content_type="audio/wav", role="preview", key_id="", request_id=id)
    run = client.get(f"/v1/runs/{id}").json()
    assert (run["state"], run["outcome"], run["progress"]["step"]) == ("running", None, 5)
    assert run["curves"] == {"loss": [[1, 0.5]], "held_out": []}
    assert run["previews"][0]["file"]["url"].startswith("http://localhost/files/")
    assert run["logs"][0]["message"] == "hello"
    assert len(run["input"]["training_data_url"]) < 70
    listed = client.get("/v1/runs", params={"kind": "training"}).json()["runs"]
    assert [each["id"] for each in listed] == [id]
    assert client.get("/v1/runs", params={"kind": "sound"}).json()["runs"] == []


def test_events_tell_all_at_first_and_end_with_the_run(client: TestClient, service: Service) -> None:
    id, owner = begin(service)
    service.requests.beat(id, owner, lines=[(1.0, "INFO", "one"), (2.0, "WARN", "two")])
    service.requests.finish(id, owner, Outcome(200, {"lora_file": None}, units=100))
    text = client.get(f"/v1/runs/{id}/events").text
    (event,) = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert (event["state"], event["outcome"], event["cost"]) == ("completed", "succeeded", 0.22)
    assert [line["message"] for line in event["logs"]] == ["one", "two"]
    again = client.get(f"/v1/runs/{id}/events", params={"after": event["logs"][0]["number"]}).text
    assert "two" in again
    assert '"one"' not in again


def test_others_runs_do_not_exist(client: TestClient, service: Service) -> None:
    other = service.requests.submit(TRAINING, {}, key_id="somebody else").id
    for path in (f"/v1/runs/{other}", f"/v1/runs/{other}/events", "/v1/runs/nothing"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "no run" in json.dumps(answer.json())
    assert client.post(f"/v1/runs/{other}/resume").status_code == 404


def test_a_run_without_a_checkpoint_is_not_resumed(client: TestClient, service: Service) -> None:
    id, owner = begin(service)
    service.requests.finish(id, owner, Outcome(500, {}, error="x", error_type="internal_server_error"))
    answer = client.post(f"/v1/runs/{id}/resume")
    assert answer.status_code == 400
    assert "left no checkpoint" in answer.json()["error"]["message"]
