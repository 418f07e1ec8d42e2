"""Read a recording of any length block after block, in the samples that its file keeps.

`decode` returns the start of a file as a whole. Here memory holds one block, however long the file is. Integers stay
integers, so that what is written from them is theirs to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from soundlora.dataset import ogg
from soundlora.dataset.decode import (
    SAMPLES,
    as_sound,
    at_usual_rate,
    check_form,
    decoder_options,
    header_seconds,
    is_padded,
    layout_of,
    packets_of,
    usual_layout,
)
from soundlora.dataset.opening import PLAIN, opened
from soundlora.dataset.problems import DecodeError

BLOCK = 65_536
"""Samples a channel of one block. The last one of a file has fewer."""

# libsndfile reads plain samples several times as fast as FFmpeg, which hands them out in frames of a thousand.
_READ_AS = {"PCM_16": "int16", "PCM_24": "int32", "PCM_32": "int32", "FLOAT": "float32", "DOUBLE": "float64"}
_LOSSLESS = ("flac", "alac", "wavpack", "tta")
# FFmpeg measures plain samples by the file's size. A library that counts otherwise has read another header.
_ALIKE_SECONDS = 0.001


@dataclass(frozen=True)
class Form:
    """How a recording keeps its sound. `kind` is the type of the samples in blocks: int16, int32, float32 or float64.

    The samples of int32 fill its upper bits. `sample_rate` is in Hz. `lossy` says that the file was coded with losses.
    """

    codec: str
    sample_rate: int
    channels: int
    layout: str
    kind: str
    lossy: bool


def blocks(path: Path) -> Iterator[tuple[Form, np.ndarray]]:
    """Yield the form of `path` with its samples (n, channels) in order, `BLOCK` of them at a time.

    Damaged packets are left out, and a file that breaks off ends there. Raises DecodeError when the file gives no
    usable sound, or changes its form on the way.
    """
    with opened(path) as (file, stream, header):
        if header is not None or file.format.name in PLAIN:
            codec = header.codec if header is not None else stream.codec_context.name
            plain = _plain(path, codec, None if header is not None else header_seconds(stream, None, path))
            if plain is not None:
                yield from plain
                return
        yield from _in_blocks(_frames(file, stream, path))


def windows(path: Path, seconds: float) -> Iterator[tuple[np.ndarray, int]]:
    """Yield consecutive windows of `seconds` as float32 (channels, n) with their rate in Hz. The last one is shorter.

    Window k begins at the sample k · seconds of the file. An unusual rate becomes the common one, as `decode` does it.
    """
    form: Form | None = None
    held: list[np.ndarray] = []
    start, first = 0, 0  # of what is held, and the number of the window that it begins with
    for form, block in blocks(path):
        held.append(block)
        length = sum(map(len, held))
        while start + length >= (end := _end_of(first, seconds, form.sample_rate)):
            samples = np.concatenate(held)
            taken = samples[round(first * seconds * form.sample_rate) - start : end - start]
            yield _as_window(taken, form)
            first += 1
            kept = round(first * seconds * form.sample_rate)
            held, start, length = [samples[kept - start :]], kept, start + length - kept
    if form is not None and (rest := np.concatenate(held)).size:
        yield _as_window(rest, form)


def to_float(samples: np.ndarray) -> np.ndarray:
    """Return samples of any kind as float32 on the scale of ±1."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    return np.asarray(np.multiply(samples, np.float32(2.0 ** (1 - 8 * samples.itemsize)), dtype=np.float32))


def _end_of(number: int, seconds: float, rate: int) -> int:
    return round(number * seconds * rate) + math.ceil(seconds * rate)


def _as_window(samples: np.ndarray, form: Form) -> tuple[np.ndarray, int]:
    sound, _ = as_sound(np.ascontiguousarray(to_float(samples).T), form.codec)
    return at_usual_rate(sound, form.sample_rate, form.layout)


def _plain(path: Path, codec: str, stated: float | None) -> Iterator[tuple[Form, np.ndarray]] | None:
    """Return the blocks of plain samples through libsndfile, None where it has to be FFmpeg.

    stated: FFmpeg's length in seconds, None where libsndfile alone reads the file rightly.
    """
    try:
        with soundfile.SoundFile(path) as file:
            seconds = file.frames / file.samplerate
            kind = _READ_AS.get(file.subtype)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError):
        return None
    known = codec.startswith("pcm_") and kind is not None
    if not known or (stated is not None and abs(seconds - stated) > _ALIKE_SECONDS):
        return None
    return _read(path, codec, kind or "float32")


def _read(path: Path, codec: str, kind: str) -> Iterator[tuple[Form, np.ndarray]]:
    try:
        with soundfile.SoundFile(path) as file:
            check_form(file.samplerate, file.channels)
            form = Form(codec, file.samplerate, file.channels, layout_of(file.channels), kind, lossy=False)
            found = False
            while len(block := file.read(BLOCK, dtype=kind, always_2d=True)):
                found = True
                yield form, block
    except soundfile.SoundFileError as error:
        raise DecodeError("its samples can't be read") from error
    if not found:
        raise DecodeError("it holds no sound, its length is zero")


def _in_blocks(frames: Iterator[tuple[Form, np.ndarray]]) -> Iterator[tuple[Form, np.ndarray]]:
    """Join what a codec gives at a time to blocks of one size."""
    held: list[np.ndarray] = []
    length, form = 0, None
    for now, samples in frames:
        if form is not None and now != form:
            raise DecodeError("it changes its sample rate or channels on the way")
        form = now
        held.append(samples)
        length += len(samples)
        if length >= BLOCK:
            joined = np.concatenate(held)
            whole = length // BLOCK * BLOCK
            for start in range(0, whole, BLOCK):
                yield form, joined[start : start + BLOCK]
            held, length = [joined[whole:]], length - whole
    if form is None:
        raise DecodeError("none of it can be decoded")
    if length:
        yield form, np.concatenate(held)


def _frames(file: InputContainer, stream: AudioStream, path: Path) -> Iterator[tuple[Form, np.ndarray]]:
    """Yield what the codec gives, packet after packet, up to the end that the container states."""
    codec, container = stream.codec_context, file.format.name
    codec.options = decoder_options(container, codec.name)
    end = ogg.find_end(path) if container == "ogg" else None
    header = header_seconds(stream, end, path)
    padded = is_padded(container, codec.name)
    to_packed = _Packed(codec.name)
    done = 0
    for packet in packets_of(file, stream):
        try:
            decoded = packet.decode()
        except av.error.FFmpegError:
            continue
        for frame in decoded:
            if not isinstance(frame, AudioFrame):
                continue
            form, samples = to_packed(frame)
            if padded and header is not None:
                samples = samples[: max(0, round(header * form.sample_rate) - done)]
            done += len(samples)
            if len(samples):
                yield form, samples


class _Packed:
    """Turns the frames of one codec into samples (n, channels)."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._lossless = codec in _LOSSLESS or codec.startswith("pcm_")
        self._converter: av.AudioResampler | None = None

    def __call__(self, frame: AudioFrame) -> tuple[Form, np.ndarray]:
        channels = frame.layout.nb_channels
        check_form(frame.sample_rate, channels)
        kind = frame.format.name.removesuffix("p")
        # PyAV 18 reads past the end of the plane list of planar frames with eight or more channels.
        if self._converter is None and (kind not in SAMPLES or (frame.format.is_planar and channels >= 8)):
            self._converter = av.AudioResampler(format="flt")
        pieces = [self._samples(piece) for piece in self._converter.resample(frame)] if self._converter else []
        samples = np.concatenate(pieces) if pieces else self._samples(frame)
        if samples.dtype == np.uint8:
            samples = (samples.astype(np.int16) - 128) << 8
        layout = usual_layout(frame.layout.name)
        lossy = not self._lossless
        return Form(self._codec, frame.sample_rate, channels, layout, samples.dtype.name, lossy), samples

    @staticmethod
    def _samples(frame: AudioFrame) -> np.ndarray:
        """Return a copy, since the decoder may use the frame's memory again."""
        channels, type_ = frame.layout.nb_channels, SAMPLES[frame.format.name.removesuffix("p")][0]
        count = frame.samples if frame.format.is_planar else frame.samples * channels
        # Planes are longer than their samples.
        planes = [np.frombuffer(memoryview(plane), type_, count) for plane in frame.planes]
        return np.stack(planes, axis=1) if len(planes) > 1 else planes[0].reshape(-1, channels).copy()
