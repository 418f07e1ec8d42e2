"""soundlora keys create | list | set | revoke."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundlora.cli.output import print_json
from soundlora.cli.serve import DatabaseOption, DataDirOption, database_told, need_server, settings_of
from soundlora.errors import InputError
from soundlora.wording import is_text

if TYPE_CHECKING:
    from soundlora.server.store.keys import Key, Keys

app = typer.Typer(help="Keys that let clients into the server.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    max_queue: Annotated[int, typer.Option(min=0, help="Requests of it that may wait; 0 is the server's limit.")] = 0,
    data_dir: DataDirOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make a key. Its secret is shown now and never again; clients take it as FAL_KEY."""
    if not (name and is_text(name)):
        raise InputError("The name holds bytes that are no text in UTF-8; write it anew.")
    with _keys(data_dir, database) as keys:
        key, secret = keys.create(name, max_queue)
    print(f"{secret}\nThis is the key of {key.name}; it can't be shown again.")


@app.command("list")
def list_(
    data_dir: DataDirOption = None,
    database: DatabaseOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """Show all keys, without their secrets."""
    with _keys(data_dir, database) as keys:
        found = keys.list()
    if as_json:
        print_json([{name: value for name, value in vars(key).items() if name != "hash"} for key in found])
        return
    if not found:
        print("There are no keys; soundlora keys create NAME makes one.")
    for key in found:
        state = "valid" if key.revoked_at is None else f"revoked {_day(key.revoked_at)}"
        print(f"{key.id}  {_day(key.created_at)}  {state:<18}  {key.name}{_exceptions(key)}")


@app.command("set")
def set_(
    id: Annotated[str, typer.Argument(help="As soundlora keys list shows it.")],
    weight: Annotated[
        float | None, typer.Option(help="Of its share of the slots: 2 is twice that of a key with 1.")
    ] = None,
    max_running: Annotated[int | None, typer.Option(min=1, help="Requests of it that may run at a time.")] = None,
    max_waiting: Annotated[int | None, typer.Option(min=1, help="Requests of it that may wait.")] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Units that it may be billed in a month.")] = None,
    no_max_running: Annotated[bool, typer.Option("--no-max-running", help="Any number may run.")] = False,
    no_max_waiting: Annotated[bool, typer.Option("--no-max-waiting", help="Any number may wait.")] = False,
    no_budget: Annotated[bool, typer.Option("--no-budget", help="Any number of units.")] = False,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="The server's limits hold again, but for what is said beside.")
    ] = False,
    data_dir: DataDirOption = None,
    database: DatabaseOption = None,
) -> None:
    """Give a key other limits than the server's; they hold within a second."""
    changes: dict[str, Any] = {}
    if defaults:
        changes = {"weight": 1.0, "max_running": None, "max_queue": 0, "budget": None}
    for flag, given, none, column, without in (
        ("max-running", max_running, no_max_running, "max_running", 0),
        ("max-waiting", max_waiting, no_max_waiting, "max_queue", -1),
        ("budget", budget, no_budget, "budget", 0),
    ):
        if given is not None and none:
            raise InputError(f"--{flag} and --no-{flag} are both given; leave one of them out.")
        if given is not None or none:
            changes[column] = without if given is None else given
    if weight is not None:
        changes["weight"] = weight
    if not changes:
        raise InputError(
            "Nothing is to be changed; say --weight, --max-running, --max-waiting, --budget or --defaults."
        )
    with _keys(data_dir, database) as keys:
        key = keys.change(id, changes)
    print(f"{key.id}  {key.name}{_exceptions(key) or ', the limits of the server'}")


@app.command()
def revoke(
    id: Annotated[str, typer.Argument(help="As soundlora keys list shows it.")],
    data_dir: DataDirOption = None,
    database: DatabaseOption = None,
) -> None:
    """Let nobody in with a key any more; a running server knows within a second."""
    with _keys(data_dir, database) as keys:
        keys.revoke(id)
    print(f"{id} is revoked.")


@contextlib.contextmanager
def _keys(data_dir: Path | None, database_url: str | None) -> Iterator[Keys]:
    need_server()
    from soundlora.server.store.database import Database
    from soundlora.server.store.keys import Keys

    settings = settings_of(data_dir=data_dir, database_url=database_url)
    with database_told(settings):
        database = Database(settings.database)
        database.migrate()
        yield Keys(database)


def _exceptions(key: Key) -> str:
    """Return in words what holds for this key alone."""
    parts = []
    if key.weight != 1:
        parts.append(f"weight {key.weight:g}")
    if key.max_running is not None:
        parts.append(f"{key.max_running or 'any number'} running")
    if key.max_queue:
        parts.append(f"{key.max_queue if key.max_queue > 0 else 'any number'} waiting")
    if key.budget is not None:
        parts.append(f"{key.budget:,} units a month" if key.budget else "no budget")
    return "".join(f", {part}" for part in parts)


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))
