"""A web server on this machine that sends files by byte ranges, and misbehaves as it is told."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

from local_http import QuietHandler, answering


class Asked(NamedTuple):
    """A request as it arrived."""

    path: str
    start: int | None  # of the range, None without one
    end: int | None
    authorization: str | None


@dataclass
class FileServer:
    """`files` by path; everything else says how to misbehave."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)  # more of them, by path
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # of the next answers
    refused: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)  # without the token, by path
    token: str = "secret"
    ranges: bool = True
    etags: bool = True
    drops: list[int] = field(default_factory=list)  # bytes after which the next answers with more than that break off
    on_drop: Callable[[], None] = lambda: None  # before the connection is closed
    on_answer: Callable[[Asked], None] = lambda asked: None
    waits: list[float] = field(default_factory=list)  # seconds that the client would have slept
    asked: list[Asked] = field(default_factory=list)

    @property
    def data(self) -> list[tuple[int, int]]:
        """Ranges that were asked for, but for the first bytes of files."""
        return [(a.start, a.end) for a in self.asked if a.start is not None and a.end is not None and a.end > 8]


@contextlib.contextmanager
def serving(files: dict[str, bytes] | None = None) -> Iterator[FileServer]:
    state = FileServer(files=dict(files or {}))

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802
            _answer(state, self)

    with answering(Handler) as state.url:
        yield state


def _answer(state: FileServer, handler: BaseHTTPRequestHandler) -> None:
    path = handler.path.partition("?")[0]
    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
    start, end = (int(wanted[1]), int(wanted[2]) + 1) if wanted else (None, None)
    asked = Asked(handler.path, start, end, handler.headers.get("Authorization"))
    state.asked.append(asked)
    state.on_answer(asked)
    more = state.headers.get(path, {})
    if state.statuses:
        return _send(handler, *state.statuses.pop(0))
    if path in state.refused and asked.authorization != f"Bearer {state.token}":
        return _send(handler, *state.refused[path])
    if path in state.redirects:
        return _send(handler, 302, {"Location": state.redirects[path], **more})
    if path not in state.files:
        return _send(handler, 404, more)
    content = state.files[path]
    headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"'} if state.etags else {}
    if not state.ranges or start is None or end is None:
        return _send(handler, 200, headers | more, content)
    if start >= len(content):
        return _send(handler, 416, {"Content-Range": f"bytes */{len(content)}"})
    end = min(end, len(content))
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
    cut = state.drops.pop(0) if state.drops and end - start > state.drops[0] else None
    _send(handler, 206, headers | more, content[start:end], cut)
    if cut is not None:
        state.on_drop()


def _send(
    handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes = b"", cut: int | None = None
) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[:cut])
    if cut is not None:
        handler.close_connection = True
