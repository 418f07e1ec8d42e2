"""Ctrl-C and SIGTERM take effect between two steps. Only the main thread can handle them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def termination_interrupts() -> Iterator[None]:
    """Let SIGTERM stop a run as Ctrl-C does, with a checkpoint: clouds send it before they take a machine away."""
    if not _in_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Hold an interrupt back until the block has ended: a step that is half done would resume as a different one."""
    held = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if _in_main_thread() and signal.getsignal(number) is signal.default_int_handler
    ]
    received: list[int] = []
    for number in held:
        signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, signal.default_int_handler)
    if received:
        raise KeyboardInterrupt


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
