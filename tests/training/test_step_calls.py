"""How many calls a GPU is given in a training step: each takes 2 to 4 µs, whatever it computes."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from step_calls import (
    ATTENTION,
    BETWEEN,
    GATHERED,
    KINDS,
    OTHERS,
    PRODUCTS,
    REFRESH,
    calls_of_a_step,
    calls_of_attention,
)

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
BLOCKS, JOINED = 48, 7  # groups of layers with one input
COLUMNS = {"compiled": 1, "call by call": 2}


def told(how: str) -> Counter[str]:
    """The calls by kind, as the page has them."""
    table = PAGE.read_text(encoding="utf-8").partition("### Calls of a step")[2].partition("\n#")[0]
    rows = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in table.splitlines() if "|" in line]
    return Counter({row[0]: int(re.sub(r"\D", "", row[COLUMNS[how]])) for row in rows if row[0] in (*KINDS, "all")})


def compare(calls: Counter[str], how: str) -> None:
    page = told(how)
    total = page.pop("all")
    assert calls == page, "the table on the page is out of date"
    assert sum(calls.values()) == total
    # The text's keys and values have no gradient that goes further, and the first block's input has none.
    assert calls[PRODUCTS] == (2 * JOINED - 1) * BLOCKS - 1
    assert calls[ATTENTION] == 2 * 2 * BLOCKS
    # The text's inputs of all blocks lie behind one another from the start. The gates are among the joined layers.
    fixed = calls[GATHERED], calls[REFRESH], calls[OTHERS]
    assert fixed == (4 * 10 + 2 * JOINED - 1, 2 * 10, 9), "however many blocks there are"


def test_calls_of_a_step_that_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of_a_step(monkeypatch, layers=BLOCKS, compiled=False)
    compare(calls, "call by call")
    assert sum(calls.values()) <= 4382


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_calls_of_a_compiled_step(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of_a_step(monkeypatch, layers=BLOCKS, compiled=True)
    compare(calls, "compiled")
    assert sum(calls.values()) <= 1892


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("heads", "head_dim", "tokens", "dtype"), [(8, 16, 6, torch.float32), (32, 64, 126, torch.bfloat16)]
)
def test_attention_takes_as_many_calls_at_small_widths_as_at_ltx(
    heads: int, head_dim: int, tokens: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Norms and rotations of q and k are one call each way, and so are the gates; the gradient of v is copied."""
    calls = calls_of_attention(monkeypatch, heads, head_dim, tokens, dtype)
    assert calls == {BETWEEN: 2 + 3, ATTENTION: 2}
