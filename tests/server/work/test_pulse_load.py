"""What a running request costs the database: counted in statements over turns of the pulse, not in time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from rows import claimed, found

from soundlora.server.store.database import Database
from soundlora.server.store.requests import Requests
from soundlora.server.store.states import read_states
from soundlora.server.work.pulse import BEAT_SECONDS, NEWS_SECONDS, Pulse

TURNS = 120
SECONDS = TURNS * NEWS_SECONDS


@pytest.fixture
def database(either_database: Database) -> Database:
    return either_database


class Run:
    """A running request whose pulse is turned by hand, and what its turns ask of the database."""

    def __init__(self, requests: Requests, **options: Any) -> None:
        self.requests = requests
        requests.submit("train", {})
        self.id, owner = claimed(requests)[0].id, ""
        owner = found(requests, self.id).owner or ""
        self.pulse = Pulse(requests, self.id, owner, max_seconds=math.inf, **options)
        self.asked: list[str] = []
        self.now = 0.0

    def note(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):  # on SQLite it is a statement of ours
            self.asked.append(statement.split()[0])

    def turn(self) -> None:
        self.now += NEWS_SECONDS
        self.pulse._turn(self.now)

    @property
    def beats(self) -> int:
        return found(self.requests, self.id).beat - 1


@pytest.fixture
def run(requests: Requests) -> Iterator[Run]:
    run = Run(requests)
    run.turn()
    sa.event.listen(requests.database.engine, "before_cursor_execute", run.note)
    yield run
    sa.event.remove(requests.database.engine, "before_cursor_execute", run.note)


def test_a_run_without_news_costs_a_statement_a_second_of_which_one_in_five_writes(run: Run) -> None:
    for _ in range(TURNS):
        run.turn()
    assert run.asked.count("UPDATE") == SECONDS / BEAT_SECONDS
    assert run.asked.count("SELECT") == SECONDS - SECONDS / BEAT_SECONDS
    assert run.beats == 1 + SECONDS / BEAT_SECONDS


def test_a_run_with_progress_costs_two_statements_a_second_however_quick_its_steps_are(run: Run) -> None:
    for turn in range(TURNS):
        for step in range(10):
            run.pulse.show({"step": 10 * turn + step})
        run.turn()
    assert set(run.asked) == {"UPDATE"}
    assert len(run.asked) == 2 * SECONDS
    assert found(run.requests, run.id).progress == {"step": 10 * TURNS - 1}


def test_lines_go_with_the_beat_in_one_statement_more(run: Run) -> None:
    for turn in range(TURNS):
        for _ in range(10):
            run.pulse.log(str(turn))
        run.turn()
    assert (run.asked.count("UPDATE"), run.asked.count("INSERT")) == (TURNS, TURNS)
    assert len(run.requests.log_lines(run.id)) == 10 * TURNS


def test_a_short_lease_makes_the_beats_quicker(requests: Requests) -> None:
    run = Run(requests, lease_seconds=4.0)
    for _ in range(TURNS):
        run.turn()
    assert run.beats == SECONDS
    assert run.pulse._beat_seconds == 1.0


def test_files_that_were_stored_are_told_at_the_next_turn(run: Run) -> None:
    run.pulse.tell_of_files()
    run.turn()
    assert run.asked == ["UPDATE"]
    run.turn()
    assert run.asked == ["UPDATE"]
    (told,) = read_states(run.requests.database, [run.id]).values()
    assert told.told == run.beats + 1


def test_what_is_asked_is_heard_without_a_beat(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupts: list[str] = []
    monkeypatch.setattr(run.pulse, "_interrupt", interrupts.append)
    with run.requests.database.write() as connection:
        connection.execute(sa.text("UPDATE requests SET stop_asked = true"))
    beats = run.beats
    run.turn()
    run.turn()
    assert (run.pulse.stop_asked, interrupts) == (True, [])
    run.requests.cancel(run.id)
    run.turn()
    run.turn()
    assert interrupts == ["cancelled"]
    assert run.beats == beats
