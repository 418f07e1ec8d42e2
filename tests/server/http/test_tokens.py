from __future__ import annotations

import asyncio
import time

import pytest

from soundlora.server.http import tokens
from soundlora.server.http.state import Service
from soundlora.server.http.tokens import Signer


def test_a_token_tells_what_was_signed() -> None:
    signer = Signer("secret")
    claim = signer.read("upload", signer.sign("upload", 60, file="f", lifetime=None))
    assert claim is not None
    assert (claim["file"], claim["lifetime"]) == ("f", None)


def test_a_token_is_good_for_its_purpose_and_its_time_and_from_its_signer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer("secret")
    token = signer.sign("upload", 60, file="f")
    assert signer.read("token", token) is None
    assert Signer("other").read("upload", token) is None
    monkeypatch.setattr(tokens, "time", type("Later", (), {"time": staticmethod(lambda: time.time() + 62)}))
    assert signer.read("upload", token) is None


@pytest.mark.parametrize("wrong", ["", ".", "a.b", "é.ü", "\ud800", "x" * 10_000])
def test_nonsense_is_no_token(wrong: str) -> None:
    assert Signer("secret").read("upload", wrong) is None


def test_a_changed_token_is_refused() -> None:
    signer = Signer("secret")
    body, _, mark = signer.sign("upload", 60, file="f").partition(".")
    other, _, _ = signer.sign("upload", 60, file="g").partition(".")
    assert signer.read("upload", f"{other}.{mark}") is None
    assert signer.read("upload", f"{body}.{mark[:-1]}") is None


def test_servers_on_one_database_share_the_secret(service: Service) -> None:
    first, second = (asyncio.run(Signer.of(service.database)) for _ in range(2))
    assert second.read("upload", first.sign("upload", 60)) is not None
