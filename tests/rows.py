"""Rows of the request table that a test knows to be there."""

from __future__ import annotations

from soundlora.server.store.requests import Request, Requests


def claimed(requests: Requests) -> tuple[Request, str]:
    """The next request and its token."""
    request = requests.claim()
    assert request is not None
    assert request.owner is not None
    return request, request.owner


def found(requests: Requests, id: str) -> Request:
    request = requests.find(id)
    assert request is not None
    return request
