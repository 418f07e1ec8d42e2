"""All URLs in answers start with the address at which the client reaches this server."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from soundlora.server.http.depends import service_of
from soundlora.server.http.headers import outside_url


def base_url(request: Request) -> str:
    """Return the settings' public_url, else the address that this client used, such as http://127.0.0.1:8420."""
    return service_of(request).settings.public_url.rstrip("/") or outside_url(request.scope)


def absolute(value: Any, base: str) -> Any:
    """Return the result with `base` before the URL of every file of this server, at any depth."""
    if isinstance(value, dict):
        return {
            name: base + inner
            if name == "url" and isinstance(inner, str) and inner.startswith("/files/")
            else absolute(inner, base)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [absolute(inner, base) for inner in value]
    return value
