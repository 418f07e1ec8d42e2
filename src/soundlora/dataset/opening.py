"""Open a sound file with FFmpeg's readers of sound alone, however hostile the file is."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from soundlora.dataset import completeness as ends
from soundlora.dataset import pcm
from soundlora.dataset.problems import DecodeError
from soundlora.system.operating_system import loaded_library

# Only these readers of FFmpeg may run. Others, such as those of playlists, open further files that a file names.
_FORMATS = "wav,w64,aiff,caf,mp3,flac,ogg,aac,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,wv,asf"
# By default FFmpeg reads 5 MB to learn whether a wav hides DTS, which takes 40 ms a file. Containers name their codecs
# much earlier. Of MP4 it leaves out XMP and tags that it has no name for, such as the description that exiftool writes.
_OPTIONS = {"format_whitelist": _FORMATS, "probesize": "16384", "export_all": "1", "export_xmp": "1"}
# FFmpeg reads each tag and packet as a whole, and hostile ones claim hundreds of megabytes.
_MAX_PIECE = 32 * 1024**2
_MAX_ALLOCATION = 2 * _MAX_PIECE
# These containers hold plain samples, which FFmpeg misreads in some of them.
PLAIN = ("wav", "w64", "aiff", "caf")
# A cover is a video stream of one picture, and chapters of podcasts are some more. Neither makes the file a film.
_PICTURES = {"mjpeg", "png", "bmp", "gif", "webp", "tiff"}


def _limit_allocations() -> None:
    """Make FFmpeg refuse to allocate more than 64 MiB at once.

    FFmpeg believes what files say about their sizes: a wav of 100 kB whose comment claims to be long takes gigabytes.
    PyAV does not expose FFmpeg's limit, so the library is looked up in this process. Nothing is limited where it can't
    be found.
    """
    library = loaded_library("libavutil")
    with contextlib.suppress(OSError, AttributeError):
        if library is not None:
            ctypes.CDLL(library).av_max_alloc(ctypes.c_size_t(_MAX_ALLOCATION))


_limit_allocations()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, AudioStream, pcm.Header | None]]:
    """Open `path`, and yield its audio stream, the default one of several, with what libsndfile has to read of it.

    The header is None where FFmpeg reads the samples rightly. Raises DecodeError when the file can't be used. FFmpeg's
    errors within the block become one, too.
    """
    try:
        # Tags in old encodings are no reason to fail.
        with open_sound(path, metadata_errors="replace") as file:
            if not file.streams.audio:
                raise DecodeError("it holds no audio stream" + (", only video" if is_film(file) else ""))
            stream = _stream_of(file)
            for other in file.streams:
                if other is not stream:
                    other.discard = Discard.all  # pictures of gigabytes are stepped over, where the container can
            header = pcm.misread(path, _codec_of(stream)) if file.format.name in PLAIN else None
            if header is not None:
                yield file, stream, header
                return
            if not _codec_of(stream):
                raise DecodeError("nothing here can decode its codec")
            # A size that does not fit its field is read as a negative one.
            if path.stat().st_size > _MAX_PIECE and any(
                not 0 <= entry.size <= _MAX_PIECE for entry in stream.index_entries
            ):
                raise DecodeError("a single piece of it is larger than any codec makes")
            yield file, stream, None
    except (av.error.FFmpegError, ValueError) as error:
        raise DecodeError(f"its content is not audio that can be decoded ({_detail(error)})") from error


def open_sound(path: Path, *, metadata_errors: str) -> InputContainer:
    """Open a sound file with FFmpeg's readers of sound alone. `metadata_errors` says how tags are decoded.

    Raises DecodeError when its tags are too large, and FFmpeg's errors when it is no sound.
    """
    if ends.id3_bytes(path) > _MAX_PIECE:
        raise DecodeError("its tags are larger than those of any recording")
    # FFmpeg takes "a:b.wav" for an address, so it is given the protocol and an absolute path.
    return av.open(f"file:{path.absolute()}", options=_OPTIONS, metadata_errors=metadata_errors)


def _stream_of(file: InputContainer) -> AudioStream:
    """Return the audio stream that players take: the first one marked as default, of those that can be decoded."""
    streams = [stream for stream in file.streams.audio if _codec_of(stream)] or list(file.streams.audio)
    return next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])


def _codec_of(stream: AudioStream | VideoStream) -> str:
    """Return the name of the stream's codec, "" when FFmpeg has no decoder for it."""
    # PyAV's types don't say so, but the context is None without a decoder.
    return stream.codec_context.name if stream.codec_context is not None else ""


def is_film(file: InputContainer) -> bool:
    return any(_codec_of(stream) not in _PICTURES for stream in file.streams.video)


def _detail(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()
