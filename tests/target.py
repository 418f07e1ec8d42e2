"""A server as attackers find it, and what no answer of it may be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from soundlora.server.http.state import Service


@dataclass
class Target:
    """A server, and somebody on its machine who asks it. An error of the server is an answer, as it is to clients."""

    app: FastAPI
    client: TestClient

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """The answer, which must not be one of a server that has failed. What says to be JSON must be."""
        answer = self.client.request(method, path, **options)
        assert answer.status_code < 500, (method, path[:300], answer.text[:300])
        if answer.headers.get("content-type", "").startswith("application/json") and answer.content:
            strict_json(answer.text)
        return answer


def strict_json(text: str) -> Any:
    """JSON as every parser reads it: without NaN and Infinity."""

    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)
