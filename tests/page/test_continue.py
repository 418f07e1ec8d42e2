"""A run is stopped and kept, trained on, and tried at a checkpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browsing import Visit, fill
from playwright.sync_api import Page, expect

FILES = "http://127.0.0.1/files"
RUN: dict[str, Any] = {
    "id": "11111111-2222-3333-4444-555555555555",
    "endpoint": "fal-ai/ltx23-trainer-v2/t2a",
    "state": "completed",
    "outcome": "succeeded",
    "position": None,
    "cancel_asked": False,
    "stop_asked": False,
    "created_at": 1.7e9,
    "started_at": 1.7e9,
    "ended_at": 1.7e9 + 60,
    "input": {"number_of_steps": 300, "trigger_phrase": "zapgun"},
    "progress": None,
    "status_code": 200,
    "error": None,
    "error_type": None,
    "units": 300,
    "cost": 0.66,
    "resumable": False,
    "steps_done": 300,
    "result": {},
    "sound": None,
    "lora": {"url": "http://127.0.0.1/files/a/zapgun-300.safetensors"},
    "previews": [],
    "checkpoints": [{"step": step, "file": {"url": f"{FILES}/{step}/zapgun-{step}.safetensors",
                                            "file_name": f"zapgun-{step}.safetensors"}} for step in (75, 150, 300)],
    "files": [],
    "curves": {"loss": [[1, 1.0], [300, 0.5]], "held_out": [[0, 1.0], [75, 0.6], [150, 0.4], [300, 0.5]]},
    "logs": [],
}  # fmt: skip


def show(page: Page, **fields: Any) -> None:
    """Let the server know one run alone."""
    run = RUN | fields
    events = f"data: {json.dumps(run)}\n\n"
    page.route("**/v1/runs?*", lambda route: route.fulfill(json={"runs": [run], "next": None}))
    page.route(f"**/v1/runs/{run['id']}", lambda route: route.fulfill(json=run))
    page.route(
        f"**/v1/runs/{run['id']}/events?*", lambda route: route.fulfill(body=events, content_type="text/event-stream")
    )


def test_a_finished_run_is_trained_on_by_so_many_steps(visit: Visit) -> None:
    page = visit.page
    show(page)
    asked: list[Any] = []

    def answer(route: Any) -> None:
        asked.append(route.request.post_data_json)
        route.fulfill(json={"request_id": RUN["id"]})

    page.route(f"**/v1/runs/{RUN['id']}/continue", answer)
    visit.go(f"run/{RUN['id']}")
    visit.button("Train on…").click()
    form = page.get_by_role("form", name="Train on")
    expect(form.get_by_text("1,300 steps in all.")).to_be_visible()
    added = form.get_by_label("Steps to add")
    for text, sentence in (
        ("many", "A whole number of steps is needed."),
        ("0", "A whole number of steps is needed."),
        ("19701", "A run has at most 20,000 steps in all."),
    ):
        added.fill(text)
        expect(form.get_by_text(sentence)).to_be_visible()
        expect(form.get_by_role("button", name="Train on")).to_be_disabled()
    added.fill("200")
    expect(form.get_by_text("500 steps in all.")).to_be_visible()
    assert visit.violations() == []
    added.press("Enter")
    page.wait_for_url(re.compile(r"#/run/"))
    assert asked == [{"number_of_steps": 500}]


def test_a_run_that_can_not_be_trained_on_offers_it_not(visit: Visit) -> None:
    show(visit.page, steps_done=None)
    visit.go(f"run/{RUN['id']}")
    expect(visit.page.get_by_role("link", name="Run again with changes")).to_be_visible()
    expect(visit.button("Train on…")).to_have_count(0)


def test_a_cancelled_run_gives_out_what_it_had_learnt(visit: Visit) -> None:
    page = visit.page
    body = {"detail": "Request was cancelled by the client", "error_type": "client_cancelled"}
    show(page, outcome="cancelled", status_code=499, error_type="client_cancelled", lora=None, resumable=True,
         steps_done=None, result=body)  # fmt: skip
    page.route(f"**/v1/runs/{RUN['id']}/stop", lambda route: route.fulfill(json={"request_id": RUN["id"]}))
    visit.go(f"run/{RUN['id']}")
    learnt = page.get_by_role("region", name="What it had learnt")
    save = learnt.get_by_role("link", name="download step 150")
    expect(save).to_have_attribute("download", "zapgun-150.safetensors")
    assert visit.violations() == []
    with page.expect_request(f"**/v1/runs/{RUN['id']}/stop"):
        learnt.get_by_role("button", name="Keep what it learnt").click()
    learnt.get_by_role("link", name="Try it here").click()
    expect(page.get_by_role("checkbox", name="zapgun")).to_be_checked()
    expect(page.get_by_label("Checkpoint of zapgun")).to_have_value("http://127.0.0.1/files/300/zapgun-300.safetensors")


def test_a_checkpoint_is_chosen_for_a_try(visit: Visit) -> None:
    page = visit.page
    show(page)
    sent: list[Any] = []

    def submit(route: Any) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(json={"request_id": RUN["id"]})

    page.route("**/fal-ai/ltx-2.3-quality/text-to-audio/lora", submit)
    visit.go("try")
    page.get_by_role("checkbox", name="zapgun").check()
    which = page.get_by_label("Checkpoint of zapgun")
    expect(which.locator("option")).to_have_text(["final", "step 300", "step 150, best", "step 75"])
    which.select_option(label="step 150, best")
    assert visit.violations() == []
    page.get_by_label("Prompt", exact=True).fill("zapgun far away")
    visit.button("Generate").click()
    expect(page.get_by_text("zapgun, step 150 at 1")).to_be_visible()
    assert [one["path"] for one in sent[0]["loras"]] == ["http://127.0.0.1/files/150/zapgun-150.safetensors"]


def test_a_run_that_goes_on_is_tried_at_its_checkpoints(visit: Visit) -> None:
    page = visit.page
    progress = {"stage": "training", "step": 160, "steps": 300, "message": ""}
    show(page, state="running", outcome=None, lora=None, steps_done=None, progress=progress,
         checkpoints=RUN["checkpoints"][:2])  # fmt: skip
    visit.go("try")
    page.get_by_role("checkbox", name="zapgun Training").check()
    expect(page.get_by_label("Checkpoint of zapgun").locator("option")).to_have_text(["step 150, best", "step 75"])


@pytest.mark.slow
def test_a_training_is_stopped_and_kept_and_then_trained_on(visit: Visit, clips: Path) -> None:
    page = visit.page
    visit.go()
    visit.drop(clips)
    expect(page.get_by_text("4 of 4 clips will be trained on")).to_be_visible()
    fill(visit, steps=5000)
    visit.button("Start training").click()
    page.wait_for_url(re.compile(r"#/run/"))
    visit.button("Stop and keep").click(timeout=120_000)
    expect(page.get_by_role("heading", name="Files")).to_be_visible(timeout=240_000)
    lora = page.get_by_role("region", name="Downloads").get_by_role("link", name="download LoRA")
    name = re.fullmatch(r"(.+)-(\d+)\.safetensors", str(lora.get_attribute("download")))
    assert name is not None
    steps = int(name[2])
    assert 1 <= steps < 5000
    expect(page.get_by_text(f"Stopped after {steps} of 5000 steps, to keep what it has learnt")).to_be_visible()
    first = page.url
    visit.button("Train on…").click()
    page.get_by_label("Steps to add").fill("150")
    page.get_by_role("form", name="Train on").get_by_role("button").click()
    page.wait_for_url(lambda url: "#/run/" in url and url != first)
    expect(page.get_by_text(f"Going on from step {steps} of {steps + 150}")).to_be_visible(timeout=120_000)
    expect(page.get_by_role("heading", name="Files")).to_be_visible(timeout=240_000)
    lora = page.get_by_role("region", name="Downloads").get_by_role("link", name="download LoRA")
    expect(lora).to_have_attribute("download", f"{name[1]}-{steps + 150}.safetensors")
