"""Write the clips of a recording while it is read once more. Between its fades a clip is its source to the bit."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile

from soundlora.dataset import names
from soundlora.dataset.cut_plan import Keeps, PlannedPiece, PlannedRecording
from soundlora.dataset.stream import Form, blocks
from soundlora.errors import InputError, MachineError
from soundlora.system.whole_files import machine_error, whole, writing

_SUBTYPES: dict[Keeps, str] = {
    "16 bits": "PCM_16",
    "24 bits": "PCM_24",
    "32 bits": "PCM_32",
    "float": "FLOAT",
    "double": "DOUBLE",
}
_PROBE_BYTES = 1024**2


@dataclass(frozen=True)
class _Wanted:
    piece: PlannedPiece
    path: Path


def write_clips(
    path: Path,
    recording: PlannedRecording,
    clips: Sequence[PlannedPiece],
    folder: Path,
    fade: float,
    on_clip: Callable[[str], None],
) -> None:
    """Write `clips` of the recording at `path` to `folder`, with fades of `fade` seconds where it is cut.

    Each appears under its name when it is whole, and `on_clip` is told. Memory holds one block of the recording. Raises
    InputError when the recording is another one by now, MachineError when a clip can't be written, DecodeError as
    `blocks` does.
    """
    waiting = [_Wanted(piece, folder / piece.clip) for piece in sorted(clips, key=lambda piece: piece.start)]
    open_: list[_Clip] = []
    done = 0
    try:
        for form, block in blocks(path):
            _check_same(recording, form)
            while waiting and waiting[0].piece.start < done + len(block):
                open_.append(_Clip(waiting.pop(0), recording, form, round(fade * form.sample_rate)))
            for clip in list(open_):
                if clip.take(block, done):
                    open_.remove(clip)
                    clip.close()
                    on_clip(clip.path.name)
            done += len(block)
            if not waiting and not open_:
                return
        raise _changed(recording.source)
    finally:
        for clip in open_:
            clip.abandon()


class _Clip:
    """A clip that is being written."""

    def __init__(self, wanted: _Wanted, recording: PlannedRecording, form: Form, fade: int) -> None:
        self.path, self._piece = wanted.path, wanted.piece
        length = self._piece.end - self._piece.start
        fade = min(fade, length // 2)
        self._rise = 0 if self._piece.start == 0 else fade
        self._fall = 0 if self._piece.end == recording.samples else fade
        self._keeps = recording.keeps
        self._stack = contextlib.ExitStack()
        self._unfinished = self._stack.enter_context(whole(self.path))
        try:
            with writing(self.path):
                target = self._stack.enter_context(self._unfinished.open("x+b"))
            self._stack.push(self._check)
            self._file = self._stack.enter_context(
                soundfile.SoundFile(
                    target.fileno(),
                    "w",
                    form.sample_rate,
                    form.channels,
                    _SUBTYPES[recording.keeps],
                    format=names.suffix(self.path.name)[1:].upper(),
                    closefd=False,
                )
            )
        except BaseException as error:
            refused = self._refused() if isinstance(error, soundfile.SoundFileError | ValueError) else None
            self.abandon()
            if refused is not None:
                raise refused from error
            if isinstance(error, soundfile.SoundFileError | ValueError):
                raise InputError(f"{self.path.name} can't be written ({error}); use another format.") from error
            raise

    def take(self, block: np.ndarray, done: int) -> bool:
        """Write what a block, whose first sample is `done`, holds of the clip. Return whether that was the last."""
        start, end = self._piece.start, self._piece.end
        first, last = max(start, done), min(end, done + len(block))
        samples = self._faded(block[first - done : last - done], first - start)
        try:
            self._file.write(self._as_kept(samples))
        except (soundfile.SoundFileError, AssertionError) as error:
            raise self._unwritten(error) from error
        return last == end

    def close(self) -> None:
        """Give the clip its name. Raises MachineError where the system has not taken all of it."""
        self._stack.close()

    def abandon(self) -> None:
        """Leave nothing of it behind."""
        with contextlib.suppress(Exception):
            self._stack.__exit__(
                *(sys.exc_info() if sys.exc_info()[0] else (InterruptedError, InterruptedError(), None))
            )

    def _faded(self, samples: np.ndarray, at: int) -> np.ndarray:
        """Return the samples (n, channels) of the clip from its sample `at` on, with its fades."""
        length = self._piece.end - self._piece.start
        if at >= self._rise and at + len(samples) <= length - self._fall:
            return samples
        faded = samples.copy()
        for first, last in ((0, self._rise), (length - self._fall, length)):
            first, last = max(first, at), min(last, at + len(samples))
            if first >= last:
                continue
            places = np.arange(first, last) + 0.5
            gain = _curve(places / self._rise) if last <= self._rise else _curve((length - places) / self._fall)
            changed = samples[first - at : last - at] * gain[:, None]
            faded[first - at : last - at] = np.rint(changed) if samples.dtype.kind == "i" else changed
        return faded

    def _as_kept(self, samples: np.ndarray) -> np.ndarray:
        """Return samples that lose nothing in the file: libsndfile cuts the lower bits of integers off."""
        if samples.dtype == np.int32 and self._keeps == "24 bits":
            # What a fade left in them is rounded, not cut.
            return np.asarray(np.minimum((samples.astype(np.int64) + 128) >> 8, 2**23 - 1) << 8, np.int32)
        return samples

    def _check(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Raise MachineError for a closed file that is not whole: libsndfile says nothing of a FLAC's last block."""
        if kind is None and not is_whole(self._unfinished, self._piece):
            raise self._unwritten(soundfile.SoundFileError("its end is missing"))
        if isinstance(error, soundfile.SoundFileError):
            raise self._unwritten(error) from error

    def _unwritten(self, error: BaseException) -> MachineError:
        return self._refused() or MachineError(
            f"{self.path} can't be written ({error}); mend that, or name another folder.", "files"
        )

    def _refused(self) -> MachineError | None:
        """Return what the system answers to more bytes in the file, None where it takes them.

        libsndfile keeps to itself whether the disk is full, a quota is used up or the file may grow no larger.
        """
        try:
            with self._unfinished.open("ab", buffering=0) as file:
                left = _PROBE_BYTES
                while left > 0:
                    left -= file.write(bytes(left))
        except OSError as error:
            return machine_error(error, self.path)
        return None


def is_whole(path: Path, piece: PlannedPiece) -> bool:
    """Return whether the sound file at `path` has all samples of the piece, as its header and its end say."""
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames != piece.end - piece.start:
                return False
            file.seek(file.frames - 1)
            return len(file.read(1, dtype="int32", always_2d=True)) == 1
    except (soundfile.SoundFileError, OSError):
        return False


def _curve(place: np.ndarray) -> np.ndarray:
    """Return the gain at a share of a fade, half a cosine."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(place, 0, 1)))


def _check_same(recording: PlannedRecording, form: Form) -> None:
    if (form.sample_rate, form.channels) != (recording.sample_rate, recording.channels):
        raise _changed(recording.source)


def _changed(source: str) -> InputError:
    return InputError(f"{source} has changed since the plan was made; make a new plan.", field="data")
