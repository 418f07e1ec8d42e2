"""Makers of sound, audio files and archives for the tests of the data set."""

import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from support import FrequencyOf, MakeTone, MakeWav, WriteAudio, WriteZip


def _tone(seconds: float, rate: int, *, channels: int = 1, frequency: float = 440.0, peak: float = 0.5) -> np.ndarray:
    """Return a tone (channels, n); each channel is 10 % quieter than the one before, so that none can be mixed up."""
    wave = np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
    return np.stack([peak * 0.9**channel * wave for channel in range(channels)]).astype(np.float32)


def _write_audio(
    path: Path,
    samples: np.ndarray,
    rate: int,
    *,
    codec: str = "pcm_s16le",
    layout: str | None = None,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Encode `samples` (channels, n) into `path` with PyAV; the extension chooses the container."""
    layout = layout or {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(samples)]
    with av.open(str(path), "w", options=muxer or {}) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout, options={"strict": "experimental"})
        assert isinstance(stream, av.AudioStream)
        if codec.startswith("wma"):
            stream.bit_rate = 128_000  # it knows some only
        if codec == "wavpack":
            stream.format = av.AudioFormat("s16p")  # its first choice has 8 bits
        # Packed: PyAV's planar frames of eight channels read past their end.
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T).reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        converter = av.AudioResampler(stream.format, layout, rate, frame_size=stream.frame_size or None)
        for converted in [*converter.resample(frame), *converter.resample(None)]:
            file.mux(stream.encode(converted))
        file.mux(stream.encode(None))
    return path


def _write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return path


@pytest.fixture(scope="session")
def tone() -> MakeTone:
    """A function that makes a tone."""
    return _tone


@pytest.fixture(scope="session")
def write_audio() -> WriteAudio:
    """A function that writes an audio file."""
    return _write_audio


@pytest.fixture(scope="session")
def write_zip() -> WriteZip:
    """A function that writes a zip of {name: bytes}."""
    return _write_zip


@pytest.fixture(scope="session")
def wav(tmp_path_factory: pytest.TempPathFactory) -> MakeWav:
    """A function that returns the bytes of a 16-bit wav with a tone, 16 kHz unless told otherwise."""
    folder = tmp_path_factory.mktemp("wav")

    def make(
        seconds: float = 0.6,
        rate: int = 16_000,
        *,
        channels: int = 1,
        frequency: float = 440.0,
        peak: float = 0.5,
    ) -> bytes:
        samples = _tone(seconds, rate, channels=channels, frequency=frequency, peak=peak)
        return _write_audio(folder / "tone.wav", samples, rate).read_bytes()

    return make


@pytest.fixture(scope="session")
def frequency_of() -> FrequencyOf:
    """A function that measures the strongest frequency of a channel in Hz."""

    def measure(channel: np.ndarray, rate: int) -> float:
        spectrum = np.abs(np.fft.rfft(channel * np.hanning(channel.size)))
        return float(spectrum.argmax() * rate / channel.size)

    return measure
