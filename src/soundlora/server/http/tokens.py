"""Tokens that this server gives out and knows again: what they say can be read by anybody and changed by nobody."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from typing import Any

from soundlora.server.store.database import Database
from soundlora.server.store.secrets import secret

_NAME = "uploads"


class Signer:
    """Signs with one secret. Tokens fit into URLs and headers."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    @classmethod
    async def of(cls, database: Database) -> Signer:
        """With the secret of `database`, made when it is missing; all servers on that database share it."""
        return cls(await asyncio.to_thread(secret, database, _NAME, lambda: secrets.token_hex(32)))

    def sign(self, purpose: str, seconds: float, **content: Any) -> str:
        """A token that holds `content` and is good for `purpose`, for so many seconds."""
        claim = {"purpose": purpose, "until": int(time.time() + seconds), **content}
        body = _text(json.dumps(claim, separators=(",", ":")).encode())
        return f"{body}.{self._mark(body)}"

    def read(self, purpose: str, token: str) -> dict[str, Any] | None:
        """The content of a token; None when it is not ours, is for something else, or its time is over."""
        body, _, mark = token.partition(".")
        if not hmac.compare_digest(mark.encode(), self._mark(body).encode()):
            return None
        try:
            claim: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (ValueError, binascii.Error):
            return None
        return claim if claim["purpose"] == purpose and claim["until"] >= time.time() else None

    def _mark(self, body: str) -> str:
        return _text(hmac.digest(self._key, body.encode(errors="replace"), hashlib.sha256))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
