"""A forked process can take over a part of the work."""

import contextlib
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TypeVar

from soundlora.system.operating_system import end_fork, fork, forks_are_safe, usable_cores

MAX_PROCESSES = 4
"""More processes would take much more memory and save little more time."""

_Result = TypeVar("_Result")


def usable_processes() -> int:
    """Return how many processes may share the work: up to one a core, or one where forking is not safe."""
    return min(MAX_PROCESSES, usable_cores()) if forks_are_safe() else 1


@contextmanager
def helper(work: Callable[[], Iterable[_Result]]) -> Iterator[Iterator[_Result]]:
    """Let a copy of this process do `work`, and yield an iterator of its results in their order.

    The results must be picklable. They end early when the copy fails for any reason: the caller does the missing part
    itself and then meets the same error. The copy is gone after the block. No thread of this process may hold a lock
    that `work` needs.
    """
    reading, writing = os.pipe()
    child = fork()
    if child is None:
        os.close(reading)
        os.close(writing)
        yield iter(())
        return
    if child == 0:
        try:
            os.close(reading)
            with open(writing, "wb") as pipe:
                for result in work():
                    pickle.dump(result, pipe)
                    pipe.flush()
        finally:
            # Errors and clean-up belong to the original process, so the copy leaves without either.
            os._exit(0)
    os.close(writing)
    try:
        with open(reading, "rb") as pipe:
            yield _results(pipe)
    finally:
        end_fork(child)


def _results(pipe: IO[bytes]) -> Iterator[_Result]:
    with contextlib.suppress(EOFError, pickle.UnpicklingError):
        while True:
            yield pickle.load(pipe)
