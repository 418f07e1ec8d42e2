"""These routes below /v1 return each caller's own history of requests."""

from __future__ import annotations

import shutil
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from soundlora.net.storage import StorageError
from soundlora.server.http.address import absolute, base_url
from soundlora.server.http.depends import Asks, service_of
from soundlora.server.http.platform import (
    DEFAULT_LIMIT,
    ERRORS,
    Cursor,
    End,
    EndpointIds,
    Limit,
    PlatformRoute,
    Start,
    known,
    seconds_of,
    time_of,
)
from soundlora.server.http.state import Service
from soundlora.server.store.deliveries import Deliveries
from soundlora.server.store.history import History, Past

router = APIRouter(prefix="/v1", tags=["platform"], route_class=PlatformRoute, responses=ERRORS)

Status = Annotated[
    Literal["success", "error", "user_error"] | None,
    Query(description="Status codes below 400; from 500; from 400 to 499."),
]
Expand = Annotated[list[Literal["payloads"]] | None, Query(description="payloads: inputs and outputs too.")]


class RequestItem(BaseModel):
    request_id: str
    endpoint_id: str
    sent_at: datetime
    started_at: datetime | None
    ended_at: datetime | None = Field(description="null for what waits or runs, which only a search finds.")
    status_code: int | None
    duration: float | None = Field(description="Seconds from the start to the end.")
    billable_units: int | None
    json_input: Any = None
    json_output: Any = None


class RequestItems(BaseModel):
    items: list[RequestItem]
    next_cursor: str | None
    has_more: bool


class Deletion(BaseModel):
    link: str
    exception: str | None = None


class Deletions(BaseModel):
    cdn_delete_results: list[Deletion] = Field(description="One a file of the result.")


@router.get("/models/requests/by-endpoint")
def by_endpoint(
    request: Request,
    caller: Asks,
    endpoint_ids: EndpointIds = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    start: Start = None,
    end: End = None,
    status: Status = None,
    request_id: uuid.UUID | None = None,
    expand: Expand = None,
    sort_by: Literal["ended_at", "duration"] = "ended_at",
) -> RequestItems:
    """Return completed requests, the latest or the longest first. `start` and `end` limit when they ended."""
    ids = known(request, endpoint_ids)
    if not ids:
        raise HTTPException(400, "endpoint_id is missing, but it is required.")
    service = service_of(request)
    page = History(service.database).ended(
        caller.key_id,
        ids,
        limit=limit,
        cursor=cursor,
        start=seconds_of(start),
        end=seconds_of(end),
        status=status,
        request_id=None if request_id is None else str(request_id),
        payloads=bool(expand),
        sort_by=sort_by,
    )
    return _items(request, page.items, page.cursor)


@router.get("/models/requests/search")
def search(
    request: Request,
    caller: Asks,
    query: Annotated[
        str, Query(max_length=500, description="Text of names, notes, prompts and trigger phrases, or an id.")
    ] = "",
    endpoint_ids: EndpointIds = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    start: Start = None,
    end: End = None,
    status: Status = None,
    expand: Expand = None,
) -> RequestItems:
    """Find requests by their text or the beginning of their id, the latest first.

    Waiting and running requests are included. `start` and `end` limit when they were sent.
    """
    service = service_of(request)
    page = History(service.database).search(
        caller.key_id,
        query.replace("\0", ""),  # Postgres refuses text with a NUL.
        limit=limit,
        cursor=cursor,
        endpoints=known(request, endpoint_ids),
        start=seconds_of(start),
        end=seconds_of(end),
        status=status,
        payloads=bool(expand),
    )
    return _items(request, page.items, page.cursor)


@router.delete("/models/requests/{request_id}/payloads")
def delete_payloads(request: Request, caller: Asks, request_id: uuid.UUID) -> Deletions:
    """Delete input, result, log, mark and files of a completed request. Its cost stays in the ledger.

    When a file can't be deleted, its `exception` says why. Input, result and log stay then, and the call can be
    repeated.
    """
    service = service_of(request)
    found = service.requests.find(str(request_id))
    if found is None or found.key_id != caller.key_id:
        raise HTTPException(404, f"There is no request {request_id}.")
    if found.state != "completed":
        raise HTTPException(400, f"Request {request_id} has not ended yet; cancel it first.")
    Deliveries(service.database).forget(found.id)
    results = [_deletion(service, request, row.id, row.path) for row in service.files.of_request(found.id)]
    if not any(each.exception for each in results):
        service.run_states.remove(found.id)
        folder = service.settings.runs / found.id
        if folder.exists():
            shutil.rmtree(folder)
        service.files.remove_objects(service.requests.delete_payloads(found.id))
        service.status_cache.forget(found.id)
    return Deletions(cdn_delete_results=results)


def _items(request: Request, found: list[Past], cursor: str | None) -> RequestItems:
    address = base_url(request)
    items = [
        RequestItem(
            request_id=past.id,
            endpoint_id=past.endpoint,
            sent_at=time_of(past.created_at),
            started_at=None if past.started_at is None else time_of(past.started_at),
            ended_at=None if past.ended_at is None else time_of(past.ended_at),
            status_code=past.status_code,
            duration=past.duration,
            billable_units=past.units,
            json_input=past.input,
            json_output=absolute(past.output, address),
        )
        for past in found
    ]
    return RequestItems(items=items, next_cursor=cursor, has_more=cursor is not None)


def _deletion(service: Service, request: Request, file_id: str, path: str) -> Deletion:
    link = base_url(request) + path
    try:
        service.files.remove_objects([file_id])
    except StorageError as error:
        return Deletion(link=link, exception=str(error))
    return Deletion(link=link)
