"""Which executor the settings name."""

from __future__ import annotations

import re

from soundlora.errors import InputError
from soundlora.server.settings import Settings
from soundlora.server.store.requests import Requests
from soundlora.server.work.executor import Executor
from soundlora.server.work.local import LocalExecutor
from soundlora.server.work.no_executor import NoExecutor
from soundlora.server.work.ray_driver import RayDriver

_RAY = re.compile(r"auto|(ray://)?[^\s/:]+:\d+")


def is_ray(name: str) -> bool:
    """Return whether this is a Ray cluster: `auto`, or an address with its port."""
    return _RAY.fullmatch(name) is not None


def executor_of(settings: Settings, requests: Requests) -> Executor:
    """Return the executor of a server. Raises InputError for one that does not exist or is not installed."""
    check_executor(settings.executor)
    if settings.executor == "none":
        return NoExecutor()
    return node_executor_of(settings, requests)


def node_executor_of(settings: Settings, requests: Requests, *, until_empty: bool = False) -> Executor:
    """Return the executor of a node, which takes requests by itself. Raises InputError as `executor_of` does."""
    check_executor(settings.executor)
    kind = RayDriver if is_ray(settings.executor) else LocalExecutor
    return kind(settings, requests, until_empty=until_empty)


def check_executor(name: str) -> None:
    """Raise InputError for an executor that does not exist."""
    if name not in ("local", "none") and not is_ray(name):
        raise InputError(
            f"--executor is {name!r}, but it must be local, none, auto, or the address of a Ray cluster, such as "
            "ray://head:10001."
        )
