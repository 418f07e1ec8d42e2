"""soundlora prune."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from soundlora.cli.serve import DatabaseOption, DataDirOption, database_told, need_server, settings_of
from soundlora.errors import InputError, MachineError


def prune(
    keep_days: Annotated[
        float | None, typer.Option(min=0, help="Days that files of ended runs are kept. [default: for ever]")
    ] = None,
    keep_bytes: Annotated[
        int | None, typer.Option(min=0, help="Bytes that files of all runs may take. [default: any number]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    data_dir: DataDirOption = None,
    database: DatabaseOption = None,
    storage: Annotated[str | None, typer.Option(help="As for serve.")] = None,
) -> None:
    """Remove files of old runs from the server: states and previews first, results last, and nothing with a star.

    The history and the ledger stay. A server does it daily by itself where SOUNDLORA_KEEP_DAYS or SOUNDLORA_KEEP_BYTES
    is set, which hold here too.
    """
    need_server()
    from soundlora.net.storage import Storage, StorageError
    from soundlora.server.store import retention
    from soundlora.server.store.database import Database
    from soundlora.server.store.files import Files
    from soundlora.server.store.listing import sweep_folders

    settings = settings_of(
        data_dir=data_dir, database_url=database, storage_url=storage, keep_days=keep_days, keep_bytes=keep_bytes
    )
    if not (settings.keep_days or settings.keep_bytes):
        raise InputError("Nothing says what is to go; give --keep-days or --keep-bytes.")
    with database_told(settings):
        opened = Database(settings.database)
        opened.migrate()
        files = Files(opened, Storage(settings.storage))
        try:
            gone = retention.prune(
                files,
                keep_days=settings.keep_days,
                keep_bytes=settings.keep_bytes,
                now=time.time(),
                dry_run=dry_run,
            )
        except StorageError as error:
            raise MachineError(f"The storage can't be reached ({error}); try again.", "files") from None
        if not dry_run:
            sweep_folders(settings, opened, time.time())
        opened.close()
    verb = "would go" if dry_run else "are gone"
    print(f"{gone.others} previews, checkpoints and states and {gone.results} results {verb}: {gone.size:,} bytes.")
    print(f"{gone.kept:,} bytes of runs {'would stay' if dry_run else 'stay'}.")
