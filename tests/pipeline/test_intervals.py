from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from soundlora.errors import InputError
from soundlora.pipeline.intervals import Due, interval_of
from soundlora.pipeline.options import TrainingOptions


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (500, 500),
        ("500", 500),
        ("30s", timedelta(seconds=30)),
        ("5min", timedelta(minutes=5)),
        ("1.5 h", timedelta(minutes=90)),
        (timedelta(seconds=2), timedelta(seconds=2)),
    ],
)
def test_steps_and_times(given: Any, meant: int | timedelta) -> None:
    assert interval_of("checkpoint_every", given) == meant
    assert TrainingOptions("clips", "run", checkpoint_every=given).checkpoint_every == meant


@pytest.mark.parametrize("given", ["soon", "5 days", "min", "", True, 1.5, [5], "1e3", "5min5s"])
def test_what_is_neither_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="whole number of steps, or a time such as 30s, 5min or 1h"):
        TrainingOptions("clips", "run", checkpoint_every=given)


@pytest.mark.parametrize("given", [0, "-1", "0s", timedelta(seconds=-1)])
def test_it_is_positive(given: Any) -> None:
    with pytest.raises(InputError, match="must be positive"):
        TrainingOptions("clips", "run", checkpoint_every=given)


def test_a_time_is_no_part_of_what_shapes_a_run() -> None:
    timed, usual = (TrainingOptions("clips", "run", checkpoint_every=every) for every in ("1s", 500))
    assert timed.to_request() == usual.to_request()
    assert timed.checkpoint_steps == 500


def test_steps_are_never_due() -> None:
    assert not Due(1)()
    assert not Due(None)()
    due = Due(timedelta(microseconds=1))
    while not due():
        pass
