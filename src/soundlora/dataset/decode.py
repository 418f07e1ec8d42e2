"""Decode one audio file to float samples with PyAV, no further than needed, and find out what of it was lost."""

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

from soundlora.dataset import completeness as ends
from soundlora.dataset import ogg, pcm
from soundlora.dataset.opening import is_film, opened
from soundlora.dataset.problems import DecodeError

MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 192_000
MAX_CHANNELS = 8

# A frame of a real codec holds at most 65,536 samples a channel. A hostile one claims 512 MB.
MAX_FRAME_SAMPLES = 65_536 * MAX_CHANNELS
# Codecs round lengths to their frames, and some containers count the encoder's delay. Neither is a loss.
_LOSS_SECONDS = 0.05
# Tags of some programs stand behind the sound. They are nothing to speak of.
_LARGEST_TAG = 4096
# The model's resampler keeps a filter for every phase between two rates. A rate that shares no large factor with the
# usual ones, such as 44,101 Hz, would take gigabytes there. Such a file is resampled to the common rate here.
_COMMON_FACTOR = 25
_COMMON_RATE = 48_000
# Some programs write floats on the scale of 32-bit integers. The squares of larger values would soon overflow.
_LARGEST = 2.0**32
# Each sample format of the decoders has an offset and a factor that bring it to ±1. Planar formats end in "p".
SAMPLES: dict[str, tuple[type[np.generic], int, float]] = {
    "u8": (np.uint8, 128, 2.0**-7),
    "s16": (np.int16, 0, 2.0**-15),
    "s32": (np.int32, 0, 2.0**-31),
    "flt": (np.float32, 0, 1.0),
    "dbl": (np.float64, 0, 1.0),
}


@dataclass(frozen=True, eq=False)
class Audio:
    """Decoded sound. `samples` are float32 (channels, n): the file's own channels in the file's own order.

    Full scale is ±1. Lossy codecs and float files can overshoot it, and the overshoot is kept. `sample_rate` belongs to
    the samples and `file_rate` to the file, both in Hz; they differ only where the file's rate is an unusual one.
    `seconds` is the measured length of the whole file, even when less was decoded. `claimed_seconds` is the length that
    its header states, None when it states none that is reliable. `truncated` says that the file is shorter than it
    claims or breaks off within its last packet. `damaged_packets` counts the packets that were left out. `notes` are
    clauses about what else had to be done to get the sound.
    """

    samples: np.ndarray
    sample_rate: int
    file_rate: int
    seconds: float
    claimed_seconds: float | None
    truncated: bool
    damaged_packets: int
    codec: str
    layout: str
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """The number of channels."""
        return int(self.samples.shape[0])


def decode(path: Path, max_seconds: float | None = None) -> Audio:
    """Decode the audio stream of `path`, the default one of several, and of it at most the first `max_seconds`.

    Raises DecodeError with the reason when the file gives no usable sound.
    """
    with opened(path) as (file, stream, header):
        if header is not None:
            return _read_samples(path, header, max_seconds)
        return _decode_stream(file, stream, path, max_seconds)


class _Sound:
    """Collects the samples of the frames in the decoder's own format, without a copy.

    A piece is the list of planes of one frame: one array (n,) a channel, or one array (n * channels,) for all of them.
    """

    def __init__(self) -> None:
        self.pieces: list[list[np.ndarray]] = []
        self.length = 0
        self.sample_rate = 0
        self.layout = ""
        self._channels = 0
        self._type: type[np.generic] = np.float32
        self._offset, self._factor = 0, 1.0
        self._converter: av.AudioResampler | None = None

    def add(self, frame: AudioFrame) -> None:
        channels = frame.layout.nb_channels
        if not self.pieces:
            check_form(frame.sample_rate, channels)
            self.sample_rate, self.layout, self._channels = frame.sample_rate, frame.layout.name, channels
            kind = frame.format.name.removesuffix("p")
            # PyAV 18 reads past the end of the plane list of planar frames with eight or more channels.
            if kind not in SAMPLES or (frame.format.is_planar and channels >= 8):
                self._converter = av.AudioResampler(format="flt")
                kind = "flt"
            self._type, self._offset, self._factor = SAMPLES[kind]
        elif (frame.sample_rate, frame.layout.name) != (self.sample_rate, self.layout):
            raise DecodeError("it changes its sample rate or channels on the way")
        for piece in self._converter.resample(frame) if self._converter else [frame]:
            count = piece.samples if piece.format.is_planar else piece.samples * channels
            # PyAV's own to_ndarray takes as long as decoding an mp3. Planes are longer than their samples.
            self.pieces.append([np.frombuffer(memoryview(plane), self._type, count) for plane in piece.planes])
            self.length += piece.samples

    def joined(self, length: int) -> np.ndarray:
        """Return the first `length` samples, or all if there are fewer, as float32 (channels, n). Frees the pieces."""
        samples = np.empty((self._channels, min(length, self.length)), np.float32)
        planes = [np.concatenate(plane) for plane in zip(*self.pieces, strict=True)]
        self.pieces.clear()
        channels = planes if len(planes) > 1 else planes[0].reshape(-1, self._channels).T
        for values, channel in zip(channels, samples, strict=True):
            # In one pass: memory is what this waits for.
            np.multiply(
                values[: len(channel)], np.float32(self._factor), out=channel, casting="unsafe", dtype=np.float32
            )
        if self._offset:
            samples -= np.float32(self._offset * self._factor)
        return samples


def check_form(rate: int, channels: int) -> None:
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise DecodeError(f"its sample rate is {rate} Hz, only {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz can be used")
    if channels > MAX_CHANNELS:
        raise DecodeError(f"it has {channels} channels, at most {MAX_CHANNELS} can be used")


def _decode_stream(file: InputContainer, stream: AudioStream, path: Path, max_seconds: float | None) -> Audio:
    codec = stream.codec_context
    container = file.format.name
    codec.options = decoder_options(container, codec.name)
    end = ogg.find_end(path) if container == "ogg" else None
    header = header_seconds(stream, end, path)
    sound = _Sound()
    damaged = damaged_since = 0
    undecoded = 0.0
    skipped = 0
    last: Packet[AudioStream] | None = None
    for packet in packets_of(file, stream):
        # An empty packet flushes the decoder at the end; it is not the file's last one.
        last = packet if packet.size else last
        # Packets that are not decoded are still counted, to know the file's length and whether it is whole.
        if sound.length and max_seconds is not None and sound.length >= max_seconds * sound.sample_rate:
            if header is not None and codec.name.startswith("pcm_") and container == "wav":
                # FFmpeg measures the length of a PCM wav by the file's size. Counting a recording of gigabytes is slow.
                undecoded = max(0.0, header - sound.length / sound.sample_rate)
                break
            # FFmpeg can compute a negative length for the last packet of a short Vorbis file, which wraps around to
            # four billion.
            length = packet.duration or 0
            skipped += length if 0 < length < 2**31 else 0
            continue
        try:
            for frame in packet.decode():
                if isinstance(frame, AudioFrame):
                    sound.add(frame)
                    damaged, damaged_since = damaged + damaged_since, 0
        except av.error.FFmpegError:
            damaged_since += 1
    if not sound.length:
        raise DecodeError("none of it can be decoded" if damaged_since else "it holds no sound, its length is zero")

    if skipped and stream.time_base:
        undecoded = float(skipped * stream.time_base)
    rate = sound.sample_rate
    seconds = sound.length / rate + undecoded
    length = sound.length if max_seconds is None else math.ceil(max_seconds * rate)
    if header is not None and is_padded(container, codec.name):
        length = min(length, round(header * rate))
        # The header of an mp4 may promise too much. The length of an Ogg comes from its last page, which is there.
        seconds = header if undecoded and container == "ogg" else min(seconds, header)
    samples, notes = as_sound(sound.joined(length), codec.name)
    samples, usual_rate = at_usual_rate(samples, rate, codec.layout.name)

    claimed = ends.claimed_seconds(container, path, header, seconds, codec.bit_rate or 0)
    if end is not None:
        truncated = not end.whole
    elif claimed is not None:
        truncated = claimed - seconds > _LOSS_SECONDS
    else:
        truncated = ends.breaks_off(container, path) or (last is not None and ends.is_cut_frame(container, last))
    # What can't be decoded behind a sound that is there as a whole is no part of it.
    follows = bool(damaged_since) and claimed is not None and not truncated
    if follows or (end is not None and end.trailing > _LARGEST_TAG):
        notes.append("what follows its end is no sound and was left out")
    return Audio(
        samples=samples,
        sample_rate=usual_rate,
        file_rate=rate,
        # The header accounts for the codec's delay, which packets do not know.
        seconds=claimed if undecoded and claimed is not None and not truncated else seconds,
        claimed_seconds=claimed,
        truncated=truncated,
        damaged_packets=damaged + (0 if follows else damaged_since),
        codec=codec.name,
        layout=usual_layout(sound.layout),
        notes=(*_of_others(file), *notes),
    )


def is_padded(container: str, codec: str) -> bool:
    """Return whether the codec pads the last frame, so that only the container knows where the sound ends."""
    # The length that Opus states counts the encoder's delay, and its decoder ends at the right place anyway.
    return "mp4" in container or (container == "ogg" and codec == "vorbis")


def layout_of(channels: int) -> str:
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")


def usual_layout(layout: str) -> str:
    """Return the name of FFmpeg's layout, that of one or two channels without a name as those have it."""
    return {"1 channels": "mono", "2 channels": "stereo"}.get(layout, layout)


def decoder_options(container: str, codec: str) -> dict[str, str]:
    """Return FFmpeg's options for the decoder of a stream."""
    options = {"max_samples": str(MAX_FRAME_SAMPLES)}
    if (container, codec) == ("caf", "alac"):
        # The last frame is as short as the sound left it, and FFmpeg would shorten it once more.
        options["flags2"] = "+skip_manual"
    return options


def header_seconds(stream: AudioStream, end: ogg.End | None, path: Path) -> float | None:
    """Return the length in seconds that the container states for the stream, None where it states none."""
    if end is not None and end.chained:
        if not end.alike:
            raise DecodeError("it changes its sample rate or channels on the way")
        return None  # the last page counts its own part alone
    if end is not None and end.trailing and end.granule is not None and stream.codec_context.sample_rate:
        start = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
        return max(0.0, end.granule / stream.codec_context.sample_rate - start)
    stated = stream.duration or 0
    if stated <= 0 or not stream.time_base:
        return None
    seconds = float(stated * stream.time_base)
    bit_rate = stream.codec_context.bit_rate
    if bit_rate and ends.is_rf64(path):
        # Of a RIFF FFmpeg measures what is there. Of an RF64 it believes the header.
        seconds = max(0.0, seconds - ends.missing_wav_bytes(path) * 8 / bit_rate)
    return seconds


def _read_samples(path: Path, header: pcm.Header, max_seconds: float | None) -> Audio:
    """Read plain samples without FFmpeg, which takes them for another type."""
    rate = header.sample_rate
    check_form(rate, header.channels)
    if not header.frames:
        raise DecodeError("it holds no sound, its length is zero")
    count = header.frames if max_seconds is None else min(header.frames, math.ceil(max_seconds * rate))
    samples, notes = as_sound(pcm.read(path, count), header.codec)
    seconds = header.frames / rate
    claimed = ends.claimed_seconds("wav", path, seconds, seconds, header.bit_rate)
    layout = layout_of(header.channels)
    samples, usual_rate = at_usual_rate(samples, rate, layout)
    return Audio(
        samples=samples,
        sample_rate=usual_rate,
        file_rate=rate,
        seconds=seconds,
        claimed_seconds=claimed,
        truncated=claimed is not None and claimed - seconds > _LOSS_SECONDS,
        damaged_packets=0,
        codec=header.codec,
        layout=layout,
        notes=tuple(notes),
    )


def as_sound(samples: np.ndarray, codec: str) -> tuple[np.ndarray, list[str]]:
    """Return `samples` (channels, n) on the scale of ±1 and clauses on what that took. Raises DecodeError for NaN."""
    note = None
    if codec.startswith("pcm_f"):
        samples, note = pcm.to_full_scale(samples)
    # NaN fails this comparison, and would pass the opposite one.
    if not max(samples.max(initial=0.0), -samples.min(initial=0.0)) <= _LARGEST:
        raise DecodeError("it holds samples that are not numbers, or far larger than any sound")
    return samples, [note] if note else []


def _of_others(file: InputContainer) -> list[str]:
    """Return clauses about the streams that are passed over."""
    count = len(file.streams.audio)
    notes = ["it is a video, of which the sound is used"] if is_film(file) else []
    return notes + ([f"it holds {count} audio streams, of which the default one is used"] if count > 1 else [])


def at_usual_rate(samples: np.ndarray, rate: int, layout: str) -> tuple[np.ndarray, int]:
    """Return `samples` (channels, n) and `rate` in Hz, or (channels, m) at the common rate where `rate` is unusual."""
    if rate % _COMMON_FACTOR == 0:
        return samples, rate
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples.T).reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="flt", rate=_COMMON_RATE)
    pieces = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([piece.to_ndarray().reshape(-1, samples.shape[0]) for piece in pieces]).T, _COMMON_RATE


def packets_of(file: InputContainer, stream: AudioStream) -> Iterator[Packet[AudioStream]]:
    """Yield the stream's packets. A file that breaks off ends like one that is whole."""
    packets = file.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        yield packet
