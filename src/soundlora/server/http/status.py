"""These routes return the status of a request, once or as a stream of events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from soundlora.server.http.address import base_url
from soundlora.server.http.depends import service_of
from soundlora.server.http.queue import PREFIX, state_of, urls
from soundlora.server.http.status_cache import CLOSING_SECONDS, StatusCache
from soundlora.server.store.states import State

PING_SECONDS = 15.0

router = APIRouter(include_in_schema=False)


async def status(request: Request) -> Response:
    """Return the present state. With logs=1 or true it holds all lines of the log so far."""
    state = await state_of(request)
    status_cache = service_of(request).status_cache
    lines = await status_cache.lines(state) if _with_logs(request) else None
    code = 200 if state.state == "completed" else 202
    headers = {"x-fal-request-id": state.id}
    return Response(_body(state, status_cache, base_url(request), lines), code, headers, "application/json")


async def stream(request: Request) -> Response:
    """Stream an event on every change, with the lines of the log since the last one, until the request ends."""
    state = await state_of(request)
    headers = {"x-fal-request-id": state.id, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(request, state), headers=headers, media_type="text/event-stream")


async def _events(request: Request, state: State) -> AsyncIterator[str]:
    service = service_of(request)
    base, with_logs = base_url(request), _with_logs(request)
    told: tuple[str, int] | None = None
    lines_told = 0
    last_word = time.monotonic()
    while True:
        new: Sequence[str] | None = None
        if with_logs:
            new = (await service.status_cache.lines(state))[lines_told:]
            lines_told += len(new)
        place = service.status_cache.position(state) if state.state == "queued" else 0
        now = (state.state, place)
        if now != told or new:
            yield f"data: {_body(state, service.status_cache, base, new)}\n\n"
            told, last_word = now, time.monotonic()
        elif time.monotonic() - last_word >= PING_SECONDS:
            yield ": ping\n\n"
            last_word = time.monotonic()
        if state.state == "completed" or service.closing:
            return
        found = await service.status_cache.change(state, place, min(CLOSING_SECONDS, PING_SECONDS))
        if found is None:
            return
        state = found


def _body(state: State, status_cache: StatusCache, base: str, lines: Sequence[str] | None) -> str:
    fields: dict[str, object] = {"request_id": state.id, **urls(base, state.endpoint, state.id), "metrics": {}}
    if state.state == "queued":
        fields |= {"status": "IN_QUEUE", "queue_position": status_cache.position(state)}
    elif state.state == "running":
        fields["status"] = "IN_PROGRESS"
    else:
        fields["status"] = "COMPLETED"
        if state.started_at is not None and state.ended_at is not None:
            fields["metrics"] = {"inference_time": state.ended_at - state.started_at}
        if state.error is not None:
            fields |= {"error": state.error, "error_type": state.error_type}
    # The lines are kept as JSON, because a client that polls gets hundreds of them ten times a second.
    logs = "null" if lines is None else "[" + ",".join(lines) + "]"
    return json.dumps(fields)[:-1] + f', "logs": {logs}}}'


def _with_logs(request: Request) -> bool:
    return request.query_params.get("logs", "").lower() in ("1", "true", "yes")


router.add_route(PREFIX + "/{path:path}/requests/{id}/status", status, ["GET"])
router.add_route(PREFIX + "/{path:path}/requests/{id}/status/stream", stream, ["GET"])
