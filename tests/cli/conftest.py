from __future__ import annotations

from pathlib import Path

import pytest
from support import BaseNames


@pytest.fixture
def train_flags(quick_base: BaseNames, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A short run on the quick base."""
    monkeypatch.setenv("SOUNDLORA_CACHE", str(shared_cache))
    return ["--rank", "8", "--steps", "100", "--duration", "0.5", *quick_base.flags]
