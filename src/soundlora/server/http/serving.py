"""This module runs uvicorn, from the open port to the last answer."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from soundlora.errors import InputError
from soundlora.net.guard import Networks
from soundlora.server.http.limits import ConnectionLimits, limited
from soundlora.server.http.state import Service
from soundlora.system.operating_system import STOP_SIGNALS

_KEEP_ALIVE_SECONDS = 65
"""This is longer than the usual pause between two polls of a client or of a reverse proxy."""
_PATIENCE_SECONDS = 10
"""Answers that are under way when the server is stopped may take this long."""
_BACKLOG = 2048
_FULL_COLLECTIONS = 1000
"""A full collection of garbage comes after so many smaller ones, instead of Python's 10."""


def open_port(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the port; 0 takes a free one.

    Raises InputError when the port is taken, or the host is no address of this machine.
    """
    opened = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
        if os.name != "nt":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(_BACKLOG)
    except OSError as error:
        if opened is not None:
            opened.close()
        raise InputError(
            f"The server can't listen on {host} port {port} ({error.strerror}); choose others with --host and --port."
        ) from None
    return opened


def serve(
    app: FastAPI, opened: socket.socket, on_ready: Callable[[], None], limits: ConnectionLimits | None = None
) -> None:
    """Answer until Ctrl-C or SIGTERM; a second one doesn't wait for answers under way. Raises SystemExit on failure.

    limits: of connections; None takes those of the app's settings.
    """
    if limits is None:
        settings = app.state.service.settings
        proxies = Networks(settings.trusted_proxies)
        limits = ConnectionLimits(per_address=settings.max_connections, proxies=proxies)
    config = uvicorn.Config(
        app,
        http=limited(limits),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        proxy_headers=False,  # whom to believe is a setting, see EdgeMiddleware
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_PATIENCE_SECONDS,
    )
    # uvicorn raises the signal again after it has ended. All is in order by then, so the signal is ignored.
    server = _Server(config, app.state.service, on_ready)
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores some
            signal.signal(number, server.stop)
    server.run(sockets=[opened])
    if not server.started:
        sys.exit(1)


class _Server(uvicorn.Server):
    """Calls `on_ready` when it is ready. It tells streams and waiting calls to end before it waits for them."""

    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._on_ready = service, on_ready

    async def startup(self, *arguments: Any, **named: Any) -> None:
        await super().startup(*arguments, **named)
        if self.started:
            _collect_rarely()
            self._on_ready()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """End as Ctrl-C does. It is called for the signals that uvicorn knows nothing of, such as SIGHUP."""
        if not self.should_exit:
            self.handle_exit(signal.SIGTERM, frame)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.closing = True
        if self.should_exit:
            # An impatient second one cuts answers off, and uvicorn would show where with tracebacks.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        super().handle_exit(sig, frame)


def _collect_rarely() -> None:
    """Let full collections of garbage be rare, and leave out of them what is there now.

    Thousands of open streams are hundreds of thousands of objects. To look through them takes a quarter of a second, in
    which nobody is answered, and finds a hundred that are garbage: what is said to clients refers to itself nowhere.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _FULL_COLLECTIONS)
