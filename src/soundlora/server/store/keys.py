"""Keys that let clients in. The table has their hashes only: a secret is shown once, when it is made."""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from dataclasses import dataclass

import sqlalchemy as sa

from soundlora.errors import InputError
from soundlora.server.store.database import Database
from soundlora.server.store.tables import keys

_NAME_CHARACTERS = 200


@dataclass(frozen=True)
class Key:
    """A row of the table. max_queue: requests of this key that may wait, 0 takes the server's limit."""

    id: str
    name: str
    hash: str
    created_at: float
    revoked_at: float | None
    max_queue: int


class Keys:
    """The keys of `database`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, name: str, max_queue: int = 0) -> tuple[Key, str]:
        """A new key and its secret, `id:random` as the official clients know keys. Raises InputError for the name."""
        if not name.strip() or len(name) > _NAME_CHARACTERS:
            raise InputError(f"The name of a key must have 1 to {_NAME_CHARACTERS} characters.")
        id = str(uuid.uuid4())
        secret = f"{id}:{secrets.token_hex(24)}"
        key = Key(id, name.strip(), hash_of(secret), time.time(), None, max_queue)
        with self.database.write() as connection:
            connection.execute(sa.insert(keys).values(vars(key)))
        return key, secret

    def list(self) -> list[Key]:
        """All that were ever made, the oldest first."""
        with self.database.read() as connection:
            rows = connection.execute(sa.select(*keys.c).order_by(keys.c.created_at, keys.c.id))
            return [Key(*row) for row in rows]

    def revoke(self, id: str) -> None:
        """Let nobody in with this key from now on. Raises InputError when there is none of that id, or it is over."""
        with self.database.write() as connection:
            changed = connection.execute(
                sa.update(keys).where(keys.c.id == id, keys.c.revoked_at.is_(None)).values(revoked_at=time.time())
            ).rowcount
        if not changed:
            raise InputError(f"There is no valid key {id}; soundlora keys list shows them.")


def hash_of(secret: str) -> str:
    """SHA-256 is enough for what is 192 random bits."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
