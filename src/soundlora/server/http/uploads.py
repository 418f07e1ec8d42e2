"""Clients upload files through these routes: in one piece or in parts, with a key or by a signed address.

Each official client has its own way. Everything streams into the storage. A file exists once all of it has arrived, and
an upload that breaks off leaves nothing.
"""

from __future__ import annotations

import asyncio
import datetime
import mimetypes
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from soundlora.contract.fields import at_most
from soundlora.server.http.address import base_url
from soundlora.server.http.answers import JSONResponse
from soundlora.server.http.auth import Caller
from soundlora.server.http.depends import caller, service_of
from soundlora.server.http.errors import Refusal
from soundlora.server.http.json_route import JsonRoute
from soundlora.server.http.lifecycle import read_lifetime
from soundlora.server.http.parts import MOST_PARTS, Parts, too_large
from soundlora.server.http.state import Service
from soundlora.server.http.tokens import Signer
from soundlora.server.store.files import UNFINISHED_SECONDS, FileRow

router = APIRouter(include_in_schema=False, route_class=JsonRoute)

TOKEN_SECONDS = 3600
"""The clients ask for a new token as soon as one has expired."""
_PIECE_BYTES = 1024**2
_DEFAULT_TYPE = "application/octet-stream"


class Initiation(BaseModel):
    """A client describes a file that it is about to send."""

    file_name: str | None = None
    content_type: str | None = None


class Part(BaseModel):
    partNumber: int  # noqa: N815


class Completion(BaseModel):
    """The parts of a file in any order. S3 numbers parts up to 10,000."""

    parts: Annotated[list[Part], at_most(MOST_PARTS)] = Field(max_length=MOST_PARTS)


@dataclass(frozen=True)
class Upload:
    """A file that is being uploaded: its row, and the lifetime in seconds from its token."""

    row: FileRow
    lifetime: float | None


# ----------------------------------------------------------------------------------------------------------------------
# who may send


async def uploader(request: Request) -> Caller:
    """Return the holder of a token of `/storage/auth/token`, or of a key. A token is good as long as its key.

    Raises HTTPException 401 or 403 for anybody else.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        service = service_of(request)
        claim = (await Signer.of(service.database)).read("token", token.strip())
        if claim is not None and await service.authenticator.welcomes(claim["key_id"]):
            return Caller(claim["key_id"], "upload")
    return await caller(request)


@router.post("/storage/auth/token")
async def give_token(request: Request, who: Annotated[Caller, Depends(caller)]) -> dict[str, str]:
    signer = await Signer.of(service_of(request).database)
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=TOKEN_SECONDS)
    return {
        "token": signer.sign("token", TOKEN_SECONDS + 60, key_id=who.key_id),
        "token_type": "Bearer",
        "base_url": base_url(request),
        "expires_at": until.isoformat(),
    }


# ----------------------------------------------------------------------------------------------------------------------
# in one piece


@router.post("/files/upload")
async def upload(request: Request, who: Annotated[Caller, Depends(uploader)]) -> dict[str, str]:
    """Take a file in one piece. The body is the file, and headers hold its name and its lifetime."""
    lifetime = read_lifetime(request.headers)
    row = await _begin(request, who, _header_name(request), request.headers.get("content-type"))
    service = service_of(request)
    try:
        size = await _receive(request, row.key)
        await asyncio.to_thread(service.files.complete, row.id, size, lifetime=lifetime)
    except BaseException:
        # The shield removes the row even when the server is stopping. It would stay until the next sweep otherwise.
        await asyncio.shield(asyncio.to_thread(service.files.delete, row.id))
        raise
    return {"access_url": base_url(request) + row.path}


@router.post("/storage/upload/initiate")
@router.post("/storage/upload/initiate-multipart")
async def initiate(request: Request, given: Initiation, who: Annotated[Caller, Depends(caller)]) -> dict[str, str]:
    """Return two addresses: one that takes the file without a key, and the one that the file will have."""
    lifetime = read_lifetime(request.headers)
    row = await _begin(request, who, given.file_name, given.content_type)
    token = (await Signer.of(service_of(request).database)).sign(
        "upload", UNFINISHED_SECONDS, file=row.id, lifetime=lifetime
    )
    return {
        "upload_url": f"{base_url(request)}/storage/upload/{row.id}?token={token}",
        "file_url": base_url(request) + row.path,
    }


async def signed(request: Request, file_id: str) -> Upload:
    """Return the upload of a signed address. Raises Refusal when the address is wrong or too old."""
    return await _upload(request, file_id, request.query_params.get("token", ""))


@router.put("/storage/upload/{file_id}")
async def receive(request: Request, upload: Annotated[Upload, Depends(signed)]) -> Response:
    row = upload.row
    if row.size is not None:  # The answer got lost, and the client sends everything again.
        await _discard(request)
    else:
        size = await _receive(request, row.key)
        await asyncio.to_thread(service_of(request).files.complete, row.id, size, lifetime=upload.lifetime)
    return Response(status_code=200, headers={"ETag": f'"{row.id}"'})


# ----------------------------------------------------------------------------------------------------------------------
# in parts


@router.post("/files/upload/multipart")
async def begin_parts(request: Request, who: Annotated[Caller, Depends(uploader)]) -> dict[str, str]:
    lifetime = read_lifetime(request.headers)
    row = await _begin(request, who, _header_name(request), request.headers.get("content-type"))
    token = (await Signer.of(service_of(request).database)).sign(
        "upload", UNFINISHED_SECONDS, file=row.id, lifetime=lifetime
    )
    return {"access_url": base_url(request) + row.path, "uploadId": token}


async def named(request: Request, file_id: str, upload_id: str) -> Upload:
    """Return the upload of this id. The id is a signed token, so it needs no key."""
    return await _upload(request, file_id, upload_id)


@router.put("/files/{file_id}/{name}/multipart/{upload_id}/{number}")
async def receive_named_part(request: Request, upload: Annotated[Upload, Depends(named)], number: int) -> Response:
    return await _receive_part(request, upload, number)


@router.put("/storage/upload/{file_id}/{number}")
async def receive_signed_part(request: Request, upload: Annotated[Upload, Depends(signed)], number: int) -> Response:
    return await _receive_part(request, upload, number)


@router.post("/files/{file_id}/{name}/multipart/{upload_id}/complete")
async def complete_named(
    request: Request, upload: Annotated[Upload, Depends(named)], given: Completion
) -> dict[str, str]:
    return await _complete(request, upload, given)


@router.post("/storage/upload/{file_id}/complete")
async def complete_signed(
    request: Request, upload: Annotated[Upload, Depends(signed)], given: Completion
) -> dict[str, str]:
    return await _complete(request, upload, given)


async def _receive_part(request: Request, upload: Upload, number: int) -> Response:
    if upload.row.size is not None:
        await _discard(request)
    else:
        parts = _parts(request)
        size = await _receive(request, parts.key(upload.row.id, number))
        await parts.count(upload.row.id, size)
    # Clients send it back and look no further, so it is no hash: that takes a third of what receiving a part takes.
    etag = f'"{upload.row.id}-{number}"'
    # One official client reads the header, the other one the body.
    return JSONResponse({"partNumber": number, "etag": etag}, headers={"ETag": etag})


async def _complete(request: Request, upload: Upload, given: Completion) -> dict[str, str]:
    url = base_url(request) + upload.row.path
    if upload.row.size is None:
        await _parts(request).join(upload.row, {part.partNumber for part in given.parts}, upload.lifetime)
    return {"access_url": url, "file_url": url}


def _parts(request: Request) -> Parts:
    """Return the one object of the app that counts bytes and knows which files are being joined."""
    state = request.app.state
    if not hasattr(state, "parts"):
        service = service_of(request)
        state.parts = Parts(service.files, service.settings.max_upload_bytes)
    parts: Parts = state.parts
    return parts


# ----------------------------------------------------------------------------------------------------------------------


async def _upload(request: Request, file_id: str, token: str) -> Upload:
    service = service_of(request)
    claim = (await Signer.of(service.database)).read("upload", token)
    if claim is None or claim["file"] != file_id:
        raise Refusal(403, "bad_request", "The address of this upload is wrong or too old; begin the upload anew.")
    row = await asyncio.to_thread(service.files.find, file_id)
    if row is None:
        raise Refusal(404, "bad_request", "There is no such upload; begin it anew.")
    return Upload(row, claim["lifetime"])


async def _begin(request: Request, who: Caller, name: str | None, content_type: str | None) -> FileRow:
    _check_announced(request)
    content_type = (content_type or _DEFAULT_TYPE).encode("ascii", "replace").decode()
    return await asyncio.to_thread(
        service_of(request).files.begin,
        name=name or "upload" + (mimetypes.guess_extension(content_type.partition(";")[0]) or ".bin"),
        content_type=content_type,
        role="upload",
        key_id=who.key_id,
    )


async def _receive(request: Request, key: str) -> int:
    """Stream the body into the storage and return its bytes. Raises Refusal when it is too long or breaks off."""
    _check_announced(request)
    size = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal size
        async for piece in _pieces(request):
            size += len(piece)
            _check_size(service, size)
            yield piece

    service = service_of(request)
    try:
        await service.storage.put_async(key, pieces())
    except ClientDisconnect:
        raise Refusal(499, "client_disconnected", "The upload broke off.") from None
    return size


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Yield the body in pieces of a useful size, since it arrives in far smaller ones."""
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        if len(waiting) >= _PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


async def _discard(request: Request) -> None:
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            _check_size(service_of(request), size)
    except ClientDisconnect:
        raise Refusal(499, "client_disconnected", "The upload broke off.") from None


def _check_announced(request: Request) -> None:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal():
        _check_size(service_of(request), int(announced[:20]))


def _check_size(service: Service, size: int) -> None:
    if size > service.settings.max_upload_bytes:
        raise too_large(service.settings.max_upload_bytes)


def _header_name(request: Request) -> str | None:
    name = request.headers.get("x-fal-file-name")
    if name is None:
        return None
    try:
        # Headers are read as Latin-1, but clients send other letters as UTF-8.
        return name.encode("latin-1").decode()
    except UnicodeDecodeError:
        return name
