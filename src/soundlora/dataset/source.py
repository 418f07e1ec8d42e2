"""A data set comes from a path, an http or https URL, or a data: URI. The last two become a local file here."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from soundlora.net.addresses import is_remote
from soundlora.net.download import MAX_DOWNLOAD_BYTES, FileDownloadError, download, too_large
from soundlora.system.whole_files import temporary_folder, writing

if TYPE_CHECKING:
    import httpx2

_FILE_NAME = "training_data.zip"


@contextmanager
def local_source(
    source: str | os.PathLike[str],
    *,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    client: httpx2.Client | None = None,
) -> Iterator[Path]:
    """Yield the path of a data set. A source that is not local lies in a temporary file until the end of the block.

    A caller that restricts which addresses may be reached passes `client`, which then decides about redirects and
    timeouts too. Raises FileDownloadError when the source cannot be fetched or decoded, and FileTooLargeError when it
    has more than `max_bytes`.
    """
    text = os.fspath(source)
    if not is_remote(text):
        yield Path(text)
        return
    with temporary_folder() as folder:
        target = folder / _FILE_NAME
        if text[:5].lower() == "data:":
            content = _decode_data_uri(text, max_bytes)
            with writing(target):
                target.write_bytes(content)
        else:
            download(text, target, max_bytes=max_bytes, client=client)
        yield target


def _decode_data_uri(uri: str, max_bytes: int) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise FileDownloadError(
            "The data: URI has no comma, and so no content; write data:application/zip;base64, before it."
        )
    # Decoding shrinks Base64 to 3/4 and percent signs to 1/3, so a longer body is too large without being decoded.
    if len(body) > 3 * max_bytes:
        raise too_large(uri, max_bytes)
    content = unquote_to_bytes(body)
    if head.lower().endswith(";base64"):
        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)
        except binascii.Error as error:
            raise FileDownloadError(
                f"The data: URI is not Base64 ({str(error).lower()}); encode the zip anew."
            ) from error
    if len(content) > max_bytes:
        raise too_large(uri, max_bytes)
    return content
