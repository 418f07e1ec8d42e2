"""Decode one audio file to float samples with PyAV, no further than needed, and say what of it was lost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from soundlora.dataset.errors import DecodeError

MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 192_000
MAX_CHANNELS = 8

# Only these readers of FFmpeg may run: others follow addresses inside a file (playlists) and so reach further files.
_FORMATS = "wav,w64,aiff,caf,mp3,flac,ogg,aac,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
# By default FFmpeg reads 5 MB to learn whether a wav hides DTS: 30 ms a file. Containers name their codecs sooner.
_OPTIONS = {"format_whitelist": _FORMATS, "probesize": "65536"}
# Codecs round lengths to their frames, and some containers count the encoder's delay: not a loss.
_LOSS_SECONDS = 0.05


@dataclass(frozen=True, eq=False)
class Audio:
    """Decoded sound. `samples` are float32 (channels, n), the file's own channels in the file's own order.

    Full scale is ±1; lossy codecs and float files can overshoot it, and what overshoots is kept. `seconds` is the
    length of the whole file, measured, however little of it was decoded; `claimed_seconds` what its header says, None
    when it says nothing one can rely on. `truncated`: less is there than claimed. `damaged_packets` were left out.
    """

    samples: np.ndarray
    sample_rate: int
    seconds: float
    claimed_seconds: float | None
    truncated: bool
    damaged_packets: int
    codec: str
    layout: str

    @property
    def channels(self) -> int:
        """The number of channels."""
        return int(self.samples.shape[0])


def decode(path: Path, max_seconds: float | None = None) -> Audio:
    """Decode the first audio stream of `path`, at most the first `max_seconds` of it.

    Raises DecodeError with the reason when the file gives no sound that can be used.
    """
    try:
        # An absolute path with its protocol, for FFmpeg takes "a:b.wav" for an address. Tags in old encodings are
        # no reason to fail.
        with av.open(f"file:{path.absolute()}", options=_OPTIONS, metadata_errors="replace") as file:
            if not file.streams.audio:
                raise DecodeError("it holds no audio stream" + (", only video" if file.streams.video else ""))
            return _decode_stream(file, file.streams.audio[0], path, max_seconds)
    except (av.error.FFmpegError, ValueError) as error:
        raise DecodeError(f"its content is not audio that can be decoded ({_detail(error)})") from error


def _detail(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()


class _Sound:
    """Collects frames as float32 (n, channels) pieces."""

    def __init__(self) -> None:
        self.pieces: list[np.ndarray] = []
        self.length = 0
        self.sample_rate = 0
        self.layout = ""
        # Packed float for every sample format. Besides sparing a table of formats, it avoids a crash: PyAV 18 reads
        # past the end of the plane list of planar frames with eight or more channels.
        self._converter = av.AudioResampler(format="flt")

    def add(self, frame: AudioFrame) -> None:
        if not self.pieces:
            self._check(frame)
            self.sample_rate, self.layout = frame.sample_rate, frame.layout.name
        elif (frame.sample_rate, frame.layout.name) != (self.sample_rate, self.layout):
            raise DecodeError("it changes its sample rate or channels on the way")
        channels = frame.layout.nb_channels
        for converted in self._converter.resample(frame):
            self.pieces.append(converted.to_ndarray().reshape(-1, channels))
            self.length += converted.samples

    def joined(self, length: int) -> np.ndarray:
        """Return the first `length` samples, or all there are, as (channels, n); frees the pieces."""
        samples = np.empty((self.pieces[0].shape[1], min(length, self.length)), np.float32)
        start = 0
        for piece in self.pieces:
            part = piece[: samples.shape[1] - start].T
            samples[:, start : start + part.shape[1]] = part
            start += part.shape[1]
        self.pieces.clear()
        return samples

    @staticmethod
    def _check(frame: AudioFrame) -> None:
        if not MIN_SAMPLE_RATE <= frame.sample_rate <= MAX_SAMPLE_RATE:
            raise DecodeError(
                f"its sample rate is {frame.sample_rate} Hz, only {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz can be used"
            )
        if frame.layout.nb_channels > MAX_CHANNELS:
            raise DecodeError(f"it has {frame.layout.nb_channels} channels, at most {MAX_CHANNELS} can be used")


def _decode_stream(file: InputContainer, stream: AudioStream, path: Path, max_seconds: float | None) -> Audio:
    sound = _Sound()
    damaged = 0
    undecoded = 0.0
    for packet in _packets(file, stream):
        # What is not decoded is still counted, packet by packet, to know the file's length and whether it is whole.
        if sound.length and max_seconds is not None and sound.length >= max_seconds * sound.sample_rate:
            undecoded += float((packet.duration or 0) * stream.time_base) if stream.time_base else 0.0
            continue
        try:
            for frame in packet.decode():
                if isinstance(frame, AudioFrame):
                    sound.add(frame)
        except av.error.FFmpegError:
            damaged += 1
    if not sound.length:
        raise DecodeError("none of it can be decoded" if damaged else "it holds no sound, its length is zero")

    rate = sound.sample_rate
    seconds = sound.length / rate + undecoded
    header = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    length = sound.length if max_seconds is None else math.ceil(max_seconds * rate)
    if header is not None and "mp4" in file.format.name:
        # The last AAC frame is filled up; the container knows where the sound ends.
        length = min(length, round(header * rate))
        seconds = min(seconds, header)
    samples = sound.joined(length)
    if not np.isfinite(samples).all():
        raise DecodeError("it holds samples that are not numbers")

    claimed = _claim(file, stream, path, header, seconds)
    truncated = claimed is not None and claimed - seconds > _LOSS_SECONDS
    return Audio(
        samples=samples,
        sample_rate=rate,
        # The header knows the delay of the codec, packets do not.
        seconds=claimed if undecoded and claimed is not None and not truncated else seconds,
        claimed_seconds=claimed,
        truncated=truncated,
        damaged_packets=damaged,
        codec=stream.codec_context.name,
        layout={"1 channels": "mono", "2 channels": "stereo"}.get(sound.layout, sound.layout),
    )


def _packets(file: InputContainer, stream: AudioStream) -> Iterator[Packet[AudioStream]]:
    """Yield the stream's packets; a file that breaks off ends here like one that is whole."""
    packets = file.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        yield packet


def _claim(file: InputContainer, stream: AudioStream, path: Path, header: float | None, seconds: float) -> float | None:
    """Return the length in seconds that the file's header states; None where `header` is only FFmpeg's estimate.

    `seconds` is the length that was found.
    """
    if header is None:
        return None
    if file.format.name == "wav" and (missing := _missing_wav_bytes(path)):
        return seconds + missing * 8 / (stream.codec_context.bit_rate or math.inf)
    if (
        file.format.name in ("wav", "flac")
        or "mp4" in file.format.name
        or (file.format.name == "mp3" and _has_length_tag(path))
    ):
        return header
    return None


def _missing_wav_bytes(path: Path) -> int:
    """Return how many bytes the RIFF header promises beyond the end: FFmpeg cuts its own figure to what is there."""
    with path.open("rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:8], "little")
    # Programs that stream leave 0 or the largest numbers there.
    if head[:4] != b"RIFF" or promised > 0xFFFFFF00:
        return 0
    return max(0, promised + 8 - path.stat().st_size)


def _has_length_tag(path: Path) -> bool:
    """Say whether an mp3 states its length (Xing, Info or VBRI tag in the first frame, after any ID3 tag)."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":
            size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            file.seek(10 + size)
        else:
            file.seek(0)
        first_frame = file.read(2048)
    return any(tag in first_frame for tag in (b"Xing", b"Info", b"VBRI"))
