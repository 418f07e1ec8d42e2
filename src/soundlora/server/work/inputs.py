"""This module fetches the files that requests name by their addresses."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from soundlora.dataset.source import local_source
from soundlora.net.addresses import is_remote, is_url, shown
from soundlora.net.download import FileDownloadError, FileTooLargeError, download
from soundlora.net.guard import guarded_client
from soundlora.server.settings import Settings
from soundlora.server.store.files import FileRow, Files, safe_name
from soundlora.system.whole_files import whole

_OWN_PATH = re.compile(r"/files/([0-9a-f]{32})(/[^/]*)?")


def fetch(url: str, target: Path, *, settings: Settings, files: Files) -> None:
    """Fetch a user's `url` into the file `target`, which is there whole or not at all.

    The server's own files come straight from the storage. Their ids are random, so whoever names one was given it.
    data: URIs are unpacked. Paths are never accepted. Raises FileDownloadError or FileTooLargeError.
    """
    if not is_remote(url) or (is_url(url) and not _is_whole_url(url)):
        raise FileDownloadError(
            f"{url[:200]!r} is not a URL; upload the file, or give an address that starts with https://."
        )
    most = settings.max_upload_bytes
    row = _own_file(url, files)
    with whole(target) as unfinished:
        if row is not None:
            if row.size is not None and row.size > most:
                raise FileTooLargeError(f"{shown(url)} is larger than {most:,} bytes.", max_bytes=most)
            files.storage.copy_to(row.key, unfinished)
        elif is_url(url):
            with guarded_client(settings.private_hosts, settings.fetch_proxy) as guarded:
                download(url, unfinished, max_bytes=most, client=guarded)
        else:
            with local_source(url, max_bytes=most) as path:
                shutil.copyfile(path, unfinished)


def name_of(url: str) -> str:
    """Return the end of an address, as far as it can be the name of a file."""
    return safe_name(url.partition("?")[0].rpartition("/")[2] if is_url(url) else "file")[-80:]


def _is_whole_url(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname and httpx2.URL(url).host)
    except (ValueError, httpx2.InvalidURL):
        return False


def _own_file(url: str, files: Files) -> FileRow | None:
    match = _OWN_PATH.fullmatch(urlsplit(url).path) if is_url(url) else None
    row = None if match is None else files.find(match[1])
    return None if row is None or row.size is None else row
