"""A LoRA learns sounds that nano has never heard: finished sound comes nearer to the clips than the base's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from judge import Array, mel_of, statistics
from unseen import RATE, read, synthesised, write

from soundlora import Generator, train

TRIGGER, STEPS, DURATION, SEEDS = "sndx", 400, 3.0, 3


def heard(generator: Generator, prompt: str) -> Array:
    """Statistics of what a prompt gives, mean over seeds."""
    sounds = (generator(prompt, seed=seed, duration=DURATION).waveform.numpy() for seed in range(SEEDS))
    result: Array = np.stack([statistics(mel_of(sound)) for sound in sounds]).mean(axis=0)
    return result


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("zaps", 0.8), ("chatter", 0.8)])
def test_a_lora_learns_an_unseen_sound(tmp_path: Path, name: str, most: float) -> None:
    """The distance in log-mel statistics; a trainer that does nothing gives 1."""
    (target,) = [sound for sound in synthesised() if sound.name == name]
    write(target, tmp_path / "clips")
    run = train(
        tmp_path / "clips",
        tmp_path / "run",
        steps=STEPS,
        duration=DURATION,
        trigger_phrase=TRIGGER,
        validation_prompts=[],
        cache=tmp_path / "cache",
    )
    clips = [statistics(mel_of(read(path)[:, : int(DURATION * RATE)])) for path in (tmp_path / "clips").glob("*.wav")]
    centre = np.stack(clips).mean(axis=0)
    plain, learnt = Generator("nano"), Generator("nano", [(run.lora, 1.0)])
    prompt = f"{TRIGGER} {target.caption}"
    before = np.linalg.norm(heard(plain, prompt) - centre)
    assert np.linalg.norm(heard(learnt, prompt) - centre) < most * before
    # Without its trigger the sound is elsewhere: the base is still there.
    other = "birds chirping"
    assert np.linalg.norm(heard(learnt, other) - heard(plain, other)) < np.linalg.norm(heard(learnt, other) - centre)
