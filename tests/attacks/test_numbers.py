"""Numbers that are none, too large, or of another kind, wherever a number is meant, on both databases."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import routes_of
from target import Target

from soundlora.server.endpoints import GENERATION_WITH_LORA, TRAINING

NOT_JSON = ["NaN", "Infinity", "-Infinity", "+1", "01", ".5", "1.", "0x10", "1_000", "1e", "--1", "\u0661"]
"""No parser of JSON has to take these, and most don't."""
TOO_LARGE = ["1e400", "-1e400", "1" + "0" * 400 + ".5", "9" * 5000, "-" + "9" * 5000, "1" + "0" * 4999]
"""Numbers in JSON of which none of ours can be made."""
WRONG = [
    "true",
    "false",
    '""',
    '"abc"',
    "[]",
    "{}",
    "[1]",
    '"NaN"',
    '"1e400"',
    '"Infinity"',
    "1e308",
    "-1e308",
    "1e-320",
]
WRONG += ["9223372036854775808", "-9223372036854775809", "99999999999999999999", "9" * 300, "-1", "0.5"]
"""In JSON, and right for few fields."""
NUMBERS = {
    TRAINING: [
        "rank",
        "number_of_steps",
        "learning_rate",
        "audio_duration_seconds",
        "validation_frame_rate",
        "stg_scale",
        "caption_dropout",
        "preserve",
        "alpha",
        "b_rate",
    ],
    GENERATION_WITH_LORA: [
        "num_frames",
        "frames_per_second",
        "num_inference_steps",
        "guidance_scale",
        "stg_scale",
        "seed",
    ],
}
GOOD = {
    "stg_scale": ["0.5", "1e-320"],
    "learning_rate": ["0.5"],
    "audio_duration_seconds": ["0.5"],
    **{name: ["0.5", "1e-320"] for name in ("caption_dropout", "preserve", "alpha", "b_rate")},
}
"""The few."""
HUGE = ["9223372036854775807", "9223372036854775808", "-9223372036854775809", "9" * 400, "9" * 5000, "-" + "9" * 5000]
HUGE += ["1e400", "nan", "inf", "-inf", "-0", "0x10", "1_0", "\u0661", "\u00b2", "true", "1e9", "1.0", " 1", "+1", ""]


def body_of(endpoint: str, field: str, written: str) -> bytes:
    rest = {"training_data_url": "https://data.example/x.zip", "prompt": "rain"}
    return (json.dumps(rest)[:-1] + f', "{field}": {written}}}').encode()


@pytest.mark.parametrize(("endpoint", "field"), [(each, name) for each, names in NUMBERS.items() for name in names])
def test_a_wrong_number_is_refused_in_the_protocols_form(target: Target, endpoint: str, field: str) -> None:
    """The request is in the history with a 422 that names the field, and the body that replays it is JSON."""
    for written in WRONG:
        if written in GOOD.get(field, []):
            continue
        made = target.ask("POST", f"/{endpoint}", content=body_of(endpoint, field, written))
        assert made.status_code == 200, written
        found = target.ask("GET", f"/{endpoint}/requests/{made.json()['request_id']}")
        assert found.status_code == 422, written
        for entry in found.json()["detail"]:
            assert entry["loc"][:2] == ["body", field]
            assert {"loc", "msg", "type", "url"} <= set(entry)
        assert found.headers["x-fal-error-type"] == found.json()["detail"][0]["type"]


@pytest.mark.parametrize("written", [*NOT_JSON, *TOO_LARGE])
def test_what_is_no_number_of_json_or_fits_none_is_refused_before_it_is_queued(target: Target, written: str) -> None:
    for endpoint, names in NUMBERS.items():
        for field in names[:2]:
            answer = target.ask("POST", f"/{endpoint}", content=body_of(endpoint, field, written))
            assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")
            assert answer.json()["detail"].startswith("The body is not JSON: ")
            assert len(answer.text) < 500


@pytest.mark.parametrize("written", ["-0", "-0.0", "-0e0", "-1e-400"])
def test_minus_nothing_is_nothing(target: Target, written: str) -> None:
    made = target.ask("POST", f"/{GENERATION_WITH_LORA}", content=body_of(GENERATION_WITH_LORA, "stg_scale", written))
    assert made.json()["status"] == "IN_QUEUE"
    found = target.service.requests.find(made.json()["request_id"])
    assert found is not None
    assert found.state == "queued"
    target.service.requests.cancel(found.id)


@pytest.mark.parametrize("written", [*NOT_JSON, *TOO_LARGE, *WRONG])
def test_the_other_bodies_are_as_strict(target: Target, written: str) -> None:
    quantity = f'{{"estimate_type": "unit_price", "endpoints": {{"{TRAINING}": {{"unit_quantity": {written}}}}}}}'
    calls = (
        f'{{"estimate_type": "historical_api_price", "endpoints": {{"{TRAINING}": {{"call_quantity": {written}}}}}}}'
    )
    given = {"Content-Type": "application/json"}
    upload = target.ask("POST", "/storage/upload/initiate", content=b"{}", headers=given).json()["upload_url"]
    for path, body in (
        ("/v1/models/pricing/estimate", quantity),
        ("/v1/models/pricing/estimate", calls),
        ("/storage/upload/initiate", f'{{"file_name": {written}}}'),
        (upload.replace("?token", "/complete?token"), f'{{"parts": [{{"partNumber": {written}}}]}}'),
        (upload.replace("?token", "/complete?token"), f'{{"parts": {written}}}'),
        ("/v1/datasets/inspect", f'{{"training_data_url": "x", "number_of_steps": {written}}}'),
    ):
        answer = target.ask("POST", path, content=body.encode(), headers=given)
        assert len(answer.text) < 5000
        if written in NOT_JSON or written in TOO_LARGE:
            assert answer.status_code in (400, 422), (path, written)


@pytest.mark.parametrize("written", HUGE)
def test_numbers_in_queries_paths_and_headers(target: Target, written: str) -> None:
    for route in routes_of(target.app):
        dependant = getattr(route, "dependant", None)
        for each in dependant.query_params if dependant else []:
            given = {"endpoint_id": TRAINING} | {each.alias: written}
            path = route.path.replace("{run_id}", "0" * 36).replace("{request_id}", "0" * 36)
            for method in route.methods:
                target.ask(method, path, params=given)
    target.ask("POST", f"/{TRAINING}", content=b"{}", params={"fal_max_queue_length": written})
    initiated: Any = target.ask(
        "POST", "/storage/upload/initiate", content=b"{}", headers={"Content-Type": "application/json"}
    )
    url = initiated.json()["upload_url"]
    answer = target.ask("PUT", url.replace("?token", f"/{written or 0}?token"), content=b"x")
    assert answer.status_code in (400, 404, 422) or written in ("1.0", " 1", "+1", "1_0", "\u0661")
    raw = written.encode("latin-1", "replace")
    seconds = b'{"expiration_duration_seconds": ' + (raw or b"null") + b"}"
    for headers in (
        {"X-Fal-Request-Timeout": raw},
        {"X-Fal-Object-Lifecycle-Preference": seconds},
        {"Content-Length": raw},
        {"Range": b"bytes=" + raw + b"-" + raw},
        {"Range": b"bytes=-" + raw},
    ):
        target.ask("POST", f"/{TRAINING}", content=b'{"training_data_url": 1}', headers=headers)
        target.ask("POST", "/files/upload", content=b"x", headers=headers)
        target.ask("GET", f"/files/{'0' * 32}/x", headers=headers)


@pytest.mark.parametrize("written", [value for value in HUGE if value.lstrip("-").isascii()])
def test_ranges_of_a_file(target: Target, written: str) -> None:
    path = target.ask("POST", "/files/upload", content=b"0123456789").json()["access_url"]
    for given in (f"bytes={written}-", f"bytes=0-{written}", f"bytes=-{written}", f"bytes={written}-{written}"):
        answer = target.ask("GET", path, headers={"Range": given})
        assert answer.status_code in (200, 206, 416), given
        assert b"0123456789".find(answer.content) >= 0 or answer.status_code == 416
