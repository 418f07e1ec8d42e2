"""Sounds that are gone on from, led into, mended, or made into another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import BaseNames, write_clip
from torch import Tensor

from soundlora.audio.wav import read_wav, write_wav
from soundlora.errors import InputError
from soundlora.model.condition import Given
from soundlora.pipeline.generate import Generator
from soundlora.pipeline.generation import Generation
from soundlora.pipeline.given_sound import Source, _Editor, check_source, joined

RATE = 44_100
Make = Callable[..., Generation]
# 16 bits of a WAV file, written and read.
ROUNDING = 2.0**-15


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of noise, in mono at 44.1 kHz."""
    noise = 0.1 * np.random.default_rng(5).standard_normal(2 * RATE)
    return write_clip(tmp_path_factory.mktemp("sound") / "noise.wav", noise.astype(np.float32), rate=RATE)


@pytest.fixture(scope="module")
def generator(quick_base: BaseNames) -> Generator:
    return Generator(**quick_base.arguments)


@pytest.fixture
def make(generator: Generator, sound: Path) -> Make:
    def make(mode: str, duration: float | None = 1.0, **source: Any) -> Generation:
        of = Source(mode, **({"audio": sound} | source))
        return generator("rain", duration=duration, seed=3, steps=1, cfg=1, stg=0, source=of)

    return make


def original(sound: Path) -> Tensor:
    return read_wav(sound)[0]


def test_a_sound_goes_on_and_what_was_there_stays_up_to_the_fade(make: Make, sound: Path) -> None:
    found, before = make("extend-prefix", conditioning_seconds=0.4), original(sound)
    assert (found.sample_rate, len(found.waveform)) == (RATE, 1)
    # Of 25 latents ten are given, so fifteen are added.
    assert found.waveform.shape[1] == before.shape[1] + round(0.6 * RATE)
    fade = round(0.02 * RATE)
    torch.testing.assert_close(found.waveform[:, : before.shape[1] - fade], before[:, :-fade], atol=ROUNDING, rtol=0)
    assert not torch.allclose(found.waveform[:, before.shape[1] - fade : before.shape[1]], before[:, -fade:], atol=1e-3)


def test_a_sound_is_led_into(make: Make, sound: Path) -> None:
    found, before = make("extend-suffix", conditioning_seconds=0.4), original(sound)
    added = found.waveform.shape[1] - before.shape[1]
    assert added == round(0.57 * RATE)  # the first latent of a sound stands for a quarter of the others' time
    fade = round(0.02 * RATE)
    torch.testing.assert_close(found.waveform[:, added + fade :], before[:, fade:], atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("mode", ["extend-prefix", "extend-suffix"])
def test_it_goes_on_window_after_window_to_the_sample(make: Make, sound: Path, mode: str) -> None:
    found = make(mode, conditioning_seconds=0.4, added_seconds=1.5)
    assert found.waveform.shape[1] == original(sound).shape[1] + round(1.5 * RATE)
    assert found.duration == pytest.approx(3.5, abs=1e-3)
    one, two = (
        found.waveform[:, start : start + 10_000] for start in (2 * RATE + 2000, 2 * RATE + 2000 + round(0.6 * RATE))
    )
    assert not torch.allclose(one, two, atol=1e-3)  # each window begins with noise of its own


def test_spans_are_made_anew_and_the_rest_is_as_it_was(make: Make, sound: Path) -> None:
    found, before = make("inpaint", spans=((0.5, 0.8), (1.2, 1.3)), duration=None), original(sound)
    assert found.waveform.shape == before.shape
    changed = (found.waveform - before).abs()[0] > 2 * ROUNDING
    fade = round(0.02 * RATE)
    allowed = torch.zeros_like(changed)
    for start, end in ((0.5, 0.8), (1.2, 1.3)):
        allowed[round(start * RATE) - fade : round(end * RATE) + fade] = True
        assert changed[round(start * RATE) : round(end * RATE)].float().mean() > 0.9
    assert not changed[~allowed].any()


def test_a_span_at_the_end_of_a_sound(make: Make, sound: Path) -> None:
    found, before = make("inpaint", spans=((1.9, 9.0),), duration=None), original(sound)
    assert found.waveform.shape == before.shape
    tail = (found.waveform - before).abs()[0, round(1.9 * RATE) :]
    assert (tail > 2 * ROUNDING).float().mean() > 0.9


def test_a_long_sound_is_mended_in_windows_around_its_spans(make: Make, sound: Path) -> None:
    found, before = make("inpaint", spans=((0.1, 0.2), (1.7, 1.8)), duration=0.6), original(sound)
    changed = (found.waveform - before).abs()[0] > 2 * ROUNDING
    assert changed[round(0.1 * RATE) : round(0.2 * RATE)].float().mean() > 0.9
    assert changed[round(1.7 * RATE) : round(1.8 * RATE)].float().mean() > 0.9
    assert not changed[round(0.3 * RATE) : round(1.6 * RATE)].any()
    with pytest.raises(InputError, match=r"The span from 0\.2 to 1\.4 s is longer than the window of 0\.6 s"):
        make("inpaint", spans=((0.2, 1.4),), duration=0.6)


def test_a_sound_is_made_into_another_of_its_length(make: Make, sound: Path) -> None:
    found, before = make("a2a", duration=None), original(sound)
    assert found.waveform.shape == before.shape
    assert not torch.allclose(found.waveform, before, atol=1e-2)
    assert make("a2a", duration=0.5).waveform.shape[1] == round(0.5 * RATE)


def test_stereo_stays_stereo_and_the_codecs_rate_is_not_needed(make: Make, tmp_path: Path) -> None:
    both = 0.1 * np.random.default_rng(5).standard_normal((2, 22_050)).astype(np.float32)
    path = tmp_path / "stereo.wav"
    write_wav(path, torch.from_numpy(both), 22_050)
    found = make("extend-prefix", audio=path, conditioning_seconds=0.4)
    assert (len(found.waveform), found.sample_rate) == (2, 22_050)


def test_decoded_gives_the_models_own_copy(make: Make, sound: Path) -> None:
    before = original(sound)
    for mode, more in (("extend-prefix", {"conditioning_seconds": 0.4}), ("inpaint", {"spans": ((0.5, 0.8),)})):
        found = make(mode, decoded=True, duration=1.0 if mode != "inpaint" else None, **more)
        kept = slice(round(1.7 * RATE), round(1.9 * RATE))
        assert not torch.allclose(found.waveform[:, kept], before[:, kept], atol=1e-3)


def test_what_is_made_has_the_level_of_the_file(generator: Generator, sound: Path) -> None:
    # A window that is the file itself at another level joins it without a jump.
    codec = generator._codec.with_encoder(generator.base)
    source = Source("extend-prefix", sound, conditioning_seconds=0.4)
    whole = original(sound)

    def quiet(given: Given, number: int) -> Tensor:
        return 0.3 * torch.cat((whole[:, -round(0.37 * RATE) :], whole), dim=1).expand(2, -1)

    editor = _Editor(source, codec, quiet)
    editor._make = lambda given: quiet(given, 0)[:1]  # type: ignore[method-assign]
    found = editor.go_on(1.0)
    after = found[:, whole.shape[1] :]
    assert after.square().mean().sqrt().item() == pytest.approx(whole.square().mean().sqrt().item(), rel=0.05)


def test_joining_fades_within_what_is_there() -> None:
    one, other = torch.ones(1, 10), torch.full((1, 8), 3.0)
    out = joined(one, other, seam=5, fade=3)
    assert out.shape == (1, 13)
    assert out[0].tolist() == pytest.approx([1.0] * 7 + [1.5, 2.0, 2.5] + [3.0] * 3)
    assert joined(one, other, seam=5, fade=3, decoded=True)[0].tolist() == [1.0] * 5 + [3.0] * 8


@pytest.mark.parametrize(
    ("source", "duration", "sentence"),
    [
        ({"mode": "t2a"}, None, "mode is 't2a', but it must be one of extend-prefix, extend-suffix, inpaint, a2a"),
        ({"mode": "inpaint"}, None, "spans is missing"),
        ({"mode": "a2a", "spans": ((0.0, 1.0),)}, None, "spans is for mending"),
        ({"mode": "a2a", "conditioning_seconds": 1.0}, None, "conditioning_seconds is for going on"),
        ({"mode": "inpaint", "spans": ((0.0, 1.0),), "added_seconds": 1.0}, None, "added_seconds is for going on"),
        (
            {"mode": "extend-prefix", "conditioning_seconds": 0.0},
            None,
            "conditioning_seconds is 0, but it must be above 0",
        ),
        (
            {"mode": "extend-prefix", "conditioning_seconds": 2.0},
            2.0,
            "conditioning_seconds is 2, but it must be less than the 2 s",
        ),
        ({"mode": "extend-prefix"}, 0.5, "conditioning_seconds is 1, but it must be less than the 0.5 s"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    sound: Path, source: dict[str, Any], duration: float | None, sentence: str
) -> None:
    with pytest.raises(InputError) as refused:
        check_source(Source(**({"audio": sound} | source)), duration)
    assert sentence in str(refused.value)


def test_files_that_can_not_be_used_are_named(make: Make, tmp_path: Path) -> None:
    silence = write_clip(tmp_path / "silence.wav", np.zeros(RATE, np.float32), rate=RATE)
    short = write_clip(tmp_path / "short.wav", np.full(300, 0.5, np.float32), rate=RATE)
    (tmp_path / "text.wav").write_text("no sound")
    for path, words in (
        (silence, "it is silent"),
        (short, "at least 0.04 s"),
        (tmp_path / "text.wav", "text.wav can't be used"),
        (tmp_path / "gone.wav", "does not exist"),
        (tmp_path, "is no file"),
    ):
        with pytest.raises(InputError, match=words):
            make("extend-prefix", audio=path, conditioning_seconds=0.4)
    with pytest.raises(InputError, match=r"names no span within the 1\.00 s"):
        make(
            "inpaint",
            audio=write_clip(tmp_path / "a.wav", np.full(RATE, 0.1, np.float32), rate=RATE),
            spans=((2.0, 3.0),),
        )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"audio": 5}, "audio is 5, but it must be a path."),
        ({"audio": ""}, "audio is empty; name a file or a folder."),
        ({"mode": None}, "mode is None, but it must be text."),
        ({"conditioning_seconds": "long"}, "conditioning_seconds is 'long', but it must be a number."),
        ({"spans": "1-2"}, "spans must be [[start, end], …] in seconds."),
        ({"spans": (1.0, 2.0)}, "spans must be [[start, end], …] in seconds."),
        ({"spans": [("a", "b")]}, "spans must be [[start, end], …] in seconds."),
        ({"spans": [(2, 1)]}, "spans has a span from 2 to 1 s, but each must end after it starts."),
    ],
)
def test_a_source_of_wrong_types_is_refused_in_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        Source(**({"mode": "inpaint", "audio": "rain.wav"} | given))
    assert str(refused.value) == sentence


def test_a_source_may_be_named_by_text_and_its_spans_in_any_order(sound: Path) -> None:
    source = Source("inpaint", str(sound), spans=[[1.2, 1.3], [0, 0.5]])  # type: ignore[arg-type]
    assert (source.path, source.spans) == (sound, ((0.0, 0.5), (1.2, 1.3)))
    check_source(source, None)
