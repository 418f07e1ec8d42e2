"""This script makes the example clips: ten takes of laser zaps in several formats. nano's pretraining knows no zaps.

    .venv/bin/python scripts/make_examples.py [--out examples]

Everything is synthesised from one seed, so the clips belong to this project and can be made again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

Audio = NDArray[np.float32]

SEED = 7
TRIGGER = "zapgun"
HARMONICS = 24


@dataclass(frozen=True)
class Take:
    """One clip: its sound, and the file that it becomes."""

    file: str
    codec: str
    rate: int
    channels: int
    seconds: float
    speed: str
    pitch: str
    space: str

    @property
    def caption(self) -> str:
        room = " in a large hall" if self.space == "reverberant" else ""
        return f"{self.speed} {self.pitch} laser zaps{room}"


TAKES = (
    Take("zap_01.wav", "pcm_s16le", 44_100, 1, 5.3, "slow", "low", "dry"),
    Take("zap_02.flac", "flac", 48_000, 1, 5.6, "fast", "high", "dry"),
    Take("zap_03.ogg", "vorbis", 44_100, 2, 5.8, "slow", "high", "reverberant"),
    Take("zap_04.mp3", "libmp3lame", 44_100, 2, 6.0, "fast", "low", "reverberant"),
    Take("zap_05.m4a", "aac", 48_000, 2, 5.4, "slow", "high", "dry"),
    Take("zap_06.aac", "aac", 44_100, 2, 5.7, "fast", "low", "dry"),
    Take("zap_07.wav", "pcm_s16le", 48_000, 2, 5.2, "slow", "low", "reverberant"),
    Take("zap_08.ogg", "vorbis", 48_000, 2, 5.5, "fast", "high", "reverberant"),
    Take("zap_09.mp3", "libmp3lame", 48_000, 1, 5.9, "slow", "low", "dry"),
    Take("zap_10.flac", "flac", 44_100, 2, 5.2, "fast", "high", "dry"),
)


def zap(rng: np.random.Generator, rate: int, take: Take) -> Audio:
    """Return one shot (samples,): a harmonic tone that falls by some three octaves and dies away."""
    slow, low = take.speed == "slow", take.pitch == "low"
    length = rng.uniform(0.42, 0.6) if slow else rng.uniform(0.13, 0.18)
    top, bottom = (rng.uniform(1_100, 1_500), 90.0) if low else (rng.uniform(4_500, 6_000), 500.0)
    t = np.arange(int(length * rate)) / rate
    # The pitch falls fast at first and slower towards the end. A steady fall would be a siren.
    frequency = bottom * (top / bottom) ** ((1 - t / length) ** 2)
    frequency *= 1 + 0.03 * np.sin(2 * np.pi * rng.uniform(28, 36) * t)
    phase = 2 * np.pi * np.cumsum(frequency) / rate
    out = np.zeros_like(t)
    for k in range(1, HARMONICS + 1):
        # Each harmonic fades out below the Nyquist frequency. It would fold back down there.
        audible = np.clip((0.45 * rate - k * frequency) / (0.05 * rate), 0, 1)
        out += k**-1.2 * audible * np.sin(k * phase)
    envelope = np.minimum(1, t / 0.002) * np.exp(-3.0 * t / length) * np.minimum(1, (length - t) / 0.01)
    shot: Audio = (out * envelope).astype(np.float32)
    return shot


def hall(rng: np.random.Generator, rate: int, dry: Audio, wet_level: float) -> Audio:
    """Return (2, n) audio in a large hall: noise that decays by 60 dB in 2 s, at `wet_level` times dry's RMS."""
    n = dry.shape[1]
    t = np.arange(n) / rate
    response = rng.standard_normal((2, n)) * 10 ** (-3 * t / 2.0) * (t > 0.012)
    size = 2 * n
    spectrum = np.fft.rfft(response, size)
    # The air of a hall absorbs treble.
    spectrum /= np.sqrt(1 + (np.fft.rfftfreq(size, 1 / rate) / 4_000) ** 2)
    wet = np.fft.irfft(np.fft.rfft(dry, size) * spectrum, size)[:, :n]
    mixed: Audio = (dry + wet * (wet_level * np.sqrt(np.mean(dry**2) / np.mean(wet**2)))).astype(np.float32)
    return mixed


def render(take: Take, rng: np.random.Generator) -> Audio:
    """Return the whole clip (2, samples) with a peak of 0.8."""
    n = int(take.seconds * take.rate)
    out = np.zeros((2, n), np.float32)
    period = rng.uniform(0.8, 1.0) if take.speed == "slow" else rng.uniform(0.22, 0.27)
    for time in np.arange(0.03, take.seconds - 0.05, period):
        shot = zap(rng, take.rate, take)
        start = int((time + rng.uniform(0, 0.06) * period) * take.rate)
        length = min(len(shot), n - start)
        angle = np.pi / 4 * (1 + rng.uniform(-0.6, 0.6))
        out[:, start : start + length] += np.array([[np.cos(angle)], [np.sin(angle)]]) * shot[:length]
    if take.space == "reverberant":
        # The tails of quick shots pile up, so they get less of the hall.
        out = hall(rng, take.rate, out, 0.5 if take.speed == "slow" else 0.3)
    fade = np.linspace(1, 0, int(0.02 * take.rate), dtype=np.float32)
    out[:, -len(fade) :] *= fade
    return out * np.float32(0.8 / np.abs(out).max())


def write(path: Path, take: Take, audio: Audio) -> None:
    """Encode (2, samples) as the take says. The extension of `path` chooses the container."""
    layout = "stereo" if take.channels == 2 else "mono"
    if take.channels == 1:
        audio = audio.mean(axis=0, keepdims=True)
    # bitexact leaves out values that differ from run to run, such as the serial number of an ogg stream.
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as file:
        # PyAV carries FFmpeg's own Vorbis encoder, which FFmpeg calls experimental.
        options = {"strict": "experimental"}
        stream = cast(AudioStream, file.add_stream(take.codec, rate=take.rate, layout=layout, options=options))
        if take.codec in ("libmp3lame", "aac"):
            stream.bit_rate = 64_000 * take.channels
        packed = np.ascontiguousarray(audio.T, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts = take.rate, 0
        converter = av.AudioResampler(stream.format, layout, take.rate, frame_size=stream.frame_size or None)
        for converted in [*converter.resample(frame), *converter.resample(None)]:
            file.mux(stream.encode(converted))
        file.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "examples")
    out: Path = parser.parse_args().out
    clips = out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    for number, take in enumerate(TAKES):
        path = clips / take.file
        write(path, take, render(take, np.random.default_rng([SEED, number])))
        path.with_suffix(".txt").write_text(take.caption + "\n", encoding="utf-8")
        print(f"{take.file:12} {path.stat().st_size / 1000:7.0f} kB  {take.caption}")
    request = {
        "training_data_url": "clips",
        "trigger_phrase": TRIGGER,
        "number_of_steps": 1000,
        "rank": 32,
        "learning_rate": 0.0002,
        "audio_duration_seconds": 5,
        "validation": [
            {"prompt": f"{TRIGGER} slow low laser zaps"},
            {"prompt": f"{TRIGGER} fast high laser zaps in a large hall"},
        ],
    }
    (out / "request.json").write_text(json.dumps(request, indent=2) + "\n", encoding="utf-8")
    total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
