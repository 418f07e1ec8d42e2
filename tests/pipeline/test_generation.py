from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
import soundfile
import torch

from soundlora.errors import InputError
from soundlora.pipeline.generation import Generation

RATE = 48_000


def sound(rate: int = RATE, seconds: float = 0.5, prompt: str = "rain") -> Generation:
    time = torch.arange(round(seconds * rate)) / rate
    return Generation(torch.stack([torch.sin(440 * 6.2832 * time), 0.1 * torch.ones_like(time)]) * 0.5, rate, prompt, 7)


@pytest.mark.parametrize(
    ("name", "format", "subtype"),
    [
        ("a.wav", "WAV", "PCM_16"),
        ("a.FLAC", "FLAC", "PCM_24"),
        ("a.ogg", "OGG", "VORBIS"),
        ("a.mp3", "MP3", "MPEG_LAYER_III"),
    ],
)
def test_a_file_is_what_its_name_says(tmp_path: Path, name: str, format: str, subtype: str) -> None:
    path = sound().save(tmp_path / name)
    found = soundfile.info(path)
    assert (found.format, found.subtype, found.samplerate, found.channels) == (format, subtype, RATE, 2)
    assert found.duration == pytest.approx(0.5, abs=0.06), "MP3 comes in frames"
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_flac_rounds_nothing_of_24_bits_away(tmp_path: Path) -> None:
    exact = torch.randint(-(2**23), 2**23, (2, 4000)).float() / 2**23
    Generation(exact, 96_000, "kept", 1).save(tmp_path / "kept.flac")
    samples, rate = soundfile.read(tmp_path / "kept.flac", dtype="float32")
    assert rate == 96_000
    torch.testing.assert_close(torch.from_numpy(samples.T), exact, atol=2.0**-23, rtol=0)


@pytest.mark.parametrize(("rate", "written"), [(96_000, 48_000), (44_100, 44_100), (37_800, 44_100)])
def test_a_rate_that_mp3_lacks_becomes_another_one_at_the_same_length_and_pitch(
    tmp_path: Path, rate: int, written: int
) -> None:
    samples, found = soundfile.read(sound(rate, 1.0).save(tmp_path / "a.mp3"))
    assert found == written
    assert len(samples) == pytest.approx(written, rel=0.06)
    spectrum = abs(torch.fft.rfft(torch.from_numpy(samples[: written // 2, 0].copy())))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=4)


@pytest.mark.parametrize("name", ["a.m4a", "a", "a.wav.txt"])
def test_another_ending_is_refused_with_those_that_there_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name} doesn't end .*end it in \.wav, \.flac, \.ogg or \.mp3\.$"):
        sound().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_plays_it_beside_its_spectrogram() -> None:
    shown = sound(prompt="<script> & rain")._repr_html_()
    assert "<figcaption>&lt;script&gt; &amp; rain · 0.50 s · seed 7</figcaption>" in shown
    assert "<script>" not in shown
    content = {kind: base64.b64decode(data) for kind, data in re.findall(r'src="data:([\w/]+);base64,([^"]+)"', shown)}
    assert content["image/png"].startswith(b"\x89PNG")
    samples, rate = soundfile.read(io.BytesIO(content["audio/wav"]), dtype="float32")
    assert rate == RATE
    torch.testing.assert_close(torch.from_numpy(samples.T), sound().waveform, atol=2.0**-15, rtol=0)


def test_it_is_named_by_what_it_came_from_and_not_by_its_samples() -> None:
    assert repr(sound()) == ("Generation(sample_rate=48000, prompt='rain', seed=7, duration=5.0, predicted=False)")
