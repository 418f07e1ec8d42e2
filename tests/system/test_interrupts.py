from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from soundlora.system.interrupts import heeded_again, held_back, ignore_interrupts, termination_interrupts, unbroken

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
NUMBERS = [signal.SIGINT, signal.SIGTERM] + ([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])


def receive(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", NUMBERS)
def test_each_signal_interrupts_once_and_then_has_its_old_handler(number: int) -> None:
    before = signal.getsignal(number)
    with termination_interrupts():
        with pytest.raises(KeyboardInterrupt):
            receive(number)
        for impatient in NUMBERS:
            receive(impatient)
    assert signal.getsignal(number) is before
    with termination_interrupts(), pytest.raises(KeyboardInterrupt):
        receive(number)


def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(NUMBERS[-1], signal.SIG_IGN)
    with termination_interrupts():
        receive(NUMBERS[-1])
    assert signal.getsignal(NUMBERS[-1]) is signal.SIG_IGN


def test_a_step_is_done_before_it_is_interrupted() -> None:
    done = []

    def step() -> None:
        with unbroken():
            receive(signal.SIGTERM)
            done.append("step")

    with termination_interrupts(), pytest.raises(KeyboardInterrupt):
        step()
    assert done == ["step"]


def test_after_an_interrupt_that_waited_for_a_step_impatient_ones_change_nothing_either() -> None:
    with termination_interrupts():
        with pytest.raises(KeyboardInterrupt), unbroken():
            receive(NUMBERS[0])
        for impatient in NUMBERS:
            receive(impatient)


def test_what_is_held_back_is_counted_and_dropped() -> None:
    with termination_interrupts():
        with held_back() as received:
            receive(signal.SIGINT)
            with unbroken():  # as within a save
                receive(signal.SIGTERM)
        assert received == [signal.SIGINT, signal.SIGTERM]


def test_what_is_ignored_for_the_last_words_stays_ignored_after_the_block() -> None:
    with termination_interrupts(), held_back():
        ignore_interrupts()
    for number in NUMBERS:
        receive(number)
        assert signal.getsignal(number) is signal.SIG_IGN


def test_a_process_that_goes_on_after_its_last_words_heeds_signals_again() -> None:
    with heeded_again(), termination_interrupts():
        ignore_interrupts()
        receive(NUMBERS[0])
    with termination_interrupts(), pytest.raises(KeyboardInterrupt):
        receive(NUMBERS[0])


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signals are blocked there")
def test_a_process_that_interrupts_itself_does_so_whoever_started_it() -> None:
    """Ray ignores SIGINT and blocks it, which processes inherit; scripts ignore it in what they start aside."""
    program = """
import signal
from soundlora.system.interrupts import heed_interrupts
from soundlora.system.operating_system import interrupt_main_thread
interrupt_main_thread()
heed_interrupts()
try:
    interrupt_main_thread()
    signal.pause()
except KeyboardInterrupt:
    print("interrupted")
"""
    starting = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}); "
        "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    )
    run = subprocess.run([sys.executable, "-c", starting, program], capture_output=True, text=True, timeout=120)
    assert run.stdout == "interrupted\n", run.stderr
