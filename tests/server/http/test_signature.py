"""The signature under webhooks."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from webhook_receiver import verify

from soundlora.server.http.signature import Signer
from soundlora.server.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    database.migrate()
    yield database
    database.close()


def test_the_documented_check_accepts_it_and_nothing_else(database: Database) -> None:
    signer = Signer(database)
    body = b'{"status": "OK"}'
    headers = signer.headers("r", "k", body, now=1_800_000_000)
    keys = signer.jwks()["keys"]

    assert verify(headers, body, keys, now=1_800_000_300)
    assert not verify(headers, body, keys, now=1_800_000_301)
    assert not verify(headers, body + b" ", keys, now=1_800_000_000)
    for name in headers:
        other = headers | {name: "0" * 128 if name.endswith("Signature") else "1799999999"}
        assert not verify(other, body, keys, now=1_800_000_000), name


def test_the_key_is_kept_and_padded(database: Database) -> None:
    (key,) = Signer(database).jwks()["keys"]

    assert Signer(database).jwks()["keys"] == [key]
    assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
    # Decoded as the documented sample does it, which adds no padding.
    assert len(base64.urlsafe_b64decode(key["x"])) == 32
    assert key["x"].endswith("=")


def test_without_keys_the_user_has_a_name(database: Database) -> None:
    assert Signer(database).headers("r", "", b"", now=0)["X-Fal-Webhook-User-Id"] == "anonymous"
