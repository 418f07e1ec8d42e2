"""A forked process that takes over a part of the work."""

import contextlib
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TypeVar

MAX_PROCESSES = 4
"""More would soon hold more memory than they save time."""

_Result = TypeVar("_Result")


def usable_processes() -> int:
    """Return how many processes may share the work here: one for each core, where forking is safe."""
    # The system libraries of macOS don't survive a fork, Windows has none.
    return min(MAX_PROCESSES, len(os.sched_getaffinity(0))) if sys.platform == "linux" else 1


@contextmanager
def helper(work: Callable[[], Iterable[_Result]]) -> Iterator[Iterator[_Result]]:
    """Let a copy of this process do `work`; gives its results, which can be pickled, in their order.

    They end early when the copy fails, whatever the reason: do what is missing yourself, and any error shows again.
    The copy is gone after the block. No thread of this process may hold a lock that `work` needs.
    """
    reading, writing = os.pipe()
    try:
        with warnings.catch_warnings():
            # Python warns of the threads that numpy's BLAS started, which are made for this.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
    except OSError:
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
            # Neither error nor clean-up: both are the original's.
            os._exit(0)
    os.close(writing)
    try:
        with open(reading, "rb") as pipe:
            yield _results(pipe)
    finally:
        # There is no child left where a parent had SIGCHLD ignored.
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _results(pipe: IO[bytes]) -> Iterator[_Result]:
    with contextlib.suppress(EOFError, pickle.UnpicklingError):
        while True:
            yield pickle.load(pipe)
