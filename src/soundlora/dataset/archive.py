"""Open a zip or a folder of clips without trusting it.

Nothing is written under a name from the archive: members are streamed one at a time into files of our own. The table
of contents is checked before the first byte is unpacked. Checksums and stated sizes are checked while streaming.
Memory stays bounded whatever the archive says.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

from soundlora.dataset import names
from soundlora.dataset.members import Member, save
from soundlora.dataset.names import CAPTION_EXTENSION, MEDIA_EXTENSIONS
from soundlora.dataset.problems import InvalidArchiveError, TooManyFilesError
from soundlora.dataset.zip_file import open_zip
from soundlora.system.whole_files import temporary_folder

MAX_MEDIA_FILES = 2_000
MAX_UNPACKED_BYTES = 20 * 1024**3
MAX_RATIO = 200

_MOST_INNER = 100


@dataclass(frozen=True)
class Archive:
    """An open source. `members` are its clips and captions in order of name.

    `others` are its other visible files. `hidden` names hidden files and those that an operating system put there,
    `links` those in a folder that point elsewhere. `opened` names the zips within it that the clips lie in.
    """

    members: tuple[Member, ...]
    others: tuple[Member, ...]
    hidden: tuple[str, ...]
    opened: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names of its other visible files."""
        return tuple(member.name for member in self.others)

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)


@contextmanager
def open_archive(
    path: Path,
    *,
    max_media_files: int = MAX_MEDIA_FILES,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
    max_ratio: float = MAX_RATIO,
    inner: bool = True,
) -> Iterator[Archive]:
    """Open a zip or a folder, check all that can be checked without unpacking, and yield the archive.

    The size and ratio limits apply to zips, since a folder has nothing to unpack. Without `inner`, zips within stay
    closed, since they have to be unpacked to be looked into. Raises TooManyFilesError when there
    are too many clips. Raises InvalidArchiveError when the source is missing, not a zip, damaged, encrypted or over a
    limit, or when a zip holds links or paths that lead out of it. Links in a folder are passed over.
    """
    with ExitStack() as stack:
        hidden: list[str] = []
        links: list[str] = []
        found = (
            list(_walk(path, hidden, links))
            if _is_folder(path)
            else stack.enter_context(open_zip(path, path.name, max_ratio, hidden))
        )
        archive = _archive_of(found, hidden)
        zips = sorted((each for each in found if names.suffix(each.name) == ".zip"), key=lambda each: each.name)
        if inner and zips and all(member.is_caption for member in archive):
            _check_size(sum(member.size for member in zips if member.path is None), path, max_unpacked_bytes)
            within = stack.enter_context(_open_inner(zips, max_ratio, hidden))
            opened = tuple(member.name for member in zips)
            outside = [member for member in found if member.name not in opened]
            archive = replace(_archive_of([*outside, *within], hidden), opened=opened)
        _check_count(archive, path, max_media_files)
        _check_size(sum(member.size for member in archive if member.path is None), path, max_unpacked_bytes)
        yield replace(archive, links=tuple(sorted(links)))


@contextmanager
def _open_inner(zips: list[Member], max_ratio: float, hidden: list[str]) -> Iterator[list[Member]]:
    """Yield the members of the zips within a source that holds no clip itself. Their own zips stay closed."""
    if len(zips) > _MOST_INNER:
        raise InvalidArchiveError(
            f"It holds {len(zips)} zips and no clip, but at most {_MOST_INNER} zips within one are opened; pack the "
            "clips themselves."
        )
    with temporary_folder() as folder, ExitStack() as stack:
        found: list[Member] = []
        for number, member in enumerate(zips):
            path = member.path or folder / f"{number}.zip"
            if member.path is None:
                save(member, path)
            hidden_within: list[str] = []
            within = stack.enter_context(open_zip(path, member.name, max_ratio, hidden_within))
            found += [replace(each, name=f"{member.name}/{each.name}") for each in within]
            hidden += [f"{member.name}/{name}" for name in hidden_within]
        yield found


def _archive_of(found: Iterable[Member], hidden: list[str]) -> Archive:
    members, others = [], []
    for member in sorted(found, key=lambda member: member.name):
        if names.suffix(member.name) in (*MEDIA_EXTENSIONS, CAPTION_EXTENSION):
            members.append(member)
        else:
            others.append(member)
    return Archive(tuple(members), tuple(others), tuple(sorted(hidden)))


def _check_count(archive: Archive, path: Path, limit: int) -> None:
    found = sum(not member.is_caption for member in archive)
    if found > limit:
        raise TooManyFilesError(
            f"{path.name} holds {found} audio files, but at most {limit} are allowed; split it into several runs.",
            limit=limit,
            found=found,
        )


def _check_size(unpacked: int, path: Path, limit: int) -> None:
    if unpacked > limit:
        raise InvalidArchiveError(
            f"{path.name} unpacks to {unpacked / 1024**3:.1f} GiB, but at most {limit / 1024**3:.1f} GiB are allowed; "
            "cut the clips to the length you train on."
        )


def _walk(root: Path, hidden: list[str], links: list[str]) -> Iterator[Member]:
    """Yield the members of a folder. The names of hidden files and folders go to `hidden`, of links to `links`."""
    for folder, subfolders, files in os.walk(root, onerror=_refuse_unreadable):
        for name in sorted(subfolders) + files:
            path = Path(folder, name)
            inside = names.clean_name(path.relative_to(root).as_posix())
            if names.is_rubbish([name]):
                hidden.append(inside)
                continue
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                links.append(inside)
            elif stat.S_ISREG(status.st_mode):
                yield Member(inside, status.st_size, path, partial(_open_file, path))
        # os.walk reads this list again, so it does not descend into folders that are removed from it.
        subfolders[:] = sorted(name for name in subfolders if not names.is_rubbish([name]))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise InvalidArchiveError(f"{path} cannot be opened ({error.strerror}).") from error


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _refuse_unreadable(error: OSError) -> None:
    raise InvalidArchiveError(f"{error.filename} cannot be read ({error.strerror}).") from error
