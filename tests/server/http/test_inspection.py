"""What training would make of a data set, told before it is trained on."""

from __future__ import annotations

from example_zip import some_clips
from fastapi.testclient import TestClient

URL = "/v1/datasets/inspect"


def test_every_clip_is_reported_and_a_refusal_is_said(client: TestClient) -> None:
    report = client.post(URL, json={"training_data_url": some_clips(2), "trigger_phrase": "zap"}).json()
    assert [clip["status"] for clip in report["clips"]] == ["kept", "kept"]
    assert report["clips"][0]["caption"].startswith("zap ")
    assert (report["refusal"], report["source"]) == (None, "")
    long = {"training_data_url": some_clips(2), "audio_duration_seconds": 30}
    refused = client.post(URL, json=long).json()
    assert {clip["status"] for clip in refused["clips"]} == {"skipped"}
    assert refused["refusal"]


def test_it_errs_as_a_training_does(client: TestClient) -> None:
    answer = client.post(URL, json={"training_data_url": "data:application/zip;base64,bm8gemlw"})
    assert answer.status_code == 422
    (entry,) = answer.json()["detail"]
    assert (entry["loc"], entry["type"]) == (["body", "training_data_url"], "invalid_archive")
    assert "/tmp" not in answer.text
    short = client.post(URL, json={"training_data_url": "x", "audio_duration_seconds": 0.1})
    assert short.json()["detail"][0]["loc"] == ["body", "audio_duration_seconds"]


def test_a_path_of_the_server_is_refused(client: TestClient) -> None:
    answer = client.post(URL, json={"training_data_url": "/etc/passwd"})
    assert answer.json()["detail"][0]["type"] == "file_download_error"
