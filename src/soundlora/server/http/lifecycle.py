"""One header says how long files live and who may read them. It holds for uploads and for the files of results."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from soundlora.server.http.errors import Refusal

NAMES = ("X-Fal-Object-Lifecycle-Preference", "X-Fal-Object-Lifecycle")
"""Official clients send one of these or both. The first one in this order counts."""

_MOST_SECONDS = 10 * 365 * 86400.0


def read_lifetime(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the files expire, at most ten years, or None when they never do.

    They never expire when the header is missing or says 0, which means "no expiration" at the hosted service, too.
    Raises Refusal that names the header when it can't be understood.
    """
    name = next((each for each in NAMES if headers.get(each)), None)
    if name is None:
        return None
    try:
        wanted = json.loads(headers[name])
    except (ValueError, RecursionError):
        raise _not_understood(name, "it is not JSON") from None
    if wanted is None:
        return None
    if not isinstance(wanted, dict):
        raise _not_understood(name, "it is not a JSON object")
    _check_access(name, wanted.get("initial_acl"))
    return _seconds(name, wanted.get("expiration_duration_seconds"))


def _seconds(name: str, given: Any) -> float | None:
    if given is None:
        return None
    number = isinstance(given, int | float) and not isinstance(given, bool)
    if not number or not 0 <= given < math.inf:
        shown = json.dumps(given)[:100]
        raise _not_understood(name, f"expiration_duration_seconds is {shown}, but it must be a number from 0")
    return float(min(given, _MOST_SECONDS)) or None


def _check_access(name: str, given: Any) -> None:
    acl = {} if given is None else given
    rules = (acl.get("rules") or []) if isinstance(acl, dict) else None
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise _not_understood(name, "initial_acl is no access list")
    for decision in (acl.get("default"), *(rule.get("decision") for rule in rules)):
        if decision not in (None, "allow"):
            raise _bad(
                f"This server can't {str(decision)[:20]} access to a file: whoever knows its random address may read "
                f"it. Leave initial_acl out of {name}."
            )


def _not_understood(name: str, what: str) -> Refusal:
    return _bad(f'{name} is not understood: {what}. Write {{"expiration_duration_seconds": 3600}}.')


def _bad(sentence: str) -> Refusal:
    return Refusal(400, "bad_request", sentence)
