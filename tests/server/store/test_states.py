"""What statuses are made of: many at once, and by indexes alone."""

from collections.abc import Callable

import pytest
from plans import asked_of, plan

from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests
from soundlora.server.store.states import count_ahead, read_ahead, read_queue, read_result, read_states


def test_states_of_many_requests_come_at_once(database: Database, requests: Requests) -> None:
    ids = [requests.submit("train", {"n": n}, key_id="me").id for n in range(600)]
    running = requests.claim()
    assert running is not None
    found = read_states(database, [*ids, "nobody"])
    assert set(found) == set(ids)
    assert found[ids[0]].state == "running"
    assert found[ids[1]].state == "queued"
    assert (found[ids[1]].endpoint, found[ids[1]].key_id, found[ids[1]].error) == ("train", "me", None)
    assert read_states(database, []) == {}


def test_the_queue_is_in_the_order_of_claims(database: Database, requests: Requests) -> None:
    low = requests.submit("train", 1, priority="low").id
    normal = requests.submit("train", 2).id
    places = [state.place for id in (normal, low) for state in [read_states(database, [id])[id]]]
    assert read_queue(database).in_turn() == places


def test_places_are_counted_for_a_few(database: Database, requests: Requests) -> None:
    low = requests.submit("train", 1, priority="low").id
    ids = [requests.submit("train", n).id for n in range(3)]
    requests.submit("train", 4)
    requests.cancel(ids[1])
    states = read_states(database, [low, ids[0], ids[2]])
    assert read_ahead(database, states.values()) == {ids[0]: 0, ids[2]: 1, low: 3}
    assert [requests.ahead(id) for id in (ids[0], ids[2], low, "nobody")] == [0, 1, 3, 0]


@pytest.mark.parametrize("read", [read_queue, lambda database: read_ahead(database, [])])
def test_the_queue_is_answered_by_its_index(database: Database, read: Callable[[Database], object]) -> None:
    asked = asked_of(database, lambda: read(database))
    assert "USING COVERING INDEX requests_waiting" in plan(database, *asked[0])


def test_counting_reads_the_index_only(database: Database) -> None:
    with database.read() as connection:
        asked = asked_of(database, lambda: count_ahead(connection, "me", (0, 5)))
    found = plan(database, *asked[0])
    assert "SEARCH requests USING COVERING INDEX requests_waiting" in found
    assert "key_id" in found  # only those of the key


def test_there_is_a_result_when_it_has_ended(database: Database, requests: Requests) -> None:
    id = requests.submit("train", {}).id
    assert read_result(database, id) is None
    requests.cancel(id)
    result = read_result(database, id)
    assert result is not None
    assert (result.status_code, result.error_type, result.units) == (499, "client_cancelled", 0)
    assert read_result(database, "nobody") is None


@pytest.mark.parametrize("response", [None, {"a": 1}])
def test_a_deleted_result_is_none(database: Database, requests: Requests, response: object) -> None:
    id = requests.submit("train", {}, outcome=Outcome(200, response)).id
    before = read_result(database, id)
    assert before is not None
    assert before.response == ("null" if response is None else '{"a": 1}')
    requests.delete_payloads(id)
    after = read_result(database, id)
    assert after is not None
    assert after.response is None
