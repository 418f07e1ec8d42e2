"""The signature under every webhook: ED25519, by a key that this server made once."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from soundlora.server.store.database import Database
from soundlora.server.store.secrets import secret

NOBODY = "anonymous"
"""The user id of webhooks where the server has no keys; receivers want one that isn't empty."""


class Signer:
    def __init__(self, database: Database) -> None:
        """With the key of `database`, which is made now if this is the first time."""
        text = secret(database, "webhook_ed25519", _new_key)
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(text))

    def headers(self, request_id: str, key_id: str, body: bytes, now: int) -> dict[str, str]:
        """What to send along with `body`; `now` is in seconds since 1970."""
        user_id = key_id or NOBODY
        message = "\n".join([request_id, user_id, str(now), hashlib.sha256(body).hexdigest()])
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": user_id,
            "X-Fal-Webhook-Timestamp": str(now),
            "X-Fal-Webhook-Signature": self._key.sign(message.encode()).hex(),
        }

    def jwks(self) -> dict[str, Any]:
        """The public half, as receivers fetch it."""
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        # Padded, which JWKS isn't elsewhere: the documented way to check it decodes nothing else.
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(raw).decode()}]}


def _new_key() -> str:
    return base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()
