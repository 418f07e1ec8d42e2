"""Runs as the page shows them: a list, one of them with its curves and previews, and its changes as they happen."""

from __future__ import annotations

import asyncio
import bisect
import functools
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from soundlora.contract.fields import WholeNumber
from soundlora.server.http.address import absolute, base_url
from soundlora.server.http.auth import Caller
from soundlora.server.http.depends import Asks, caller, service_of
from soundlora.server.http.enqueue import enqueue, wishes_of
from soundlora.server.http.platform import ERRORS, PlatformError, PlatformRoute
from soundlora.server.http.run_view import log, resumable, snapshot, steps_done, summaries, whole
from soundlora.server.http.state import Service
from soundlora.server.http.status_cache import CLOSING_SECONDS
from soundlora.server.store.listing import curves, page
from soundlora.server.store.requests import Request as QueuedRequest
from soundlora.server.store.states import State
from soundlora.server.store.stopping import ask_to_stop

_NO_CHECKPOINT = "This run can't be resumed: it left no checkpoint; run it again."
_NO_STATE = "This run can't be trained on: its last state is not kept (any more); train it again."
_PING_SECONDS = 15.0

router = APIRouter(prefix="/v1", tags=["page"], route_class=PlatformRoute, responses=ERRORS)


@router.get("/runs")
def all_runs(
    request: Request,
    asker: Asks,
    kind: Literal["", "training", "sound"] = "",
    state: Literal["", "active", "succeeded", "failed", "cancelled"] = "",
    search: Annotated[str, Query(max_length=500)] = "",
    starred: bool = False,
    before: Annotated[int | None, Query(le=2**63 - 1, ge=-(2**63))] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> dict[str, Any]:
    """Return requests and how they stand, the latest first. `before` takes the `next` of the page before.

    `search` looks through names, notes, prompts and trigger phrases, and at the beginnings of ids.
    """
    service = service_of(request)
    work = {"training": "training", "sound": "generation"}.get(kind)
    ids = None if work is None else [id for id, endpoint in service.endpoints.items() if endpoint.work == work]
    found = page(
        service.database,
        service.requests,
        asker.key_id,
        endpoints=ids,
        state=state,
        search=search.replace("\0", "").strip(),
        starred=starred,
        before=before,
        limit=limit,
    )
    address = base_url(request)
    return {"runs": absolute(summaries(service, found.found), address), "next": found.next}


@router.get("/runs/{run_id}")
def one_run(request: Request, asker: Asks, run_id: str) -> dict[str, Any]:
    """Return everything about a run, its log included."""
    service = service_of(request)
    view: dict[str, Any] = absolute(whole(service, _own(service, asker, run_id)), base_url(request))
    return view


@router.get("/runs/{run_id}/events")
async def events(request: Request, run_id: str, after: Annotated[int, Query(ge=0)] = 0) -> StreamingResponse:
    """Send the run as events: whole at first, then what has changed, with log lines numbered above `after`.

    `logs` and `curves` hold what is new since the event before. Of a step that is said again the later value counts.
    It ends with the run.
    """
    service = service_of(request)
    state = await _state(service, await caller(request), run_id)
    stream = _changes(service, state, after, base_url(request))
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


@router.post("/runs/{run_id}/resume", responses={429: {"model": PlatformError, "description": "The queue is full."}})
async def resume(request: Request, asker: Asks, run_id: str) -> dict[str, str]:
    """Go on with a training that was cancelled or has failed, from its last checkpoint, as a new request."""
    service = service_of(request)
    found = await asyncio.to_thread(_own, service, asker, run_id)
    endpoint = service.endpoints.get(found.endpoint)
    if endpoint is None or not await asyncio.to_thread(resumable, service, found):
        raise HTTPException(400, _NO_CHECKPOINT)
    try:
        accepted, _ = await enqueue(service, endpoint, found.input, asker, wishes_of(found), goes_on=found)
    except FileNotFoundError:  # somebody else was quicker
        raise HTTPException(400, _NO_CHECKPOINT) from None
    return {"request_id": accepted.id}


class More(BaseModel):
    """How long a finished training is to be."""

    number_of_steps: WholeNumber = Field(ge=100, le=20000, description="In all: more than those that are done.")


@router.post("/runs/{run_id}/continue", responses={429: {"model": PlatformError, "description": "The queue is full."}})
async def train_on(request: Request, asker: Asks, run_id: str, more: More) -> dict[str, str]:
    """Train a finished training on, as a new request that is billed for the steps that it adds.

    The finished run stays as it is. The longer one is that of so many steps at once where its schedule is constant; its
    log says what differs where it is not.
    """
    service = service_of(request)
    found = await asyncio.to_thread(_own, service, asker, run_id)
    endpoint = service.endpoints.get(found.endpoint)
    done = await asyncio.to_thread(steps_done, service, found)
    if endpoint is None or done is None or found.input is None:
        raise HTTPException(400, _NO_STATE)
    if more.number_of_steps <= done:
        sentence = f"number_of_steps: {more.number_of_steps} are not more than the {done} that the run has already."
        raise HTTPException(400, sentence)
    payload = found.input | {"number_of_steps": more.number_of_steps}
    try:
        accepted, _ = await enqueue(
            service, endpoint, payload, asker, wishes_of(found), goes_on=found, longer=more.number_of_steps
        )
    except FileNotFoundError:  # it was swept away meanwhile
        raise HTTPException(400, _NO_STATE) from None
    return {"request_id": accepted.id}


@router.post("/runs/{run_id}/stop", responses={429: {"model": PlatformError, "description": "The queue is full."}})
async def stop(request: Request, asker: Asks, run_id: str) -> dict[str, str]:
    """End a training with what it has learnt: LoRA, previews and verdict of the steps done. It costs nothing.

    One that runs ends after its present step. For one that was cancelled or has failed, and has a checkpoint, a new
    request makes them. The answer names the request whose result has them.
    """
    service = service_of(request)
    found = await asyncio.to_thread(_own, service, asker, run_id)
    endpoint = service.endpoints.get(found.endpoint)
    if endpoint is None or endpoint.work != "training":
        raise HTTPException(400, "Only a training can be stopped and kept; cancel this request instead.")
    if found.state == "queued":
        raise HTTPException(400, "This training has not begun, so there is nothing to keep; cancel it instead.")
    if await asyncio.to_thread(ask_to_stop, service.database, run_id):
        service.status_cache.changed(run_id)
        return {"request_id": run_id}
    found = await asyncio.to_thread(_own, service, asker, run_id)
    if not await asyncio.to_thread(resumable, service, found):
        raise HTTPException(400, "This training has ended, and left no checkpoint to keep.")
    try:
        accepted, _ = await enqueue(
            service, endpoint, found.input, asker, wishes_of(found), goes_on=found, stop_asked=True
        )
    except FileNotFoundError:  # somebody else was quicker
        raise HTTPException(400, _NO_CHECKPOINT) from None
    return {"request_id": accepted.id}


async def _changes(service: Service, state: State, after: int, address: str) -> AsyncIterator[str]:
    """Yield what has changed. A run is read once for all who watch it, and only when it has changed."""
    cache = service.status_cache
    said: dict[str, Any] = {}
    points = 0
    word_at = time.monotonic()
    while not service.closing:
        place = cache.position(state) if state.state == "queued" else 0
        seen = await cache.view(state, functools.partial(snapshot, service, state))
        if seen.behind:
            cache.changed(state.id)
        else:
            lines = await cache.log(state)
            new = lines[bisect.bisect_right(lines, after, key=lambda line: line.number) :]
            shown = seen.fields | {
                "progress": state.progress,
                "position": place if state.state == "queued" else None,
            }
            news = {name: value for name, value in shown.items() if name not in said or said[name] != value}
            if not said or len(seen.points) > points:
                news["curves"] = curves(seen.points[points:])
            if new:
                news["logs"] = log(new)
                after = new[-1].number
            said, points = shown, len(seen.points)
            if news:
                # The state is always told, so that whoever reads one event knows whether it is the last.
                yield f"data: {json.dumps(absolute(news, address) | {'state': state.state})}\n\n"
                word_at = time.monotonic()
            if state.state == "completed":
                return
            if time.monotonic() - word_at >= _PING_SECONDS:
                yield ": ping\n\n"
                word_at = time.monotonic()
        found = await cache.change(state, place, CLOSING_SECONDS)
        if found is None:
            return
        state = found


async def _state(service: Service, asker: Caller, run_id: str) -> State:
    state = await service.status_cache.state(run_id)
    if state is None or state.key_id != asker.key_id:
        raise _unknown(run_id)
    return state


def _own(service: Service, asker: Caller, run_id: str) -> QueuedRequest:
    found = service.requests.find(run_id)
    if found is None or found.key_id != asker.key_id:
        raise _unknown(run_id)
    return found


def _unknown(run_id: str) -> HTTPException:
    return HTTPException(404, f"There is no run {run_id[:40]}.")
