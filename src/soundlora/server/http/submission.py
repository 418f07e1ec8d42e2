"""The headers and the query of a submit say how the request is to be treated. Its body is the input."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request

from soundlora.server.http.address import base_url
from soundlora.server.http.errors import Refusal
from soundlora.server.http.lifecycle import read_lifetime
from soundlora.server.store.requests import PRIORITIES
from soundlora.server.work.outcomes import clean

MAX_BODY_BYTES = 64 * 1024**2
"""A small data set fits in as a data: URI. Larger ones are uploaded."""

_MOST_LEVELS = 100
"""Lists and objects may lie so deep in each other. What handles them later goes down a level with each call."""
_TOO_DEEP = "The body is nested too deeply."
_MOST_SECONDS = 10 * 365 * 86400.0
_WEBHOOK_CHARACTERS = 2048


@dataclass(frozen=True)
class Wishes:
    """The treatment that the client asks for.

    The request must begin within `start_seconds`, and its files live for `file_seconds`. `base_url` is the address that
    it was sent to; links in its webhook start with it.
    """

    base_url: str
    webhook_url: str | None
    priority: str
    max_queue_length: int | None
    start_seconds: float | None
    no_retry: bool
    keep_payloads: bool
    file_seconds: float | None


def read_wishes(request: Request) -> Wishes:
    """Read the wishes of a submit. Raises Refusal 400 that names the header or the parameter at fault."""
    headers, query = request.headers, request.query_params
    webhook = query.get("fal_webhook") or None
    if webhook is not None and not _is_web_address(webhook):
        raise _bad(f"fal_webhook is {webhook[:100]!r}, but it must be a http or https address.")
    priority = (query.get("priority") or headers.get("x-fal-queue-priority") or "normal").strip().lower()
    if priority not in PRIORITIES:
        raise _bad(f"X-Fal-Queue-Priority is {priority[:100]!r}, but it must be normal or low.")
    length = query.get("fal_max_queue_length")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 10):
        raise _bad(f"fal_max_queue_length is {length[:100]!r}, but it must be a whole number from 0.")
    timeout = headers.get("x-fal-request-timeout")
    return Wishes(
        base_url=base_url(request),
        webhook_url=webhook,
        priority=priority,
        max_queue_length=None if length is None else int(length),
        start_seconds=None if timeout is None else _seconds("X-Fal-Request-Timeout", timeout),
        no_retry=(headers.get("x-fal-no-retry") or "").lower() in ("1", "true", "yes"),
        keep_payloads=headers.get("x-fal-store-io") != "0",
        file_seconds=read_lifetime(headers),
    )


async def read_body(request: Request) -> Any:
    """Return the body as JSON, {} without one. Raises Refusal 413 when it is too large, 400 when it is not JSON."""
    body = await read_bytes(request)
    return parsed(body) if body.strip() else {}


async def read_bytes(request: Request) -> bytes:
    """Return the body. Raises Refusal 413 when it is larger than MAX_BODY_BYTES, before more of it is held."""
    body = bytearray()
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > MAX_BODY_BYTES:
        raise _too_large()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return bytes(body)


def parsed(body: bytes) -> Any:
    """Return the value of a JSON text. Raises Refusal 400."""
    try:
        return loaded(body)
    except RecursionError as error:
        raise _bad(str(error)) from None
    except ValueError as error:  # A body that is not UTF-8 ends here, too.
        raise _bad(f"The body is not JSON: {error}.") from None


def loaded(body: bytes) -> Any:
    """Return the value of a JSON text, in which every number is finite.

    Raises RecursionError when it is nested too deeply, JSONDecodeError, and ValueError for what only looks like JSON.
    """
    try:
        value = json.loads(body, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_named)
    except RecursionError:
        raise RecursionError(_TOO_DEEP) from None
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_MOST_LEVELS):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return value
    raise RecursionError(_TOO_DEEP)


def _named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON. Where a name comes twice the last value counts, as everywhere in Python."""
    for name, _ in pairs:
        if not name.isascii() and clean(name) != name.replace("\0", ""):
            raise ValueError("the name of a field has half of a surrogate pair")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:30]} is too large a number")
    return value


def _seconds(name: str, given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise _bad(f"{name} is {given[:100]!r}, but it must be a number of seconds above 0.")
    return min(seconds, _MOST_SECONDS)


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            len(url) <= _WEBHOOK_CHARACTERS
            and url.isprintable()
            and parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port or 1) > 0
        )
    except ValueError:
        return False


def _bad(sentence: str) -> Refusal:
    return Refusal(400, "bad_request", sentence)


def _too_large() -> Refusal:
    most = MAX_BODY_BYTES // 1024**2
    return Refusal(413, "bad_request", f"The body is larger than {most} MiB; upload the file and send its address.")
