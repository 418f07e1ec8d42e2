"""The address at which a client reaches this server, from which all URLs in answers are built."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.types import Scope

from soundlora.server.http.state import service_of

_OUTSIDE = "soundlora.outside"
"""Where the door keeps the address of a request that it sends on inside."""


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


def outside_url(scope: Scope) -> str:
    """Scheme and host as the client wrote them; X-Forwarded-* tells what a reverse proxy has seen."""
    if _OUTSIDE in scope:
        return str(scope[_OUTSIDE])
    scheme = _first(header(scope, "x-forwarded-proto")) or scope["scheme"]
    host = _first(header(scope, "x-forwarded-host")) or header(scope, "host")
    if not host:
        name, port = scope.get("server") or ("127.0.0.1", 80)
        host = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    return f"{scheme}://{host}"


def remember_outside(scope: Scope) -> None:
    """Keep the address before the scope is changed."""
    scope[_OUTSIDE] = outside_url(scope)


def header(scope: Scope, name: str) -> str:
    """The first header of that lower-case name, "" when there is none."""
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), "")


def _first(value: str) -> str:
    return value.split(",")[0].strip()
