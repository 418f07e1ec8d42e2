"""Clips that can't be written cost a training nothing but a line of its log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from workplace import Place

from soundlora.server.endpoints import TRAINING
from soundlora.server.work.job import Job
from soundlora.server.work.pulse import Pulse
from soundlora.server.work.training import TrainingJob


def test_what_goes_wrong_is_said_once_without_the_servers_folders(place: Place) -> None:
    request = place.requests.submit(TRAINING, {"training_data_url": "https://example.com/clips.zip"})
    job = Job(request, place.settings, place.files)
    lines: list[tuple[str, ...]] = []
    job.pulse = cast(Pulse, SimpleNamespace(log=lambda *line: lines.append(line)))
    training = TrainingJob(job)

    def broken() -> None:
        raise OSError(f"{job.folder}/clips is full")

    cast(Any, training)._write_clips = broken
    training.publish_new()
    assert lines == [], "there is no report yet, so the run has not begun"
    training.folder.mkdir()
    (training.folder / "report.json").write_text("{}")
    training.publish_new()
    training.publish_new()
    assert lines == [("The clips can't be heard beside the previews: clips is full", "WARN")]
    assert place.files.of_request(request.id) == []
