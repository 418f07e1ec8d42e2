"""Connections that keep the server waiting, over real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from waiting import wait_until

from soundlora.net.guard import Networks
from soundlora.server.http.app import create_app
from soundlora.server.http.limits import ConnectionLimits, limited
from soundlora.server.settings import Settings

HEAD = b"POST /files/upload HTTP/1.1\r\nHost: localhost\r\n"


@dataclass
class Place:
    port: int
    limits: ConnectionLimits

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


Serve = Callable[[ConnectionLimits], Place]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def start(limits: ConnectionLimits) -> Place:
            app = create_app(Settings(data_dir=tmp_path / "data"), executor=False)
            config = uvicorn.Config(
                app, port=0, http=limited(limits), log_level="critical", timeout_graceful_shutdown=1
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            stack.callback(setattr, app.state.service, "closing", True)
            while not server.started:
                time.sleep(0.01)
            return Place(server.servers[0].sockets[0].getsockname()[1], limits)

        yield start


def drip(connection: socket.socket) -> None:
    """A byte now and then, until the server has closed the connection. Raises OSError then."""
    while True:
        connection.sendall(b"a")
        time.sleep(0.02)


def files_below(folder: Path) -> list[Path]:
    """Every file, while folders may vanish on the way."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def closed(connection: socket.socket) -> bytes:
    """What comes until the server closes; the socket's own time limit fails a test where it never does."""
    came = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            came += piece
    return came


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\n", HEAD, HEAD + b"Content-Type: a"])
def test_headers_that_do_not_end_are_not_waited_for(serve: Serve, sent: bytes) -> None:
    with serve(ConnectionLimits(header_seconds=0.2)).connect() as connection:
        connection.sendall(sent)
        assert closed(connection) == b""


def test_headers_that_drip_are_not_waited_for_either(serve: Serve) -> None:
    place = serve(ConnectionLimits(header_seconds=0.3))
    with place.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        with pytest.raises(OSError):  # noqa: PT011  (whichever of a closed connection's)
            drip(connection)


def test_a_body_that_stops_coming_is_not_waited_for_and_leaves_nothing(serve: Serve, tmp_path: Path) -> None:
    place = serve(ConnectionLimits(body_seconds=0.2))
    with place.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 100)
        assert b"200 OK" not in closed(connection)
    wait_until(lambda: not files_below(tmp_path / "data" / "files"))


def test_a_body_that_drips_is_not_waited_for_for_ever(serve: Serve) -> None:
    place = serve(ConnectionLimits(body_seconds=0.3, body_rate=1000))
    with place.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
        with pytest.raises(OSError):  # noqa: PT011  (whichever of a closed connection's)
            drip(connection)


def test_a_slow_but_steady_body_comes_through(serve: Serve) -> None:
    """Longer than the limits' own seconds, but never silent for so long, and quick enough on the whole."""
    place = serve(ConnectionLimits(header_seconds=0.5, body_seconds=0.5, body_rate=100))
    with place.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 2000\r\nConnection: close\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"x" * 100)
            time.sleep(0.05)
        answer = closed(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"access_url" in answer


def test_a_second_request_on_a_connection_is_limited_as_the_first(serve: Serve) -> None:
    with serve(ConnectionLimits(header_seconds=0.3)).connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: loc")
        assert closed(connection) == b""


def test_one_address_has_so_many_connections_and_no_more(serve: Serve) -> None:
    place = serve(ConnectionLimits(per_address=3))
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(place.connect()) for _ in range(3)]
        assert closed(stack.enter_context(place.connect())) == b""
        for connection in first:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        first[0].close()
        wait_until(lambda: place.limits.open["127.0.0.1"] <= 2)
        again = stack.enter_context(place.connect())
        again.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert again.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_proxy_brings_as_many_as_it_likes(serve: Serve) -> None:
    place = serve(ConnectionLimits(per_address=1, proxies=Networks(("127.0.0.1",))))
    with contextlib.ExitStack() as stack:
        for connection in [stack.enter_context(place.connect()) for _ in range(5)]:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_four_hundred_half_sent_requests_are_let_go_of(serve: Serve) -> None:
    place = serve(ConnectionLimits(header_seconds=0.5))
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(place.connect()) for _ in range(400)]
        for connection in held:
            connection.sendall(HEAD)
        assert all(closed(connection) == b"" for connection in held)
    wait_until(lambda: not place.limits.open)


def test_a_stream_of_events_may_last_as_long_as_it_likes(serve: Serve) -> None:
    """What the server sends has no limit of time: only what it waits for has."""
    place = serve(ConnectionLimits(header_seconds=0.2, body_seconds=0.2))
    body = b'{"prompt": "rain"}'
    with place.connect() as connection:
        head = b"POST /run/fal-ai/ltx-2.3-quality/text-to-audio HTTP/1.1\r\nHost: localhost\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        connection.settimeout(1.0)
        with pytest.raises(TimeoutError):  # it waits for a result that nobody makes, and is not closed
            connection.recv(1)
