"""A web proxy on this machine: it notes what it is asked for, and leads everything to a server of the test."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from local_http import QuietHandler, answering


@dataclass
class ProxyServer:
    """`to`: host and port where every request ends. `refused`: targets of CONNECT that it doesn't open."""

    url: str = ""
    to: tuple[str, int] = ("127.0.0.1", 9)
    refused: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)  # (method, target)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def proxying() -> Iterator[ProxyServer]:
    state = ProxyServer()

    class Handler(QuietHandler):
        def do_CONNECT(self) -> None:  # noqa: N802
            self._note()
            if self.path in state.refused:
                self.send_error(403)
                return
            with socket.create_connection(state.to, timeout=10) as far:
                self.send_response(200)
                self.end_headers()
                _exchange(self.connection, far)
            self.close_connection = True

        def do_GET(self) -> None:  # noqa: N802
            self._forward()

        def do_POST(self) -> None:  # noqa: N802
            self._forward()

        def _note(self) -> None:
            state.asked.append((self.command, self.path))
            state.headers.append(dict(self.headers))

        def _forward(self) -> None:
            self._note()
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = "/" + self.path.split("/", 3)[3]
            with contextlib.closing(http.client.HTTPConnection(*state.to, timeout=10)) as far:
                far.request(self.command, path, body or None, dict(self.headers))
                answer = far.getresponse()
                content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    with answering(Handler) as state.url:
        yield state


def _exchange(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on in both directions until an end is closed."""
    ends = {one: other, other: one}
    while True:
        for end in select.select(list(ends), [], [], 10)[0]:
            piece = end.recv(65536)
            if not piece:
                return
            ends[end].sendall(piece)
