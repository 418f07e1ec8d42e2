"""These routes below /v1 return each caller's own bills and usage."""

from __future__ import annotations

import time
import uuid
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from soundlora.server.http.depends import Asks, service_of
from soundlora.server.http.platform import (
    CURRENCY,
    DEFAULT_LIMIT,
    ERRORS,
    Cursor,
    End,
    EndpointIds,
    Limit,
    PlatformRoute,
    Start,
    dollars,
    known,
    seconds_of,
    time_of,
)
from soundlora.server.http.state import Service
from soundlora.server.store.history import DAY, Bill, History, Use

_USAGE_DAYS = 30

router = APIRouter(prefix="/v1", tags=["platform"], route_class=PlatformRoute, responses=ERRORS)


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


@router.get("/models/billing-events")
def billing_events(
    request: Request,
    caller: Asks,
    endpoint_ids: EndpointIds = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    start: Start = None,
    end: End = None,
    request_id: uuid.UUID | None = None,
) -> BillingEvents:
    """Return one event for each completed request, the latest first. Failed requests cost nothing, but are listed."""
    page = History(service_of(request).database).bills(
        caller.key_id,
        limit=limit,
        cursor=cursor,
        endpoints=known(request, endpoint_ids),
        request_id=None if request_id is None else str(request_id),
        start=seconds_of(start),
        end=seconds_of(end),
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
    """Return units and costs by endpoint and period, in UTC. The last 30 days are covered unless `start` is given."""
    service = service_of(request)
    until = seconds_of(end) or time.time()
    since = until - _USAGE_DAYS * DAY if start is None else seconds_of(start)
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


def _event(bill: Bill) -> BillingEvent:
    cost = bill.units * bill.unit_nano_usd
    return BillingEvent(
        request_id=bill.request_id,
        endpoint_id=bill.endpoint,
        timestamp=time_of(bill.at),
        output_units=bill.units,
        unit_price=dollars(bill.unit_nano_usd),
        cost_subtotal=dollars(cost),
        cost_total=dollars(cost),
        cost_estimate_nano_usd=cost,
    )


def _sums(service: Service, uses: list[Use]) -> list[UsageResult]:
    """Return one sum for each endpoint."""
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
    """Return the beginning of the period that holds the hour or day at `start`, in seconds since 1970.

    Weeks begin on Mondays.
    """
    at = time_of(start)
    if timeframe == "week":
        return at - timedelta(days=at.weekday())
    return at.replace(day=1) if timeframe == "month" else at
