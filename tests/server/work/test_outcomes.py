"""Errors in the documented shapes."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest
from pydantic import ValidationError

from soundlora.contract.generation import GenerationRequest
from soundlora.contract.training import TrainingRequest
from soundlora.dataset.problems import InvalidArchiveError
from soundlora.dataset.refusal import ClipsTooShortError
from soundlora.dataset.report import DatasetReport
from soundlora.errors import DivergedError, InputError, Lack, MachineError
from soundlora.net.download import FileDownloadError, FileTooLargeError
from soundlora.server.store.finish import Outcome
from soundlora.server.work.outcomes import machine_fault, outcome_of, rejected, timed_out

URL = "https://example.com/clips.zip"


def refused(**fields: Any) -> Outcome:
    with pytest.raises(ValidationError) as caught:
        TrainingRequest.model_validate({"training_data_url": URL} | fields)
    return rejected(caught.value)


def entry(outcome: Outcome) -> dict[str, Any]:
    (found,) = outcome.response["detail"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("field", "value", "type", "ctx", "message"),
    [
        ("number_of_steps", 99, "greater_than_equal", {"ge": 100}, "Input should be greater than or equal to 100"),
        ("number_of_steps", 20001, "less_than_equal", {"le": 20000}, "Input should be less than or equal to 20000"),
        ("rank", 7, "one_of", {"expected": [8, 16, 32, 64, 128]}, "Input should be 8, 16, 32, 64 or 128"),
        ("rank", "big", "one_of", {"expected": [8, 16, 32, 64, 128]}, "Input should be 8, 16, 32, 64 or 128"),
        ("validation", [{"prompt": "x"}] * 3, "sequence_too_long", {"max_length": 2}, "at most 2 items"),
        ("trigger_phrase", 5, "string_type", None, "Input should be a valid string"),
        ("learning_rate", True, "value_error", None, "a number is needed"),
        ("audio_duration_seconds", "long", "float_parsing", None, "valid number"),
    ],
)
def test_wrong_fields_are_told_as_documented(
    field: str, value: Any, type: str, ctx: dict[str, Any] | None, message: str
) -> None:
    outcome = refused(**{field: value})
    found = entry(outcome)
    assert (outcome.status_code, outcome.units, outcome.error_type) == (422, 0, type)
    assert found["loc"] == ["body", field]
    assert (found["type"], found.get("ctx"), found["input"]) == (type, ctx, value)
    assert message in found["msg"]
    assert found["url"] == f"https://docs.fal.ai/errors/#{type}"
    assert outcome.error == f"{field}: {found['msg']}"


def test_all_that_is_wrong_is_told_with_where() -> None:
    outcome = refused(rank=1, validation=[{"prompt": 3}, {}])
    assert [each["loc"] for each in outcome.response["detail"]] == [
        ["body", "rank"],
        ["body", "validation", 0, "prompt"],
        ["body", "validation", 1, "prompt"],
    ]
    assert outcome.response["detail"][2]["type"] == "missing"


def test_choices_of_text_are_told_as_text() -> None:
    with pytest.raises(ValidationError) as caught:
        GenerationRequest.model_validate({"prompt": "x", "loras": [{"path": URL, "transformer": "all"}]})
    assert entry(rejected(caught.value))["ctx"] == {"expected": ["high", "low", "both"]}


def test_input_of_megabytes_is_not_sent_back() -> None:
    assert "input" not in entry(refused(trigger_phrase=["x" * 20_000]))


@pytest.mark.parametrize("value", ["\0", "\ud800", "x\ud800y"])
def test_text_that_databases_refuse_is_cleaned(value: str) -> None:
    error = InputError(f"bad {value}")
    outcome = outcome_of(error, {})
    assert outcome.error is not None
    assert outcome.error.encode().isascii()
    assert "\0" not in outcome.error
    json.dumps(outcome.response).encode()


def test_data_errors_name_the_data() -> None:
    outcome = outcome_of(FileDownloadError("It can't be fetched.", field="data"), {"training_data_url": URL})
    assert entry(outcome) == {
        "loc": ["body", "training_data_url"],
        "msg": "It can't be fetched.",
        "type": "file_download_error",
        "url": "https://docs.fal.ai/errors/#file_download_error",
        "input": URL,
    }
    assert (outcome.status_code, outcome.units) == (422, 0)
    short = ClipsTooShortError("All are too short.", DatasetReport("clips.zip", 5.0, []), bucket=5.0, longest=2.0)
    assert entry(outcome_of(short, {}))["ctx"] == {"min_duration": 5.0, "provided_duration": 2.0}
    assert entry(outcome_of(FileTooLargeError("Large.", max_bytes=9), None))["ctx"] == {"max_size": 9}
    assert entry(outcome_of(InvalidArchiveError("Broken."), {}))["ctx"] == {"supported_extensions": [".zip"]}


def test_a_diverged_run_blames_the_learning_rate() -> None:
    outcome = outcome_of(DivergedError("The loss is not a number at step 7."), {"learning_rate": 0.5})
    found = entry(outcome)
    assert (found["loc"], found["input"], found["type"]) == (["body", "learning_rate"], 0.5, "value_error")
    assert outcome.status_code == 422


def test_other_sentences_for_users_are_422_and_everything_else_is_500() -> None:
    assert entry(outcome_of(InputError("No such base."), {}))["msg"] == "No such base."
    outcome = outcome_of(RuntimeError("CUDA out of memory"), {"training_data_url": URL})
    assert (outcome.status_code, outcome.error_type) == (500, "internal_server_error")
    assert outcome.error == "RuntimeError: CUDA out of memory"
    assert "CUDA" not in json.dumps(outcome.response)


def test_a_run_that_takes_too_long_is_a_generation_timeout() -> None:
    outcome = timed_out(60)
    assert (outcome.status_code, outcome.units, entry(outcome)["type"]) == (504, 0, "generation_timeout")


@pytest.mark.parametrize(
    ("lack", "status", "kind"),
    [
        ("memory", 500, "runner_server_error"),
        ("disk", 503, "runner_disconnected"),
        ("network", 503, "runner_connection_error"),
        ("files", 500, "runner_server_error"),
        ("processes", 503, "runner_disconnected"),
        ("device", 500, "runner_server_error"),
    ],
)
def test_a_machine_that_falls_short_is_an_infrastructure_error(lack: Lack, status: int, kind: str) -> None:
    error = MachineError("/srv/cache can't be used.", lack)
    outcome = outcome_of(error, {"learning_rate": 0.5})
    assert (outcome.status_code, outcome.error_type, outcome.units) == (status, kind, 0)
    assert outcome.response == {"detail": error.public, "error_type": kind}
    assert "/srv" not in json.dumps(outcome.response)
    assert machine_fault(error) is error


@pytest.mark.parametrize("field", ["base", "text_encoder", "quantize", "device"])
def test_a_setting_of_the_servers_own_is_its_owners(field: str) -> None:
    outcome = outcome_of(InputError("/srv/base.safetensors is damaged.", field=field), {"learning_rate": 0.5})
    assert (outcome.status_code, outcome.error_type) == (500, "runner_server_error")
    assert "/srv" not in json.dumps(outcome.response)


@pytest.mark.parametrize(
    ("field", "loc", "value"),
    [
        ("duration", ["body", "audio_duration_seconds"], 1.5),
        ("steps", ["body", "number_of_steps"], 100),
        ("caption_dropout", ["body", "caption_dropout"], None),
        ("windows", ["body", "windows"], None),
        ("loras.1.path", ["body", "loras", 1, "path"], "https://b"),
        (None, ["body"], None),
    ],
)
def test_errors_name_the_fields_that_were_sent(field: str | None, loc: list[str | int], value: object) -> None:
    payload = {
        "audio_duration_seconds": 1.5,
        "number_of_steps": 100,
        "loras": [{"path": "https://a"}, {"path": "https://b"}],
    }
    found = entry(outcome_of(InputError("It is wrong.", field=field), payload))
    assert (found["loc"], found.get("input")) == (loc, value)


def test_a_full_disk_is_known_by_its_number_whichever_library_wrote() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/srv/x")
    assert outcome_of(full, {}).error_type == "runner_disconnected"
    fault = machine_fault(full)
    assert fault is not None
    assert fault.lack == "disk"
    assert machine_fault(OSError(errno.ENOENT, "No such file")) is None
    assert machine_fault(RuntimeError("No space left on device")) is None
