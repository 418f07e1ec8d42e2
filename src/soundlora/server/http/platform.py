"""This module holds what the routes of the platform below /v1 share: errors, query parameters and units."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from soundlora.errors import InputError
from soundlora.net.storage import StorageError
from soundlora.server.http.answers import JSONResponse
from soundlora.server.http.depends import service_of
from soundlora.server.http.errors import Refusal
from soundlora.server.http.json_route import JsonRoute
from soundlora.server.work.outcomes import clean

CURRENCY = "USD"
_DOCS_URL = "https://docs.fal.ai/platform-apis/v1"
_TYPES = {
    400: "validation_error",
    401: "authorization_error",
    403: "authorization_error",
    404: "not_found",
    429: "rate_limited",
}


class ErrorBody(BaseModel):
    type: str = Field(description="What kind of error it is: validation_error, authorization_error, not_found, ...")
    message: str
    docs_url: str
    request_id: str


class PlatformError(BaseModel):
    """The body of every error below /v1."""

    error: ErrorBody


ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": PlatformError, "description": words}
    for code, words in {
        400: "The request is wrong.",
        401: "A key is missing or unknown.",
        403: "The server has no keys and answers its own machine only.",
        404: "There is no such thing, or it is somebody else's.",
        503: "Database or storage can't be reached.",
    }.items()
}


class PlatformRoute(JsonRoute):
    """A route whose errors have the platform's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                return platform_error(400, _sentence(error))
            except InputError as error:
                return platform_error(400, str(error))
            except HTTPException as error:
                return platform_error(error.status_code, str(error.detail), error.headers)
            except Refusal as error:
                return platform_error(error.status_code, error.sentence, error.headers)
            except (sa.exc.OperationalError, StorageError):
                return platform_error(503, "Database or storage can't be reached; try again.", {"Retry-After": "2"})

        return handle


EndpointIds = Annotated[
    list[Annotated[str, Field(max_length=2000)]] | None,
    Query(alias="endpoint_id", description="Ids of endpoints: several, or one list with commas.", max_length=100),
]


DEFAULT_LIMIT = 50
MOST = 100

Limit = Annotated[int, Query(ge=1, le=MOST)]
Cursor = Annotated[str | None, Query(description="The next_cursor of the page before.", max_length=500)]
Start = Annotated[datetime | None, Query(description="From then on; ISO 8601, UTC where no offset is given.")]
End = Annotated[datetime | None, Query(description="Before then.")]


def known(request: Request, endpoint_ids: list[str] | None) -> list[str]:
    """Return the ids that a client named, each once. Raises HTTPException 404 for an unknown one."""
    ids = [id.strip() for given in endpoint_ids or [] for id in given.split(",") if id.strip()]
    for id in ids:
        if id not in service_of(request).endpoints:
            raise HTTPException(404, f"There is no endpoint {id}; GET /v1/models names those that there are.")
    return list(dict.fromkeys(ids))


def dollars(nano_usd: int) -> float:
    return nano_usd / 1e9


def seconds_of(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def time_of(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def platform_error(status_code: int, message: str, headers: Any = None) -> JSONResponse:
    """An error in the shape that every route below /v1 has."""
    request_id = str(uuid.uuid4())
    kind = _TYPES.get(status_code, "server_error" if status_code >= 500 else "validation_error")
    body = {"type": kind, "message": clean(message), "docs_url": _DOCS_URL, "request_id": request_id}
    return JSONResponse({"error": body}, status_code, {"x-fal-request-id": request_id, **(headers or {})})


def _sentence(error: RequestValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
