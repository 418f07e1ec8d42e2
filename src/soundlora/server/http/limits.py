"""What one connection may take of the server: how long it may be silent, how slow it may be, how many an address has.

A client that sends half a request and waits costs it nothing, and costs the server a place. These limits stand in the
server itself, for not every server has a proxy before it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from soundlora.net.guard import Networks


@dataclass
class ConnectionLimits:
    """Limits of a server, and what its connections take of them now.

    header_seconds: from the first byte of a request, or the connection, to the end of its headers. body_seconds: the
    longest silence within a body, and its time in all beside a second for every `body_rate` bytes that have come.
    per_address: connections of one address at a time, 0 for any number; proxies have no such limit.
    """

    header_seconds: float = 10.0
    body_seconds: float = 30.0
    body_rate: int = 1024
    per_address: int = 512
    proxies: Networks = field(default_factory=lambda: Networks(()))
    open: Counter[str] = field(default_factory=Counter)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's own protocol within `limits`; a connection that goes beyond them is closed."""

    limits: ConnectionLimits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._timer: asyncio.TimerHandle | None = None
        self._peer = self.client[0] if self.client else ""
        self._received, self._body_began = 0, 0.0
        self.limits.open[self._peer] += 1
        most = self.limits.per_address
        if most and self.limits.open[self._peer] > most and self._peer not in self.limits.proxies:
            self.transport.abort()
        else:
            self._allow(self.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        self.limits.open[self._peer] -= 1
        if not self.limits.open[self._peer]:
            del self.limits.open[self._peer]
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._allow(self.limits.header_seconds)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._received, self._body_began = 0, self.loop.time()
        self._allow(self.limits.body_seconds)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._received += len(body)
        over = self._body_began + self.limits.body_seconds + self._received / self.limits.body_rate
        self._allow(min(self.limits.body_seconds, max(0.0, over - self.loop.time())))

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._rest()  # what follows is the answer, and then uvicorn's own limit of idle connections

    def _allow(self, seconds: float) -> None:
        """Close the connection unless it comes further by then."""
        self._rest()
        self._timer = self.loop.call_later(seconds, self._expire)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        if self.flow.read_paused:  # the server is behind, and not the client
            self._body_began += self.limits.body_seconds
            self._allow(self.limits.body_seconds)
        else:
            self.transport.abort()


def limited(limits: ConnectionLimits) -> type[LimitedProtocol]:
    """The protocol for a server with these limits."""
    members: dict[str, Any] = {"limits": limits}
    return type("LimitedProtocol", (LimitedProtocol,), members)
