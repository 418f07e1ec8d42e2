"""The process that inspects a data set: what it answers, and what it loads for that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from example_zip import CLIPS
from support import zip_of

from soundlora.pipeline.inputs import TRAINING_INPUTS

LOADED = """
import sys
from soundlora.server.work import inspecting
print([name for name in ("fastapi", "sqlalchemy", "httpx2", "pydantic", "torch") if name in sys.modules])
"""


def asked(data: Path, **fields: Any) -> tuple[int, dict[str, Any]]:
    wanted = TRAINING_INPUTS["t2a"](training_data_url=str(data), trigger_phrase="zapgun", **fields)
    job = wanted.model_dump() | {"mode": "t2a"}
    command = [sys.executable, "-m", "soundlora.server.work.inspecting"]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    return answer["status"], answer["body"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return zip_of(tmp_path / "data.zip", **{name: (CLIPS / name).read_bytes() for name in ("zap_01.wav", "zap_01.txt")})


def test_a_report_names_no_path_and_says_what_training_would_refuse(data: Path) -> None:
    status, report = asked(data)
    assert (status, report["kept"], report["source"], report["refusal"]) == (200, 1, "", None)
    assert report["clips"][0]["caption"].startswith("zapgun ")
    status, report = asked(data, audio_duration_seconds=60)
    assert (status, report["kept"]) == (200, 0)
    assert "60" in report["refusal"]


def test_data_that_are_none_are_an_outcome(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"no zip")
    status, body = asked(tmp_path / "data.zip")
    assert status == 422
    assert body["detail"][0]["type"] == "invalid_archive"


def test_nothing_is_loaded_that_a_report_does_not_need() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
