"""Runs that a page is shown without a training, as the server would tell of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route
from support import tone, write_clip

FILES = "/files/aaaaaaaa"
LIVE: dict[str, Any] = {
    "state": "running",
    "outcome": None,
    "ended_at": None,
    "result": None,
    "cost": None,
    "steps_done": None,
    "progress": {"stage": "training", "step": 150, "steps": 300, "steps_per_second": 9, "seconds_left": 20},
}
SOUND: dict[str, Any] = {
    "endpoint": "fal-ai/ltx-2.3-quality/text-to-audio",
    "input": {"prompt": "zapgun slow zaps"},
    "result": {"audio": {"url": f"{FILES}/sound.wav"}},
    "lora": None,
    "checkpoints": [],
}


CANCELLED: dict[str, Any] = {
    "outcome": "cancelled",
    "status_code": 499,
    "error_type": "client_cancelled",
    "lora": None,
    "resumable": True,
    "steps_done": None,
    "result": {"detail": "Request was cancelled by the client", "error_type": "client_cancelled"},
}


def made_up(id: str, **more: Any) -> dict[str, Any]:
    """A training that is done, as events tell of it."""
    checkpoint = {
        "url": f"{FILES}/zapgun-150.safetensors",
        "file_name": "zapgun-150.safetensors",
        "file_size": 1_500_000,
    }
    report = {"url": f"{FILES}/report.json", "file_name": "report.json"}
    clips = {"url": f"{FILES}/clips.json", "file_name": "clips.json", "role": "clips"}
    return {
        "id": id,
        "endpoint": "fal-ai/ltx23-trainer-v2/t2a",
        "state": "completed",
        "outcome": "succeeded",
        "position": None,
        "cancel_asked": False,
        "stop_asked": False,
        "created_at": 1.7e9,
        "started_at": 1.7e9,
        "ended_at": 1.7e9 + 95,
        "input": {
            "trigger_phrase": "zapgun",
            "number_of_steps": 300,
            "rank": 8 if id == "aaaaaaaa" else 16,
            "validation": [{"prompt": "zapgun fast low zaps"}],
        },
        "progress": None,
        "status_code": 200,
        "error": None,
        "error_type": None,
        "units": 300,
        "cost": 0.66,
        "resumable": False,
        "steps_done": 300,
        "starred": id == "aaaaaaaa",
        "name": f"My {id[0]}",
        "note": "a note of mine",
        "sound": {"url": f"{FILES}/preview.wav"},
        "lora": {"url": f"{FILES}/zapgun-300.safetensors"},
        "result": {"lora_file": checkpoint, "report": report, "config_file": report},
        "previews": [{"step": step, "prompt": 0, "file": {"url": f"{FILES}/{step}.wav"}} for step in (0, 150, 300)],
        "checkpoints": [{"step": 150, "file": checkpoint}],
        "files": [clips, {"url": f"{FILES}/zap_01.wav", "file_name": "zap_01.wav", "role": "clip"}],
        "curves": {"loss": [[1, 1.0], [300, 0.5]], "held_out": [[0, 1.0], [300, 0.5]]},
        "logs": [{"number": 1, "at": 1.7e9, "level": "WARN", "message": "One line of the log."}],
    } | more


def know(page: Page, folder: Path, *runs: dict[str, Any]) -> None:
    """Let the server know these runs alone. Ids are eight of the letters a to f; every sound is a tone."""
    write_clip(folder / "tone.wav", tone(0.6, 440.0), "a tone")
    sound = (folder / "tone.wav").read_bytes()

    def one(route: Route) -> None:
        run = next(run for run in runs if run["id"] in route.request.url)
        if "/events" in route.request.url:
            news = run if "after=0" in route.request.url else run | {"logs": []}
            route.fulfill(body=f"data: {json.dumps(news)}\n\n", content_type="text/event-stream")
        else:
            route.fulfill(json=run)

    def file(route: Route) -> None:
        if route.request.url.endswith("clips.json"):
            clip = {
                "name": "zap_01.wav",
                "caption": "fast low zaps",
                "seconds": 1,
                "kept_out": True,
                "file": "zap_01.wav",
            }
            route.fulfill(json={"clips": [clip]})
        elif route.request.url.endswith(".json"):
            fit = {"verdict": "learnt in part", "sentences": ["It came nearer."], "advice": ["Train longer."]}
            route.fulfill(json={"fit": fit, "base": "nano"})
        else:
            route.fulfill(body=sound, content_type="audio/wav")

    page.route("**/v1/runs?*", lambda route: route.fulfill(json={"runs": list(runs), "next": 1}))
    page.route(re.compile(r"/v1/runs/[a-f]{8}"), one)
    page.route(re.compile(r"/files/[a-f]{8}/"), file)
