"""What training would make of a data set, told before it is trained on."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from example_zip import CLIPS, some_clips, zip_uri
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException
from support import tone, write_clip

from soundlora.server.http import inspection
from soundlora.server.http.auth import Caller

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


def test_the_mode_decides_what_each_clip_needs(client: TestClient, tmp_path: Path) -> None:
    given, made, alone = (tmp_path / name for name in ("zap_start.ogg", "zap_end.ogg", "rain_start.ogg"))
    for path, clip in ((given, "zap_03"), (made, "zap_08"), (alone, "zap_08")):
        shutil.copy(CLIPS / f"{clip}.ogg", path)
    pairs = {"training_data_url": zip_uri(given, made), "mode": "a2a"}
    report = client.post(URL, json=pairs).json()
    assert [(clip["name"], clip["partner"]) for clip in report["clips"]] == [("zap_end.ogg", "zap_start.ogg")]
    without = client.post(URL, json=pairs | {"mode": None}).json()
    assert [clip["name"] for clip in without["clips"]] == ["zap_end.ogg", "zap_start.ogg"]

    half = client.post(URL, json=pairs | {"training_data_url": zip_uri(given, made, alone)})
    assert half.status_code == 422
    (entry,) = half.json()["detail"]
    assert entry["loc"] == ["body", "training_data_url"]
    assert "rain_start.ogg has no rain_end" in entry["msg"]

    wrong = client.post(URL, json=pairs | {"mode": "reverse"})
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["body", "mode"])


def test_captions_come_from_what_clips_carry_where_that_is_asked_for(client: TestClient, tmp_path: Path) -> None:
    clip = Path(shutil.copy(CLIPS / "zap_03.ogg", tmp_path / "LaserZap_03.ogg"))
    asked = {"training_data_url": zip_uri(clip), "trigger_phrase": "zvk"}
    report = client.post(URL, json=asked).json()
    assert (report["clips"][0]["caption"], report["clips"][0]["caption_source"]) == ("zvk", None)
    assert report["warnings"][-1].endswith("(file name of LaserZap_03.ogg); captions_from all uses them.")

    report = client.post(URL, json=asked | {"captions_from": "all", "caption_template": "{caption}, {trigger}"}).json()
    clip_report = report["clips"][0]
    assert (clip_report["caption"], clip_report["caption_source"]) == ("laser zap, zvk", "file name")

    wrong = client.post(URL, json=asked | {"caption_template": "{room}"})
    (entry,) = wrong.json()["detail"]
    assert (wrong.status_code, entry["loc"]) == (422, ["body", "caption_template"])
    assert "caption_template has a field {room}, but the known ones are trigger, caption" in entry["msg"]
    assert client.post(URL, json=asked | {"captions_from": "tags"}).status_code == 422


def test_several_buckets_and_short_clips_are_looked_at_as_in_training(client: TestClient, tmp_path: Path) -> None:
    for name, seconds in {"a": 0.2, "b": 0.6, "c": 1.5}.items():
        write_clip(tmp_path / f"{name}.wav", tone(seconds))
    wanted = {
        "training_data_url": zip_uri(*sorted(tmp_path.glob("*.wav"))),
        "audio_duration_seconds": 1,
        "shorter_durations": [0.5],
    }
    report = client.post(URL, json=wanted).json()
    assert [clip["bucket"] for clip in report["clips"]] == [None, 0.5, 1.0]
    report = client.post(URL, json=wanted | {"short": "pad"}).json()
    assert [clip["bucket"] for clip in report["clips"]] == [0.5, 0.5, 1.0]
    answer = client.post(URL, json=wanted | {"short": "stretch"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "short"]


def test_all_who_wait_for_a_look_at_the_machine_are_told_that_it_failed(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them used to clear the failed look away, so the second one met an error of the server."""
    request = Request({"type": "http", "app": app})

    async def both() -> list[BaseException | dict[str, Any]]:
        ended = asyncio.Event()

        async def look(*_: Any, **__: Any) -> None:
            await ended.wait()
            raise TimeoutError

        monkeypatch.setattr(inspection, "_answer", look)
        calls = [asyncio.ensure_future(inspection.machine(request, Caller("", ""))) for _ in range(2)]
        await asyncio.sleep(0)
        ended.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    told = asyncio.run(both())
    assert [each.status_code for each in told if isinstance(each, HTTPException)] == [503, 503]
    assert not hasattr(app.state, "machine")


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="this system has no such priorities")
@pytest.mark.parametrize(("gives_way", "priority"), [(False, 0), (True, 10)])
def test_what_nobody_waits_for_gives_way(app: FastAPI, gives_way: bool, priority: int) -> None:
    """The look at the machine takes seconds of a core, as a page is opened and clips are dropped on it."""
    code = "import os, sys; sys.stdin.read(); print(os.getpriority(os.PRIO_PROCESS, 0))"
    service = app.state.service
    told = asyncio.run(inspection._answer(service, [sys.executable, "-c", code], gives_way=gives_way))
    assert told == os.getpriority(os.PRIO_PROCESS, 0) + priority
