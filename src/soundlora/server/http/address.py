"""The address at which a client reaches this server, from which all URLs in answers are built."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from soundlora.server.http.depends import service_of
from soundlora.server.http.headers import outside_url


def base_url(request: Request) -> str:
    """Such as http://127.0.0.1:8420: the settings' public_url, else what this client used."""
    return service_of(request).settings.public_url.rstrip("/") or outside_url(request.scope)


def absolute(value: Any, base: str) -> Any:
    """A result in which the server's own files are named by whole addresses, wherever they stand in it."""
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
