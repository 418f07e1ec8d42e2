"""A Postgres of the tests' own, in a folder that goes with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

SERVER_USER = "postgres"
"""Whom the server runs as when the tests are root's: it refuses to run as root."""


class NoPostgresError(RuntimeError):
    """There is no server that could be started; the message says why."""


QUICK = ("fsync=off", "shared_buffers=16MB")


class Postgres:
    """A server of its own folder that can be stopped and started again, with all it has."""

    def __init__(self, folder: Path, settings: Sequence[str], port: int | None) -> None:
        self.folder, self.port = folder, port
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self._data = folder / "data"
        where = f"-c listen_addresses={'*' if port else ''} -c unix_socket_directories={folder}"
        self._options = " ".join([where, f"-p {port}" if port else "", *(f"-c {each}" for each in settings)])
        if port:
            self.url += f"&port={port}"
        programs = _programs()
        initdb: list[str | Path] = [
            programs / "initdb",
            "-D",
            self._data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        _run([*_become(), *initdb])
        self._control: list[str | Path] = [*_become(), programs / "pg_ctl", "-D", self._data, "-w"]

    def start(self) -> None:
        _run([*self._control, "-l", self.folder / "log", "-o", self._options, "start"])

    def stop(self, mode: str = "immediate") -> None:
        """`mode` is pg_ctl's: immediate is as if it were killed."""
        _run([*self._control, "-m", mode, "stop"])

    @property
    def process(self) -> int:
        """The id of the process that all others of this server are children of."""
        return int((self._data / "postmaster.pid").read_text().splitlines()[0])

    def let_in(self, network: str) -> None:
        """Let everybody of a network in, such as 10.1.2.0/24, from the next start on."""
        with (self._data / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {network} trust\n")


@contextlib.contextmanager
def started(settings: Sequence[str] = QUICK, port: int | None = None) -> Iterator[Postgres]:
    """A new server that listens on a socket, and on `port` if there is one. Raises NoPostgresError."""
    become = _become()
    folder = Path(tempfile.mkdtemp(prefix="soundlora-postgres-"))
    try:
        if become:
            shutil.chown(folder, SERVER_USER)
        server = Postgres(folder, settings, port)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(NoPostgresError):  # a test may have stopped it
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def cluster(connections: int = 100) -> Iterator[str]:
    """The URL of a new server that listens on a socket only, for so many connections. Raises NoPostgresError."""
    with started((*QUICK, f"max_connections={connections}")) as server:
        yield server.url


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
