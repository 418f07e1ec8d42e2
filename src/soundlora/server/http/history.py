"""What was done and what it cost: history, usage and bills below /v1, each caller's own."""

from __future__ import annotations

import shutil
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from soundlora.server.http.address import absolute, base_url
from soundlora.server.http.platform import CURRENCY, ERRORS, Asks, EndpointIds, PlatformRoute, dollars, known
from soundlora.server.http.state import Service, service_of
from soundlora.server.storage import StorageError
from soundlora.server.store.deliveries import Deliveries
from soundlora.server.store.history import DAY, Bill, History, Past, Use

MOST = 100
_DEFAULT_LIMIT = 50
_USAGE_DAYS = 30

router = APIRouter(prefix="/v1", tags=["platform"], route_class=PlatformRoute, responses=ERRORS)

Limit = Annotated[int, Query(ge=1, le=MOST)]
Cursor = Annotated[str | None, Query(description="The next_cursor of the page before.", max_length=500)]
Start = Annotated[datetime | None, Query(description="From then on; ISO 8601, UTC where no offset is given.")]
End = Annotated[datetime | None, Query(description="Before then.")]
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


class BillingEvent(BaseModel):
    request_id: str
    endpoint_id: str
    timestamp: datetime
    output_units: int
    unit_price: float
    percent_discount: float = 0.0
    cost_subtotal: float
    cost_discount: float = 0.0
    cost_total: float
    cost_estimate_nano_usd: int
    currency: str = CURRENCY


class BillingEvents(BaseModel):
    billing_events: list[BillingEvent]
    next_cursor: str | None
    has_more: bool


class UsageResult(BaseModel):
    endpoint_id: str
    unit: str
    quantity: int = Field(description="Units.")
    requests: int
    cost: float
    currency: str = CURRENCY


class UsageBucket(BaseModel):
    bucket: datetime = Field(description="Where this stretch of time begins.")
    results: list[UsageResult]


class Usage(BaseModel):
    time_series: list[UsageBucket] | None = Field(description="With expand=time_series, the default.")
    summary: list[UsageResult] | None = Field(description="With expand=summary.")
    next_cursor: str | None = None
    has_more: bool = False


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
    limit: Limit = _DEFAULT_LIMIT,
    cursor: Cursor = None,
    start: Start = None,
    end: End = None,
    status: Status = None,
    request_id: uuid.UUID | None = None,
    expand: Expand = None,
    sort_by: Literal["ended_at", "duration"] = "ended_at",
) -> RequestItems:
    """Completed requests, the last first, or the longest. `start` and `end` are about when they ended."""
    ids = known(request, endpoint_ids)
    if not ids:
        raise HTTPException(400, "endpoint_id is missing, but it is required.")
    service = service_of(request)
    page = History(service.database).ended(
        caller.key_id,
        ids,
        limit=limit,
        cursor=cursor,
        start=_seconds(start),
        end=_seconds(end),
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
    query: Annotated[str, Query(max_length=500, description="Text of prompts and trigger phrases, or an id.")] = "",
    endpoint_ids: EndpointIds = None,
    limit: Limit = _DEFAULT_LIMIT,
    cursor: Cursor = None,
    start: Start = None,
    end: End = None,
    status: Status = None,
    expand: Expand = None,
) -> RequestItems:
    """Requests by their text or the beginning of their id, the latest first; those that wait and run too.

    `start` and `end` are about when they were sent.
    """
    service = service_of(request)
    page = History(service.database).search(
        caller.key_id,
        query.replace("\0", ""),  # Postgres takes no text with it
        limit=limit,
        cursor=cursor,
        endpoints=known(request, endpoint_ids),
        start=_seconds(start),
        end=_seconds(end),
        status=status,
        payloads=bool(expand),
    )
    return _items(request, page.items, page.cursor)


@router.delete("/models/requests/{request_id}/payloads")
def delete_payloads(request: Request, caller: Asks, request_id: uuid.UUID) -> Deletions:
    """Forget input, result, log and files of a completed request; what it cost stays.

    When a file can't be deleted its `exception` says why and nothing is forgotten yet: ask again.
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
        folder = service.settings.runs / found.id
        if folder.exists():
            shutil.rmtree(folder)
        service.files.remove_objects(service.requests.delete_payloads(found.id))
    return Deletions(cdn_delete_results=results)


@router.get("/models/billing-events")
def billing_events(
    request: Request,
    caller: Asks,
    endpoint_ids: EndpointIds = None,
    limit: Limit = _DEFAULT_LIMIT,
    cursor: Cursor = None,
    start: Start = None,
    end: End = None,
    request_id: uuid.UUID | None = None,
) -> BillingEvents:
    """One a completed request, the last first; those that failed cost nothing and are there all the same."""
    page = History(service_of(request).database).bills(
        caller.key_id,
        limit=limit,
        cursor=cursor,
        endpoints=known(request, endpoint_ids),
        request_id=None if request_id is None else str(request_id),
        start=_seconds(start),
        end=_seconds(end),
    )
    events = [_event(bill) for bill in page.items]
    return BillingEvents(billing_events=events, next_cursor=page.cursor, has_more=page.cursor is not None)


@router.get("/models/usage")
def usage(
    request: Request,
    caller: Asks,
    endpoint_ids: EndpointIds = None,
    start: Start = None,
    end: End = None,
    timeframe: Literal["hour", "day", "week", "month"] = "day",
    expand: Annotated[list[Literal["time_series", "summary"]] | None, Query()] = None,
) -> Usage:
    """Units and costs by endpoint and stretch of time, in UTC; of the last 30 days unless `start` is given."""
    service = service_of(request)
    until = _seconds(end) or time.time()
    since = until - _USAGE_DAYS * DAY if start is None else _seconds(start)
    uses = History(service.database).usage(
        caller.key_id,
        3600 if timeframe == "hour" else DAY,
        endpoints=known(request, endpoint_ids),
        start=since,
        end=until,
    )
    answer = Usage(time_series=None, summary=None)
    if not expand or "time_series" in expand:
        stretches: dict[datetime, list[Use]] = {}
        for use in uses:
            stretches.setdefault(_beginning(use.start, timeframe), []).append(use)
        answer.time_series = [
            UsageBucket(bucket=bucket, results=_sums(service, inside)) for bucket, inside in stretches.items()
        ]
    if expand and "summary" in expand:
        answer.summary = _sums(service, uses)
    return answer


def _items(request: Request, found: list[Past], cursor: str | None) -> RequestItems:
    address = base_url(request)
    items = [
        RequestItem(
            request_id=past.id,
            endpoint_id=past.endpoint,
            sent_at=_time(past.created_at),
            started_at=None if past.started_at is None else _time(past.started_at),
            ended_at=None if past.ended_at is None else _time(past.ended_at),
            status_code=past.status_code,
            duration=past.duration,
            billable_units=past.units,
            json_input=past.input,
            json_output=absolute(past.output, address),
        )
        for past in found
    ]
    return RequestItems(items=items, next_cursor=cursor, has_more=cursor is not None)


def _event(bill: Bill) -> BillingEvent:
    cost = bill.units * bill.unit_nano_usd
    return BillingEvent(
        request_id=bill.request_id,
        endpoint_id=bill.endpoint,
        timestamp=_time(bill.at),
        output_units=bill.units,
        unit_price=dollars(bill.unit_nano_usd),
        cost_subtotal=dollars(cost),
        cost_total=dollars(cost),
        cost_estimate_nano_usd=cost,
    )


def _sums(service: Service, uses: list[Use]) -> list[UsageResult]:
    """One a endpoint."""
    sums: dict[str, list[int]] = {}
    for use in uses:
        before = sums.get(use.endpoint, [0, 0, 0])
        sums[use.endpoint] = [a + b for a, b in zip(before, (use.requests, use.units, use.nano_usd), strict=True)]
    return [
        UsageResult(
            endpoint_id=id,
            unit=service.endpoints[id].unit if id in service.endpoints else "unit",
            quantity=units,
            requests=requests,
            cost=dollars(nano_usd),
        )
        for id, (requests, units, nano_usd) in sorted(sums.items())
    ]


def _beginning(start: int, timeframe: str) -> datetime:
    """Of the hour, day, week (a Monday) or month that the hour or day at `start` is in."""
    at = _time(start)
    if timeframe == "week":
        return at - timedelta(days=at.weekday())
    return at.replace(day=1) if timeframe == "month" else at


def _deletion(service: Service, request: Request, file_id: str, path: str) -> Deletion:
    link = base_url(request) + path
    try:
        service.files.remove_objects([file_id])
    except StorageError as error:
        return Deletion(link=link, exception=str(error))
    return Deletion(link=link)


def _seconds(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
