"""A run's owner gives it a star, a name and a note."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError
from starlette.exceptions import HTTPException

from soundlora.server.http.depends import Asks, service_of
from soundlora.server.http.platform import ERRORS, PlatformError, PlatformRoute
from soundlora.server.http.submission import read_body
from soundlora.server.store.marks import Marks
from soundlora.server.work.outcomes import clean

MOST_NAME = 200
MOST_NOTE = 2000
"""Characters. A list of a hundred runs has all their notes."""


class MarkChange(BaseModel):
    """What is to be changed; what is not named stays."""

    model_config = ConfigDict(extra="forbid")

    starred: StrictBool = Field(False, description="Whether it is a favourite.")
    name: Annotated[StrictStr, Field(max_length=MOST_NAME)] = Field("", description='Its title; "" takes it away.')
    note: Annotated[StrictStr, Field(max_length=MOST_NOTE)] = Field("", description="Text of your own, in lines.")


class MarkAnswer(BaseModel):
    """The mark as it is now."""

    starred: bool
    name: str
    note: str


_BODY = {"content": {"application/json": {"schema": MarkChange.model_json_schema()}}, "required": True}

router = APIRouter(prefix="/v1", tags=["page"], route_class=PlatformRoute, responses=ERRORS)


@router.patch(
    "/runs/{run_id}",
    responses={
        413: {"model": PlatformError, "description": "The body is too large."},
        422: {"model": PlatformError, "description": "A field is wrong."},
    },
    openapi_extra={"requestBody": _BODY},
)
async def mark(request: Request, asker: Asks, run_id: str) -> MarkAnswer:
    """Give a run of one's own a star, a name or a note. Only the fields that are sent are changed.

    Marks are deleted with the payloads of their request, and a request without payloads takes none.
    """
    changes = changes_in(await read_body(request))
    service = service_of(request)
    found = await asyncio.to_thread(Marks(service.database).change, run_id, asker.key_id, changes)
    if found is None:
        raise HTTPException(404, f"There is no run {run_id[:40]}.")
    # Whoever watches it is told.
    service.status_cache.forget(run_id)
    return MarkAnswer(**dataclasses.asdict(found))


def changes_in(payload: Any) -> dict[str, Any]:
    """Return the fields of a mark that a body changes, as they are kept. Raises HTTPException 422."""
    if isinstance(payload, dict):
        # There may be hundreds of thousands of names.
        unknown = next((name for name in payload if name not in MarkChange.model_fields), None)
        if unknown is not None:
            raise HTTPException(422, f"There is no {unknown[:40]!r} to change; starred, name and note can be changed.")
        payload = {name: clean(value) if isinstance(value, str) else value for name, value in payload.items()}
        if isinstance(payload.get("name"), str):
            # A title has one line.
            payload["name"] = " ".join(payload["name"].split())
    try:
        return MarkChange.model_validate(payload).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise HTTPException(422, _sentence(error, payload)) from None


def _sentence(error: ValidationError, payload: Any) -> str:
    first = error.errors()[0]
    if not first["loc"]:
        return 'The body must be an object such as {"starred": true}.'
    name = str(first["loc"][0])
    if first["type"] == "string_too_long":
        return f"{name} has {len(payload[name]):,} characters, but at most {first['ctx']['max_length']:,} are allowed."
    return f"{name} must be {'true or false' if name == 'starred' else 'text'}."
