"""This route tells each caller its own limits, and what it takes of them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from soundlora.server.http.depends import Asks, service_of
from soundlora.server.http.platform import ERRORS, PlatformRoute
from soundlora.server.store.limits import limits_of, taken

router = APIRouter(prefix="/v1", tags=["platform"], route_class=PlatformRoute, responses=ERRORS)


class OwnLimits(BaseModel):
    """The limits of the caller's key. Those that are null don't hold."""

    max_running: int | None = Field(description="Requests that may run at a time; more of them wait.")
    max_waiting: int | None = Field(description="Requests that may wait; more of them get 429.")
    budget: int | None = Field(description="Units that may be billed in a calendar month, UTC; beyond it is 403.")
    weight: float = Field(description="Of the key's share of the slots while other keys wait.")
    running: int = Field(description="Requests that run now.")
    waiting: int = Field(description="Requests that wait now.")
    used_this_month: int = Field(description="Units billed since the month began.")
    asked_for: int = Field(description="Units of what waits and runs now, if it succeeds.")
    seconds_last_hour: float = Field(description="Time on slots in the last hour, by which shares are counted.")


@router.get("/limits")
def limits(request: Request, caller: Asks) -> OwnLimits:
    """Return what the caller's key may take of the server, and what it takes now."""
    service = service_of(request)
    own, now = limits_of(caller.key, service.settings), taken(service.database, caller.key_id)
    return OwnLimits(
        max_running=own.max_running or None,
        max_waiting=own.max_waiting or None,
        budget=own.budget or None,
        weight=own.weight,
        running=now.running,
        waiting=now.waiting,
        used_this_month=now.units,
        asked_for=now.asked_units,
        seconds_last_hour=round(now.hour_seconds, 3),
    )
