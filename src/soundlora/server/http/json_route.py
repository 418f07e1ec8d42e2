"""Routes whose body is a model read it as the queue reads inputs: it has a limit, and JSON is JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from soundlora.server.http.errors import Refusal
from soundlora.server.http.submission import loaded, read_bytes


class _JsonRequest(Request):
    """FastAPI asks it for the body of a route. HTTPException is the one error that it passes on as it is."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            try:
                self._body = await read_bytes(self)
            except Refusal as error:
                raise HTTPException(error.status_code, error.sentence) from None
        return self._body

    async def json(self) -> Any:
        try:
            return loaded(await self.body())
        except json.JSONDecodeError:  # FastAPI says where.
            raise
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, f"The body can't be read: {error}") from None


class JsonRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle
