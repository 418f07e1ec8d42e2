"""What hundreds of tests would do anew and none of them is about: done once a process, or not at all."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import ssl
import threading
from pathlib import Path
from typing import Any

import httpcore2
import pytest
import sqlalchemy as sa

from soundlora.server.store import database, migrations


def take(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Take every shortcut; `folder` is for what is made once."""
    _migrate_once(patch, folder / "migrated.db")
    _outlive_no_power_cut(patch)
    _read_certificates_once(patch)


def _migrate_once(patch: pytest.MonkeyPatch, template: Path) -> None:
    """A new SQLite file is a copy of the first one, which has been through every migration."""
    upgrade = migrations.upgrade

    def copied(engine: sa.Engine) -> None:
        if not template.exists():
            first = database.Database(f"sqlite:///{template}")
            upgrade(first.engine)
            first.close()
        if engine.dialect.name == "sqlite" and engine.url.database:
            _copy(template, Path(engine.url.database))
        upgrade(engine)

    patch.setattr(migrations, "upgrade", copied)


def _copy(source: Path, target: Path) -> None:
    """Unless the target is there, or can't be: then whoever opens it says so. It is never seen in parts."""
    whole = target.with_name(f"{target.name}.{threading.get_ident()}")
    with contextlib.suppress(OSError):
        if not target.exists():
            shutil.copyfile(source, whole)
            os.link(whole, target)
    with contextlib.suppress(OSError):
        whole.unlink()


def _outlive_no_power_cut(patch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the disk: a test that is cut off by a power cut is repeated."""
    set_up = database._set_up_sqlite

    def quickly(connection: Any, record: object) -> None:
        set_up(connection, record)
        connection.execute("PRAGMA synchronous=OFF")

    patch.setattr(database, "_set_up_sqlite", quickly)
    patch.setattr(os, "fsync", lambda descriptor: None)


def _read_certificates_once(patch: pytest.MonkeyPatch) -> None:
    """Every HTTP client would read all authorities of this machine."""
    read = httpcore2.default_ssl_context

    @functools.cache
    def known(file: str | None, folder: str | None, trust: bool) -> ssl.SSLContext:
        return read(_trust_env=trust)

    def context(*, _trust_env: bool = True) -> ssl.SSLContext:
        return known(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"), _trust_env)

    patch.setattr(httpcore2, "default_ssl_context", context)
