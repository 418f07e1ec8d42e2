"""Levels, loudness, silence and noise, against known signals and against FFmpeg's own meter."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MakeTone

from soundlora.dataset.measure import loudness, measure


def noise(seconds: float, rate: int, channels: int = 1, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(0).normal(0, level, (channels, round(seconds * rate))).astype(np.float32)


def ffmpeg_loudness(samples: np.ndarray, rate: int, layout: str) -> float:
    """Return the integrated loudness by the ebur128 filter."""
    if not hasattr(av.AudioFrame, "metadata"):
        pytest.skip("PyAV 18.0 does not show what filters found")
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout=layout)
    meter = graph.add("ebur128", "metadata=1")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    found = float("nan")
    packed = np.ascontiguousarray(samples.T)
    for start in range(0, len(packed), rate // 10):
        piece = packed[start : start + rate // 10].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="flt", layout=layout)
        frame.sample_rate, frame.pts = rate, start
        source.push(frame)
        while True:
            try:
                out = sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break
            found = float(out.metadata.get("lavfi.r128.I", found))
    return found


def test_the_reference_tone_has_its_loudness(tone: MakeTone) -> None:
    # EBU Tech 3341, case 1: 1 kHz at -23 dBFS in both channels is -23 LUFS.
    samples = np.repeat(tone(20.0, 48_000, frequency=1_000, peak=10 ** (-23 / 20)), 2, axis=0)
    assert loudness(samples, 48_000) == pytest.approx(-23.0, abs=0.05)
    assert loudness(samples[:1], 48_000) == pytest.approx(-26.0, abs=0.05)


@pytest.mark.parametrize(
    ("rate", "layout", "channels"), [(48_000, "stereo", 2), (44_100, "mono", 1), (48_000, "5.1", 6)]
)
@pytest.mark.parametrize("kind", ["noise", "rumble", "bursts"])
def test_loudness_agrees_with_ffmpeg(rate: int, layout: str, channels: int, kind: str, tone: MakeTone) -> None:
    samples = noise(5.0, rate, channels)
    if kind == "rumble":
        samples = 0.02 * samples + np.repeat(tone(5.0, rate, frequency=45, peak=0.5), channels, axis=0)
    elif kind == "bursts":
        # The gates leave the quiet seconds out.
        samples[:, rate : 2 * rate] *= 0.01
        samples[:, 3 * rate : 4 * rate] = 0
    meter = ffmpeg_loudness(samples, rate, layout)
    assert np.isfinite(meter)
    assert loudness(samples, rate) == pytest.approx(meter, abs=0.4 if kind == "rumble" else 0.15)


@pytest.mark.parametrize("rate", [8_000, 11_025, 192_000])
def test_loudness_hardly_depends_on_the_rate(rate: int, tone: MakeTone) -> None:
    low, high = (tone(3.0, at, frequency=500, peak=0.3) for at in (rate, 48_000))
    assert loudness(low, rate) == pytest.approx(loudness(high, 48_000), abs=0.2)


def test_what_is_too_short_or_too_quiet_has_no_loudness() -> None:
    assert loudness(noise(0.39, 48_000), 48_000) is None
    assert loudness(noise(5.0, 48_000, level=1e-5), 48_000) is None


def test_silence_at_the_edges_and_the_noise_floor(tone: MakeTone) -> None:
    samples = np.concatenate(
        [noise(0.5, 16_000, level=1e-5), tone(1.0, 16_000), noise(0.25, 16_000, level=1e-5)], axis=1
    )
    levels = measure(samples, 16_000)
    assert levels.silence_start_seconds == pytest.approx(0.5, abs=0.011)
    assert levels.silence_end_seconds == pytest.approx(0.25, abs=0.011)
    assert levels.noise_floor_dbfs == pytest.approx(-100, abs=1)
    assert measure(tone(1.0, 16_000), 16_000).silence_start_seconds == 0


def test_digital_silence_is_no_noise_floor(tone: MakeTone) -> None:
    samples = tone(1.0, 16_000, peak=0.5)
    samples[:, :8_000] = 0
    assert measure(samples, 16_000).noise_floor_dbfs == pytest.approx(-9.03, abs=0.5)
    samples[:] = 0
    samples[:, 5_000] = 1.0
    levels = measure(samples, 16_000)
    assert (levels.peak_dbfs, levels.silence_start_seconds) == (0.0, 0.31)


@given(
    length=st.integers(1, 5_000),
    rate=st.sampled_from([8_000, 11_025, 48_000]),
    channels=st.integers(1, 8),
    level=st.floats(1e-6, 2),
)
def test_anything_can_be_measured(length: int, rate: int, channels: int, level: float) -> None:
    samples = np.full((channels, length), level, np.float32)
    samples[:, ::2] *= -1
    levels = measure(samples, rate)
    assert levels.peak_dbfs == pytest.approx(max(-120, 20 * np.log10(level)), abs=0.01)
    assert all(value is None or np.isfinite(value) for value in vars(levels).values())
    assert 0 <= levels.silence_start_seconds <= length / rate
