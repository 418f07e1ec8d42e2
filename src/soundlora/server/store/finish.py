"""A request ends with one result, one line in the ledger, and one webhook where one is wanted: all of it or nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundlora.server.store import usage
from soundlora.server.store.news import tell
from soundlora.server.store.tables import deliveries, ledger, requests


@dataclass(frozen=True)
class Outcome:
    """The end of a request, as its result replays it. `units` are billed."""

    status_code: int
    response: Any  # JSON
    units: int = 0
    error: str | None = None
    error_type: str | None = None


def is_error(status_code: int) -> bool:
    return status_code >= 400


def cancelled() -> Outcome:
    return infrastructure_error(499, "client_cancelled", "Request was cancelled by the client")


def infrastructure_error(status_code: int, error_type: str, sentence: str) -> Outcome:
    """Return the flat outcome of an error that is neither the model's nor the input's fault."""
    body = {"detail": sentence, "error_type": error_type}
    return Outcome(status_code, body, error=sentence, error_type=error_type)


def write_end(
    connection: Connection,
    request_id: str,
    outcome: Outcome,
    *,
    state: str,
    owner: str | None = None,
    unit_nano_usd: Mapping[str, int],
) -> bool:
    """Write result, ledger and webhook, and return True.

    Writes nothing and returns False when the request is no longer in `state` or no longer belongs to `owner`.
    `unit_nano_usd` is the price of a unit of each endpoint in billionths of a dollar, 0 where none is given.
    """
    now = time.time()
    mine = sa.and_(requests.c.id == request_id, requests.c.state == state)
    if owner is not None:
        mine = sa.and_(mine, requests.c.owner == owner)
    row = connection.execute(
        sa.update(requests)
        .where(mine)
        .values(
            state="completed",
            # The clock may have been set back, but a run must not end before it began.
            ended_at=sa.case((requests.c.started_at > now, requests.c.started_at), else_=now),
            owner=None,
            status_code=outcome.status_code,
            response=json.dumps(outcome.response),
            error=outcome.error,
            error_type=outcome.error_type,
            units=outcome.units,
        )
        .returning(
            requests.c.endpoint, requests.c.key_id, requests.c.webhook_url, requests.c.claimed_at, requests.c.gpus
        )
    ).one_or_none()
    if row is None:
        return False
    connection.execute(
        sa.insert(ledger).values(
            request_id=request_id,
            endpoint=row.endpoint,
            key_id=row.key_id,
            at=now,
            units=outcome.units,
            unit_nano_usd=unit_nano_usd.get(row.endpoint, 0),
        )
    )
    tell(connection, "changed", request_id)
    if row.webhook_url:
        connection.execute(
            sa.insert(deliveries).values(
                request_id=request_id,
                url=row.webhook_url,
                body=json.dumps(webhook_body(request_id, outcome)),
                state="waiting",
                attempts=0,
                next_at=now,
            )
        )
    if state == "running":
        usage.charge(connection, row.key_id, row.endpoint, row.claimed_at, now, ended=True, slots=row.gpus)
    return True


def webhook_body(request_id: str, outcome: Outcome) -> dict[str, Any]:
    """Return the body for the receiver. Its links to files are still paths."""
    body: dict[str, Any] = {"request_id": request_id, "gateway_request_id": request_id, "status": "OK"}
    if is_error(outcome.status_code):
        body |= {"status": "ERROR", "error": f"Invalid status code: {outcome.status_code}"}
    return body | {"payload": outcome.response}
