from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import BaseNames
from workplace import Place


@pytest.fixture
def place(quick_base_25: BaseNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path / "cache"))
    place = Place(tmp_path / "data", base=quick_base_25.checkpoint)
    yield place
    place.database.close()
