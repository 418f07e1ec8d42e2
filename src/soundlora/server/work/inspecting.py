"""The process that inspects a data set for the server: it reads a job from its input and prints a report.

Somebody waits for it on the page, so it loads nothing that a report doesn't need.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from soundlora.contract.modes import MODES
from soundlora.dataset import inspect_dataset, refusal
from soundlora.dataset.fork import usable_processes
from soundlora.wording import wording


def report_of(job: dict[str, Any]) -> tuple[int, Any]:
    """Return the status and the body of the answer to an inspection, whose fields are those of a training's request."""
    with wording(_endpoint_words):
        try:
            report = inspect_dataset(
                job["training_data_url"],
                duration=job["audio_duration_seconds"],
                trigger_phrase=job["trigger_phrase"],
                normalize=job["audio_normalize"],
                preserve_pitch=job["audio_preserve_pitch"],
                validation_prompts=[entry["prompt"] for entry in job["validation"]],
                processes=usable_processes(),
                partner=MODES[job["mode"]].partner,
                shorter_durations=job["shorter_durations"],
                short=job["short"],
                captions_from=job["captions_from"],
                caption_template=job["caption_template"],
                windows=job["windows"],
            )
        except Exception as error:
            from soundlora.server.work.outcomes import outcome_of  # brings the database along

            outcome = outcome_of(error, job)
            return outcome.status_code, outcome.response
        refused = refusal(report)
    return 200, report.to_json() | {"source": "", "refusal": None if refused is None else str(refused)}


def _endpoint_words(name: str, value: object) -> str:
    from soundlora.pipeline.endpoint_words import endpoint_words  # brings pydantic, which few reports need

    return endpoint_words(name, value)


if __name__ == "__main__":
    status, body = report_of(json.load(sys.stdin))
    print(json.dumps({"status": status, "body": body}))
