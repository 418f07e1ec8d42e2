"""A receiver of webhooks, which checks them as the hosted service's documentation tells its users to."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from local_http import QuietHandler, answering

TOLERANCE_SECONDS = 300


def verify(headers: Mapping[str, str], body: bytes, keys: Sequence[Mapping[str, str]], now: float) -> bool:
    """The four headers, a timestamp that is not too far off, and the signature by any of the published keys."""
    names = ("Request-Id", "User-Id", "Timestamp", "Signature")
    request_id, user_id, timestamp, signature = (headers.get(f"X-Fal-Webhook-{name}", "") for name in names)
    if not (request_id and user_id and timestamp and signature):
        return False
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    message = "\n".join([request_id, user_id, timestamp, hashlib.sha256(body).hexdigest()]).encode()
    for key in keys:
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"]))
        with contextlib.suppress(InvalidSignature):
            public.verify(bytes.fromhex(signature), message)
            return True
    return False


@dataclass
class Received:
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.time)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`statuses` of its next answers, 200 after them. `before`: what happens before it answers."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    location: str = ""
    before: Callable[[BaseHTTPRequestHandler], None] = lambda handler: None
    received: list[Received] = field(default_factory=list)

    def wait(self, count: int, seconds: float = 20.0) -> list[Received]:
        """What arrived, when it is as many as that."""
        deadline = time.monotonic() + seconds
        while len(self.received) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.received) == count, f"{len(self.received)} webhooks came, not {count}"
        return self.received


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.received.append(Received(dict(self.headers), body))
            state.before(self)
            self.send_response(state.statuses.pop(0) if state.statuses else 200)
            if state.location:
                self.send_header("Location", state.location)
            self.end_headers()

    with answering(Handler) as url:
        state.url = f"{url}/hook"
        yield state
