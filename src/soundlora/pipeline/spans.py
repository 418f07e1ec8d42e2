"""Spans of a sound in seconds, as people write them: 1.0-2.0,3.5-4."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from soundlora.dataset import Spans
from soundlora.errors import InputError
from soundlora.pipeline.settings import decimal
from soundlora.wording import setting

_SPAN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*-\s*(\d+(?:\.\d*)?|\.\d+)\s*")


def spans_text(spans: Iterable[Sequence[float]]) -> str:
    """Return spans as text."""
    return ",".join(f"{decimal(start)}-{decimal(end)}" for start, end in spans)


def parse_spans(text: str, name: str = "spans") -> Spans:
    """Return the spans that a text names, in order. Raises InputError, with `name` as the setting, for another text."""
    found = []
    for part in text.split(","):
        match = _SPAN.fullmatch(part)
        start, end = (float(match[1]), float(match[2])) if match else (0.0, 0.0)
        if not start < end:
            raise InputError(
                f"{setting(name)} is {text!r}, but it must be seconds such as 1.0-2.0,3.5-4, where each span ends "
                "after it starts.",
                field=name,
            )
        found.append((start, end))
    return tuple(sorted(found))
