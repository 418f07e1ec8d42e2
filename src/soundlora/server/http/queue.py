"""The queue: submit, result, cancel, and the call that waits for its result."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from soundlora.server.endpoints import Endpoint
from soundlora.server.http.address import absolute, base_url
from soundlora.server.http.answers import JSONResponse
from soundlora.server.http.depends import caller, service_of
from soundlora.server.http.enqueue import enqueue
from soundlora.server.http.errors import Refusal
from soundlora.server.http.status_cache import FRESH_SECONDS
from soundlora.server.http.submission import read_body, read_wishes
from soundlora.server.store.database import value_of
from soundlora.server.store.states import State, read_result

PREFIX = "/fal-ai"
"""The paths of all endpoints begin so. `{path}` in the routes is what follows."""

IN_PROGRESS = "Request is still in progress"

router = APIRouter(include_in_schema=False)


async def submit(request: Request) -> Response:
    """Accept a request; one whose input is wrong too, which completes at once with its 422."""
    endpoint = endpoint_of(request)
    asker = await caller(request)
    wishes = read_wishes(request)
    payload = await read_body(request)
    accepted, ahead = await enqueue(service_of(request), endpoint, payload, asker, wishes)
    body: dict[str, Any] = {
        "status": "IN_QUEUE",
        "request_id": accepted.id,
        **urls(base_url(request), endpoint.id, accepted.id),
        "queue_position": ahead,
        "logs": None,
        "metrics": {},
    }
    if wishes.webhook_url:
        body["gateway_request_id"] = accepted.id
    return JSONResponse(body, headers=_named(accepted.id, endpoint.id))


async def run(request: Request) -> Response:
    """Submit and answer with the result. When the client goes, the request goes on, and is in the history."""
    endpoint = endpoint_of(request)
    service = service_of(request)
    asker = await caller(request)
    wishes = read_wishes(request)
    payload = await read_body(request)
    accepted, _ = await enqueue(service, endpoint, payload, asker, wishes)
    while True:
        state = await service.status_cache.state(accepted.id)
        if state is not None and state.state == "completed":
            return await _replay(request, state)
        if service.closing:
            headers = _named(accepted.id, endpoint.id)
            sentence = "The server is stopping; the request goes on when it is back, and its result will be kept."
            raise Refusal(503, "runner_disconnected", sentence, headers)
        await asyncio.sleep(FRESH_SECONDS)


async def result(request: Request) -> Response:
    """Replay what the run answered: its status code, its headers, its body."""
    return await _replay(request, await state_of(request))


async def cancel(request: Request) -> Response:
    """A waiting request ends at once, a running one between two of its steps."""
    try:
        state = await state_of(request)
    except HTTPException as error:
        if error.status_code != 404:
            raise
        return JSONResponse({"status": "NOT_FOUND", "success": False, "detail": error.detail}, 404)
    service = service_of(request)
    status = await asyncio.to_thread(service.requests.cancel, state.id)
    service.status_cache.changed(state.id)
    code = {"OK": 200, "CANCELLATION_REQUESTED": 202, "ALREADY_COMPLETED": 400, "NOT_FOUND": 404}[status]
    return JSONResponse({"status": status, "success": code < 400}, code, headers=_named(state.id, state.endpoint))


def endpoint_of(request: Request) -> Endpoint:
    """Return the endpoint that the path names. Raises HTTPException 404."""
    path = f"{PREFIX}/{request.path_params['path']}"
    known = service_of(request).endpoints
    endpoint = known.get(path[1:].rstrip("/"))
    if endpoint is not None:
        return endpoint
    app = "/".join(path[1:].split("/")[:2])
    if any(each.app == app for each in known.values()):
        raise HTTPException(404, f"Path {path[1 + len(app) :] or '/'} not found")
    raise HTTPException(404, f"Application {app!r} not found")


async def state_of(request: Request) -> State:
    """Return the request that the path names. Raises HTTPException 404 when it is unknown or another key's."""
    service = service_of(request)
    asker = await caller(request)
    id, path = request.path_params["id"], f"{PREFIX[1:]}/{request.path_params['path']}"
    state = await service.status_cache.state(id)
    if state is not None and state.key_id == asker.key_id:
        endpoint = service.endpoints.get(state.endpoint)
        if endpoint is not None and path in (endpoint.id, endpoint.app):
            return state
    raise HTTPException(404, f"Request {id[:100]} not found")


def urls(base: str, endpoint_id: str, id: str) -> dict[str, str]:
    """Return the addresses of a request, as the official clients would build them."""
    request = f"{base}/{'/'.join(endpoint_id.split('/')[:2])}/requests/{id}"
    return {"response_url": request, "status_url": f"{request}/status", "cancel_url": f"{request}/cancel"}


async def _replay(request: Request, state: State) -> Response:
    service = service_of(request)
    found = await asyncio.to_thread(read_result, service.database, state.id)
    headers = _named(state.id, state.endpoint)
    if found is None:
        return JSONResponse({"detail": IN_PROGRESS}, 400, headers=headers | {"Retry-After": "1"})
    if found.response is None:
        return JSONResponse({"detail": "The payloads of this request were deleted"}, 404, headers=headers)
    body = value_of(found.response)
    if body is None:
        sentence = "The server's database is damaged: it has lost the result of this request."
        raise Refusal(500, "internal_error", sentence, headers)
    headers["x-fal-billable-units"] = str(found.units)
    if found.status_code >= 400:
        headers["X-Fal-Retryable"] = "true" if found.status_code >= 500 else "false"
        if found.error_type:
            headers["X-Fal-Error-Type"] = found.error_type
        if found.error_type == "request_timeout":
            headers["X-Fal-Request-Timeout-Type"] = "user"
    # The body stays ASCII, as it is in the table: half of a surrogate pair can't be written otherwise.
    return Response(json.dumps(absolute(body, base_url(request))), found.status_code, headers, "application/json")


def _named(id: str, endpoint_id: str) -> dict[str, str]:
    return {"x-fal-request-id": id, "x-fal-endpoint": endpoint_id}


for _path in ("/{path:path}/requests/{id}", "/{path:path}/requests/{id}/response"):
    router.add_route(PREFIX + _path, result, ["GET"])
router.add_route(PREFIX + "/{path:path}/requests/{id}/cancel", cancel, ["PUT"])
router.add_route("/run" + PREFIX + "/{path:path}", run, ["POST"])
router.add_route(PREFIX + "/{path:path}", submit, ["POST"])
