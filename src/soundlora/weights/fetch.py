"""The way of weights from the Hugging Face hub or a web server into the cache. A base comes as its audio tensors alone.

A fetch that is stopped, by Ctrl-C, a dropped connection or SIGKILL, goes on where it was when it is asked for again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
from filelock import FileLock, Timeout

from soundlora.errors import InputError, Interrupted, MachineError
from soundlora.model.gemma import INDEX, weight_files
from soundlora.model.tensor_file import TensorHeader, header_length, pack_header
from soundlora.model.text_encoder import GEMMA, SMALL_FILES, check_directory
from soundlora.net.addresses import is_url
from soundlora.net.hub import check_online, hub
from soundlora.net.remote_file import ChangedError, DroppedError, RemoteFile, open_client, read_small
from soundlora.system.whole_files import machine_error, partial, write_whole
from soundlora.weights.checkpoint import CHECKPOINT_ADVICE, Layout
from soundlora.weights.fetched import (
    Fetched,
    OnBytes,
    fetched,
    gigabytes,
    is_hub_name,
    url_file_name,
)
from soundlora.wording import using

# These repositories hold more than one checkpoint.
_CHECKPOINTS = {"Lightricks/LTX-2.3": "ltx-2.3-22b-dev.safetensors"}
_GAP = 1024 * 1024  # bytes; reading and dropping so many takes no longer than another request
_SYNC = 16 * 1024 * 1024  # bytes; a power cut costs no more
_LOOK = 0.5  # seconds between looks at how far another process is
_ROOM = 64 * 1024 * 1024  # bytes to leave free on the disk

Range = tuple[int, int]  # first byte, and the one after the last


def fetch_base(name: str, on_bytes: OnBytes | None = None) -> Path:
    """Return the path of a checkpoint with the audio tensors of `name`, owner/name on the hub or the URL of a file.

    No server is asked when the cache has it. on_bytes(bytes that are there, of how many) follows the fetch. Raises
    InputError for what the user can mend, MachineError when the connection fails for good, Interrupted after Ctrl-C;
    the bytes that were fetched are kept.
    """
    entry = fetched(name, "base")
    if not entry.complete:
        with _session(entry, on_bytes) as (client, entry):
            if not entry.complete:
                _fetch_checkpoint(client, name, entry, on_bytes)
    return entry.paths[0]


def fetch_text_encoder(name: str, on_bytes: OnBytes | None = None) -> Path:
    """Return the folder with the files of the Gemma 3 that is owner/name on the hub. Raises as `fetch_base` does."""
    if not is_hub_name(name):
        raise InputError(f"{name!r} is no text encoder; give a folder, or owner/name on the hub such as {GEMMA}.")
    entry = fetched(name, "text encoder")
    if not entry.complete:
        with _session(entry, on_bytes) as (client, entry):
            if not entry.complete:
                _fetch_encoder(client, entry, on_bytes)
    return entry.folder


def _fetch_checkpoint(client: httpx2.Client, name: str, entry: Fetched, on_bytes: OnBytes | None) -> None:
    remote = RemoteFile(client, name if is_url(name) else _hub_url(entry, _checkpoint_name(client, name)))
    target = entry.folder / url_file_name(remote.url)
    if target.suffix != ".safetensors":
        raise InputError(f"{remote.shown} is no .safetensors file; give the address of one.")
    length = header_length(remote.first, remote.size, remote.shown, CHECKPOINT_ADVICE)
    header = TensorHeader(b"".join(remote.read(8, 8 + length)), remote.shown, CHECKPOINT_ADVICE)
    if header.file_size > remote.size:
        raise InputError(
            f"{remote.shown} ends after {remote.size:,} bytes, but its header describes {header.file_size:,}; it was "
            "not uploaded whole, use another copy."
        )
    audio = Layout(remote.shown, header).audio
    # The tensors keep the file's order, so that it is read once from front to back.
    tensors = {name: info for name, info in sorted(header.tensors.items(), key=lambda t: t[1].start) if name in audio}
    front = pack_header(tensors, header.metadata)
    ranges = [(info.start, info.end) for info in tensors.values()]
    entry.files, entry.size = [target.name], len(front) + sum(end - start for start, end in ranges)
    entry.revision = entry.revision or remote.revision
    entry.save()
    _check_room(entry)
    _fetch_ranges(remote, target, front, ranges, _report(on_bytes, 0, entry.size))


def _fetch_encoder(client: httpx2.Client, entry: Fetched, on_bytes: OnBytes | None) -> None:
    """Fetch the small files, which name the weights' files and tell whether it is a Gemma 3, then the weights."""
    for name in (*SMALL_FILES, INDEX):
        if (entry.folder / name).exists():
            continue
        answer = read_small(client, _hub_url(entry, name))
        if answer is not None:
            content, revision = answer
            entry.revision = entry.revision or revision
            entry.save()
            write_whole(entry.folder / name, content)
        elif name != INDEX:
            raise InputError(f"{entry.name} on {hub()} has no {name}, so it is no text encoder; give {GEMMA}.")
    check_directory(entry.folder)
    weights = weight_files(entry.folder)
    names = [*SMALL_FILES, *weights, *(name for name in (INDEX,) if (entry.folder / name).exists())]
    present = sum(path.stat().st_size for path in (entry.folder / name for name in names) if path.exists())
    # The server is asked only for files that are not here.
    remotes = [RemoteFile(client, _hub_url(entry, name)) for name in weights if not (entry.folder / name).exists()]
    entry.files, entry.size = names, present + sum(remote.size for remote in remotes)
    entry.save()
    _check_room(entry)
    for remote in remotes:
        target = entry.folder / url_file_name(remote.url)
        _fetch_ranges(remote, target, b"", [(0, remote.size)], _report(on_bytes, present, entry.size))
        present += remote.size


def _fetch_ranges(
    remote: RemoteFile, target: Path, front: bytes, ranges: list[Range], on_done: Callable[[int], None]
) -> None:
    """Write `front` and the bytes of the ascending ranges to the file. on_done(bytes that are there) follows it."""
    size = len(front) + sum(end - start for start, end in ranges)
    with _Partial(remote, target, front) as file:
        on_done(file.done)
        for group in _groups(_after(ranges, file.done - len(front))):
            for content in _wanted(remote.read(group[0][0], group[-1][1]), group):
                file.write(content)
                on_done(file.done)
        file.finish(size, remote.sha256 if ranges == [(0, remote.size)] else "")


class _Partial:
    """A file that grows to its end under another name. A note beside it says how much is safely on the disk."""

    def __init__(self, remote: RemoteFile, target: Path, front: bytes) -> None:
        """Open the file at its end. Raises ChangedError when its bytes came from another version of the remote file."""
        self.target = target
        self.path = partial(target)
        self._note_path = self.path.with_name(self.path.name + ".json")
        self._remote = remote
        self.done = self._resumable(front)
        if not self.done:
            self.path.write_bytes(front)
            self.done = len(front)
        self._file = self.path.open("r+b")
        self._file.truncate(self.done)
        self._file.seek(self.done)
        self._sync()

    def _resumable(self, front: bytes) -> int:
        """Return the bytes to go on from: 0 without a file, or when another version of soundlora began it otherwise."""
        try:
            note = json.loads(self._note_path.read_bytes())
            there = (note["size"], note["version"])
            done = min(int(note["done"]), self.path.stat().st_size)
            with self.path.open("rb") as file:
                same = file.read(len(front)) == front
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        if there != (self._remote.size, self._remote.version):
            raise ChangedError(self._remote.shown)
        return done if same and done >= len(front) else 0

    def __enter__(self) -> _Partial:
        return self

    def __exit__(self, *error: object) -> None:
        with self._file:
            if self.path.exists():
                self._sync()

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self.done += len(content)
        if self.done - self._synced >= _SYNC:
            self._sync()

    def finish(self, size: int, sha256: str) -> None:
        """Give the file its name. Raises DroppedError when it is not what the server says it is."""
        self._sync()
        if self.done != size or (sha256 and _sha256(self.path) != sha256):
            self.path.unlink()
            self._note_path.unlink()
            raise DroppedError(f"{self.target.name} came with other bytes than {hub()} says it has, and was deleted")
        os.replace(self.path, self.target)
        self._note_path.unlink()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = self.done
        note = {"size": self._remote.size, "version": self._remote.version, "done": self.done}
        write_whole(self._note_path, json.dumps(note).encode())


def _after(ranges: Iterable[Range], done: int) -> Iterator[Range]:
    """Yield the rest of the ranges when their first `done` bytes are there."""
    for start, end in ranges:
        skipped = min(done, end - start)
        done -= skipped
        if start + skipped < end:
            yield start + skipped, end


def _groups(ranges: Iterable[Range]) -> Iterator[list[Range]]:
    """Yield groups of ranges. One request fetches a group, since little lies between its ranges."""
    group: list[Range] = []
    for start, end in ranges:
        if group and start - group[-1][1] > _GAP:
            yield group
            group = []
        group.append((start, end))
    if group:
        yield group


def _wanted(pieces: Iterable[bytes], ranges: list[Range]) -> Iterator[bytes]:
    """Yield the bytes that lie in the ranges, from pieces that begin where the first range does."""
    at, number = ranges[0][0], 0
    for piece in pieces:
        while number < len(ranges):
            start, end = ranges[number]
            content = piece[max(start - at, 0) : max(end - at, 0)]
            if content:
                yield content
            if end > at + len(piece):
                break
            number += 1
        at += len(piece)


@contextlib.contextmanager
def _turn(entry: Fetched, on_bytes: OnBytes | None) -> Iterator[Fetched]:
    """Yield the entry once no other process fetches it, such as another worker of a run. Report its bytes till then."""
    lock = FileLock(entry.folder / ".lock", timeout=_LOOK)
    while not lock.is_locked:
        try:
            lock.acquire()
        except Timeout:
            entry = fetched(entry.name, entry.kind)
            if entry.size:
                _report(on_bytes, 0, entry.size)(entry.on_disk)
    try:
        yield fetched(entry.name, entry.kind)
    finally:
        lock.release()


@contextlib.contextmanager
def _session(entry: Fetched, on_bytes: OnBytes | None) -> Iterator[tuple[httpx2.Client, Fetched]]:
    """Yield a client, and the entry as it is at this process's turn. Failures become errors with sentences."""
    if is_hub_name(entry.name):
        check_online(_missing(entry))
    try:
        entry.folder.mkdir(parents=True, exist_ok=True)
        with _turn(entry, on_bytes) as entry, open_client() as client:
            yield client, entry
    except ChangedError as error:
        raise MachineError(
            f"{error} has changed on the server since the fetch began, and what was fetched doesn't go with the rest; "
            f"delete the folder {entry.folder} and fetch again.",
            "files",
        ) from None
    except KeyboardInterrupt:
        raise Interrupted(_how_far("Stopped", entry), entry.folder) from None
    except DroppedError as error:
        raise MachineError(_how_far(str(error), entry), "network") from None
    except OSError as error:
        raise MachineError(
            f"{entry.folder} can't be written to ({error.strerror}); mend that, or name another folder with "
            "SOUNDLORA_CACHE.",
            machine_error(error).lack,
        ) from None


def _missing(entry: Fetched) -> str:
    """Return what is not here of an entry, as the subject of a sentence."""
    if not entry.size:
        return f"The files of {entry.name}, a {entry.kind},"
    return f"{gigabytes(entry.size - entry.on_disk)} of the {gigabytes(entry.size)} of {entry.name}"


def _how_far(why: str, entry: Fetched) -> str:
    if not entry.size:
        return f"{why}; nothing of {entry.name} was fetched, try the same command again."
    return (
        f"{why}; {gigabytes(entry.on_disk)} of {gigabytes(entry.size)} of {entry.name} are kept in {entry.folder}, "
        "and the same command goes on from there."
    )


def _check_room(entry: Fetched) -> None:
    left = entry.size - entry.on_disk
    free = shutil.disk_usage(entry.folder).free
    if free < left + _ROOM:
        raise MachineError(
            f"{gigabytes(left)} of {entry.name} are still to be fetched, but {entry.folder} has {gigabytes(free)} "
            "free; make room, or name a folder on another disk with SOUNDLORA_CACHE.",
            "disk",
        )


def _checkpoint_name(client: httpx2.Client, name: str) -> str:
    """Return the path of the checkpoint in the hub's repository `name`. Raises InputError unless there is just one."""
    if name in _CHECKPOINTS:
        return _CHECKPOINTS[name]
    url = f"{hub()}/api/models/{name}"
    answer = read_small(client, url)
    try:
        files: list[str] = [file["rfilename"] for file in json.loads(answer[0] if answer else b"")["siblings"]]
        found = sorted(file for file in files if file.endswith(".safetensors"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{hub()} doesn't say which files {name} has; give the URL of the checkpoint.") from None
    if len(found) != 1:
        held = f"{len(found)} .safetensors files ({', '.join(found[:3])}, …)" if found else "no .safetensors file"
        raise InputError(f"{name} on {hub()} holds {held}; give the URL of one checkpoint with {using('base')}.")
    return found[0]


def _hub_url(entry: Fetched, file: str) -> str:
    return f"{hub()}/{entry.name}/resolve/{entry.revision or 'main'}/{quote(file)}"


def _report(on_bytes: OnBytes | None, before: int, size: int) -> Callable[[int], None]:
    """Return a function that takes the bytes of one file and reports those of all files."""

    def report(done: int) -> None:
        if on_bytes is not None:
            on_bytes(before + done, size)

    return report


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest: str = hashlib.file_digest(file, "sha256").hexdigest()
    return digest
