"""Who is let in by a server without keys: every kind of connection, Host, Origin and forwarding, by every method."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from soundlora.server.endpoints import TRAINING
from soundlora.server.http.app import create_app
from soundlora.server.http.local import LocalCalls
from soundlora.server.settings import Settings

OWN_HOSTS = [
    "localhost",
    "localhost:8420",
    "LOCALHOST",
    "localhost.",
    "studio.localhost",
    "127.0.0.1:8420",
    "127.9.9.9",
    "[::1]:8420",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "192.168.1.5:8420",
    "queue.fal.run",
    "sound.example",
]
STRANGE_HOSTS = [
    "evil.example",
    "evil.example:8420",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "ai",
    "router",
    "evil.fal.run.example",
    "notfal.run",
    "2130706433",
    "0x7f.1",
    "user@localhost",
    "localhost/",
    "localhost:x",
    "",
]
OWN_ORIGINS = [
    "http://localhost:3000",
    "https://localhost",
    "http://127.0.0.1:5173",
    "http://[::1]:3000",
    "http://app.localhost",
    "https://sound.example",
]
STRANGE_ORIGINS = [
    "https://evil.example",
    "http://ai",
    "http://2130706433",
    "http://0x7f000001",
    "http://192.168.1.9",
    "http://203.0.113.5",
    "chrome-extension://abcdefghijklmnop",
    "file://",
    "null",
    "localhost",
    "http://localhost.evil.example",
    "http://localhost@evil.example",
    "http://evil.example/localhost",
    "ftp://localhost",
    "",
]
FORWARDINGS: list[dict[str, str]] = [
    {},
    {"X-Forwarded-Host": "localhost"},
    {"X-Forwarded-Host": "127.0.0.1:8420", "X-Forwarded-Proto": "http"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"Forwarded": "for=127.0.0.1;host=localhost;proto=http"},
    {"X-Forwarded-Host": "evil.example"},
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
TYPES = ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
CALLS = LocalCalls("https://sound.example/")


def scope(host: str, origin: str | None = None, peer: str = "127.0.0.1", **more: str) -> dict[str, object]:
    headers = [("host", host), *more.items()] + ([] if origin is None else [("origin", origin)])
    return {
        "type": "http",
        "client": (peer, 5000),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_names_and_addresses_of_this_machine_are_its_own(host: str) -> None:
    assert scope(host) in CALLS


@pytest.mark.parametrize("host", STRANGE_HOSTS)
def test_other_names_may_lead_here_and_are_refused(host: str) -> None:
    assert scope(host) not in CALLS


@pytest.mark.parametrize("origin", OWN_ORIGINS)
def test_pages_of_this_machine_may_ask(origin: str) -> None:
    assert scope("localhost:8420", origin) in CALLS


@pytest.mark.parametrize("origin", STRANGE_ORIGINS)
def test_pages_from_elsewhere_may_not(origin: str) -> None:
    assert scope("localhost:8420", origin) not in CALLS


def test_the_servers_own_page_may_ask_under_the_address_it_was_served_from() -> None:
    assert scope("192.168.1.5:8420", "http://192.168.1.5:8420") in CALLS
    assert scope("192.168.1.5:8420", "http://192.168.1.5:80") not in CALLS
    assert scope("192.168.1.5", "https://192.168.1.5:443") in CALLS
    assert scope("evil.example", "http://evil.example") not in CALLS


@pytest.mark.parametrize("peer", ["192.168.1.7", "203.0.113.9", "::ffff:10.0.0.1", "fe80::1"])
def test_other_machines_are_refused_whatever_they_write(peer: str) -> None:
    assert scope("localhost", peer=peer) not in CALLS
    assert scope("localhost", peer=peer, **{"x-forwarded-for": "127.0.0.1"}) not in CALLS


def test_what_was_forwarded_for_another_machine_is_refused() -> None:
    assert scope("localhost", **{"x-forwarded-for": "203.0.113.9"}) not in CALLS
    assert scope("localhost", **{"x-forwarded-for": "127.0.0.1, 203.0.113.9"}) not in CALLS


def test_two_hosts_or_origins_are_one_too_many() -> None:
    twice = scope("localhost")
    assert {**twice, "headers": [(b"host", b"localhost"), (b"host", b"localhost")]} not in CALLS
    origins = [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"origin", b"http://localhost")]
    assert {**twice, "headers": origins} not in CALLS


# ----------------------------------------------------------------------------------------------------------------------
# through the whole server


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("door"), public_url="https://sound.example")
    app = create_app(settings, executor=False)
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5000), raise_server_exceptions=False) as client:
        yield client


PATHS = [f"/{TRAINING}", "/v1/runs", "/", "/health", "/files/upload", "/api/fal/proxy", "/openapi.json"]


@pytest.mark.parametrize("method", METHODS)
def test_the_whole_matrix(door: TestClient, method: str) -> None:
    """Host × Origin × forwarding × content type × path: forwarding and content type make no difference."""
    hosts = [(host, True) for host in OWN_HOSTS[::4]] + [(host, False) for host in STRANGE_HOSTS[:5:2]]
    origins: list[tuple[str | None, bool]] = [(None, True), (OWN_ORIGINS[0], True), (STRANGE_ORIGINS[0], False)]
    origins += [(origin, False) for origin in ("http://ai", "http://2130706433", "chrome-extension://abc")]
    for (host, known), (origin, own), forwarding, kind, path in itertools.product(
        hosts, origins, FORWARDINGS, TYPES[:2], PATHS[:3]
    ):
        headers = {"Host": host, "Content-Type": kind, **forwarding} | ({} if origin is None else {"Origin": origin})
        answer = door.request(method, path, headers=headers)
        said = (method, path, host, origin, forwarding, kind)
        assert (answer.status_code == 403) == (not (known and own)), said
        if answer.status_code == 403:
            assert "access-control-allow-origin" not in answer.headers, said
        else:
            assert answer.headers.get("access-control-allow-origin") == origin, said


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", TYPES)
def test_no_route_and_no_content_type_is_left_open(door: TestClient, path: str, kind: str) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        for method in METHODS:
            answer = door.request(
                method, path, headers=headers | {"Content-Type": kind, "X-Forwarded-Host": "localhost"}
            )
            assert answer.status_code == 403


def test_the_platforms_routes_refuse_in_their_own_shape(door: TestClient) -> None:
    error = door.get("/v1/runs", headers={"Host": "evil.example"}).json()["error"]
    assert error["type"] == "authorization_error"
    assert "soundlora keys create" in error["message"]


def test_with_keys_names_and_pages_make_no_difference(settings: Settings) -> None:
    app = create_app(settings, executor=False)
    with TestClient(app, "http://localhost", client=("203.0.113.9", 5000)) as client:
        _, secret = app.state.service.keys.create("me")
        headers = {"Host": "evil.example", "Origin": "https://studio.example", "Authorization": f"Key {secret}"}
        assert client.get("/v1/runs", headers=headers).status_code == 200
        assert client.get("/v1/runs", headers=headers | {"Authorization": "Key no"}).status_code == 401


def test_a_trusted_proxy_lets_nobody_in(settings: Settings) -> None:
    """It tells how clients reach the server. Whether somebody is on this machine, it can't say."""
    app = create_app(replace(settings, trusted_proxies=("127.0.0.1",)), executor=False)
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
        for headers in (
            {"Host": "evil.example", "X-Forwarded-Host": "localhost"},
            {"X-Forwarded-For": "203.0.113.9"},
            {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"},
        ):
            assert client.get("/v1/runs", headers=headers).status_code == 403
