"""A Postgres of the tests' own, in a folder that goes with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

SERVER_USER = "postgres"
"""Whom the server runs as when the tests are root's: it refuses to run as root."""


class NoPostgresError(RuntimeError):
    """There is no server that could be started; the message says why."""


@contextlib.contextmanager
def cluster(connections: int = 100) -> Iterator[str]:
    """The URL of a new server that listens on a socket only, for so many connections. Raises NoPostgresError."""
    programs = _programs()
    become = _become()
    folder = Path(tempfile.mkdtemp(prefix="soundlora-postgres-"))
    try:
        if become:
            shutil.chown(folder, SERVER_USER)
        data = folder / "data"
        _run([*become, programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c shared_buffers=16MB"
        options += f" -c max_connections={connections}"
        control: list[str | Path] = [*become, programs / "pg_ctl", "-D", data, "-w"]
        _run([*control, "-l", folder / "log", "-o", options, "start"])
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            _run([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of initdb; Debian keeps it out of the path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or not (folders[-1] / "pg_ctl").exists():
        raise NoPostgresError("there is no Postgres on this machine; Debian's package is called postgresql")
    return folders[-1]


def _become() -> list[str]:
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam(SERVER_USER)
    except KeyError:
        raise NoPostgresError(f"Postgres doesn't run as root, and there is no user {SERVER_USER}") from None
    return ["setpriv", f"--reuid={SERVER_USER}", f"--regid={SERVER_USER}", "--clear-groups"]


def _run(command: list[str | Path]) -> None:
    # pg_ctl's server would keep a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoPostgresError(f"Postgres can't be started: {error}") from None
        if done.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace")[-500:]
            raise NoPostgresError(f"{Path(command[len(command) - 1]).name}: {said}")
