from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from workplace import Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path / "cache"))
    place = Place(tmp_path / "data")
    yield place
    place.database.close()
