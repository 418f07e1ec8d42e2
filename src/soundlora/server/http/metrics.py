"""/health tells whether the server needs a restart; /metrics gives Prometheus its counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from soundlora.server.http.auth import Caller
from soundlora.server.http.depends import caller, service_of
from soundlora.server.store.totals import BUCKETS, Now, Totals, now
from soundlora.version import __version__

router = APIRouter(tags=["operation"])

_Labels = Mapping[str, object]
_REFUSED: dict[int | str, dict[str, Any]] = {
    code: {"description": words, "content": {"application/json": {"schema": {"type": "object"}}}}
    for code, words in {
        401: "A key is missing or unknown.",
        403: "The server has no keys and answers its own machine only.",
        503: "The database can't be reached.",
    }.items()
}


class Health(BaseModel):
    status: Literal["ok", "no database"]
    version: str = __version__


@router.get("/health", responses={503: {"model": Health}})
def health(request: Request, response: Response) -> Health:
    """Return whether the server can do its work. The call needs no key."""
    try:
        with service_of(request).database.read() as connection:
            connection.execute(sa.select(1))
    except sa.exc.SQLAlchemyError:
        response.status_code = 503
        return Health(status="no database")
    return Health(status="ok")


@router.get("/metrics", response_class=PlainTextResponse, responses=_REFUSED)
def metrics(request: Request, asker: Annotated[Caller, Depends(caller)]) -> Response:
    """Return counts for Prometheus over all keys. Any key may ask for them."""
    service = service_of(request)
    totals: Totals = request.app.state.totals
    totals.update()
    text = render(totals, now(service.database), list(service.endpoints))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def render(totals: Totals, present: Now, endpoints: Iterable[str]) -> str:
    """Return the counts in the text format of Prometheus. Each of `endpoints` has its gauges, which may be 0."""
    named = [{"endpoint": endpoint} for endpoint in endpoints]
    lines: list[str] = []

    def family(name: str, kind: str, help: str, samples: Iterable[tuple[str, _Labels, float]]) -> None:
        lines.extend([f"# HELP soundlora_{name} {help}", f"# TYPE soundlora_{name} {kind}"])
        lines.extend(f"soundlora_{name}{suffix}{_labels(labels)} {value}" for suffix, labels, value in samples)

    def gauge(name: str, help: str, values: Mapping[str, float]) -> None:
        family(name, "gauge", help, [("", each, values.get(each["endpoint"], 0)) for each in named])

    gauge("queue_length", "Requests that wait.", present.queued)
    gauge("running", "Requests that are worked on.", present.running)
    gauge("steps_per_second", "Training steps a second of all runs together.", present.steps_per_second)
    family("webhooks_waiting", "gauge", "Webhooks that are still to be delivered.", [("", {}, present.webhooks)])
    family(
        "completed_total",
        "counter",
        "Requests that ended, well or not.",
        [
            ("", {"endpoint": endpoint, "status": status, "error_type": error_type}, count)
            for (endpoint, status, error_type), count in sorted(totals.ended.items())
        ],
    )
    units = sorted(totals.units.items())
    family("units_total", "counter", "Units billed.", [("", {"endpoint": name}, count) for name, count in units])
    family("run_seconds", "histogram", "From a run's start to its end.", _histogram(totals))
    return "\n".join(lines) + "\n"


def _histogram(totals: Totals) -> Iterable[tuple[str, _Labels, float]]:
    for endpoint, count in sorted(totals.runs.items()):
        for bound in BUCKETS:
            yield "_bucket", {"endpoint": endpoint, "le": f"{bound:g}"}, totals.within[endpoint, bound]
        yield "_bucket", {"endpoint": endpoint, "le": "+Inf"}, count
        yield "_sum", {"endpoint": endpoint}, totals.seconds[endpoint]
        yield "_count", {"endpoint": endpoint}, count


def _labels(labels: _Labels) -> str:
    def quoted(value: object) -> str:
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    return "{" + ",".join(f"{name}={quoted(value)}" for name, value in labels.items()) + "}" if labels else ""
