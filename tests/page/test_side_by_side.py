"""Two runs side by side: made-up ones with real sounds, and requests of a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from browsing import Server, Visit
from playwright.sync_api import Page, Route, expect
from support import tone, write_clip

TRAINING = "fal-ai/ltx23-trainer-v2/t2a"
CAPTION = "a tone"


def made_up(id: str, steps: list[int], **more: Any) -> dict[str, Any]:
    """A training as events tell of it, with two previews a step."""
    previews = [
        {"step": step, "prompt": prompt, "file": {"url": f"/files/{id}/{step}_{prompt}.wav"}}
        for step in steps
        for prompt in range(2)
    ]
    return {
        "id": id,
        "endpoint": TRAINING,
        "state": "completed",
        "outcome": "succeeded",
        "position": None,
        "cancel_asked": False,
        "created_at": 1e9,
        "started_at": 1e9,
        "ended_at": 1e9 + 95,
        "input": {
            "trigger_phrase": id,
            "number_of_steps": steps[-1],
            "validation": [{"prompt": CAPTION}, {"prompt": id}],
        },
        "progress": None,
        "units": steps[-1],
        "cost": 0.22,
        "starred": False,
        "name": "",
        "note": "",
        "result": {"report": {"url": f"/files/{id}/report.json"}},
        "previews": previews,
        "checkpoints": [],
        "files": [],
        "curves": {"loss": [[1, 2.0], [steps[-1], 1.0]], "held_out": [[0, 2.5], [steps[-1], 1.5]]},
        "logs": [],
    } | more


@pytest.fixture
def sound(tmp_path: Path) -> bytes:
    write_clip(tmp_path / "tone.wav", tone(0.6, 440.0), CAPTION)
    return (tmp_path / "tone.wav").read_bytes()


def serve(page: Page, sound: bytes, *runs: dict[str, Any]) -> None:
    """Answer for these runs as the server would."""

    def file(route: Route) -> None:
        if route.request.url.endswith(".json"):
            fit = {"verdict": "learnt in part", "sentences": ["It came nearer."]}
            route.fulfill(body=json.dumps({"fit": fit}), content_type="application/json")
        else:
            route.fulfill(body=sound, content_type="audio/wav")

    def events(route: Route) -> None:
        run = next(each for each in runs if each["id"] in route.request.url)
        route.fulfill(body=f"data: {json.dumps(run)}\n\n", content_type="text/event-stream")

    for run in runs:
        page.route(f"**/v1/runs/{run['id']}/events*", events)
        page.route(f"**/files/{run['id']}/*", file)


def test_two_trainings(visit: Visit, sound: bytes) -> None:
    page = visit.page
    running = {
        "state": "running",
        "outcome": None,
        "ended_at": None,
        "result": None,
        "cost": None,
        "progress": {"stage": "training", "step": 75, "steps": 150},
    }
    serve(page, sound, made_up("kick", [0, 50, 100], name="My kick"), made_up("snare", [0, 50, 75], **running))
    visit.go("compare?runs=kick,snare")
    table = page.get_by_role("table")
    expect(table.get_by_role("columnheader")).to_have_text(["A My kick", "B snare"])
    settings = page.get_by_label("Settings that differ")
    expect(settings.get_by_role("rowheader")).to_have_text(["Steps", "Trigger phrase", "Preview prompts"])
    expect(settings.get_by_role("cell").nth(0)).to_have_text("100")
    expect(page.get_by_text("All other settings are the same.")).to_be_visible()
    expect(table.get_by_role("row", name="Verdict")).to_contain_text("Learnt in part")
    expect(table.get_by_role("row", name="Status")).to_contain_text("Training 50 %")
    expect(table.get_by_role("row", name="Time")).to_contain_text("1:35 min")
    expect(page.get_by_role("img", name="Loss of A")).to_have_attribute(
        "aria-label",
        "Loss of A: 1.474 at step 100, on clips kept out 1.500. Loss of B: 1.474 at step 75, on clips kept out 1.500.",
    )
    # The prompt of both alone is heard, at the steps of both.
    moment = page.get_by_label("Step", exact=True)
    expect(moment.locator("option")).to_have_text(["Before training", "Step 50", "The latest of each, step 100 and 75"])
    expect(moment).to_have_value("2")
    for step in ("Step 50", "Before training"):
        moment.select_option(label=step)
        expect(page.get_by_label("In step").get_by_text(step, exact=True)).to_have_count(3)
    visit.button("Play in step").click()
    expect(visit.button("Pause")).to_be_visible()
    visit.check_looks()


def test_they_are_ticked_in_the_history(visit: Visit, sound: bytes) -> None:
    page = visit.page
    runs = [made_up(id, [0, 100], sound=None) for id in ("kick", "snare", "hat")]
    serve(page, sound, *runs)

    def listed(route: Route) -> None:
        found = [] if "starred" in route.request.url else runs
        route.fulfill(body=json.dumps({"runs": found, "next": None}), content_type="application/json")

    page.route("**/v1/runs?*", listed)
    visit.go("history")
    page.get_by_role("checkbox", name="Compare kick").check()
    expect(page.get_by_text("tick another one to compare it with")).to_be_visible()
    page.get_by_role("checkbox", name="Compare hat").check()
    expect(page.get_by_role("checkbox", name="Compare snare")).to_be_disabled()
    visit.check_looks()
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(page.get_by_role("columnheader")).to_have_text(["A kick", "B hat"])
    # From a run, the other one is chosen there.
    visit.go("run/kick")
    page.get_by_role("link", name="Compare with another").click()
    page.get_by_label("Compare “kick” with").select_option("snare")
    expect(page.get_by_role("columnheader")).to_have_text(["A kick", "B snare"])


def test_what_can_not_be_compared_is_told(visit: Visit, sound: bytes, server: Server) -> None:
    page = visit.page
    lonely = made_up("hum", [0, 100], input={"validation": [{"prompt": "something else"}]})
    rain = made_up("rain", [0], endpoint="fal-ai/ltx-2.3-quality/text-to-audio", previews=[])
    serve(page, sound, made_up("kick", [0, 100]), lonely, rain)
    visit.go("compare?runs=kick,rain")
    expect(page.get_by_text("One of them is a training and the other one a sound")).to_be_visible()
    visit.go("compare?runs=kick,hum")
    expect(page.get_by_text("They have no preview of the same prompt so far")).to_be_visible()
    visit.go("compare?runs=kick,nothing")
    expect(page.get_by_text("There is no such run for B")).to_be_visible()
    expect(page.get_by_text("There is no run nothing.")).to_be_visible()
    visit.check_looks()
    visit.go("compare")
    expect(page.get_by_text("Tick two runs in the History")).to_be_visible()
