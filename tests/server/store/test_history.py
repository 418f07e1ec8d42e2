"""The history and the ledger, on SQLite and on Postgres, and that asking them doesn't read all of it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from soundlora.errors import InputError
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome, infrastructure_error
from soundlora.server.store.history import DAY, History, Page
from soundlora.server.store.requests import Requests

START = 1_800_057_600.0  # midnight in UTC
OK = Outcome(200, {"made": 1}, units=2000)
WRONG = Outcome(422, {"detail": []})
BROKEN = infrastructure_error(503, "runner_disconnected", "gone")

Done = Callable[..., str]


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


@pytest.fixture
def history(database: Database) -> History:
    return History(database)


@pytest.fixture
def done(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> Done:
    """A request that ended: `at` seconds after START, `took` seconds after its worker began."""
    clock = type("Clock", (), {"now": START, "time": lambda self: self.now})()
    monkeypatch.setattr("soundlora.server.store.requests.time", clock)
    monkeypatch.setattr("soundlora.server.store.finish.time", clock)
    monkeypatch.setattr("soundlora.server.store.claims.time", clock)

    def make(at: float, outcome: Outcome = OK, *, took: float = 1.0, endpoint: str = "train", **more: Any) -> str:
        clock.now = START + at - took
        request = requests.submit(endpoint, {"n": at}, **more)
        claimed = requests.claim()
        assert claimed is not None
        assert claimed.owner is not None
        clock.now = START + at
        requests.finish(request.id, claimed.owner, outcome)
        return request.id

    return make


def ids(page: Page[Any]) -> list[str]:
    return [each.id for each in page.items]


def walk(ask: Callable[[str | None], Page[Any]]) -> list[Any]:
    items: list[Any] = []
    cursor = None
    while True:
        page = ask(cursor)
        items += page.items
        cursor = page.cursor
        if cursor is None:
            return items


def test_the_last_to_end_comes_first(history: History, done: Done, requests: Requests) -> None:
    made = [done(at) for at in (5, 30, 10)]
    requests.submit("train", {})

    assert ids(history.ended("", ["train"], limit=10)) == [made[1], made[2], made[0]]


def test_pages_miss_nothing_and_say_nothing_twice(history: History, done: Done) -> None:
    """Many end at the same moment, at two endpoints, and of them some are on either side of a page's end."""
    made = [done(at // 3, took=at % 2, endpoint=("train", "make")[at % 2]) for at in range(20)]

    for sort_by in ("ended_at", "duration"):

        def ask(cursor: str | None, sort_by: str = sort_by) -> Page[Any]:
            return history.ended("", ["train", "make"], limit=3, cursor=cursor, sort_by=sort_by)

        found = walk(ask)
        assert sorted(each.id for each in found) == sorted(made)
        places = [each.ended_at if sort_by == "ended_at" else each.duration for each in found]
        assert places == sorted(places, reverse=True)
    assert len(history.ended("", ["train", "make"], limit=20).items) == 20
    assert history.ended("", ["train", "make"], limit=20).cursor is None


def test_what_ends_between_two_pages_changes_no_page(history: History, done: Done) -> None:
    made = [done(at) for at in range(4)]
    first = history.ended("", ["train"], limit=2)
    done(100)

    second = history.ended("", ["train"], limit=2, cursor=first.cursor)

    assert ids(first) + ids(second) == made[::-1]


def test_filters(history: History, done: Done) -> None:
    good, wrong, broken = done(1), done(2, WRONG), done(3, BROKEN)

    assert ids(history.ended("", ["train"], limit=9, status="success")) == [good]
    assert ids(history.ended("", ["train"], limit=9, status="user_error")) == [wrong]
    assert ids(history.ended("", ["train"], limit=9, status="error")) == [broken]
    assert ids(history.ended("", ["train"], limit=9, start=START + 2, end=START + 3)) == [wrong]
    assert ids(history.ended("", ["train"], limit=9, request_id=good)) == [good]
    assert ids(history.ended("", ["make"], limit=9)) == []


def test_each_key_has_its_own(history: History, done: Done) -> None:
    mine, theirs = done(1, key_id="a"), done(2, key_id="b")

    assert ids(history.ended("a", ["train"], limit=9)) == [mine]
    assert ids(history.ended("a", ["train"], limit=9, request_id=theirs)) == []
    assert ids(history.search("a", limit=9)) == [mine]
    assert ids(history.search("a", theirs, limit=9)) == []
    assert [each.request_id for each in history.bills("a", limit=9).items] == [mine]
    assert [each.requests for each in history.usage("a", DAY, end=START + DAY)] == [1]
    assert history.spent("a", "train") == (1, 2000 * 2_200_000)


def test_payloads_only_when_asked_for(history: History, done: Done, requests: Requests) -> None:
    request_id = done(1)

    plain = history.ended("", ["train"], limit=1).items[0]
    full = history.ended("", ["train"], limit=1, payloads=True).items[0]

    assert (plain.input, plain.output) == (None, None)
    assert (full.input, full.output) == ({"n": 1}, {"made": 1})
    assert (full.status_code, full.units, full.duration) == (200, 2000, 1.0)
    requests.delete_payloads(request_id)
    forgotten = history.search("", limit=1, payloads=True).items[0]
    assert (forgotten.id, forgotten.input, forgotten.output) == (request_id, None, None)


def test_what_ended_unstarted_took_no_time(history: History, requests: Requests) -> None:
    requests.submit("train", {}, outcome=WRONG)

    assert history.ended("", ["train"], limit=1, sort_by="duration").items[0].duration == 0


def test_search_looks_into_summaries_and_at_ids(history: History, done: Done, requests: Requests) -> None:
    rain, storm = done(1, summary="Rain on a 100% tin roof"), done(2, summary="Storm")
    waiting = requests.submit("make", {}, summary="more rain").id

    assert ids(history.search("", "RAIN", limit=9)) == [waiting, rain]
    assert ids(history.search("", storm[:8], limit=9)) == [storm]
    assert ids(history.search("", "100%", limit=9)) == [rain]
    assert ids(history.search("", "1_0", limit=9)) == []
    assert ids(history.search("", limit=9, endpoints=["make"])) == [waiting]
    assert ids(history.search("", limit=9, status="success")) == [storm, rain]
    assert [each.id for each in walk(lambda cursor: history.search("", limit=2, cursor=cursor))] == [
        waiting,
        storm,
        rain,
    ]


def test_usage_sums_the_ledger_by_day(history: History, done: Done) -> None:
    done(10), done(20), done(30, WRONG), done(DAY), done(DAY, endpoint="make")

    days = history.usage("", DAY, end=START + 10 * DAY)

    assert [(each.start, each.endpoint, each.requests, each.units, each.nano_usd) for each in days] == [
        (START, "train", 3, 4000, 4000 * 2_200_000),
        (START + DAY, "make", 1, 2000, 0),
        (START + DAY, "train", 1, 2000, 2000 * 2_200_000),
    ]
    assert history.usage("", DAY, endpoints=["make"], start=START, end=START + DAY) == []


def test_bills_come_in_pages(history: History, done: Done) -> None:
    made = [done(at // 2) for at in range(5)]

    found = walk(lambda cursor: history.bills("", limit=2, cursor=cursor))

    assert [each.request_id for each in found] == made[::-1]
    assert history.bills("", limit=9, request_id=made[0]).items[0].units == 2000


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "W10=",
        *(base64.urlsafe_b64encode(text).decode() for text in [b"[1,2.5]", b"[1,true]", b"[1e99,1]", b"[" * 9999]),
    ],
)
def test_a_made_up_cursor_is_refused(history: History, cursor: str) -> None:
    with pytest.raises(InputError, match="next_cursor of the page before"):
        history.ended("", ["train"], limit=2, cursor=cursor)


@pytest.mark.parametrize("either_database", ["sqlite"], indirect=True)
def test_no_listing_reads_a_whole_table(history: History, done: Done) -> None:
    """By SQLite's own plan; Postgres plans by what a table holds, and reads a small one whole."""
    for at in range(3):
        done(at)
    statements: list[tuple[str, Any]] = []
    sa.event.listen(
        history.database.engine,
        "before_cursor_execute",
        lambda connection, cursor, statement, parameters, context, many: statements.append((statement, parameters)),
    )
    cursor = history.ended("", ["train"], limit=1).cursor
    history.ended("", ["train"], limit=1, cursor=cursor)
    history.ended("", ["train"], limit=1, cursor=cursor, status="error", start=1, end=2e9)
    listings = len(statements)
    history.bills("", limit=1, cursor=history.bills("", limit=1).cursor)
    history.search("", limit=1, cursor=history.search("", limit=1).cursor)
    orders = len(statements)
    history.ended("", ["train"], limit=1, sort_by="duration")
    history.search("", "text", limit=1)
    history.usage("", DAY, end=2e9)

    asked = [each for each in statements if each[0].startswith("SELECT")]
    assert len(asked) == 10
    for number, (statement, parameters) in enumerate(statements):
        if not statement.startswith("SELECT"):
            continue
        with history.database.engine.connect() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan = " / ".join(row.detail for row in rows)
        assert "SCAN" not in plan, statement
        if number < orders:
            assert "TEMP B-TREE" not in plan, statement
        if number < listings:
            assert "requests_ended (endpoint=? AND key_id=? AND" in plan, plan
