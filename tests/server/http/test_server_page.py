"""docs/server.md says what is so."""

from __future__ import annotations

import dataclasses
import re
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from soundlora.server.http.signature import Signer
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database

PAGE = (Path(__file__).parents[3] / "docs" / "server.md").read_text()


def test_every_setting_is_in_the_table_and_no_other() -> None:
    named = set(re.findall(r"SOUNDLORA_([A-Z_]+)", PAGE))

    assert named == {field.name.upper() for field in dataclasses.fields(Settings)}


def test_the_sample_that_checks_webhooks_works(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    database.migrate()
    signer = Signer(database)
    database.close()
    sample: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], sample)
    body = b"{}"
    headers = signer.headers("r", "k", body, int(time.time()))

    sample["verify"](headers, body, signer.jwks()["keys"])
    with pytest.raises(InvalidSignature):
        sample["verify"](headers, body + b" ", signer.jwks()["keys"])
