"""Errors that occur before a request exists have the shapes that the official clients read."""

from __future__ import annotations

import sys
import traceback
import uuid
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from soundlora.net.storage import StorageError
from soundlora.server.http.answers import JSONResponse
from soundlora.server.work.outcomes import clean, details


class Refusal(Exception):  # noqa: N818
    """The server refuses a call. The answer has a flat body, and its `error_type` stands in a header too."""

    def __init__(self, status_code: int, error_type: str, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status_code, self.error_type, self.sentence = status_code, error_type, sentence
        self.headers = headers or {}


def flat(status_code: int, error_type: str, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an infrastructure error in its shape.

    Clients would take an error of 500 or above for a proxy's if it named no request, so it gets a random id.
    """
    sent = {"X-Fal-Error-Type": error_type, "X-Fal-Retryable": "true" if status_code >= 500 else "false"}
    if status_code >= 500:
        sent["x-fal-request-id"] = str(uuid.uuid4())
    return JSONResponse(
        {"detail": clean(sentence), "error_type": error_type}, status_code, headers=sent | (headers or {})
    )


def install(app: FastAPI) -> None:
    """Make the app answer all errors in these shapes."""

    @app.exception_handler(Refusal)
    async def _refused(request: Request, error: Refusal) -> JSONResponse:
        return flat(error.status_code, error.error_type, error.sentence, error.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        entries: Any = details(error.errors(), where=())
        headers = {"X-Fal-Error-Type": entries[0]["type"], "X-Fal-Retryable": "false"}
        return JSONResponse({"detail": entries}, 422, headers=headers)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404 and error.detail == "Not Found":
            return JSONResponse({"detail": f"Path {clean(request.url.path)} not found"}, 404)
        return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)

    @app.exception_handler(sa.exc.OperationalError)
    async def _no_database(request: Request, error: sa.exc.OperationalError) -> JSONResponse:
        _report(request, error)
        return flat(503, "internal_error", "The database can't be reached; try again.", {"Retry-After": "2"})

    @app.exception_handler(StorageError)
    async def _no_storage(request: Request, error: StorageError) -> JSONResponse:
        _report(request, error)
        return flat(503, "internal_error", "The storage can't be reached; try again.", {"Retry-After": "2"})

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        return flat(500, "internal_error", "Internal error; the server's log says more.")


def _report(request: Request, error: Exception) -> None:
    last = traceback.format_exception_only(error)[-1].strip()
    print(f"soundlora: {request.method} {request.url.path}: {last}", file=sys.stderr, flush=True)
