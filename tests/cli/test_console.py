from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from soundlora.cli.console import Display, duration_words, heard_words, levels_words
from soundlora.progress import Progress, fetch_news
from soundlora.training.distances import Estimate
from soundlora.training.verdict import Facts, Figures, Heard, Level, judge


def training(step: int, steps: int = 1000) -> Progress:
    return Progress("training", step, steps, loss=0.5, steps_per_second=20.0, seconds_left=(steps - step) / 20)


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1000.0]
    monkeypatch.setattr("soundlora.cli.console.time.monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_plain_lines_of_training_come_every_few_seconds_and_at_the_end(
    pass_time: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Display() as display:
        for step in range(1, 1001):
            display(training(step))
            pass_time(0.05)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Training 1/1000  loss 0.500  20.0 steps/s  0:49 left"
    assert lines[-1] == "Training 1000/1000  loss 0.500  20.0 steps/s  0:00 left"
    assert 10 <= len(lines) <= 12


def test_plain_lines_of_a_fetch_come_every_few_seconds_and_at_the_end(
    pass_time: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Display() as display:
        display(Progress("base", message="opening far/away"))
        tell = fetch_news(display)
        for done in range(0, 8001, 10):
            tell(done << 20, 8000 << 20)
            pass_time(0.05)
        display(Progress("clips", message="reading clips"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Base  opening far/away"
    assert lines[-2] == "Base 8000/8000  fetching, in MiB"
    assert 7 <= sum("fetching" in line for line in lines) <= 10


def test_a_note_is_said_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        display(Progress("base", message="it was cut to rank 4", note=True))
    assert capsys.readouterr().out == "Note: it was cut to rank 4\n"


def test_a_plain_line_is_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        for _ in range(3):
            display(Progress("previews", 0, 10, message="previews at step 0"))
    assert capsys.readouterr().out == "Previews 0/10  previews at step 0\n"


def test_in_a_terminal_there_is_one_live_line_and_names_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"TTY_COMPATIBLE": "1", "TERM": "xterm-256color", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)
    with Display() as display:
        display(Progress("clips", 1, message="[/red] take [1].wav"))
        display(Progress("clips", 2, 2, message="2 clips kept, 0 skipped"))
        for step in range(1, 11):
            display(training(step, 10))
        display.note("[bold]it is very quiet")
    out = capsys.readouterr().out
    assert "\x1b[" in out
    assert "2 clips kept, 0 skipped" in out
    assert "10/10" in out
    assert "[bold]it is very quiet" in out
    assert out.count("\n") < 20


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_a_length_of_time_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_the_loss_by_noise_level_is_one_sentence() -> None:
    fit = judge(Figures(), Facts(1, 100))
    assert levels_words(fit) == ""
    levels = Level(0.1, 0.5, 0.45), Level(0.9, 0.8, 0.84)
    assert levels_words(replace(fit, levels=levels, levels_kept_out=True)) == (
        "Loss beside the base's by noise level, on clips kept out: 0.1: -10 %, 0.9: +5 %."
    )
    assert "on clips that were trained on: 0.1" in levels_words(replace(fit, levels=levels))


def test_what_is_heard_is_one_sentence_without_what_can_not_be_said() -> None:
    fit = judge(Figures(), Facts(1, 100))
    assert heard_words(fit) == ""
    rows = (
        Heard("level moves by", "dB", Estimate(23.8), Estimate(3.4), Estimate(22.5)),
        Heard("spectrum", "nats", None, Estimate(4.3), Estimate(1.1)),
        Heard("latents, kernel distance", "× 1000", None, None, None),
    )
    said = heard_words(replace(fit, heard=rows, heard_of="1 sound."))
    assert said == "Heard: level moves by 22.5 dB (clips 23.8, before 3.4); spectrum 1.1 nats. 1 sound."
