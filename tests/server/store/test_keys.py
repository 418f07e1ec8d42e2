"""Keys: shown once, kept as hashes, over when revoked."""

import pytest
import sqlalchemy as sa

from soundlora.errors import InputError
from soundlora.server.store.database import Database
from soundlora.server.store.keys import Keys, hash_of
from soundlora.server.store.tables import keys as table


def test_the_table_never_holds_a_secret(database: Database) -> None:
    key, secret = Keys(database).create(" Ann ", max_queue=3)
    with database.read() as connection:
        (row,) = connection.execute(sa.select(table))
    assert (row.name, row.max_queue, row.revoked_at) == ("Ann", 3, None)
    assert row.hash == hash_of(secret) == key.hash
    assert secret.startswith(f"{key.id}:")
    assert secret.partition(":")[2] not in str(tuple(row))


def test_every_secret_is_another(database: Database) -> None:
    keys = Keys(database)
    assert len({keys.create("same name")[1] for _ in range(5)}) == 5
    assert len({key.id for key in keys.list()}) == 5


def test_a_revoked_key_stays_in_the_list(database: Database) -> None:
    keys = Keys(database)
    first, _ = keys.create("first")
    second, _ = keys.create("second")
    keys.revoke(first.id)
    listed = {key.name: key.revoked_at for key in keys.list()}
    assert listed["first"] is not None
    assert listed["second"] is None
    with pytest.raises(InputError, match="no valid key"):
        keys.revoke(first.id)
    with pytest.raises(InputError, match="nobody"):
        keys.revoke("nobody")
    assert second.revoked_at is None


@pytest.mark.parametrize("name", ["", "  ", "x" * 201])
def test_a_key_needs_a_name(database: Database, name: str) -> None:
    with pytest.raises(InputError, match="name of a key"):
        Keys(database).create(name)
