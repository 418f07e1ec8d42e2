from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from soundlora.server.work.turn import TURN_VARIABLE, Turn

HOLD = """
import sys
from pathlib import Path
from soundlora.server.work.turn import Turn
with Turn(Path(sys.argv[1])).taken():
    print("taken", flush=True)
    sys.stdin.read()
"""


def test_a_training_gives_way_as_long_as_a_generation_has_the_turn(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder, holder.stdin, holder.stdout:
        assert holder.stdout.readline() == b"taken\n"
        step = threading.Thread(target=Turn(path).give_way)
        step.start()
        step.join(0.3)
        assert step.is_alive()
        holder.kill()  # The system frees what it had.
        step.join(60)
        assert not step.is_alive()


def test_a_process_that_nobody_started_for_a_server_has_no_turn_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TURN_VARIABLE, raising=False)
    turn = Turn.of_environment(os.environ)
    with turn.taken():
        turn.give_way()


def test_giving_way_leaves_the_turn_to_be_taken(tmp_path: Path) -> None:
    turn = Turn.of_environment({TURN_VARIABLE: str(tmp_path / "turn")})
    turn.give_way()
    with turn.taken():
        other = threading.Thread(target=turn.give_way)
        other.start()
        other.join(0.1)
        assert other.is_alive()
    other.join(60)
    assert not other.is_alive()
