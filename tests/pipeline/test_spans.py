"""Spans as text, which a run keeps and reads again."""

from __future__ import annotations

import pytest

from soundlora.dataset import Spans
from soundlora.pipeline.spans import parse_spans, spans_text


@pytest.mark.parametrize(
    ("spans", "text"),
    [
        (((1.0, 2.0), (3.5, 4.0)), "1-2,3.5-4"),
        (((1.0, 1.0000001),), "1-1.0000001"),
        (((0.00001, 1234.5678),), "0.00001-1234.5678"),
    ],
)
def test_what_is_written_is_read_again(spans: Spans, text: str) -> None:
    assert spans_text(spans) == text
    assert parse_spans(text) == spans
