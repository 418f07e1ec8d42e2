"""What the guard decides by itself; attacks on it are in tests/attacks."""

from __future__ import annotations

import httpx2
import pytest

from soundlora.net.addresses import public_name, shown
from soundlora.net.guard import guarded_client


@pytest.mark.parametrize("url", ["ws://127.0.0.1/x", "wss://127.0.0.1/x"])
def test_kinds_that_the_library_would_open_are_refused(url: str) -> None:
    with guarded_client(("*",)) as client, pytest.raises(httpx2.UnsupportedProtocol, match="another kind"):
        client.get(url)


@pytest.mark.parametrize("port", [65536, 99999])
def test_a_port_that_there_is_not_is_refused(port: int) -> None:
    with guarded_client(("*",)) as client, pytest.raises(httpx2.InvalidURL, match=f"no port {port}"):
        client.get(f"http://127.0.0.1:{port}/x")


def test_what_is_no_address_can_be_named_all_the_same() -> None:
    assert public_name("http://[") == "http://["
    assert shown("http://user:secret@[/x?signature=1#y") == "[/x"
