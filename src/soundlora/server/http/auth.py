"""A caller is the holder of a key, or anybody on this machine where no key was ever made."""

from __future__ import annotations

import asyncio
import hmac
import time
from dataclasses import dataclass

import sqlalchemy as sa
from fastapi import HTTPException, Request
from starlette.types import Scope

from soundlora.server.http.headers import header
from soundlora.server.http.local import LocalCalls
from soundlora.server.settings import Settings
from soundlora.server.store.keys import Key, Keys, hash_of

_FRESH_SECONDS = 1.0
"""Another process may have revoked a key. The key still works for up to this long."""


NO_KEYS = (
    "This server has no keys, so it answers programs and pages of its own machine only; make a key with soundlora keys "
    "create NAME."
)


@dataclass(frozen=True)
class Caller:
    """The owner of requests and files. On a server without keys everybody has the `key_id` "", and no `key`."""

    key_id: str
    name: str
    key: Key | None = None


class Authenticator:
    """Tells callers by their keys. It reads the table of keys once a second at most."""

    def __init__(self, keys: Keys, settings: Settings) -> None:
        self._keys, self._settings = keys, settings
        self._local = LocalCalls(settings.public_url)
        self._by_hash: dict[str, Key] = {}
        self._read_at = -_FRESH_SECONDS
        self._reading: asyncio.Task[None] | None = None

    async def caller(self, request: Request) -> Caller:
        """Return who sent the request. Raises HTTPException 401 or 403 for somebody who may not use the server."""
        await self._refresh()
        authorization = header(request.scope, "authorization")
        if self._by_hash:
            return self._holder(authorization)
        return Caller("", "anonymous")  # `turns_away` has let only those in who may

    async def welcomes(self, key_id: str) -> bool:
        """Return whether a token of this `key_id` is still good. One without a key is good until a key is made."""
        await self._refresh()
        keys = self._by_hash.values()
        return any(key.id == key_id and key.revoked_at is None for key in keys) if keys else key_id == ""

    async def _refresh(self) -> None:
        wanted = time.monotonic() - _FRESH_SECONDS  # A moving limit would ask a slow table for ever.
        while self._read_at <= wanted:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.ensure_future(asyncio.to_thread(self._read))
            await asyncio.shield(self._reading)

    def _read(self) -> None:
        # Revoked keys count too. Revoking the last key must not let everybody in.
        started = time.monotonic()
        self._by_hash = {key.hash: key for key in self._keys.list()}
        self._read_at = started

    def _holder(self, authorization: str) -> Caller:
        scheme, _, secret = authorization.partition(" ")
        if not secret or scheme.lower() not in ("key", "bearer"):
            raise HTTPException(
                401,
                "This server needs a key: send the header Authorization: Key followed by it.",
                {"WWW-Authenticate": "Key"},
            )
        wanted = hash_of(secret.strip())
        key = self._by_hash.get(wanted)
        if key is None or key.revoked_at is not None or not hmac.compare_digest(key.hash, wanted):
            raise HTTPException(401, "The key is unknown, or it was revoked.", {"WWW-Authenticate": "Key"})
        return Caller(key.id, key.name, key)

    async def turns_away(self, scope: Scope) -> bool:
        """Whether a call is refused whatever it asks: while there are no keys, only this machine may ask."""
        local = self._settings.allow_anonymous or scope in self._local
        try:
            await self._refresh()
        except sa.exc.OperationalError:
            if not local:
                raise
        return not self._by_hash and not local

    @property
    def anonymous_allowed(self) -> bool:
        """Whether the operator lets everybody in as long as there is no key."""
        return self._settings.allow_anonymous

    @property
    def has_keys(self) -> bool:
        """Whether a key was ever made; as of the last call."""
        return bool(self._by_hash)
