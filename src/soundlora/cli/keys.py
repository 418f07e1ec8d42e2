"""soundlora keys create | list | revoke."""

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

if TYPE_CHECKING:
    from soundlora.server.store.keys import Keys

app = typer.Typer(help="Keys that let clients into the server.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    max_queue: Annotated[int, typer.Option(min=0, help="Requests of it that may wait; 0 is the server's limit.")] = 0,
    data_dir: DataDirOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make a key. Its secret is shown now and never again; clients take it as FAL_KEY."""
    if not _is_text(name):
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
        shown: list[dict[str, Any]] = [
            {
                "id": key.id,
                "name": key.name,
                "created_at": key.created_at,
                "revoked_at": key.revoked_at,
                "max_queue": key.max_queue,
            }
            for key in found
        ]
        print_json(shown)
        return
    if not found:
        print("There are no keys; soundlora keys create NAME makes one.")
    for key in found:
        state = "valid" if key.revoked_at is None else f"revoked {_day(key.revoked_at)}"
        print(f"{key.id}  {_day(key.created_at)}  {state:<18}  {key.name}")


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


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))
