"""Write the clips of a recording while it is read once more. Between its fades a clip is its source to the bit."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from soundlora.dataset import names
from soundlora.dataset.cut_plan import Keeps, PlannedPiece, PlannedRecording
from soundlora.dataset.stream import Form, blocks
from soundlora.errors import InputError, MachineError
from soundlora.system.whole_files import whole, writing

_SUBTYPES: dict[Keeps, str] = {
    "16 bits": "PCM_16",
    "24 bits": "PCM_24",
    "32 bits": "PCM_32",
    "float": "FLOAT",
    "double": "DOUBLE",
}
_NEARLY_FULL = 1024**2


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
        try:
            unfinished = self._stack.enter_context(whole(self.path))
            self._file = self._stack.enter_context(
                soundfile.SoundFile(
                    unfinished,
                    "w",
                    form.sample_rate,
                    form.channels,
                    _SUBTYPES[recording.keeps],
                    format=names.suffix(self.path.name)[1:].upper(),
                )
            )
        except BaseException as error:
            self.abandon()
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
        try:
            self._stack.close()
        except soundfile.SoundFileError as error:
            raise self._unwritten(error) from error

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

    def _unwritten(self, error: BaseException) -> MachineError:
        with writing(self.path):
            if shutil.disk_usage(self.path.parent).free < _NEARLY_FULL:
                return MachineError(f"{self.path} can't be written; make room on its disk.", "disk")
        return MachineError(f"{self.path} can't be written ({error}); mend that, or name another folder.", "files")


def _curve(place: np.ndarray) -> np.ndarray:
    """Return the gain at a share of a fade, half a cosine."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(place, 0, 1)))


def _check_same(recording: PlannedRecording, form: Form) -> None:
    if (form.sample_rate, form.channels) != (recording.sample_rate, recording.channels):
        raise _changed(recording.source)


def _changed(source: str) -> InputError:
    return InputError(f"{source} has changed since the plan was made; make a new plan.", field="data")
