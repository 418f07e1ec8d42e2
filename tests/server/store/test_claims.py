"""Whose request is taken next: fair between keys, in order within one, and never more of a key than may run."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from plans import asked_of, plan
from rows import claimed

from soundlora.server.store import usage
from soundlora.server.store.claims import Room
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.keys import Keys
from soundlora.server.store.nodes import Nodes
from soundlora.server.store.requests import Requests
from soundlora.server.store.shares import Line
from soundlora.server.store.tables import requests as table
from soundlora.server.store.tables import usage as usage_table

OK = Outcome(200, {}, units=100)


class Clock:
    """A clock that the tests move."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("requests", "finish", "claims", "shares"):
        monkeypatch.setattr(f"soundlora.server.store.{module}.time", clock)
    return clock


def key(database: Database, name: str, **limits: Any) -> str:
    keys = Keys(database)
    made, _ = keys.create(name)
    if limits:
        keys.change(made.id, limits)
    return made.id


def taken(requests: Requests, count: int, **which: Any) -> list[str]:
    """Whose the next requests are, each of which goes on running."""
    found = [requests.claim(**which) for _ in range(count)]
    return [request.key_id for request in found if request is not None]


def served(requests: Requests, clock: Clock, slots: int, seconds: dict[str, float], claims: int) -> Counter[str]:
    """Seconds on slots by key, when each request of a key takes so long."""
    used: Counter[str] = Counter()
    running: list[tuple[float, str, str]] = []
    for _ in range(claims):
        if len(running) == slots:
            running.sort()
            clock.now, id, owner = running.pop(0)
            requests.finish(id, owner, OK)
        request, owner = claimed(requests)
        took = seconds[request.key_id]
        used[request.key_id] += int(took)
        running.append((clock.now + took, request.id, owner))
    return used


def test_a_key_with_many_requests_starves_nobody(requests: Requests, clock: Clock) -> None:
    for n in range(50):
        requests.submit("train", n, key_id="many")
    few = [requests.submit("train", n, key_id="few").id for n in range(3)]
    order = []
    for _ in range(8):
        request, owner = claimed(requests)
        order.append(request)
        clock.now += 10
        requests.finish(request.id, owner, OK)
    assert [request.id for request in order if request.key_id == "few"] == few
    assert [request.key_id for request in order[:6]] == ["many", "few"] * 3


def test_long_requests_count_for_more_than_short_ones(requests: Requests, clock: Clock) -> None:
    for n in range(300):
        requests.submit("train", n, key_id="long" if n % 2 else "short")
    used = served(requests, clock, slots=4, seconds={"long": 100, "short": 20}, claims=120)
    assert used["long"] == pytest.approx(used["short"], rel=0.15)


def test_a_weight_is_a_share(database: Database, requests: Requests, clock: Clock) -> None:
    heavy, light = key(database, "heavy", weight=3.0), key(database, "light")
    for n in range(200):
        requests.submit("train", n, key_id=heavy if n % 2 else light)
    used = served(requests, clock, slots=4, seconds={heavy: 30, light: 30}, claims=80)
    assert used[heavy] / used[light] == pytest.approx(3, rel=0.15)


def test_many_slots_that_come_free_at_once_are_shared(requests: Requests) -> None:
    for n in range(60):
        requests.submit("train", n, key_id=f"key {n % 3}" if n < 45 else "key 0")
    assert Counter(taken(requests, 30)) == {f"key {n}": 10 for n in range(3)}


def test_within_a_key_priority_and_age_are_the_order(requests: Requests) -> None:
    for endpoint, n, priority in (("train", 1, "low"), ("other", 2, "normal"), ("train", 3, "normal")):
        requests.submit(endpoint, {"n": n}, key_id="me", priority=priority)
    requests.submit("train", {"n": 4}, key_id="you", priority="low")
    mine = [claimed(requests)[0] for _ in range(4)]
    assert [request.input for request in mine if request.key_id == "me"] == [{"n": 2}, {"n": 3}, {"n": 1}]
    assert mine[1].input == {"n": 4}  # a low request waits for those of its own key alone


def test_what_one_kind_of_work_has_used_does_not_count_for_the_other(requests: Requests, clock: Clock) -> None:
    for _ in range(2):
        requests.submit("generate", {}, key_id="a")
    while (request := requests.claim(["generate"])) is not None:
        clock.now += 1000
        assert request.owner is not None
        requests.finish(request.id, request.owner, OK)
    for who in "aab":
        requests.submit("train", {}, key_id=who)
    assert taken(requests, 1, but=["generate"]) == ["a"]
    requests.submit("generate", {}, key_id="a")
    requests.submit("generate", {}, key_id="b")
    assert taken(requests, 1, endpoints=["generate"]) == ["b"]


def test_a_key_runs_no_more_than_it_may(database: Database, requests: Requests) -> None:
    small, large = key(database, "small", max_running=1), key(database, "large", max_running=0)
    for n in range(6):
        requests.submit("train", n, key_id=small if n < 3 else large)
    limited = Requests(database, max_running=2)
    first, owner = claimed(limited)
    assert first.key_id == small
    assert taken(limited, 4) == [large] * 3
    limited.finish(first.id, owner, OK)
    assert taken(limited, 2) == [small]
    other = [requests.submit("train", n, key_id="other") for n in range(3)]
    assert taken(limited, 3) == ["other"] * 2
    assert requests.find(other[2].id).state == "queued"  # type: ignore[union-attr]


def test_a_limit_holds_when_many_ask_at_once(database: Database) -> None:
    for n in range(20):
        Requests(database).submit("train", n, key_id="me" if n % 2 else "you")
    limited = Requests(database, max_running=3)
    found: list[str] = []
    begin = threading.Barrier(8)

    def ask() -> None:
        begin.wait()
        found.extend(taken(limited, 2))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(found) == {"me": 3, "you": 3}


def test_nobody_takes_twice_or_misses_one_when_many_ask_at_once(database: Database, requests: Requests) -> None:
    ids = {requests.submit(f"train {n % 2}", n, key_id=f"key {n % 3}").id for n in range(48)}
    found: list[str] = []
    begin = threading.Barrier(8)

    def ask() -> None:
        begin.wait()
        while (request := requests.claim()) is not None:
            found.append(request.id)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(ids)


@pytest.mark.parametrize("jump", [-10 * 365 * 86400.0, 10 * 365 * 86400.0])
def test_a_clock_that_jumps_starves_nobody(requests: Requests, clock: Clock, jump: float) -> None:
    for n in range(30):
        requests.submit("train", n, key_id="a" if n % 2 else "b")
    running, owner = claimed(requests)
    clock.now += jump
    requests.finish(running.id, owner, OK)
    assert set(taken(requests, 4)) == {"a", "b"}
    used = served(requests, clock, slots=4, seconds={"a": 600, "b": 600}, claims=16)
    assert abs(used["a"] - used["b"]) <= usage.WINDOW_SECONDS


def test_what_was_used_an_hour_ago_is_forgotten(database: Database, requests: Requests, clock: Clock) -> None:
    requests.submit("train", 0, key_id="a")
    request, owner = claimed(requests)
    clock.now += 7000
    requests.finish(request.id, owner, OK)
    with database.read() as connection:
        (seconds,) = connection.execute(sa.select(sa.func.sum(usage_table.c.seconds))).one()
    assert seconds == pytest.approx(usage.WINDOW_SECONDS)
    for who in "ab":
        requests.submit("train", 1, key_id=who)
    assert taken(requests, 1) == ["b"]
    clock.now += usage.WINDOW_SECONDS + usage.STRETCH_SECONDS
    requests.submit("train", 1, key_id="c")
    assert taken(requests, 1) == ["a"]  # it waits for longer than c
    with database.write() as connection:
        usage.forget(connection, clock.now)
        assert connection.execute(sa.select(usage_table)).all() == []


def test_time_of_a_run_that_was_given_back_counts(requests: Requests, clock: Clock) -> None:
    requests.submit("train", 0, key_id="a")
    request, owner = claimed(requests)
    clock.now += 500
    requests.release(request.id, owner, lost=False, reason="the server stops")
    requests.submit("train", 1, key_id="b")
    assert taken(requests, 2) == ["b", "a"]


def test_claims_read_the_index_of_those_that_wait(database: Database, requests: Requests) -> None:
    row = {
        "endpoint": "train", "state": "queued", "priority": 0, "input": "{}", "summary": "", "keep_payloads": True,
        "base_url": "", "created_at": 0.0, "no_retry": False, "attempts": 0, "beat": 0, "cancel_asked": False,
    }  # fmt: skip
    with database.write() as connection:
        rows = [row | {"id": f"{n:036}", "key_id": f"key {n % 5}"} for n in range(3000)]
        connection.execute(sa.insert(table), [each | {"stop_asked": False} for each in rows])
    with database.write() as connection:
        connection.execute(sa.text("ANALYZE"))
    asked = asked_of(database, lambda: taken(requests, 1))
    # On Postgres the first one takes a ticket.
    order, take = (plan(database, *each) for each in asked[-2:])
    for found in (order, take):
        assert "requests_waiting" in found
        assert "Seq Scan on requests" not in found
        assert "USE TEMP B-TREE FOR ORDER BY" not in found
    assert len(asked) <= 3


def _keeps(nodes: Nodes, name: str, free: int, line: Line) -> bool:
    return nodes.keeps(name, free, line.gpus, line.endpoint)


def test_a_request_of_many_slots_is_taken_by_whoever_has_them_and_never_starves(
    database: Database, requests: Requests, clock: Clock
) -> None:
    """Two nodes of four and three slots: small requests never end, and one of four slots comes among them."""
    nodes = Nodes(database)
    slots = {"big": 4, "small": 3}
    running: dict[str, list[tuple[str, str, float]]] = {"big": [], "small": []}
    for n in range(12):
        requests.submit("train", n, key_id="many")
    large = requests.submit("train", "large", key_id="many", gpus=4)
    for turn in range(30):
        clock.now += 10
        requests.submit("train", turn, key_id="many")
        for name, most in slots.items():
            for id, owner, end in [each for each in running[name] if each[2] <= clock.now]:
                requests.finish(id, owner, OK)
                running[name].remove((id, owner, end))
            free = most - len(running[name])
            nodes.seen(name, name, most, len(running[name]), free=free, most=most)
            while free:
                keeps = partial(_keeps, nodes, name, free)
                found = requests.claim(room=Room(free, most, keeps))
                if found is None:
                    break
                if found.id == large.id:
                    assert (name, free) == ("big", 4)
                    assert running["small"], "the other node goes on meanwhile"
                    return
                assert found.owner is not None
                running[name].append((found.id, found.owner, clock.now + 10 + 10 * (int(found.number) % 3)))
                free -= 1
                nodes.seen(name, name, most, len(running[name]), free=free, most=most)
    raise AssertionError("it starved")


def test_time_counts_for_each_slot(database: Database, requests: Requests, clock: Clock) -> None:
    requests.submit("train", 0, key_id="a", gpus=4)
    request, owner = claimed(requests)
    clock.now += 100
    requests.finish(request.id, owner, OK)
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.sum(usage_table.c.seconds))) == pytest.approx(400)


def test_who_has_few_slots_passes_what_needs_more(requests: Requests) -> None:
    requests.submit("train", 0, key_id="a", gpus=4)
    small = requests.submit("train", 1, key_id="a", gpus=2)
    assert requests.claim(room=Room(free=1, most=1)) is None
    found = requests.claim(room=Room(free=2, most=2))
    assert found is not None
    assert (found.id, found.gpus) == (small.id, 2)
    assert requests.claim(room=Room(free=4, most=8, least=2, waits=lambda line: True)) is not None


def test_the_estimate_of_a_place_is_the_order_of_claims(database: Database, requests: Requests, clock: Clock) -> None:
    for n in range(12):
        requests.submit("train", n, key_id="a")
    for n in range(4):
        requests.submit("train", n, key_id="b")
    waiting = requests.queued()
    assert [abs(requests.ahead(id) - place) <= 1 for place, id in enumerate(waiting)] == [True] * 16
    order = []
    while (request := requests.claim()) is not None:
        order.append(request.id)
        clock.now += 60
        assert request.owner is not None
        requests.finish(request.id, request.owner, OK)
    assert order == waiting
