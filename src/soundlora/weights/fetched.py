"""Bases and text encoders that were fetched, or are being fetched. Each has its own folder in the cache."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from soundlora.net.addresses import is_bucket, is_url, public_name
from soundlora.system.cache_root import default_root
from soundlora.system.whole_files import partial, write_whole

Kind = Literal["base", "text encoder"]
OnBytes = Callable[[int, int], None]  # bytes that are there, of how many
_NOTE = "source.json"
_FOLDERS: dict[Kind, str] = {"base": "bases", "text encoder": "text_encoders"}
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


@dataclass
class Fetched:
    """The content of the note in a folder.

    name: a hub name, s3://bucket/folder, or a URL without password and query.
    size: bytes when all is there; 0 until the server has said so.
    files: the checkpoint of a base, or a text encoder's files; none until the server has named all.
    revision: commit on the hub, so that a fetch taken up later doesn't mix two versions.
    """

    name: str
    kind: Kind
    size: int = 0
    files: list[str] = field(default_factory=list)
    revision: str = ""

    @property
    def folder(self) -> Path:
        return default_root() / _FOLDERS[self.kind] / _folder_name(self.name)

    @property
    def paths(self) -> list[Path]:
        return [self.folder / file for file in self.files]

    @property
    def complete(self) -> bool:
        return bool(self.files) and all(path.exists() for path in self.paths)

    @property
    def on_disk(self) -> int:
        """Bytes that are there, in whole and partial files."""
        return sum(there.stat().st_size for path in self.paths for there in (path, partial(path)) if there.exists())

    def save(self) -> None:
        """Write the note into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / _NOTE, json.dumps(asdict(self), indent=2).encode())


def fetched(name: str, kind: Kind) -> Fetched:
    """Return the cache's entry of `name`, or a new one when it has none."""
    entry = Fetched(public_name(name), kind)
    return _read(entry.folder) or entry


def all_fetched() -> Iterator[Fetched]:
    """Yield every entry of the cache: bases first, each kind by name."""
    for part in _FOLDERS.values():
        for note in sorted((default_root() / part).glob(f"*/{_NOTE}")):
            entry = _read(note.parent)
            if entry is not None:
                yield entry


def is_hub_name(name: str) -> bool:
    """Say whether `name` has the form owner/name."""
    return _HUB_NAME.fullmatch(name) is not None and not name.endswith(".safetensors")


def url_file_name(url: str) -> str:
    """Return the file's name in a URL: 'b c.safetensors' of 'https://host/a/b%20c.safetensors?x'."""
    return PurePosixPath(unquote(urlsplit(url).path)).name


def gigabytes(size: int) -> str:
    """Return bytes as text: '8.5 GB', or '12.3 MB' below one GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _folder_name(name: str) -> str:
    if not (is_url(name) or is_bucket(name)):
        return name.replace("/", "--")
    stem = re.sub(r"[^\w.-]+", "_", url_file_name(name).removesuffix(".safetensors"), flags=re.ASCII)
    return f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _read(folder: Path) -> Fetched | None:
    try:
        entry = Fetched(**json.loads((folder / _NOTE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return entry if entry.kind in _FOLDERS and entry.folder == folder else None
