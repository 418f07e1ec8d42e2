"""Stars, names and notes, on SQLite and on Postgres."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from rows import claimed

from soundlora.server.endpoints import GENERATION, TRAINING
from soundlora.server.store import listing
from soundlora.server.store.database import Database
from soundlora.server.store.finish import Outcome
from soundlora.server.store.history import History
from soundlora.server.store.marks import Mark, Marks
from soundlora.server.store.requests import Requests
from soundlora.server.store.tables import marks as table

ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


@pytest.fixture
def marks(database: Database) -> Marks:
    return Marks(database)


def listed(requests: Requests, **wanted: Any) -> list[str]:
    return [each.id for each in listing.page(requests.database, requests, "", **wanted).found]


def rows(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_a_change_changes_what_it_names(marks: Marks, requests: Requests) -> None:
    id = requests.submit(TRAINING, {}).id
    assert marks.of([id]) == {}
    assert marks.change(id, "", {"starred": True}) == Mark(True)
    assert marks.change(id, "", {"name": "Kick", "note": "a\nb"}) == Mark(True, "Kick", "a\nb")
    assert marks.change(id, "", {"name": ""}) == Mark(True, "", "a\nb")
    assert marks.change(id, "", {}) == Mark(True, "", "a\nb")
    assert marks.of([id, ID]) == {id: Mark(True, "", "a\nb")}


def test_nobody_marks_what_is_not_theirs(marks: Marks, requests: Requests, database: Database) -> None:
    other = requests.submit(TRAINING, {}, key_id="somebody else").id
    for id in (other, ID, "", "nothing", ID[:-1] + "\0"):
        assert marks.change(id, "", {"name": "mine"}) is None
    assert rows(database) == 0


def test_lists_are_narrowed_to_favourites_and_searched(marks: Marks, requests: Requests) -> None:
    kick, snare, sound = (
        requests.submit(endpoint, {}, summary=summary).id
        for endpoint, summary in ((TRAINING, "a kick"), (TRAINING, "a snare"), (GENERATION, "rain"))
    )
    marks.change(kick, "", {"name": "Ärger 100%_x", "starred": True})
    marks.change(snare, "", {"note": "better than the KICK"})
    theirs = requests.submit(TRAINING, {}, key_id="somebody else").id
    marks.change(theirs, "somebody else", {"starred": True, "name": "Ärger"})

    assert listed(requests, starred=True) == [kick]
    assert listed(requests, starred=True, endpoints=[GENERATION]) == []
    assert listed(requests, starred=True, before=1) == []

    def by_list(text: str) -> list[str]:
        return listed(requests, search=text)

    def by_history(text: str) -> list[str]:
        return [each.id for each in History(requests.database).search("", text, limit=100).items]

    for find in (by_list, by_history):
        assert find("äRGER") == [kick]
        assert find("kick") == [snare, kick]
        assert find("0%_X") == [kick]
        assert find("%") == [kick]
        assert find("_") == [kick]
        assert find("r%g") == []
        assert find("\\") == []
        assert find(sound[:8]) == [sound]
    marks.change(kick, "", {"starred": False, "name": "Other"})
    assert listed(requests, starred=True) == listed(requests, search="ärger") == []


def test_marks_go_with_the_payloads(marks: Marks, requests: Requests, database: Database) -> None:
    deleted, unkept, kept = (requests.submit(TRAINING, {}, keep_payloads=keep).id for keep in (True, False, True))
    for id in (deleted, unkept, kept):
        assert marks.change(id, "", {"note": "mine"})
        _, owner = claimed(requests)
        requests.finish(id, owner, Outcome(200, {}))
    assert requests.find(unkept) is not None
    requests.delete_payloads(deleted)
    assert set(marks.of([deleted, unkept, kept])) == {unkept, kept}
    assert marks.change(deleted, "", {"note": "too late"}) is None
    # Another server has written one while the payloads went.
    with database.write() as connection:
        connection.execute(
            sa.insert(table).values(request_id=deleted, key_id="", starred=False, name="", note="late", said="late")
        )
    assert requests.forget_unkept(2e10) == 1
    assert set(marks.of([deleted, unkept, kept])) == {kept}


def test_two_who_write_at_once_keep_both_fields(marks: Marks, requests: Requests) -> None:
    id = requests.submit(TRAINING, {}).id
    start = threading.Barrier(2)

    def write(field: str) -> None:
        start.wait()
        for number in range(20):
            marks.change(id, "", {field: f"{field} {number}"})

    threads = [threading.Thread(target=write, args=(field,)) for field in ("name", "note")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert marks.of([id]) == {id: Mark(False, "name 19", "note 19")}
    assert listed(requests, search="name 19\nnote 19") == [id]


def test_favourites_are_found_without_reading_all_requests(database_file: Database) -> None:
    """The plan of SQLite: the marks of the key first, then each request by its id."""
    said: list[tuple[str, Any]] = []
    sa.event.listen(database_file.engine, "before_cursor_execute", lambda *given: said.append((given[2], given[3])))
    listed(Requests(database_file), starred=True)
    statement, values = next(each for each in said if "marks" in each[0])
    with database_file.read() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert plan[0] == "SEARCH marks USING INDEX marks_by_key (key_id=? AND starred=?)"
    assert plan[1].endswith("(id=?)")
