"""Keys let clients use the server. The table holds their hashes only: a secret is shown once, when it is made."""

from __future__ import annotations

import hashlib
import math
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from soundlora.errors import InputError
from soundlora.server.store.database import Database
from soundlora.server.store.tables import keys

_NAME_CHARACTERS = 200
_NO_KEY = "There is no valid key {id}; soundlora keys list shows them."


@dataclass(frozen=True)
class Key:
    """A row of the table.

    `max_queue` is the number of its requests that may wait; 0 takes the server's limit, and -1 is without limit.
    `max_running` of them may run, and they may cost `budget` units a month; None takes the server's limit, and 0 is
    without limit. `weight` is that of its share of the slots beside other keys.
    """

    id: str
    name: str
    hash: str
    created_at: float
    revoked_at: float | None
    max_queue: int
    max_running: int | None = None
    budget: int | None = None
    weight: float = 1.0


class Keys:
    """The keys of `database`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, name: str, max_queue: int = 0) -> tuple[Key, str]:
        """Return a new key and its secret, which has the form `id:random` of the official clients.

        Raises InputError for an unusable name.
        """
        if not name.strip() or len(name) > _NAME_CHARACTERS:
            raise InputError(f"The name of a key must have 1 to {_NAME_CHARACTERS} characters.")
        id = str(uuid.uuid4())
        secret = f"{id}:{secrets.token_hex(24)}"
        key = Key(id, name.strip(), hash_of(secret), time.time(), None, max_queue)
        with self.database.write() as connection:
            connection.execute(sa.insert(keys).values(vars(key)))
        return key, secret

    def list(self) -> list[Key]:
        """Return all keys that were ever made, the oldest first."""
        with self.database.read() as connection:
            rows = connection.execute(sa.select(*keys.c).order_by(keys.c.created_at, keys.c.id))
            return [Key(*row) for row in rows]

    def change(self, id: str, changes: Mapping[str, Any]) -> Key:
        """Change the limits of a key that are named in `changes`, and no others, and return the key.

        They hold within a second. Raises InputError when the id is unknown or its key is revoked.
        """
        if not 0 < changes.get("weight", 1.0) < math.inf:
            raise InputError("The weight of a key must be above 0, and a number.")
        with self.database.write() as connection:
            mine = sa.and_(keys.c.id == id, keys.c.revoked_at.is_(None))
            if changes:
                connection.execute(sa.update(keys).where(mine).values(**changes))
            row = connection.execute(sa.select(*keys.c).where(mine)).one_or_none()
        if row is None:
            raise InputError(_NO_KEY.format(id=id))
        return Key(*row)

    def find(self, id: str) -> Key | None:
        """Return a key, a revoked one too."""
        with self.database.read() as connection:
            row = connection.execute(sa.select(*keys.c).where(keys.c.id == id)).one_or_none()
        return None if row is None else Key(*row)

    def revoke(self, id: str) -> None:
        """Revoke a key from now on. Raises InputError when the id is unknown or its key is already revoked."""
        with self.database.write() as connection:
            changed = connection.execute(
                sa.update(keys).where(keys.c.id == id, keys.c.revoked_at.is_(None)).values(revoked_at=time.time())
            ).rowcount
        if not changed:
            raise InputError(_NO_KEY.format(id=id))


def hash_of(secret: str) -> str:
    """Return the SHA-256 of a secret. This hash is enough, because a secret has 192 random bits."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
