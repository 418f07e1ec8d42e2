"""The server signs every webhook with ED25519. It makes the key once."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from soundlora.server.store.database import Database
from soundlora.server.store.secrets import secret

NOBODY = "anonymous"
"""The user id of webhooks where the server has no keys. Receivers require one that isn't empty."""


class Signer:
    def __init__(self, database: Database) -> None:
        """Take the signing key of `database`. The first call makes it."""
        text = secret(database, "webhook_ed25519", _new_key)
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(text))

    def headers(self, request_id: str, key_id: str, body: bytes, now: int) -> dict[str, str]:
        """Return the headers that sign `body`. `now` is in seconds since 1970."""
        user_id = key_id or NOBODY
        message = "\n".join([request_id, user_id, str(now), hashlib.sha256(body).hexdigest()])
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": user_id,
            "X-Fal-Webhook-Timestamp": str(now),
            "X-Fal-Webhook-Signature": self._key.sign(message.encode()).hex(),
        }

    def jwks(self) -> dict[str, Any]:
        """Return the public half of the key as the JWKS that receivers fetch."""
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        # JWKS elsewhere have no padding. The documented way to check webhooks decodes only a padded one.
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(raw).decode()}]}


def _new_key() -> str:
    return base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()
