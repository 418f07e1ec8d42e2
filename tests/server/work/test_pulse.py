"""The pulse keeps a lease, carries what the work says, and interrupts it."""

import time
from typing import Any

import pytest
import sqlalchemy as sa
from rows import claimed, found
from waiting import wait_until

from soundlora.server.store.beats import Asked
from soundlora.server.store.finish import Outcome
from soundlora.server.store.listing import curves
from soundlora.server.store.requests import Request, Requests
from soundlora.server.work.pulse import Pulse


@pytest.fixture
def taken(requests: Requests) -> Request:
    requests.submit("train", {})
    return claimed(requests)[0]


def pulse_of(requests: Requests, request: Request, **options: Any) -> Pulse:
    assert request.owner is not None
    return Pulse(requests, request.id, request.owner, **{"max_seconds": 60.0} | options)


def wait_for_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt):
        time.sleep(10)


def test_what_is_said_reaches_the_table(requests: Requests, taken: Request) -> None:
    with pulse_of(requests, taken, watch=lambda: [(5, "loss", 0.5)]) as pulse:
        pulse.show({"step": 1})
        pulse.show({"step": 7})
        pulse.log("one")
        pulse.log("two", "WARN")
    row = found(requests, taken.id)
    assert row.progress == {"step": 7}
    assert row.beat > taken.beat
    assert [(line.level, line.message) for line in requests.log_lines(taken.id)] == [("INFO", "one"), ("WARN", "two")]
    assert curves(requests.points(taken.id))["loss"] == [(5, 0.5)]
    assert pulse.reason is None


def test_a_cancellation_interrupts_once(requests: Requests, taken: Request) -> None:
    with pulse_of(requests, taken) as pulse:
        assert requests.cancel(taken.id) == "CANCELLATION_REQUESTED"
        wait_for_interrupt()
        time.sleep(1.5)  # it is asked again
    assert pulse.reason == "cancelled"
    assert found(requests, taken.id).state == "running"


def test_a_lost_lease_interrupts(requests: Requests, taken: Request) -> None:
    with pulse_of(requests, taken) as pulse:
        requests.release(taken.id, pulse.owner, lost=True, reason="taken away")
        wait_for_interrupt()
    assert pulse.reason == "lost"
    assert [line.message for line in requests.log_lines(taken.id)] == ["taken away"]


def test_the_time_limit_interrupts(requests: Requests, taken: Request) -> None:
    with pulse_of(requests, taken, max_seconds=0.1) as pulse:
        wait_for_interrupt()
    assert pulse.reason == "timeout"


def test_nothing_said_is_lost_while_the_database_is_away(
    requests: Requests, taken: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = requests.beat
    failures = iter([True, True, True])

    def beat(*arguments: Any, **options: Any) -> Asked:
        if next(failures, False):
            raise sa.exc.OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))
        return real(*arguments, **options)

    monkeypatch.setattr(requests, "beat", beat)
    with pulse_of(requests, taken) as pulse:
        for number in range(4):
            pulse.log(str(number))
        wait_until(lambda: len(requests.log_lines(taken.id)) == 4)
    assert [line.message for line in requests.log_lines(taken.id)] == ["0", "1", "2", "3"]
    requests.finish(taken.id, pulse.owner, Outcome(200, {}))


def test_a_watch_that_fails_does_not_end_the_work(requests: Requests, taken: Request) -> None:
    def watch() -> list[tuple[int, str, float]]:
        raise OSError("no such folder")

    with pulse_of(requests, taken, watch=watch) as pulse:
        pulse.log("still here")
    assert [line.message for line in requests.log_lines(taken.id)] == ["still here"]
