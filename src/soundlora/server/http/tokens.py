"""The server signs tokens and recognises them again. Anybody can read their content, but nobody can change it."""

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
    """Signs with one secret. Its tokens fit into URLs and headers."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    @classmethod
    async def of(cls, database: Database) -> Signer:
        """Return a signer with the secret of `database`, which all servers on it share. A missing secret is made."""
        return cls(await asyncio.to_thread(secret, database, _NAME, lambda: secrets.token_hex(32)))

    def sign(self, purpose: str, seconds: float, **content: Any) -> str:
        """Return a token that holds `content` and is good for `purpose` for `seconds` from now."""
        claim = {"purpose": purpose, "until": int(time.time() + seconds), **content}
        body = _text(json.dumps(claim, separators=(",", ":")).encode())
        return f"{body}.{self._mark(body)}"

    def read(self, purpose: str, token: str) -> dict[str, Any] | None:
        """Return the content of a token. It is None when the token is not ours, has another purpose, or has expired."""
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
