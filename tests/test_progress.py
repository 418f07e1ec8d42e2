from __future__ import annotations

from collections.abc import Callable

import pytest

from soundlora.progress import Pace, Progress, fetch_news


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock that Pace reads; it stands still otherwise."""
    now = [100.0]
    monkeypatch.setattr("soundlora.progress.time.perf_counter", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_speed_and_time_left_follow_the_clock(clock: Callable[[float], None]) -> None:
    pace = Pace(steps=10)
    for _ in range(4):
        clock(0.5)
        news = pace.tick(1.0)
    assert news == Progress("training", 4, 10, 1.0, 2.0, 3.0)


def test_a_pause_for_previews_does_not_count(clock: Callable[[float], None]) -> None:
    pace = Pace(steps=10)
    clock(0.5)
    pace.tick(1.0)
    clock(60)
    pace.resume()
    clock(0.5)
    assert pace.tick(1.0).steps_per_second == pytest.approx(2.0)


def test_a_resumed_run_counts_from_where_it_was(clock: Callable[[float], None]) -> None:
    pace = Pace(steps=10, done=8)
    clock(0.25)
    news = pace.tick(1.0)
    assert (news.step, news.steps_per_second, news.seconds_left) == (9, 4.0, 0.25)


def test_the_loss_is_a_plain_mean_at_first(clock: Callable[[float], None]) -> None:
    pace = Pace(steps=10)
    assert [pace.tick(loss).loss for loss in (4.0, 2.0, 3.0)] == pytest.approx([4.0, 3.0, 3.0])


def test_later_on_a_single_step_moves_the_loss_by_a_fiftieth(clock: Callable[[float], None]) -> None:
    pace = Pace(steps=1000)
    for _ in range(200):
        pace.tick(1.0)
    assert pace.tick(2.0).loss == pytest.approx(1.02)


def test_a_clock_that_stands_still_is_no_division_by_zero(clock: Callable[[float], None]) -> None:
    news = Pace(steps=10).tick(1.0)
    assert news.seconds_left is not None
    assert news.seconds_left < 1


def test_a_fetch_is_told_of_once_a_mebibyte_and_at_its_end() -> None:
    news: list[Progress] = []
    tell = fetch_news(news.append)
    for done in (0, 100, 1 << 20, (1 << 20) + 1, 5 << 19, 5 << 19):
        tell(done, 5 << 19)
    assert [(item.step, item.steps) for item in news] == [(0, 2), (1, 2), (2, 2), (2, 2)]
    assert {(item.stage, item.message) for item in news} == {("base", "fetching, in MiB")}


def test_a_step_of_another_kind_counts_and_leaves_the_loss_as_it_was() -> None:
    pace = Pace(10)
    assert (pace.tick(None).loss, pace.tick(0.5).loss, pace.tick(None).loss) == (None, 0.5, 0.5)
    assert pace.done == 3
