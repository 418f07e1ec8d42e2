"""Runs as the page shows them: a list, one of them with its curves and previews, and its changes as they happen."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from soundlora.server.http.address import absolute, base_url
from soundlora.server.http.auth import Caller
from soundlora.server.http.depends import Asks, caller, service_of
from soundlora.server.http.enqueue import enqueue, wishes_of
from soundlora.server.http.platform import ERRORS, PlatformRoute
from soundlora.server.http.state import Service
from soundlora.server.store import listing as runs
from soundlora.server.store.requests import Request as QueuedRequest

_NO_CHECKPOINT = "This run can't be resumed: it left no checkpoint on this machine; run it again."
_LOOK_SECONDS = 0.4
_PING_SECONDS = 15.0

router = APIRouter(prefix="/v1", tags=["page"], route_class=PlatformRoute, responses=ERRORS)


@router.get("/runs")
def all_runs(
    request: Request,
    asker: Asks,
    kind: Literal["", "training", "sound"] = "",
    state: Literal["", "active", "succeeded", "failed", "cancelled"] = "",
    search: Annotated[str, Query(max_length=500)] = "",
    before: int | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> dict[str, Any]:
    """Requests with how they stand, the latest first. `before` takes the `next` of the page before."""
    service = service_of(request)
    work = {"training": "training", "sound": "generation"}.get(kind)
    ids = None if work is None else [id for id, endpoint in service.endpoints.items() if endpoint.work == work]
    found = runs.page(
        service.database,
        service.requests,
        asker.key_id,
        endpoints=ids,
        state=state,
        search=search.replace("\0", "").strip(),
        before=before,
        limit=limit,
    )
    address = base_url(request)
    return {"runs": [absolute(_summary(service, each), address) for each in found.found], "next": found.next}


@router.get("/runs/{run_id}")
def one_run(request: Request, asker: Asks, run_id: str) -> dict[str, Any]:
    """Everything about a run, its log included."""
    service = service_of(request)
    view: dict[str, Any] = absolute(_view(service, _own(service, asker, run_id)), base_url(request))
    return view | {"logs": _lines(service, run_id, 0)}


@router.get("/runs/{run_id}/events")
async def events(request: Request, run_id: str, after: Annotated[int, Query(ge=0)] = 0) -> StreamingResponse:
    """The run as server-sent events: whole at first, then what has changed; log lines numbered above `after`.

    It ends with the run.
    """
    service = service_of(request)
    asker = await caller(request)
    await asyncio.to_thread(_own, service, asker, run_id)
    stream = _changes(service, asker, run_id, after, base_url(request))
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


@router.post("/runs/{run_id}/resume")
async def resume(request: Request, asker: Asks, run_id: str) -> dict[str, str]:
    """Go on with a training that was cancelled or has failed, from its last checkpoint, as a new request."""
    service = service_of(request)
    found = await asyncio.to_thread(_own, service, asker, run_id)
    endpoint = service.endpoints.get(found.endpoint)
    if endpoint is None or not await asyncio.to_thread(runs.resumable, found, service.settings):
        raise HTTPException(400, _NO_CHECKPOINT)
    try:
        accepted, _ = await enqueue(service, endpoint, found.input, asker, wishes_of(found), goes_on=found)
    except FileNotFoundError:  # somebody else was quicker
        raise HTTPException(400, _NO_CHECKPOINT) from None
    return {"request_id": accepted.id}


async def _changes(service: Service, asker: Caller, run_id: str, after: int, address: str) -> AsyncIterator[str]:
    said: dict[str, Any] = {}
    silent = 0.0
    while not service.closing:
        view, lines = await asyncio.to_thread(_look, service, asker, run_id, after)
        news = {name: value for name, value in view.items() if name not in said or said[name] != value}
        said = view
        if lines:
            news["logs"] = lines
            after = lines[-1]["number"]
        if news:
            # The state always: whoever reads one event knows whether it is the last.
            yield f"data: {json.dumps(absolute(news, address) | {'state': view['state']})}\n\n"
            silent = 0.0
        if view["state"] == "completed":
            return
        await asyncio.sleep(_LOOK_SECONDS)
        silent += _LOOK_SECONDS
        if silent >= _PING_SECONDS:
            yield ": ping\n\n"
            silent = 0.0


def _look(service: Service, asker: Caller, run_id: str, after: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    # The state first: lines that come while it is read belong to what it says, or to the next look.
    view = _view(service, _own(service, asker, run_id))
    return view, _lines(service, run_id, after)


def _own(service: Service, asker: Caller, run_id: str) -> QueuedRequest:
    found = service.requests.find(run_id) if re.fullmatch(r"[0-9a-f-]{36}", run_id) else None
    if found is None or found.key_id != asker.key_id:
        raise HTTPException(404, f"There is no run {run_id[:40]}.")
    return found


def _lines(service: Service, run_id: str, after: int) -> list[dict[str, Any]]:
    return [
        {"number": line.number, "at": line.at, "level": line.level, "message": line.message}
        for line in service.requests.log_lines(run_id, after)
    ]


def _summary(service: Service, request: QueuedRequest) -> dict[str, Any]:
    files = service.files.of_request(request.id)
    previews = runs.previews(files)
    sounds = [row.to_file() for row in files if row.role == "audio"]
    ended = request.state == "completed"
    unit = service.endpoints[request.endpoint].unit_price if request.endpoint in service.endpoints else 0.0
    sound = previews[-1]["file"] if previews else sounds[-1] if sounds else None
    return {
        "id": request.id,
        "endpoint": request.endpoint,
        "state": request.state,
        "outcome": runs.outcome(request),
        "position": service.requests.ahead(request.id) if request.state == "queued" else None,
        "cancel_asked": request.cancel_asked,
        "created_at": request.created_at,
        "started_at": request.started_at,
        "ended_at": request.ended_at,
        "input": _short(request.input),
        "progress": None if ended else request.progress,
        "status_code": request.status_code,
        "error": request.error,
        "error_type": request.error_type,
        "units": request.units,
        "cost": None if request.units is None else round(request.units * unit, 9),
        "sound": sound,
        "lora": next((row.to_file() for row in files if row.role == "lora"), None),
        "resumable": runs.resumable(request, service.settings),
    }


def _view(service: Service, request: QueuedRequest) -> dict[str, Any]:
    files = service.files.of_request(request.id)
    return _summary(service, request) | {
        "result": request.response,
        "previews": runs.previews(files),
        "checkpoints": runs.checkpoints(files),
        "files": [row.to_file() | {"role": row.role} for row in files],
        "curves": {name: service.requests.curve(request.id, name) for name in ("loss", "held_out")},
    }


def _short(payload: dict[str, Any] | None) -> dict[str, Any] | None:
    """The input without megabytes: a data: URI is cut to its beginning."""
    if payload is None:
        return None
    return {
        name: value[:60] + "…" if isinstance(value, str) and value[:5].lower() == "data:" else value
        for name, value in payload.items()
    }
