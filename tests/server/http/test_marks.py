"""Stars, names and notes over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from soundlora.server.endpoints import GENERATION, TRAINING
from soundlora.server.http.run_view import snapshot
from soundlora.server.http.state import Service
from soundlora.server.store.finish import Outcome


@pytest.fixture
def id(service: Service) -> str:
    return service.requests.submit(TRAINING, {"trigger_phrase": "rain"}).id


def sentence(client: TestClient, id: str, body: Any) -> str:
    """What a body that is refused with 422 is told."""
    answer = client.patch(f"/v1/runs/{id}", content=json.dumps(body))
    assert answer.status_code == 422
    assert client.get(f"/v1/runs/{id}").json()["name"] == ""
    return str(answer.json()["error"]["message"])


def test_a_mark_is_read_wherever_the_run_is(client: TestClient, service: Service, id: str) -> None:
    run = client.get(f"/v1/runs/{id}").json()
    assert (run["starred"], run["name"], run["note"]) == (False, "", "")
    assert client.patch(f"/v1/runs/{id}", json={"starred": True}).json() == {"starred": True, "name": "", "note": ""}
    answer = client.patch(f"/v1/runs/{id}", json={"name": " Soft \n\t rain ", "note": "one\n two \0"})
    wanted = {"starred": True, "name": "Soft rain", "note": "one\n two "}
    assert answer.json() == wanted
    other = service.requests.submit(GENERATION, {"prompt": "wind"}).id
    listed = client.get("/v1/runs").json()["runs"]
    assert [(each["id"], each["starred"]) for each in listed] == [(other, False), (id, True)]
    for found in (
        client.get(f"/v1/runs/{id}").json(),
        listed[1],
        client.get("/v1/runs?starred=true").json()["runs"][0],
        client.get("/v1/runs?search=SOFT%20rain").json()["runs"][0],
    ):
        assert found["id"] == id
        assert {name: found[name] for name in wanted} == wanted
    searched = client.get("/v1/models/requests/search?query=soft").json()["items"]
    assert [each["request_id"] for each in searched] == [id]


def test_what_is_wrong_is_told_in_a_sentence(client: TestClient, id: str) -> None:
    body = 'The body must be an object such as {"starred": true}.'
    wrong: list[Any] = [[], "x", None, 5]
    assert [sentence(client, id, each) for each in wrong] == [body] * 4
    assert sentence(client, id, {"stared": True}) == (
        "There is no 'stared' to change; starred, name and note can be changed."
    )
    for value in ("yes", 1, None):
        assert sentence(client, id, {"starred": value}) == "starred must be true or false."
    assert sentence(client, id, {"name": None}) == "name must be text."
    assert sentence(client, id, {"note": ["x"], "name": "fine"}) == "note must be text."
    assert sentence(client, id, {"name": "x" * 201}) == "name has 201 characters, but at most 200 are allowed."
    assert "2,001 characters" in sentence(client, id, {"note": "\U0001f600" * 2001})
    assert client.patch(f"/v1/runs/{id}", json={"name": " x" * 100, "note": "\U0001f600" * 2000}).status_code == 200
    assert client.patch(f"/v1/runs/{id}", content=b"{").status_code == 400


def test_the_mark_of_what_is_not_there_is_no_mark(client: TestClient, service: Service, id: str) -> None:
    other = service.requests.submit(TRAINING, {}, key_id="somebody else").id
    for missing in (other, "nothing", id.upper(), "%00"):
        answer = client.patch(f"/v1/runs/{missing}", json={"starred": True})
        assert answer.status_code == 404
        assert "There is no run" in answer.json()["error"]["message"]


def test_a_mark_goes_with_the_payloads(client: TestClient, service: Service) -> None:
    id = service.requests.submit(TRAINING, {}, outcome=Outcome(422, {"detail": []})).id
    client.patch(f"/v1/runs/{id}", json={"note": "my own words"})
    assert client.delete(f"/v1/models/requests/{id}/payloads").status_code == 200
    run = client.get(f"/v1/runs/{id}").json()
    assert (run["input"], run["note"]) == (None, "")
    assert client.patch(f"/v1/runs/{id}", json={"note": "again"}).status_code == 404


def test_events_begin_with_the_mark_as_it_is(client: TestClient, service: Service) -> None:
    """Also right after it was changed, although the run has ended and what it was is known."""
    id = service.requests.submit(TRAINING, {}, outcome=Outcome(422, {"detail": []})).id

    def told() -> Any:
        return json.loads(client.get(f"/v1/runs/{id}/events").text.partition("data: ")[2].partition("\n")[0])

    assert (told()["name"], told()["starred"]) == ("", False)
    client.patch(f"/v1/runs/{id}", json={"name": "Kick", "starred": True})
    assert (told()["name"], told()["starred"]) == ("Kick", True)


def test_who_watches_a_run_is_told_of_its_new_name(client: TestClient, service: Service, id: str) -> None:
    cache = service.status_cache

    async def look() -> Any:
        state = await cache.state(id)
        assert state is not None
        return (await cache.view(state, lambda before: snapshot(service, state, before))).fields["name"]

    assert asyncio.run(look()) == ""
    client.patch(f"/v1/runs/{id}", json={"name": "Kick"})
    assert asyncio.run(look()) == "Kick"
