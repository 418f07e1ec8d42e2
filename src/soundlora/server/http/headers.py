"""The headers of a call tell how the client reached this server."""

from __future__ import annotations

from starlette.types import Scope

_FORWARDING = (b"forwarded", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-prefix")
_OUTSIDE = "soundlora.outside"
"""EdgeMiddleware keeps the client's address of the server under this key of the scope."""


def outside_url(scope: Scope) -> str:
    """Scheme and host as the client wrote them; X-Forwarded-* tells what a proxy that is trusted has seen."""
    if _OUTSIDE in scope:
        return str(scope[_OUTSIDE])
    scheme = _first(header(scope, "x-forwarded-proto")) or scope["scheme"]
    host = _first(header(scope, "x-forwarded-host")) or header(scope, "host")
    if not host:
        name, port = scope.get("server") or ("127.0.0.1", 80)
        host = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    return f"{scheme}://{host}"


def remember_outside(scope: Scope) -> None:
    """Keep the client's address of the server before the scope is changed."""
    scope[_OUTSIDE] = outside_url(scope)


def without_forwarding(scope: Scope) -> Scope:
    """The call as its own connection brought it: what a proxy would say of another one is left out."""
    kept = [(name, value) for name, value in scope["headers"] if name not in _FORWARDING]
    return {**scope, "headers": kept}


def headers_named(scope: Scope, name: str) -> list[str]:
    """All headers of that lower-case name."""
    wanted = name.encode()
    return [value.decode("latin-1") for key, value in scope["headers"] if key == wanted]


def header(scope: Scope, name: str) -> str:
    """The first header of that lower-case name, "" when there is none."""
    return next(iter(headers_named(scope, name)), "")


def _first(value: str) -> str:
    return value.split(",")[0].strip()
