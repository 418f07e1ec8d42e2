"""Data is prepared before a request is claimed: whoever does it has the lease, and the place in the queue stays."""

import pytest
from rows import found

from soundlora.server.store.beats import LostLeaseError
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.preparing import MOST_AHEAD, Preparing
from soundlora.server.store.requests import MAX_ATTEMPTS, Requests

ME, OTHER = "me", "somebody else"
REFUSED = Outcome(422, {"detail": []}, error="it is empty")


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


@pytest.fixture
def preparing(requests: Requests) -> Preparing:
    return Preparing(requests, ["sound"])


def unprepared(requests: Requests, key_id: str = "") -> str:
    return requests.submit("train", {}, key_id=key_id, prepared=False).id


def test_what_is_not_prepared_is_not_claimed_and_keeps_its_place(requests: Requests, preparing: Preparing) -> None:
    first, second = unprepared(requests), unprepared(requests)
    assert requests.claim(prepared=True) is None
    assert [row.id for _ in range(2) if (row := preparing.claim(ME))] == [first, second]
    assert preparing.claim(ME) is None
    assert not preparing.is_wanted()
    assert requests.queued() == [first, second]
    preparing.done(second, ME)
    preparing.done(first, ME)
    claimed = requests.claim(prepared=True)
    assert claimed is not None
    assert (claimed.id, claimed.attempts) == (first, 1)


def test_a_refusal_ends_the_request_once_and_costs_nothing(requests: Requests, preparing: Preparing) -> None:
    request_id = unprepared(requests)
    preparing.claim(ME)
    with pytest.raises(LostLeaseError):
        preparing.refuse(request_id, OTHER, REFUSED)
    preparing.refuse(request_id, ME, REFUSED)
    row = found(requests, request_id)
    assert (row.state, row.status_code, row.started_at, row.units) == ("completed", 422, None, 0)
    with pytest.raises(LostLeaseError):
        preparing.refuse(request_id, ME, REFUSED)
    with pytest.raises(LostLeaseError):
        preparing.done(request_id, ME)


def test_a_cancelled_one_ends_at_once_and_who_prepares_it_finds_out(requests: Requests, preparing: Preparing) -> None:
    request_id = unprepared(requests)
    preparing.claim(ME)
    assert not requests.beat(request_id, ME).cancel
    assert requests.cancel(request_id) == "OK"
    with pytest.raises(LostLeaseError):
        requests.beat(request_id, ME)
    assert requests.held() == []


def test_those_who_die_of_it_count_and_those_who_are_stopped_do_not(requests: Requests, preparing: Preparing) -> None:
    request_id = unprepared(requests)
    preparing.claim(ME)
    requests.release(request_id, ME, lost=False, reason="stopped")
    for _ in range(MAX_ATTEMPTS):
        assert preparing.is_wanted()
        preparing.claim(ME)
        assert [(id, owner) for id, owner, _ in requests.held()] == [(request_id, ME)]
        requests.release(request_id, ME, lost=True, reason="it died")
    row = found(requests, request_id)
    assert (row.status_code, row.error_type) == (503, "runner_disconnected")


def test_a_key_has_only_so_many_prepared_ones(requests: Requests, preparing: Preparing) -> None:
    """Their data lies on disks, and a later key's first request goes before the many of an earlier one."""
    many = [unprepared(requests, "many") for _ in range(MOST_AHEAD + 2)]
    for request_id in many[:MOST_AHEAD]:
        preparing.claim(ME)
        preparing.done(request_id, ME)
    assert not preparing.is_wanted()
    for _ in range(MOST_AHEAD):
        requests.submit("sound", {}, key_id="one")
    one = unprepared(requests, "one")
    row = preparing.claim(ME)
    assert row is not None
    assert row.id == one
    assert requests.claim(["train"], prepared=True) is not None
    row = preparing.claim(ME)
    assert row is not None
    assert row.id == many[MOST_AHEAD]
