"""The base that is shipped: it fits, it generates what the prompt says, and a LoRA learns on it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from soundlora import train
from soundlora.dataset import Clip, prepare
from soundlora.lora.adapter import load_lora
from soundlora.model.latents import positions
from soundlora.model.mel import LOG_FLOOR, log_mel, resample
from soundlora.model.transformer import AudioTransformer
from soundlora.pipeline.generate import Generator
from soundlora.training.flow import loss_per_sample, noisy, step_generator
from soundlora.weights.base import NANO, Base, open_base

CPU = torch.device("cpu")
SILENCE = math.log(LOG_FLOOR)
EXAMPLES = Path(__file__).parents[1] / "examples" / "clips"


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator("nano")


def mel_of(generator: Generator, prompt: str, seed: int = 0) -> Tensor:
    """Log-mel (frames, 64) of a generated sound, both channels as one, above what can be heard."""
    sound = generator(prompt, seed=seed, duration=3.0)
    config = generator.base.config.audio
    mel = log_mel(resample(sound.waveform, sound.sample_rate, config.sample_rate)[None], config)
    return mel[0].mean(dim=0).clamp_min(-9)


def test_the_base_takes_less_than_40_megabytes() -> None:
    assert sum(path.stat().st_size for path in NANO.rglob("*") if path.is_file()) < 40_000_000


def test_the_weights_are_bf16_in_the_official_layout() -> None:
    base = open_base("nano")
    assert {info.dtype for info in base.checkpoint.tensors.values()} == {"BF16"}
    assert base.checkpoint.metadata["model_version"] == "2.3.0"


def test_the_base_names_its_own_context_length_and_sampling() -> None:
    config = open_base("nano").config
    assert config.text.context_length == 128
    assert config.sampling.negative_prompt == ""
    assert all(block < config.transformer.layers for block in config.sampling.stg_blocks or ())


def test_noise_is_steady_and_a_ticking_clock_is_not(generator: Generator) -> None:
    steady = mel_of(generator, "static noise").std(dim=0).mean()
    ticking = mel_of(generator, "clock ticking").std(dim=0).mean()
    assert ticking > 1.5 * steady


def centre(mel: Tensor) -> float:
    """Mean mel band, weighted by power."""
    power = (2 * mel).exp().mean(dim=0)
    return float((power * torch.arange(64)).sum() / power.sum())


def test_a_kick_drum_lies_below_a_hi_hat(generator: Generator) -> None:
    assert centre(mel_of(generator, "kick drum")) + 15 < centre(mel_of(generator, "hi-hat"))


def test_a_high_tone_lies_above_a_low_one(generator: Generator) -> None:
    assert centre(mel_of(generator, "high sine tone")) > centre(mel_of(generator, "low sine tone")) + 3


def played(mel: Tensor) -> Tensor:
    """Log-mel (64,) of what the vocoder makes of a log-mel (64,) that stays the same for two seconds."""
    base = open_base("nano")
    vocoder = base.codec(CPU, decoder=True).vocoder
    assert vocoder is not None
    with torch.inference_mode():
        sound = vocoder(mel.expand(1, 2, 200, 64))[0]
    heard = log_mel(resample(sound, base.config.vocoder.output_rate, 16_000)[None], base.config.audio)
    return heard[0].mean(dim=0)[20:-20].mean(dim=0)


def test_a_loud_low_tone_leaves_high_bands_silent() -> None:
    mel = torch.full((64,), SILENCE)
    mel[2:4], mel[1], mel[4] = 1.0, -2.0, -2.0
    assert played(mel)[16:].max() < -9


def test_the_band_below_8_khz_is_as_loud_as_asked_for() -> None:
    """The filters between 16 and 48 kHz take half of it away, which the vocoder makes up for."""
    level = played(torch.full((64,), -3.0))[36:]
    assert (level + 3).abs().max() < 0.1


def test_the_same_seed_gives_the_same_sound_and_another_seed_another(generator: Generator) -> None:
    first, again, other = (generator("rain", seed=seed, duration=1.0, steps=4).waveform for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-2)


def test_a_lora_learns_the_examples_in_a_hundred_steps(tmp_path: Path) -> None:
    result = train(EXAMPLES, tmp_path / "run", steps=100, trigger_phrase="LZR", validation_prompts=[])
    base = open_base("nano")
    model = base.transformer(CPU)
    before = held_still_loss(base, model)
    load_lora(model, result.lora)
    after = held_still_loss(base, model)
    assert after < 0.85 * before


@torch.no_grad()
def held_still_loss(base: Base, model: AudioTransformer) -> float:
    """Flow-matching loss on the examples at fixed noise levels with fixed noise."""
    losses: list[float] = []
    clips: list[Clip] = []
    prepare(EXAMPLES, duration=5.0, trigger_phrase="LZR", on_clip=clips.append)
    codec = base.codec(CPU, encoder=True)
    chosen = clips[:3]
    contexts = base.contexts([clip.caption for clip in chosen], CPU)
    for number, (clip, context) in enumerate(zip(chosen, contexts, strict=True)):
        clean = codec.encode(torch.from_numpy(clip.samples), clip.sample_rate)[None]
        rope = model.rope(positions(clean.shape[1], base.config.audio))
        for level in (0.3, 0.5, 0.7):
            sigma = torch.tensor([level])
            noise = torch.randn(clean.shape, generator=step_generator(9, number))
            velocity = model(noisy(clean, noise, sigma), sigma[:, None], sigma, context[None], rope)
            losses.append(loss_per_sample(velocity, clean, noise).item())
    return sum(losses) / len(losses)
