"""These routes inspect a data set before training, and examine the machine.

Each runs in a process of its own. A crash or a flood of memory while decoding a stranger's clips can't take the server
along, and the examination loads torch, which the server never does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field, ValidationError, create_model
from starlette.exceptions import HTTPException

from soundlora.contract.modes import ModeName
from soundlora.contract.training import TrainingRequest
from soundlora.errors import InputError, about
from soundlora.pipeline.inputs import TRAINING_INPUTS
from soundlora.server.http.answers import JSONResponse
from soundlora.server.http.depends import Asks, caller, service_of
from soundlora.server.http.state import Service
from soundlora.server.http.submission import read_body
from soundlora.server.work.inputs import fetch, name_of
from soundlora.server.work.outcomes import outcome_of
from soundlora.system.operating_system import give_way

_MOST_SECONDS = 300.0
"""The limit for one data set. Training itself may take as long as it needs for it."""
_AT_A_TIME = 2
_LOOK_SECONDS = 0.2

router = APIRouter(prefix="/v1", tags=["page"])
_places = asyncio.Semaphore(_AT_A_TIME)


def _inspection_request() -> type[TrainingRequest]:
    """Return a training request with our own fields, and one for what a training's endpoint says: what is learnt."""
    mode = Field("t2a", description="What the training learns, which decides what each clip needs.")
    return create_model("InspectionRequest", __base__=TRAINING_INPUTS["t2a"], mode=(ModeName, mode))


_REQUEST = _inspection_request()
_BODY = {"content": {"application/json": {"schema": _REQUEST.model_json_schema()}}, "required": True}
_FAILURE = {"content": {"application/json": {"schema": {"type": "object", "required": ["detail"]}}}}
_FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is no JSON."},
    401: {"description": "The key is missing or wrong."},
    403: {"description": "The server has no keys and answers its own machine only."},
    413: {"description": "The body is too large."},
    422: {"description": "A field is wrong, or the data can't be had."},
    500: {"description": "The data set could not be looked through."},
    504: {"description": "The data set was not looked through in time."},
}


@router.post(
    "/datasets/inspect",
    responses={code: failure | _FAILURE for code, failure in _FAILURES.items()},
    openapi_extra={"requestBody": _BODY},
)
async def inspect(request: Request) -> Response:
    """Return the report of a data set. It takes the fields of a training request and our own, and has the same errors.

    `refusal` in the report says why training would refuse the set as a whole, or is null.
    """
    service = service_of(request)
    await caller(request)
    payload = await read_body(request)
    try:
        wanted = _REQUEST.model_validate(payload)
    except ValidationError as error:
        outcome = outcome_of(error, payload)
        return JSONResponse(outcome.response, outcome.status_code)
    async with _places:
        code, body = await _inspect(service, wanted)
    return JSONResponse(body, code)


@router.get("/machine")
async def machine(request: Request, asker: Asks) -> dict[str, Any]:
    """Return the findings of `soundlora doctor`, and the base of the server's runs. The first call takes seconds."""
    app, service = request.app, service_of(request)
    if not hasattr(app.state, "machine"):
        command = [sys.executable, "-c", "from soundlora.cli.app import main; main()", "doctor", "--json"]
        app.state.machine = asyncio.ensure_future(_answer(service, command, gives_way=True))
    looking = app.state.machine
    try:
        findings: dict[str, Any] = await asyncio.shield(looking)
    except (OSError, ValueError, TimeoutError):
        # Several may wait for it; the first of them clears it away, and another look may have begun since.
        if getattr(app.state, "machine", None) is looking:
            del app.state.machine
        raise HTTPException(503, "The machine could not be examined; soundlora doctor says why.") from None
    return findings | {"base": service.settings.base, "allowed_bases": list(service.settings.allowed_bases)}


async def _inspect(service: Service, wanted: TrainingRequest) -> tuple[int, Any]:
    with tempfile.TemporaryDirectory(prefix="soundlora-") as folder:
        url = wanted.training_data_url
        # Sentences name the data as the asker does.
        name = name_of(url)
        target = Path(folder, name if name.lower().endswith(".zip") else "training_data.zip")
        try:
            with about("data"):
                await asyncio.to_thread(fetch, url, target, settings=service.settings, files=service.files)
        except InputError as error:
            outcome = outcome_of(error, {"training_data_url": url})
            return outcome.status_code, outcome.response
        job = wanted.model_dump() | {"training_data_url": str(target)}
        try:
            answer = await _answer(service, [sys.executable, "-m", "soundlora.server.work.inspecting"], json.dumps(job))
        except TimeoutError:
            sentence = f"The data set was not looked through within {_MOST_SECONDS:g} s; training may still use it."
            return 504, {"detail": sentence, "error_type": "generation_timeout"}
        except ValueError:
            return 500, {"detail": "The data set could not be looked through.", "error_type": "internal_error"}
    body = answer["body"]
    if isinstance(body.get("detail"), list):
        for entry in body["detail"]:
            entry.pop("input", None)  # It is the path of a copy on the server.
    return answer["status"], body


async def _answer(service: Service, command: list[str], text: str = "", *, gives_way: bool = False) -> Any:
    """Return the JSON that a process prints. The process is killed when its time is over or the server stops.

    gives_way: uploads and data sets come first, since nobody waits for the process.
    Raises TimeoutError when it is killed, and ValueError when it prints no JSON.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    if gives_way:
        give_way(process.pid)
    talk = asyncio.ensure_future(process.communicate(text.encode()))
    deadline = time.monotonic() + _MOST_SECONDS
    try:
        while not talk.done():
            if service.closing or time.monotonic() > deadline:
                raise TimeoutError
            await asyncio.wait([talk], timeout=_LOOK_SECONDS)
        return json.loads(talk.result()[0])
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait([talk])
