"""The settings tell the server and its workers where data lies, who may use the server, and what is allowed."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundlora.errors import InputError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PREFIX = "SOUNDLORA_"
# torch knows which of them are here, and the server never loads it.
_DEVICE = re.compile(r"(cuda|xpu|mps|cpu)(:\d+)?")


@dataclass(frozen=True)
class Settings:
    """All settings. The environment variable of each is `SOUNDLORA_` and its name in capitals.

    data_dir: the folder of run folders, and by default of the database and the files.
    database_url: the database's URL in SQLAlchemy's form; "" is an SQLite file in `data_dir`.
    storage_url: the place of results and uploads, a folder or s3://bucket/prefix; "" is a folder in `data_dir`.
    public_url: the address at which clients reach the server, such as https://sound.example; "" takes it from each
        request.
    allow_anonymous: whether everybody may use the server while it has no keys, from other machines too.
    device: the device of all runs, such as cuda, cuda:1, xpu, mps or cpu; "" is the first that is there.
    allowed_bases: other bases than `base` that a request may name, as for `soundlora train`; each finds its own text
        encoder.
    price_per_step: the price of every training in US dollars; None is the hosted one, 0 is "free on this machine".
    slots: the number of trainings at a time; 0 is one a GPU, or one on the CPU. Generations take turns with them.
    max_gpus: the GPUs of one machine that a training may ask for.
    executor: who does the requests: `local` processes of this machine, `none`, or a Ray cluster, `auto` or an address.
    endpoints: those whose requests are done here; none named is all of them.
    node: this machine's name among others; "" is its host name.
    prepare_slots: the number of processes that fetch and check data before a request is claimed; 0 leaves it to others.
    generation_gpus: the share of a GPU that a generation has on Ray.
    warm_seconds: the time that a base stays loaded after a generation, for the next one.
    max_run_seconds: the time after which a run is stopped with a checkpoint.
    keep_state_days: the time that the last state of a finished training is kept, so that it can be trained on; 0 keeps
        none.
    cache_bytes: the size of this machine's latents and contexts, above which those that were used longest ago are
        deleted; 0 is without limit.
    max_queue, max_queue_per_key: the number of requests that may wait; 0 is without limit.
    max_running_per_key: the number of requests of a key that may run at a time; 0 is without limit.
    budget_per_key: the units that a key may be billed in a month; 0 is without limit.
    keep_days: the age at which the files of ended runs are pruned; 0 keeps them.
    keep_bytes: the size of all runs' files above which the oldest are pruned; 0 is without limit.
    lease_seconds: the silence of a worker after which its run is given to another one.
    private_hosts: names, addresses or networks that users' URLs may lead to although they are not public; "*" is all.
    fetch_proxy: the address of an HTTP proxy through which everything is fetched that clients name; "" is none.
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
    device: str = ""
    allowed_bases: tuple[str, ...] = ()
    price_per_step: float | None = None
    slots: int = 0
    max_gpus: int = 1
    executor: str = "local"
    endpoints: tuple[str, ...] = ()
    node: str = ""
    prepare_slots: int = 2
    generation_gpus: float = 0.25
    warm_seconds: float = 600
    max_run_seconds: float = 24 * 3600
    keep_state_days: float = 30
    cache_bytes: int = 0
    max_queue: int = 0
    max_queue_per_key: int = 0
    max_running_per_key: int = 0
    budget_per_key: int = 0
    keep_days: float = 0
    keep_bytes: int = 0
    max_upload_bytes: int = 20 * 1024**3
    lease_seconds: float = 20
    private_hosts: tuple[str, ...] = ()
    fetch_proxy: str = ""
    trusted_proxies: tuple[str, ...] = ()
    max_connections: int = 512

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'soundlora.db'}"

    @property
    def storage(self) -> str:
        return self.storage_url or str(self.data_dir.absolute() / "files")

    @property
    def shares(self) -> bool:
        """Whether other machines may have the same storage. One in the data folder is this machine's own."""
        return bool(self.storage_url)

    @property
    def runs(self) -> Path:
        """The folder of the run folders, of which each request has one."""
        return self.data_dir.absolute() / "runs"

    @property
    def node_name(self) -> str:
        return (self.node or socket.gethostname())[:200]

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, **given: Any) -> Settings:
        """Return the settings of the environment. Values in `given` that are not None come before it.

        Raises InputError for an impossible value.
        """
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            text = environment.get(_PREFIX + field.name.upper())
            if given.get(field.name) is not None:
                values[field.name] = given[field.name]
            elif text is not None:
                values[field.name] = _parsed(field.name, text, field.default)
        device = values.get("device", "")
        if device and not _DEVICE.fullmatch(device):
            raise InputError(
                f"{_PREFIX}DEVICE is {device!r}, but it must be cuda, xpu, mps or cpu, with a number where there are "
                "several, such as cuda:1."
            )
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
        value = float(text) if default is None else type(default)(text)
    except ValueError:
        raise InputError(f"{_PREFIX}{name.upper()} is {text!r}, but it must be a number.") from None
    if isinstance(value, int | float) and not value >= 0:
        raise InputError(f"{_PREFIX}{name.upper()} is {text!r}, but it must not be negative.")
    return value
