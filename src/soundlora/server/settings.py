"""What the server and its workers are told: where data lies, who may come in, what is allowed."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundlora.contract.training import PRICE_PER_STEP
from soundlora.errors import InputError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PREFIX = "SOUNDLORA_"


@dataclass(frozen=True)
class Settings:
    """Every setting, and its environment variable: `SOUNDLORA_` and the name in capitals.

    data_dir: run folders, and by default the database and the files.
    database_url: SQLAlchemy's; "" is an SQLite file in `data_dir`.
    storage_url: where results and uploads go, a folder or s3://bucket/prefix; "" is a folder in `data_dir`.
    public_url: how clients reach the server, such as https://sound.example; "" takes it from each request.
    allow_anonymous: without any key, let everybody in, from other machines too.
    price_per_step: dollars; 0 is "free on this machine".
    slots: runs at a time; 0 is one a GPU, or one on the CPU.
    max_run_seconds: a run is stopped after that, with a checkpoint.
    max_queue, max_queue_per_key: waiting requests, 0 is without limit.
    lease_seconds: a run whose worker is silent for so long is given to another one.
    private_hosts: names, addresses or networks that users' URLs may lead to although they are not public; "*" is all.
    trusted_proxies: addresses or networks of reverse proxies whose X-Forwarded-Host and -Proto tell how clients reach
    the server; none is trusted by itself, and none decides who is let in.
    max_connections: of one address at a time, 0 is without limit; trusted proxies have none.
    """

    data_dir: Path = Path("soundlora-data")
    database_url: str = ""
    storage_url: str = ""
    host: str = "127.0.0.1"
    port: int = 8420
    public_url: str = ""
    allow_anonymous: bool = False
    base: str = "nano"
    text_encoder: str = ""
    price_per_step: float = PRICE_PER_STEP
    slots: int = 0
    max_run_seconds: float = 24 * 3600
    max_queue: int = 0
    max_queue_per_key: int = 0
    max_upload_bytes: int = 20 * 1024**3
    lease_seconds: float = 20
    private_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    max_connections: int = 512

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'soundlora.db'}"

    @property
    def storage(self) -> str:
        return self.storage_url or str(self.data_dir.absolute() / "files")

    @property
    def runs(self) -> Path:
        """Run folders, one a request."""
        return self.data_dir.absolute() / "runs"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, **given: Any) -> Settings:
        """What is `given` and not None counts before the environment. Raises InputError for a value that can't be."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            text = environment.get(_PREFIX + field.name.upper())
            if given.get(field.name) is not None:
                values[field.name] = given[field.name]
            elif text is not None:
                values[field.name] = _parsed(field.name, text, field.default)
        return cls(**values)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Settings:
        values = json.loads(text)
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**values | lists | {"data_dir": Path(values["data_dir"])})


def _parsed(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("", "0", "false", "no", "off"):
            return False
        raise InputError(f"{_PREFIX}{name.upper()} is {text!r}, but it must be true or false.")
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        value = type(default)(text)
    except ValueError:
        raise InputError(f"{_PREFIX}{name.upper()} is {text!r}, but it must be a number.") from None
    if isinstance(value, int | float) and not value >= 0:
        raise InputError(f"{_PREFIX}{name.upper()} is {text!r}, but it must not be negative.")
    return value
