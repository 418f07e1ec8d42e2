"""The way of weights from the Hugging Face hub or a web server into the cache. A base comes as its audio tensors alone.

A fetch that is stopped, by Ctrl-C, a dropped connection or SIGKILL, goes on where it was when it is asked for again.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx2
from filelock import FileLock, Timeout

from soundlora.errors import InputError, Interrupted, MachineError
from soundlora.model.encoder_files import INDEX, weight_files
from soundlora.model.tensor_file import TensorFile, TensorHeader, TensorInfo, header_length, pack_header
from soundlora.model.text_encoder import GEMMA, SMALL_FILES, check_encoder
from soundlora.net.addresses import is_bucket, is_url
from soundlora.net.hub import check_online, hub
from soundlora.net.remote_file import AbsentError, ChangedError, DroppedError, RemoteFile, open_client, read_small
from soundlora.system.file_names import portable_name
from soundlora.system.operating_system import reason_of
from soundlora.system.whole_files import clear_left, machine_error, write_whole
from soundlora.weights.checkpoint import CHECKPOINT_ADVICE, Layout
from soundlora.weights.components import chosen_files, encoder_snapshot, located, parts_in, wanted_tensors
from soundlora.weights.fetched import (
    Fetched,
    OnBytes,
    fetched,
    gigabytes,
    is_hub_name,
    url_file_name,
)
from soundlora.weights.generations import Generation, HubFile, of_repository
from soundlora.weights.ranges import Range, Remote, fetch_ranges
from soundlora.wording import using

if TYPE_CHECKING:
    from soundlora.weights.stored import StoredBase

Plan = tuple[Remote, Path, bytes, list[Range]]
"""A file, where it goes, what its copy begins with, and the bytes of it that follow."""
_LOOK = 0.5  # seconds between looks at how far another process is
_ROOM = 64 * 1024 * 1024  # bytes to leave free on the disk


def fetch_base(name: str, on_bytes: OnBytes | None = None) -> Path:
    """Return the path of a checkpoint with the audio tensors of `name`, owner/name on the hub or the URL of a file.

    Of s3://bucket/folder it is a folder, where the text encoder lies, too, if the bucket has one.
    Of a base in several files it is the one with the transformer, which `open_base` finds the others from. No server is
    asked for what is on this machine, in the cache or where ComfyUI and the hub's library keep files.

    on_bytes(bytes that are there, of how many) follows the fetch. Raises InputError for what the user can mend,
    MachineError when the connection fails for good, Interrupted after Ctrl-C; the bytes that were fetched are kept.
    """
    entry, generation = fetched(name, "base"), of_repository(name)
    if is_bucket(name):
        return _stored(name.rstrip("/"), entry, on_bytes)
    if generation is not None:
        return _published(generation, entry, on_bytes)
    if not entry.complete:
        with _session(entry, on_bytes) as (client, entry):
            if not entry.complete:
                _fetch_checkpoint(client, name, entry, on_bytes)
    return entry.paths[0]


def fetch_text_encoder(name: str, on_bytes: OnBytes | None = None) -> Path:
    """Return the folder with the files of the Gemma 3 that is owner/name on the hub. Raises as `fetch_base` does.

    What the hub's own library has fetched is not fetched again.
    """
    if not is_hub_name(name):
        raise InputError(f"{name!r} is no text encoder; give a folder, or owner/name on the hub such as {GEMMA}.")
    entry = fetched(name, "text encoder")
    if not entry.complete:
        snapshot = encoder_snapshot(name)
        if snapshot is not None:
            return snapshot
        with _session(entry, on_bytes) as (client, entry):
            if not entry.complete:
                _fetch_encoder(client, entry, on_bytes)
    return entry.folder


def _published(generation: Generation, entry: Fetched, on_bytes: OnBytes | None) -> Path:
    """Return the first file of a generation's base. What is nowhere on this machine is fetched."""

    def lacks(found: dict[HubFile, Path | None]) -> bool:
        return any(path is None and not file.optional for file, path in found.items())

    found = located(generation)
    if lacks(found):
        with _session(entry, on_bytes) as (client, entry):
            found = located(generation)
            if lacks(found):
                _fetch_published(client, generation, entry, found, on_bytes)
        found = located(generation)
    first = found[generation.files[0]]
    assert first is not None
    return first


def _fetch_published(
    client: httpx2.Client,
    generation: Generation,
    entry: Fetched,
    found: dict[HubFile, Path | None],
    on_bytes: OnBytes | None,
) -> None:
    remotes: dict[HubFile, RemoteFile] = {}
    for file in (file for file, path in found.items() if path is None):
        try:
            remotes[file] = RemoteFile(client, _hub_url(entry, file.path))
        except AbsentError:
            if not file.optional:
                raise
    headers = {file: _remote_header(remote) for file, remote in remotes.items()}
    headers |= {file: TensorFile(path, CHECKPOINT_ADVICE).header for file, path in found.items() if path is not None}
    # A file that can be done without has nothing to say on the others.
    shown = {file: remotes[file].shown if file in remotes else str(found[file]) for file in headers}
    needed = {shown[file]: headers[file] for file in generation.files if file in headers and not file.optional}
    audio = Layout(needed).audio
    parts = [(remotes[file], entry.folder / file.path, headers[file]) for file in remotes]
    here = [path for path in found.values() if path is not None and path.is_relative_to(entry.folder)]
    _fetch_parts(entry, parts, audio, on_bytes, here)


def _stored(name: str, entry: Fetched, on_bytes: OnBytes | None) -> Path:
    """Return the folder of a base from S3. What of it is not here is fetched."""
    if not entry.complete:
        try:
            from soundlora.weights.stored import stored_base
        except ModuleNotFoundError:
            raise InputError(
                f'{using("base", name)} needs the package obstore: pip install "soundlora[serve]".'
            ) from None
        with _session(entry, on_bytes) as (_, entry):
            if not entry.complete:
                _fetch_stored(name, stored_base(name), entry, on_bytes)
    return entry.folder


def _fetch_stored(name: str, found: StoredBase, entry: Fetched, on_bytes: OnBytes | None) -> None:
    headers = {path: _remote_header(remote) for path, remote in found.weights.items()}
    chosen = chosen_files(name, headers) if len(headers) > 1 else list(headers)
    needed = {path: headers[path] for path in chosen if parts_in(headers[path]) - {"duration head"}}
    audio = Layout({found.weights[path].shown: header for path, header in needed.items()}).audio
    plans = _planned([(found.weights[path], entry.folder / path, headers[path]) for path in chosen], audio)
    plans += [(remote, entry.folder / path, b"", [(0, remote.size)]) for path, remote in found.encoder.items()]
    # What was fetched before the connection broke is whole, for a file gets its name at its end.
    here = [target for _, target, _, _ in plans if target.exists()]
    _fetch_planned(entry, [plan for plan in plans if plan[1] not in here], on_bytes, here)


def _fetch_checkpoint(client: httpx2.Client, name: str, entry: Fetched, on_bytes: OnBytes | None) -> None:
    remote = RemoteFile(client, name if is_url(name) else _hub_url(entry, _checkpoint_name(client, name)))
    target = entry.folder / portable_name(url_file_name(remote.url))
    if target.suffix != ".safetensors":
        raise InputError(f"{remote.shown} is no .safetensors file; give the address of one.")
    header = _remote_header(remote)
    audio = Layout({remote.shown: header}).audio
    _fetch_parts(entry, [(remote, target, header)], audio, on_bytes)


def _remote_header(remote: Remote) -> TensorHeader:
    length = header_length(remote.first, remote.size, remote.shown, CHECKPOINT_ADVICE)
    header = TensorHeader(b"".join(remote.read(8, 8 + length)), remote.shown, CHECKPOINT_ADVICE)
    if header.file_size > remote.size:
        raise InputError(
            f"{remote.shown} ends after {remote.size:,} bytes, but its header describes {header.file_size:,}; it was "
            "not uploaded whole, use another copy."
        )
    return header


def _fetch_parts(
    entry: Fetched,
    parts: Sequence[tuple[RemoteFile, Path, TensorHeader]],
    audio: Collection[str],
    on_bytes: OnBytes | None,
    here: Sequence[Path] = (),
) -> None:
    """Fetch the wanted tensors of each file, which is written to its path with its metadata.

    here: other files of the entry, which have been fetched before.
    """
    for remote, _, _ in parts:
        entry.revision = entry.revision or remote.revision
    _fetch_planned(entry, _planned(parts, audio), on_bytes, here)


def _planned(parts: Sequence[tuple[Remote, Path, TensorHeader]], audio: Collection[str]) -> list[Plan]:
    plans: list[Plan] = []
    for remote, target, header in parts:
        wanted = wanted_tensors(header, audio, remote.shown)
        # The tensors keep the file's order, so that it is read once from front to back.
        tensors = {name: info for name, info in sorted(header.tensors.items(), key=_start) if name in wanted}
        ranges = [(info.start, info.end) for info in tensors.values()]
        plans.append((remote, target, pack_header(tensors, header.metadata), ranges))
    return plans


def _fetch_planned(entry: Fetched, plans: Sequence[Plan], on_bytes: OnBytes | None, here: Sequence[Path]) -> None:
    sizes = [len(front) + sum(end - start for start, end in ranges) for _, _, front, ranges in plans]
    paths = [*here, *(target for _, target, _, _ in plans)]
    entry.files = [path.relative_to(entry.folder).as_posix() for path in paths]
    before = sum(path.stat().st_size for path in here)
    entry.size = before + sum(sizes)
    entry.save()
    _check_room(entry)
    for (remote, target, front, ranges), size in zip(plans, sizes, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch_ranges(remote, target, front, ranges, _report(on_bytes, before, entry.size))
        before += size


def _start(item: tuple[str, TensorInfo]) -> int:
    return item[1].start


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
    check_encoder(entry.folder)
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
        fetch_ranges(remote, target, b"", [(0, remote.size)], _report(on_bytes, present, entry.size))
        present += remote.size


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
        clear_left(entry.folder)
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
            f"{entry.folder} can't be written to ({reason_of(error)}); mend that, or name another folder with "
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
