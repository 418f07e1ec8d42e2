"""Every call passes this middleware first. It handles CORS, the official hosts' names, and fal's proxy contract."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soundlora.net.guard import Networks
from soundlora.server.http.answers import JSONResponse
from soundlora.server.http.auth import NO_KEYS, Authenticator
from soundlora.server.http.headers import header, remember_outside, without_forwarding
from soundlora.server.http.local import OFFICIAL_HOSTS
from soundlora.server.http.platform import platform_error

PROXY_PATH = "/api/fal/proxy"
_RUN_HOSTS = ("fal.run", "falrun.com")
"""The official clients call an endpoint at these hosts and wait for its result."""
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_BODY_METHODS = ("POST", "PUT")
_HEADER_NAMES = re.compile(rb"[\w!#$%&'*+.^`|~, -]+")


class EdgeMiddleware:
    """Turns strangers away, and sends a call that came through the proxy, or under an official name, to its route."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, proxies: Networks) -> None:
        """proxies: whose X-Forwarded-* count."""
        self.app, self._authenticator, self._proxies = app, authenticator, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _as_typed(send)
        peer = scope["client"][0] if scope.get("client") else ""
        scope = dict(scope) if peer in self._proxies else dict(without_forwarding(scope))
        try:
            away = await self._authenticator.turns_away(scope)
        except sa.exc.OperationalError:
            away = True  # nobody can say whether there are keys
        if away:
            await _turn_away(scope)(scope, receive, send)
            return
        answer = self._open(scope, send)
        if scope["method"] == "OPTIONS":
            await _preflight(scope, answer)
            return
        remember_outside(scope)
        if scope["path"].rstrip("/") == PROXY_PATH:
            refusal = _aim(scope)
            if refusal is not None:
                await refusal(scope, receive, answer)
                return
        host = header(scope, "host").split(":")[0].lower()
        if host in _RUN_HOSTS and scope["path"].startswith("/fal-ai/"):
            _go_to(scope, "/run" + scope["path"])
        await self.app(scope, receive, answer)

    def _open(self, scope: Scope, send: Send) -> Send:
        """CORS: pages of all the world where a key or the operator lets people in, else the one page that may ask."""
        origin = header(scope, "origin").encode("latin-1")
        headers = [(b"access-control-expose-headers", b"*")]
        if self._authenticator.has_keys or self._authenticator.anonymous_allowed:
            headers.append((b"access-control-allow-origin", b"*"))
        elif origin:
            headers += [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        return answer


def _as_typed(send: Send) -> Send:
    """No browser takes an answer for something else than it says to be, such as a text for a page."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if pair[0].lower() != b"x-content-type-options"]
            message["headers"] = [*kept, (b"x-content-type-options", b"nosniff")]
        await send(message)

    return answer


def _turn_away(scope: Scope) -> JSONResponse:
    """In the shape of the routes that were asked."""
    if scope["path"].startswith("/v1/"):
        return platform_error(403, NO_KEYS)
    return JSONResponse({"detail": NO_KEYS}, 403)


async def _preflight(scope: Scope, send: Send) -> None:
    # A * would not cover Authorization, so the answer names the headers that were asked for.
    asked = header(scope, "access-control-request-headers").encode("latin-1")
    asked = asked if _HEADER_NAMES.fullmatch(asked) else b"*"
    headers = [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", asked),
        (b"access-control-max-age", b"86400"),
        (b"allow", _METHODS),
    ]
    if header(scope, "access-control-request-private-network") == "true":
        headers.append((b"access-control-allow-private-network", b"true"))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _aim(scope: Scope) -> JSONResponse | None:
    """Point the scope at the address in x-fal-target-url. Return a response when the contract forbids it, else None."""
    if scope["method"] not in ("GET", *_BODY_METHODS):
        return JSONResponse({"detail": "The proxy takes GET, POST and PUT."}, 405, {"Allow": "GET, POST, PUT"})
    target = header(scope, "x-fal-target-url")
    if not target:
        return JSONResponse({"detail": "The header x-fal-target-url is missing."}, 400)
    try:
        parts = urlsplit(target)
        host = (parts.hostname or "").lower()
    except ValueError:
        return JSONResponse({"detail": "The header x-fal-target-url is no address."}, 400)
    # No official name has other letters.
    if parts.scheme not in ("http", "https") or not host.isascii() or not ("." + host).endswith(OFFICIAL_HOSTS):
        return JSONResponse({"detail": "The header x-fal-target-url must lead to fal.run or fal.ai."}, 412)
    kind = header(scope, "content-type").split(";")[0].strip().lower()
    has_body = header(scope, "content-length") not in ("", "0") or header(scope, "transfer-encoding")
    if scope["method"] in _BODY_METHODS and has_body and kind != "application/json":
        return JSONResponse({"detail": "The proxy takes JSON only."}, 415)
    path = unquote(parts.path) or "/"
    if path.rstrip("/") == PROXY_PATH:
        return JSONResponse({"detail": "The header x-fal-target-url must not lead to the proxy."}, 400)
    _go_to(scope, path)
    scope["query_string"] = parts.query.encode()
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"host", b"x-fal-target-url")]
    scope["headers"] = [(b"host", host.encode("ascii")), *kept]
    return None


def _go_to(scope: Scope, path: str) -> None:
    scope["path"] = path
    scope["raw_path"] = path.encode()
