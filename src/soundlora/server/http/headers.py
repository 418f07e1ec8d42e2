"""Headers of a call, and what they say of how the client reached this server."""

from __future__ import annotations

from starlette.types import Scope

_OUTSIDE = "soundlora.outside"
"""Where the door keeps the address of a request that it sends on inside."""


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
