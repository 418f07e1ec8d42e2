"""Routes get the server's state and their caller through these dependencies."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from soundlora.server.http.auth import Caller
from soundlora.server.http.state import Service


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def caller(request: Request) -> Caller:
    """Return the caller of a route, as a dependency or by a direct call. Raises HTTPException 401 or 403."""
    return await service_of(request).authenticator.caller(request)


Asks = Annotated[Caller, Depends(caller)]
