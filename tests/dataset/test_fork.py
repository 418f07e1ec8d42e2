"""A helper's results come in order, and what it fails to do is only missing."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from soundlora.dataset.fork import helper, usable_processes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def test_results_come_in_order_from_another_process() -> None:
    # More than a pipe holds at once.
    with helper(lambda: ((number, os.getpid(), b"x" * 1_000) for number in range(200))) as results:
        numbers, processes, _ = zip(*results, strict=True)
    assert numbers == tuple(range(200))
    assert len(set(processes)) == 1
    assert os.getpid() not in processes


@pytest.mark.parametrize(
    "end", [lambda: 1 / 0, lambda: sys.exit(3), lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(1)]
)
def test_what_a_failing_helper_had_is_kept(end: Callable[[], object], capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> Iterator[str]:
        yield "first"
        end()
        yield "second"

    with helper(work) as results:
        assert list(results) == ["first"]
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_pickled_ends_the_results() -> None:
    with helper(lambda: ["first", lambda: None, "third"]) as results:
        assert list(results) == ["first"]


def test_an_error_in_the_block_comes_through_and_ends_a_helper_that_would_never_end() -> None:
    def work() -> Iterator[int]:
        yield os.getpid()
        time.sleep(3_600)

    children = []

    def interrupted() -> None:
        with helper(work) as results:
            children.append(next(results))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ProcessLookupError):
        os.kill(children[0], 0)


def test_without_a_process_to_spare_there_are_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> None:
        raise BlockingIOError

    open_files = len(os.listdir("/dev/fd"))
    monkeypatch.setattr(os, "fork", fork)
    with helper(lambda: ["first"]) as results:
        assert list(results) == []
    assert len(os.listdir("/dev/fd")) == open_files


def test_at_least_this_process_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= usable_processes() <= 4
    monkeypatch.setattr(sys, "platform", "darwin")
    assert usable_processes() == 1
