"""A LoRA on nano learns a sound that nano never heard: two sounds, told apart by what their LoRAs generate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("scipy")

from judge import mel_of, statistics
from unseen import RATE, read, synthesised, write

from soundlora import train
from soundlora.model.base import open_base
from soundlora.model.lora import load_lora
from soundlora.sampling.generate import sample_latents
from soundlora.sampling.guidance import Guidance

CPU = torch.device("cpu")
NAMES = ("chatter", "gongs")
STEPS = 200


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """Mean log-mel statistics of each sound's clips, of what its LoRA makes, and of what the base makes."""
    base = open_base("nano")
    codec = base.codec(CPU, encoder=True, decoder=True)
    cache = tmp_path_factory.mktemp("cache")

    def generated(lora: Path | None, caption: str) -> np.ndarray:
        model = base.transformer(CPU)
        if lora is not None:
            load_lora(model, lora)
        context, empty = base.contexts([f"sndx {caption}", ""], CPU)
        rows = []
        for seed in (1, 2):
            latents = sample_latents(
                model, base.config.audio, context, empty, seconds=3.0, seed=seed, steps=16, guidance=Guidance(1.0, 0.0)
            )
            with torch.inference_mode():
                rows.append(statistics(codec.vae.decode(latents[None])[0].numpy()))
        return np.mean(rows, axis=0)

    found = {}
    for sound in synthesised():
        if sound.name not in NAMES:
            continue
        folder = tmp_path_factory.mktemp(sound.name)
        write(sound, folder / "clips")
        result = train(
            folder / "clips",
            folder / "run",
            steps=STEPS,
            duration=3.0,
            trigger_phrase="sndx",
            validation_prompts=[],
            cache=cache,
        )
        found[sound.name] = {
            "clips": clip_statistics(folder / "clips"),
            "lora": generated(result.lora, sound.caption),
            "base": generated(None, sound.caption),
        }
    return found


def clip_statistics(folder: Path) -> np.ndarray:
    return np.mean([statistics(mel_of(read(path)[:, : 3 * RATE])) for path in sorted(folder.glob("*.wav"))], axis=0)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a - b).mean()))


@pytest.mark.parametrize("name", NAMES)
def test_a_lora_brings_the_base_to_its_sound(tables: dict[str, dict[str, np.ndarray]], name: str) -> None:
    mine = tables[name]
    assert distance(mine["lora"], mine["clips"]) < 0.6 * distance(mine["base"], mine["clips"])


@pytest.mark.parametrize(("name", "other"), [NAMES, NAMES[::-1]])
def test_a_loras_sound_is_its_own_and_not_the_others(
    tables: dict[str, dict[str, np.ndarray]], name: str, other: str
) -> None:
    sound = tables[name]["lora"]
    assert distance(sound, tables[name]["clips"]) < distance(sound, tables[other]["clips"])
