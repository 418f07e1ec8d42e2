"""Each rule of the verdict, by figures. `tests/pipeline/test_verdicts.py` trains runs that fail in each way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from soundlora.training.distances import Estimate
from soundlora.training.verdict import LIVELINESS, SPECTRUM, Facts, Figures, Fit, Heard, judge
from soundlora.wording import command_line_words, wording


@pytest.fixture(autouse=True)
def _on_the_command_line() -> Iterator[None]:
    """Whose words the sentences are in."""
    with wording(command_line_words):
        yield


PLAIN = Facts(clips=20, steps=2000, captions=("a dog barks twice in a yard",) * 20)
SETTLED = ((0, 1.0), (25, 0.7), (50, 0.62), (75, 0.605), (100, 0.6))
FLAT = ((0, 1.0), (25, 0.98), (50, 0.975), (75, 0.97), (100, 0.97))
RISING = ((0, 1.0), (50, 1.2), (100, 1.1))
TURNED = ((0, 1.0), (25, 0.75), (40, 0.6), (50, 0.61), (75, 0.7), (100, 0.8))


def verdict(held_out: Any, facts: Facts = PLAIN, **measured: Any) -> Fit:
    return judge(Figures(held_out, **measured), facts)


@pytest.mark.parametrize(
    ("held_out", "distances", "expected"),
    [
        (SETTLED, None, "learnt"),
        (SETTLED, (0.2, 0.7), "learnt"),
        (SETTLED, (0.62, 0.68), "learnt in part"),
        (SETTLED, (0.45, 0.7), "learnt in part"),
        (FLAT, (0.2, 0.7), "learnt in part"),
        (FLAT, (0.62, 0.68), "barely learnt"),
        (FLAT, None, "barely learnt"),
        (RISING, (0.2, 0.7), "barely learnt"),
        (TURNED, (0.2, 0.7), "overfitting"),
        ((), (0.2, 0.7), "unknown"),
    ],
)
def test_loss_and_sound_are_weighed(held_out: Any, distances: tuple[float, float] | None, expected: str) -> None:
    assert verdict(held_out, distances=distances).verdict == expected


def heard(name: str, clips: float | None, start: float | None, lora: float | None) -> Heard:
    return Heard(name, "", *(None if each is None else Estimate(each, 0.1) for each in (clips, start, lora)))


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (heard(LIVELINESS, 18.0, 3.0, 8.0), "the level moves by 8.0 dB, where that of the clips moves by 18.0 dB"),
        (heard(LIVELINESS, 4.0, 3.0, 10.0), "the level moves by 10.0 dB, where"),
        (heard(LIVELINESS, 18.0, 3.0, 10.0), ""),
        (heard(LIVELINESS, 2.0, 3.0, 6.0), ""),
        (heard(LIVELINESS, None, 3.0, 6.0), ""),
        (heard(SPECTRUM, 0.5, 3.0, 2.9), "the spectrum is no nearer to that of the clips (2.90 nats off, "),
        (heard(SPECTRUM, 0.5, 3.0, 4.0), "the spectrum is no nearer"),
        (heard(SPECTRUM, 2.0, 3.0, 2.9), ""),
        (heard(SPECTRUM, None, 3.0, 2.9), "the spectrum is no nearer"),
        (heard(SPECTRUM, 0.5, 3.0, 2.0), ""),
        (heard(SPECTRUM, 0.5, 3.0, None), ""),
        (heard("onsets", 0.5, 3.0, 9.0), ""),
    ],
)  # fmt: skip
def test_sound_that_latents_call_near_has_to_be_heard_as_near(figure: Heard, words: str) -> None:
    fit = verdict(SETTLED, distances=(0.2, 0.7), heard=(figure,))
    assert fit.verdict == ("learnt in part" if words else "learnt")
    assert f"but of generated sound {words}" in fit.sentences[0] or not words
    assert fit.heard == (figure,)
    assert Fit.from_json(json.loads(json.dumps(fit.to_json()))) == fit


@pytest.mark.parametrize(("interval", "expected"), [(None, "learnt in part"), (0.3, "learnt in part"), (1.1, "learnt")])
def test_spectra_that_differ_from_take_to_take_are_not_held_to_their_mean(
    interval: float | None, expected: str
) -> None:
    figure = Heard(SPECTRUM, "", Estimate(0.5), Estimate(3.0), Estimate(2.9, interval))
    assert verdict(SETTLED, distances=(0.2, 0.7), heard=(figure,)).verdict == expected


def test_what_is_heard_saves_no_run_that_has_learnt_little() -> None:
    near = (heard(LIVELINESS, 18.0, 3.0, 18.0), heard(SPECTRUM, 0.5, 3.0, 0.5))
    assert verdict(FLAT, distances=(0.62, 0.68), heard=near).verdict == "barely learnt"
    assert verdict(TURNED, distances=(0.2, 0.7), heard=near).verdict == "overfitting"


def test_the_reasons_are_figures() -> None:
    fit = verdict(SETTLED, distances=(0.62, 0.68))
    assert fit.sentences == (
        "Learnt in part: the loss on clips kept out fell by 40%, from 1.000 to 0.600, but generated sound is hardly "
        "nearer to the clips.",
        "Generated sound lies 0.62 from the clips in latent statistics; that of the base lies 0.68 off.",
    )
    partly = verdict(SETTLED, distances=(0.45, 0.7))
    assert partly.sentences[0].endswith("from 1.000 to 0.600, but generated sound is nearer to the clips by only 36%.")
    assert (fit.base_loss, fit.final_loss, fit.best_step) == (1.0, 0.6, 100)
    assert (fit.distance, fit.start_distance) == (0.62, 0.68)


def test_a_loss_that_turns_names_its_step_and_the_best_file() -> None:
    files = {step: f"checkpoints/{step}" for step in (25, 49, 50, 75, 100)}
    fit = verdict(TURNED, checkpoints=files)
    assert fit.sentences[0].startswith("Overfitting since step 40: the loss on clips kept out was lowest there (0.600)")
    assert fit.best_file == "checkpoints/50"
    assert fit.advice[:2] == ("Use checkpoints/50.", "Train for about 40 steps, or more clips than 20 the next time.")
    none_better = verdict(TURNED, checkpoints={100: "checkpoints/100"})
    assert none_better.best_file is None
    assert none_better.advice[0].startswith("Write checkpoints more often")
    assert verdict(((0, 1.0), (90, 0.6), (100, 0.61))).verdict == "learnt", "a ripple at the end is no turn"


def test_a_run_is_compared_with_the_lora_that_it_began_with() -> None:
    """Its own start counts. A loss far below the base's is the merit of that LoRA."""
    fit = verdict(((0, 1.0), (0, 0.62), (50, 0.61), (100, 0.60)), distances=(0.614, 0.617))
    assert (fit.verdict, fit.base_loss, fit.start_loss, fit.final_loss) == ("barely learnt", 1.0, 0.62, 0.60)
    assert "fell by only 3%, from 0.620 to 0.600." in fit.sentences[0]
    assert "that of the LoRA it began with lies 0.62 off" in fit.sentences[1]
    worse = verdict(((0, 1.0), (0, 0.5), (50, 0.7), (100, 0.8)), checkpoints={50: "checkpoints/50"})
    assert worse.verdict == "barely learnt"
    assert "never fell below the 0.500 of the start" in worse.sentences[0]
    assert verdict(((0, 1.0), (9, 0.5))).start_loss is None


@pytest.mark.parametrize(
    ("held_out", "changed", "advice"),
    [
        (FLAT, {"steps": 200}, "Train for more steps: it had few."),
        (((0, 1.0), (25, 0.99), (50, 0.98), (75, 0.97), (100, 0.96)), {}, "Train for more steps: the loss was still"),
        (FLAT, {"learning_rate": 1e-6}, "Raise --learning-rate: 1e-06 is low, 0.0002 is usual."),
        (RISING, {"learning_rate": 1e-2}, "Lower --learning-rate: the loss only rose."),
        (FLAT, {"captions": ("sounds",) * 20}, "Write longer captions: "),
        (FLAT, {"captions": ("",) * 20}, "Write longer captions: "),
        (FLAT, {"clips": 4}, "Add clips: it had 4, and 10 or more are advised."),
        (FLAT, {"used": 0.1}, "Use more of each clip: 10% of their length was trained on. A longer --duration or"),
        (SETTLED, {"trigger_phrase": "Zappo", "prompts": ("rain",)}, "Put the trigger phrase 'Zappo' into your"),
        ((), {}, "10 clips, or --hold-out, show what it learns."),
    ],
)
def test_advice_goes_by_what_is_known_of_the_run(held_out: Any, changed: dict[str, Any], advice: str) -> None:
    fit = verdict(held_out, replace(PLAIN, **changed))
    assert any(sentence.startswith(advice) for sentence in fit.advice), fit.advice
    usual = verdict(FLAT if held_out == () else held_out).advice
    if changed and "still" not in advice and "only rose" not in advice:
        assert not any(sentence.startswith(advice) for sentence in usual)


def test_a_run_that_learnt_gets_no_advice() -> None:
    assert verdict(SETTLED, distances=(0.2, 0.7)).advice == ()
    known = replace(PLAIN, trigger_phrase="zappo", prompts=("rain", "a Zappo shot"))
    assert verdict(SETTLED, known).advice == ()


def test_a_copy_and_silence_are_told() -> None:
    fit = verdict(SETTLED, closest=("clip3.wav", 0.97), level=(-75.0, 0.95))
    text = " ".join(fit.sentences)
    assert "repeats clip3.wav" in text
    assert "almost silent" in text
    assert "nearly silent after the cut" in " ".join(fit.advice)
    quiet = verdict(SETTLED, closest=("clip3.wav", 0.5), level=(-20.0, 0.1))
    assert len(quiet.sentences) == 1
    assert quiet.to_json()["closeness"] == 0.5
