"""How long files live: the same header means the same, whether a file is uploaded or made by a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from soundlora.server.endpoints import TRAINING
from soundlora.server.http.lifecycle import NAMES
from soundlora.server.http.state import Service
from soundlora.server.store.tables import files
from soundlora.server.store.tables import requests as table

Send = Callable[[dict[str, str]], Any]
TEN_YEARS = 10 * 365 * 86400.0
NEVER = None


@pytest.fixture(params=["submit", "upload", "initiate", "initiate-multipart", "multipart"])
def send(request: pytest.FixtureRequest, client: TestClient) -> Send:
    """A call of a route that takes the header."""
    route: str = request.param
    if route == "submit":
        return lambda headers: client.post(f"/{TRAINING}", json={"training_data_url": "x"}, headers=headers)
    if route.startswith("initiate"):
        return lambda headers: client.post(f"/storage/upload/{route}", json={"file_name": "a.zip"}, headers=headers)
    path = "/files/upload" if route == "upload" else "/files/upload/multipart"
    return lambda headers: client.post(path, content=b"x" if route == "upload" else b"", headers=headers)


@pytest.fixture(params=["submit", "upload"])
def lifetime(request: pytest.FixtureRequest, client: TestClient, service: Service) -> Callable[[str | None], Any]:
    """What becomes of a header that is accepted, in seconds."""

    def submitted(headers: dict[str, str]) -> float | None:
        id = client.post(f"/{TRAINING}", json={"training_data_url": "x"}, headers=headers).json()["request_id"]
        found = service.requests.find(id)
        assert found is not None
        return found.file_seconds

    def uploaded(headers: dict[str, str]) -> Any:
        url = client.post("/files/upload", content=b"x", headers=headers).json()["access_url"]
        row = service.files.find(url.split("/")[-2])
        assert row is not None
        return None if row.expires_at is None else pytest.approx(row.expires_at - row.created_at, abs=60)

    ask = submitted if request.param == "submit" else uploaded
    return lambda wanted: ask({} if wanted is None else {NAMES[0]: wanted})


@pytest.mark.parametrize(
    ("wanted", "seconds"),
    [
        (None, NEVER),
        ("", NEVER),
        ("null", NEVER),
        ("{}", NEVER),
        ('{"expiration_duration_seconds": null}', NEVER),
        ('{"expiration_duration_seconds": 0}', NEVER),
        ('{"expiration_duration_seconds": 0.0}', NEVER),
        ('{"expiration_duration_seconds": 3600}', 3600),
        ('{"expiration_duration_seconds": 3600.5}', 3600.5),
        ('{"expiration_duration_seconds": 1e300}', TEN_YEARS),
        ('{"expiration_duration_seconds": 1' + "0" * 400 + "}", TEN_YEARS),
        ('{"expiration_duration_seconds": 60, "initial_acl": {"default": "allow", "rules": []}}', 60),
        ('{"expiration_duration_seconds": 60, "initial_acl": null}', 60),
    ],
)
def test_a_lifetime_means_the_same_on_both_ways(
    lifetime: Callable[[str | None], Any], wanted: str | None, seconds: float | None
) -> None:
    assert lifetime(wanted) == seconds


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        ("soon", "it is not JSON"),
        ("[" * 5000, "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("3600", "it is not a JSON object"),
        ('{"expiration_duration_seconds": -1}', "expiration_duration_seconds is -1, but"),
        ('{"expiration_duration_seconds": NaN}', "expiration_duration_seconds is NaN, but"),
        ('{"expiration_duration_seconds": Infinity}', "expiration_duration_seconds is Infinity, but"),
        ('{"expiration_duration_seconds": true}', "expiration_duration_seconds is true, but"),
        ('{"expiration_duration_seconds": false}', "expiration_duration_seconds is false, but"),
        ('{"expiration_duration_seconds": "12"}', 'expiration_duration_seconds is "12", but'),
        ('{"expiration_duration_seconds": [1]}', "expiration_duration_seconds is [1], but"),
        ('{"initial_acl": "forbid"}', "initial_acl is no access list"),
        ('{"initial_acl": {"rules": ["x"]}}', "initial_acl is no access list"),
    ],
)
def test_the_same_mistake_is_told_in_the_same_sentence(
    send: Send, service: Service, name: str, wanted: str, what: str
) -> None:
    answer = send({name: wanted})
    assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")
    sentence = answer.json()["detail"]
    assert sentence.startswith(f"{name} is not understood: {what}")
    assert sentence.endswith('Write {"expiration_duration_seconds": 3600}.')
    assert nothing_was_written(service)


@pytest.mark.parametrize("decision", ["forbid", "hide"])
@pytest.mark.parametrize("acl", ['{"default": "%s"}', '{"rules": [{"user": "me", "decision": "%s"}]}'])
def test_nothing_is_called_protected_when_it_is_not(send: Send, service: Service, acl: str, decision: str) -> None:
    answer = send({NAMES[0]: f'{{"initial_acl": {acl % decision}}}'})
    assert answer.status_code == 400
    assert f"can't {decision} access to a file" in answer.json()["detail"]
    assert nothing_was_written(service)


def nothing_was_written(service: Service) -> bool:
    with service.database.read() as connection:
        return not any(connection.scalar(sa.select(sa.func.count()).select_from(each)) for each in (files, table))
