"""soundlora work, drain and nodes: requests are done on other machines than the server's."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundlora.cli.output import print_json
from soundlora.cli.serve import (
    DatabaseOption,
    DataDirOption,
    StorageOption,
    database_told,
    need_server,
    settings_of,
    without_password,
)
from soundlora.errors import InputError
from soundlora.system.operating_system import STOP_SIGNALS

if TYPE_CHECKING:
    from soundlora.server.settings import Settings
    from soundlora.server.store.nodes import Nodes

TOPICS = {
    "What it does": ("endpoints", "slots", "executor", "until_empty", "node"),
    "Where requests and files are": ("data_dir", "database", "storage"),
    "Runs": ("base", "text_encoder", "device"),
}
"""What --help says below each heading."""


def work(
    endpoints: Annotated[
        list[str] | None,
        typer.Option(help="training, generation, or the id of an endpoint. Given again for each. [default: all]"),
    ] = None,
    slots: Annotated[int | None, typer.Option(min=0, help="Trainings at a time. [default: one a GPU]")] = None,
    executor: Annotated[
        str | None, typer.Option(help="local, or a Ray cluster: auto, ray://host:10001. [default: local]")
    ] = None,
    until_empty: Annotated[bool, typer.Option("--until-empty", help="End when nothing waits or runs.")] = False,
    node: Annotated[str | None, typer.Option(help="Name for soundlora drain. [default: the host's]")] = None,
    data_dir: DataDirOption = None,
    database: DatabaseOption = None,
    storage: StorageOption = None,
    base: Annotated[str | None, typer.Option(help="Of all runs, as for train. [default: nano]")] = None,
    text_encoder: Annotated[str | None, typer.Option(help="As for train.")] = None,
    device: Annotated[str | None, typer.Option(help="Of all runs, as for train.")] = None,
) -> None:
    """Do what is in the queue of a server, without HTTP: it needs the server's database and storage alone.

    Any number may run, on any machines. Ctrl-C and SIGTERM give back what runs with its state, and another goes on.
    """
    need_server()
    settings = settings_of(
        endpoints=tuple(endpoints) if endpoints else None,
        slots=slots,
        executor=executor,
        node=node,
        data_dir=data_dir,
        database_url=database,
        storage_url=storage,
        base=base,
        text_encoder=text_encoder,
        device=device,
    )
    from soundlora.net.storage import Storage
    from soundlora.server.work.node import work as do_work

    with database_told(settings):
        Storage(settings.storage).check()
        do_work(settings, _stop_signal(), until_empty=until_empty, on_ready=lambda slots: _say(settings, slots))


def drain(
    name: Annotated[str | None, typer.Argument(help="As soundlora nodes shows it. [default: this host]")] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Give back what runs there, with its state, instead of letting it end.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Let it take requests again.")] = False,
    data_dir: DataDirOption = None,
    database: DatabaseOption = None,
) -> None:
    """Let a node take no more requests. `soundlora work` ends there when nothing runs any more."""
    if now and undo:
        raise InputError("--now and --undo contradict each other; leave one of them out.")
    with _nodes(data_dir, database) as (settings, nodes):
        named = name or settings.node_name
        found = nodes.drain(named, "" if undo else "now" if now else "finish")
        known = ", ".join(sorted({node.name for node in nodes.list()})) or "there are none"
    if not found:
        raise InputError(f"There is no node {named}; soundlora nodes shows those that there are: {known}.")
    if undo:
        print(f"{named} takes requests again.")
    else:
        print(f"{named} takes no more requests{'; what runs there is given back' if now else ''}.")


def nodes(
    data_dir: DataDirOption = None,
    database: DatabaseOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """Show who does requests, and how many."""
    with _nodes(data_dir, database) as (_, table):
        found = table.list()
    if as_json:
        shown: list[dict[str, Any]] = [vars(node) | {"gone": node.gone} for node in found]
        print_json(shown)
        return
    if not found:
        print("There are no nodes; soundlora serve and soundlora work are nodes while they run.")
    for node in found:
        state = "gone" if node.gone else {"": "", "finish": "draining", "now": "draining, now"}[node.draining]
        print(f"{node.id}  {node.name:<24}  {node.running} run, {node.slots} slots  {state}".rstrip())


def _say(settings: Settings, slots: int) -> None:
    print(f"soundlora works as {settings.node_name}: {slots} trainings at a time; Ctrl-C ends it")
    print(f"  database  {without_password(settings.database)}")
    print(f"  files     {settings.storage}", flush=True)


def _stop_signal() -> threading.Event:
    """Return an event that the first signal to end sets. A further one ends at once."""
    asked = threading.Event()

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores some
            signal.signal(number, ask)
    return asked


@contextlib.contextmanager
def _nodes(data_dir: Path | None, database_url: str | None) -> Iterator[tuple[Settings, Nodes]]:
    need_server()
    from soundlora.server.store.database import Database
    from soundlora.server.store.nodes import Nodes

    settings = settings_of(data_dir=data_dir, database_url=database_url)
    with database_told(settings):
        database = Database(settings.database)
        database.migrate()
        yield settings, Nodes(database)
