"""Ctrl-C, SIGTERM and a closed terminal take effect between two steps. Only the main thread can handle them."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from soundlora.system.operating_system import STOP_SIGNALS, unblock_interrupts

_DEAF_SECONDS = 10.0
"""An interrupt is on its way up for a moment. Another one in this time would only stop what it wants to be done."""
_last = -math.inf


@contextlib.contextmanager
def termination_interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP stop a run as Ctrl-C does, with a checkpoint.

    Clouds send the first one before they take a machine away, and terminals the second one when they close. A signal
    that is ignored, as `nohup` has it, or that has a handler of its own stays as it is. For some seconds after the
    first of these signals, more of them change nothing.
    """
    global _last
    _last = -math.inf
    ours = (signal.SIG_DFL, signal.default_int_handler)
    with _handled_by(_interrupt, ours):
        yield


def heed_interrupts() -> None:
    """Let SIGINT interrupt this process although whoever started it ignores or blocks it, as Ray and scripts do.

    It is for processes that interrupt themselves, and that no terminal's Ctrl-C reaches.
    """
    if _in_main_thread():
        unblock_interrupts()
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Hold an interrupt back until the block has ended: a step that is half done would resume as a different one."""
    global _last
    with held_back() as received:
        yield
    if received:
        _last = time.monotonic()
        raise KeyboardInterrupt


@contextlib.contextmanager
def held_back() -> Iterator[list[int]]:
    """Let the block end whoever interrupts it. Yield the list of the signals that came meanwhile."""
    received: list[int] = []
    with _handled_by(lambda number, frame: received.append(number), (_interrupt, signal.default_int_handler)):
        yield received


def ignore_interrupts() -> None:
    """Drop every interrupt from now on, for the last words of a program and its end."""
    if _in_main_thread():
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def heeded_again() -> Iterator[None]:
    """Give the stop signals the handlers back that they had before the block, also if it has ignored them."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS} if _in_main_thread() else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None], instead_of: tuple[object, ...]) -> Iterator[None]:
    """Give the stop signals this handler within the block, those that have one of `instead_of`.

    A handler that the block sets itself stays: whoever ignores interrupts for the last words goes on to do so.
    """
    found = {number: signal.getsignal(number) for number in STOP_SIGNALS} if _in_main_thread() else {}
    before = {number: old for number, old in found.items() if old in instead_of}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, old)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _last
    if time.monotonic() - _last > _DEAF_SECONDS:
        _last = time.monotonic()
        raise KeyboardInterrupt


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
