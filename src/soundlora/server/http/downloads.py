"""Whoever knows the random address of a file can download it, whole or a range of its bytes."""

from __future__ import annotations

import asyncio
import re
from email.utils import formatdate
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from soundlora.server.http.depends import service_of
from soundlora.server.http.errors import Refusal
from soundlora.server.store.files import FileRow

router = APIRouter()

_KEPT_SECONDS = 3600
# A file must never act as a page of this server, whatever type its owner gave it.
_HARMLESS = re.compile(
    r"(audio|video)/[\w.+-]+|image/(png|jpeg|gif|webp|avif)|text/plain|application/(json|zip|gzip|octet-stream)"
)
_SHOWN = re.compile(r"(audio|video|image)/|text/plain|application/json")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@router.api_route("/files/{file_id}/{name}", methods=["GET", "HEAD"], include_in_schema=False)
async def download(request: Request, file_id: str, name: str) -> Response:
    """Send a file. Only the id counts; the name is for people. A call for several ranges gets the whole file."""
    service = service_of(request)
    row = await asyncio.to_thread(service.files.find, file_id)
    if row is None or row.size is None:
        raise _missing()
    headers = _headers(row)
    if _names(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    start, end = 0, row.size
    status = 200
    if "range" in request.headers and request.headers.get("if-range", headers["ETag"]) in _versions(headers):
        found = _range(request.headers["range"], row.size)
        if found is not None and found[0] >= found[1]:
            raise Refusal(
                416,
                "bad_request",
                f"The file has {row.size} bytes, and the range lies outside.",
                {"Content-Range": f"bytes */{row.size}"},
            )
        if found is not None:
            start, end = found
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{row.size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    try:
        pieces = await asyncio.to_thread(service.storage.stream, row.key, start, end)
    except FileNotFoundError:
        raise _missing() from None
    return StreamingResponse(pieces, status, headers)


def _headers(row: FileRow) -> dict[str, str]:
    kind = row.content_type.partition(";")[0].strip().lower()
    kind = kind if _HARMLESS.fullmatch(kind) else "application/octet-stream"
    place = "inline" if _SHOWN.match(kind) else "attachment"
    return {
        "Content-Type": kind + ("; charset=utf-8" if kind == "text/plain" else ""),
        "Content-Disposition": f"{place}; filename*=UTF-8''{quote(row.name, safe='')}",
        # The content at an address never changes, so the id identifies the version to the byte.
        "ETag": f'"{row.id}"',
        "Last-Modified": formatdate(row.created_at, usegmt=True),
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={_KEPT_SECONDS}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'; "
        "sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


def _versions(headers: dict[str, str]) -> tuple[str, str]:
    """Return the values by which a client may know this version of the file."""
    return headers["ETag"], headers["Last-Modified"]


def _names(tags: str, tag: str) -> bool:
    """Return whether an If-None-Match header names the version."""
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in tags.split(","))


def _range(text: str, size: int) -> tuple[int, int] | None:
    """Return (start, end) in bytes, or None when the header is not a single range.

    The range is empty when none of it lies within the file.
    """
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1][:20], match[2][:20]
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _missing() -> Refusal:
    return Refusal(404, "bad_request", "There is no such file, or it has expired.")
