"""The sound synthesiser and the material scripts of the nano recipe."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")

import material
import sounds
from sounds.registry import REGISTRY

SAMPLE_RATE = 48_000
UNSEEN = ("laser", "coin", "frog", "typewriter", "whistle", "metal", "sonar", "thumb piano", "kalimba")


def centroid(audio: np.ndarray) -> float:
    """Power-weighted mean frequency in hertz of (2, samples) audio."""
    power = np.abs(np.fft.rfft(audio.mean(axis=0))) ** 2
    frequency = np.fft.rfftfreq(audio.shape[1], 1 / SAMPLE_RATE)
    return float((power * frequency).sum() / power.sum())


def onset_count(audio: np.ndarray) -> int:
    """Number of peaks of the spectral flux (10 ms hops) above a quarter of its largest values."""
    mono = np.concatenate([np.zeros(2_048), audio.mean(axis=0)])
    frames = np.lib.stride_tricks.sliding_window_view(mono, 2_048)[::480] * np.hanning(2_048)
    flux = np.maximum(np.diff(np.abs(np.fft.rfft(frames, axis=-1)) ** 0.5, axis=0), 0).sum(axis=1)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(flux, 4), 9).max(axis=1)
    return int(np.sum((flux == around) & (flux > 0.25 * np.quantile(flux, 0.99))))


def rms(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(audio**2)))


def test_there_are_enough_families_and_none_of_the_unseen_ones() -> None:
    assert len(sounds.FAMILIES) >= 26
    assert len(set(sounds.FAMILIES)) == len(sounds.FAMILIES)
    assert not [name for name in sounds.FAMILIES for word in UNSEEN if word in name]


@pytest.mark.parametrize("family", sounds.FAMILIES)
def test_same_seed_gives_the_same_clip(family: str) -> None:
    first = sounds.render(family, np.random.default_rng(7), 0.5)
    again = sounds.render(family, np.random.default_rng(7), 0.5)
    other = sounds.render(family, np.random.default_rng(8), 0.5)
    assert (first.caption, first.attributes) == (again.caption, again.attributes)
    np.testing.assert_array_equal(first.audio, again.audio)
    assert not np.array_equal(first.audio, other.audio)


@pytest.mark.parametrize("seconds", [0.5, 2.0, 7.3])
@pytest.mark.parametrize("family", sounds.FAMILIES)
def test_shape_peak_and_finite(family: str, seconds: float) -> None:
    sound = sounds.render(family, np.random.default_rng(int(seconds * 10)), seconds)
    assert sound.audio.shape == (2, round(seconds * SAMPLE_RATE))
    assert sound.audio.dtype == np.float32
    assert np.isfinite(sound.audio).all()
    assert 0.29 <= np.abs(sound.audio).max() <= 0.98
    assert rms(sound.audio) > 0.004


@pytest.mark.parametrize("family", sounds.FAMILIES)
def test_sound_goes_on_through_both_halves_and_starts_at_once(family: str) -> None:
    audio = sounds.render(family, np.random.default_rng(2), 5.0).audio
    assert min(rms(half) for half in np.split(audio, 2, axis=1)) > 0.15 * rms(audio)
    assert rms(audio[:, :SAMPLE_RATE]) > 0.15 * rms(audio)


def test_longest_clip() -> None:
    for family in sounds.FAMILIES[::6]:
        assert sounds.render(family, np.random.default_rng(1), 12.0).audio.shape == (2, 576_000)


def test_other_sample_rates() -> None:
    for family in sounds.FAMILIES:
        assert sounds.render(family, np.random.default_rng(1), 0.5, 32_000).audio.shape == (2, 16_000)


@pytest.mark.parametrize(
    "family",
    ["wind", "birds chirping", "crickets", "dog barking", "siren", "alarm beeps", "telephone ring", "church bell",
     "wind chimes", "plucked string", "string pad", "flute", "piano", "sine tone", "organ", "glass clink",
     "bubbles", "electric hum"],
)  # fmt: skip
def test_high_lies_above_low(family: str) -> None:
    for seed in range(2):
        low, high = (
            centroid(sounds.render(family, np.random.default_rng(seed), 2.0, attributes={"pitch": pitch}).audio)
            for pitch in ("low", "high")
        )
        assert high > 1.2 * low


@pytest.mark.parametrize("family", ["car engine", "rain", "siren", "church bell", "stream"])
def test_far_is_duller_than_near(family: str) -> None:
    near, far = (
        centroid(sounds.render(family, np.random.default_rng(5), 2.0, attributes={"distance": distance}).audio)
        for distance in ("near", "far")
    )
    assert far < near


@pytest.mark.parametrize(
    "family",
    ["dog barking", "alarm beeps", "clock ticking", "kick drum", "snare drum", "hi-hat", "plucked string",
     "door knocks", "glass clink", "bubbles", "synth bass"],
)  # fmt: skip
def test_fast_has_more_onsets_than_slow(family: str) -> None:
    fixed = {"space": "dry", "length": "closed", "pitch": "high"}
    for seed in range(2):
        slow, fast = (
            onset_count(
                sounds.render(family, np.random.default_rng(seed), 5.0, attributes=fixed | {"speed": speed}).audio
            )
            for speed in ("slow", "fast")
        )
        assert fast > 1.5 * slow > 0


def test_reverberant_fills_the_gaps() -> None:
    def quietest(space: str) -> float:
        attributes = {"space": space, "speed": "slow"}
        audio = sounds.render("door knocks", np.random.default_rng(3), 4.0, attributes=attributes).audio
        return float(np.quantile(np.sqrt((audio.reshape(2, -1, 960) ** 2).mean(axis=(0, 2))), 0.2))

    assert quietest("reverberant") > 5 * quietest("dry")


def test_heavy_rain_is_denser_than_light_rain() -> None:
    def crest(intensity: str) -> float:
        attributes = {"intensity": intensity, "distance": "near"}
        audio = sounds.render("rain", np.random.default_rng(3), 3.0, attributes=attributes).audio
        return float(np.abs(audio).max()) / rms(audio)

    assert crest("light") > 1.5 * crest("heavy")


@pytest.mark.parametrize("family", sounds.FAMILIES)
def test_captions_vary_and_stay_short(family: str) -> None:
    rng = np.random.default_rng(0)
    captions = [sounds.caption(family, sounds.draw_attributes(family, rng), rng) for _ in range(60)]
    assert len(set(captions)) >= 15
    for text in captions:
        assert text == text.lower()
        assert text == family or 2 <= len(text.split()) <= 12
        assert "{" not in text


def test_every_attribute_value_has_words_and_every_family_phrases() -> None:
    rng = np.random.default_rng(0)
    for family in sounds.FAMILIES:
        named = {name: 0 for name in REGISTRY[family].choices}
        for name, values in REGISTRY[family].choices.items():
            texts = [{sounds.caption(family, {name: value}, rng) for _ in range(60)} for value in values]
            named[name] = len(texts[0] ^ texts[1])
        assert 1 <= len(named) <= 3
        assert min(named.values()) > 5


def test_unknown_family_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match="frogs"):
        sounds.render("frogs", np.random.default_rng(0))


def test_textures_are_sound_and_varied() -> None:
    peaks = []
    for seed in range(12):
        audio = sounds.render_texture(np.random.default_rng(seed), (0.5, 2.0)[seed % 2])
        assert audio.shape == (2, (24_000, 96_000)[seed % 2])
        assert audio.dtype == np.float32
        assert np.isfinite(audio).all()
        peaks.append(float(np.abs(audio).max()))
    assert 0.0199 <= min(peaks) < 0.3 < max(peaks) <= 0.9801


def test_midi_is_a_well_formed_single_track_file() -> None:
    data = material.random_midi(np.random.default_rng(0), 5.0)
    assert data[:4] == b"MThd"
    assert data[14:18] == b"MTrk"
    assert int.from_bytes(data[18:22], "big") == len(data) - 22
    assert data.endswith(b"\xff\x2f\x00")
    assert data == material.random_midi(np.random.default_rng(0), 5.0)


def test_missing_tools_are_named_with_their_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(RuntimeError, match=r"apt-get install .*fluidsynth"):
        material.render_instruments(tmp_path, 0.1, 0)
    with pytest.raises(RuntimeError, match=r"apt-get install .*espeak-ng"):
        material.render_speech(tmp_path, 0.1, 0)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_speech_is_written_as_48_khz_stereo(tmp_path: Path) -> None:
    files = material.render_speech(tmp_path, 0.05, 0)
    with wave.open(str(files[0])) as handle:
        assert (handle.getframerate(), handle.getnchannels(), handle.getsampwidth()) == (SAMPLE_RATE, 2, 2)
        assert 5 * SAMPLE_RATE < handle.getnframes() <= 20 * SAMPLE_RATE


@pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not material.SOUND_FONT.is_file(), reason="fluidsynth is not installed"
)
def test_instruments_are_written_as_48_khz_stereo(tmp_path: Path) -> None:
    files = material.render_instruments(tmp_path, 0.02, 0)
    with wave.open(str(files[0])) as handle:
        assert (handle.getframerate(), handle.getnchannels()) == (SAMPLE_RATE, 2)
        audio = np.frombuffer(handle.readframes(handle.getnframes()), "<i2")
    assert np.abs(audio).max() > 300
