"""Where a data set comes from: a path, an http or https URL, or a data: URI. What is not local becomes a local file."""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from soundlora.net.addresses import is_remote
from soundlora.net.download import MAX_DOWNLOAD_BYTES, FileDownloadError, download, too_large

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
    """Give the path of a data set; what is not local lies in a temporary file until the end of the block.

    `client` is for those who restrict which addresses may be reached; it decides about redirects and timeouts too.
    Raises FileDownloadError or FileTooLargeError.
    """
    text = os.fspath(source)
    if not is_remote(text):
        yield Path(text)
        return
    with tempfile.TemporaryDirectory(prefix="soundlora-") as folder:
        target = Path(folder, _FILE_NAME)
        if text[:5].lower() == "data:":
            target.write_bytes(_decode_data_uri(text, max_bytes))
        else:
            download(text, target, max_bytes=max_bytes, client=client)
        yield target


def _decode_data_uri(uri: str, max_bytes: int) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise FileDownloadError(
            "The data: URI has no comma, and so no content; write data:application/zip;base64, before it."
        )
    # Base64 and percent signs both only shrink: what is far too long is not decoded at all.
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
