"""soundlora serve."""

from __future__ import annotations

import contextlib
import threading
import webbrowser
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundlora.errors import InputError, MachineError

if TYPE_CHECKING:
    from soundlora.server.settings import Settings
    from soundlora.server.store.keys import Keys

SERVER_PACKAGES = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "obstore", "cryptography")
"""The extra `serve` installs these packages."""

DataDirOption = Annotated[
    Path | None, typer.Option(help="Folder of database, files and runs. [default: soundlora-data]")
]
DatabaseOption = Annotated[
    str | None, typer.Option(help="postgresql://user@host/name. [default: an SQLite file in the data folder]")
]
StorageOption = Annotated[
    str | None, typer.Option(help="A folder, or s3://bucket/prefix. [default: a folder in the data folder]")
]

_RAY_WARNING = (
    "whoever reaches Ray's ports runs any code there: let only the cluster reach them, and turn on RAY_AUTH_MODE=token"
)

TOPICS = {
    "Where it is": ("host", "port", "open_page", "public_url", "trusted_proxy"),
    "What it keeps": ("data_dir", "database", "storage"),
    "Runs": ("base", "text_encoder", "device", "slots", "max_gpus", "executor", "max_queue", "price_per_step"),
    "Who may do what": ("allow_anonymous", "private_host", "fetch_proxy"),
}
"""What --help says below each heading."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free one. [default: 8420]")] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Show the page in the browser when the server is ready.")
    ] = False,
    data_dir: DataDirOption = None,
    database: DatabaseOption = None,
    storage: StorageOption = None,
    public_url: Annotated[
        str | None, typer.Option(help="How clients reach the server. [default: as each one has asked]")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Of all runs, as for train. [default: nano]")] = None,
    text_encoder: Annotated[str | None, typer.Option(help="As for train.")] = None,
    device: Annotated[str | None, typer.Option(help="Of all runs, as for train.")] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Let everybody in as long as there is no key.")
    ] = False,
    slots: Annotated[int | None, typer.Option(min=0, help="Trainings at a time. [default: one a GPU]")] = None,
    max_gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs of a machine that a request may ask for. [default: 1]")
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(help="local, none, or a Ray cluster: auto, ray://host:10001. [default: local]"),
    ] = None,
    price_per_step: Annotated[
        float | None, typer.Option(min=0, help="US dollars, of every training. [default: as hosted]")
    ] = None,
    max_queue: Annotated[int | None, typer.Option(min=0, help="Requests that may wait. [default: any number]")] = None,
    private_host: Annotated[
        list[str] | None,
        typer.Option(help="A name, address or network that users' URLs may lead to although it is not public."),
    ] = None,
    fetch_proxy: Annotated[
        str | None,
        typer.Option(help="http://host:port of a proxy for what users' URLs lead to. [default: none]"),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of a reverse proxy whose X-Forwarded-Host and -Proto count."),
    ] = None,
) -> None:
    """Train and listen on a page in the browser, and answer the hosted endpoint's queue protocol.

    Every option is an environment variable too: SOUNDLORA_PORT.
    """
    need_server()
    settings = settings_of(
        host=host,
        port=port,
        data_dir=data_dir,
        database_url=database,
        storage_url=storage,
        public_url=public_url,
        base=base,
        text_encoder=text_encoder,
        device=device,
        allow_anonymous=allow_anonymous or None,
        slots=slots,
        max_gpus=max_gpus,
        executor=executor,
        price_per_step=price_per_step,
        max_queue=max_queue,
        private_hosts=tuple(private_host) if private_host else None,
        fetch_proxy=fetch_proxy,
        trusted_proxies=tuple(trusted_proxy) if trusted_proxy else None,
    )
    from soundlora.net.addresses import public_name
    from soundlora.server.http import page
    from soundlora.server.http.app import create_app
    from soundlora.server.http.serving import open_port
    from soundlora.server.http.serving import serve as serve_app

    with database_told(settings):
        app = create_app(settings)
        service = app.state.service
        door, missing = _door(settings, service.keys), _missing(settings.base)
    service.storage.check()
    opened = open_port(settings.host, settings.port)
    name, taken = opened.getsockname()[:2]
    address = f"http://[{name}]:{taken}" if ":" in name else f"http://{name}:{taken}"

    def say_ready() -> None:
        with contextlib.suppress(OSError):  # a server serves, whoever reads what it says
            say()
        if open_page:
            # Some browsers are waited for until they end.
            threading.Thread(target=webbrowser.open, args=(_seen_from_here(address),), daemon=True).start()

    def say() -> None:
        print(f"soundlora serves {address}; Ctrl-C ends it")
        if settings.public_url:
            print(f"  clients   {settings.public_url}")
        print(f"  data      {settings.data_dir.absolute()}")
        print(f"  database  {without_password(settings.database)}")
        print(f"  files     {settings.storage}")
        print(f"  base      {settings.base}{missing}")
        print(f"  runs      {_runs(settings, service.executor.slots)}")
        if settings.executor not in ("local", "none"):
            print(f"  ray       {_RAY_WARNING}")
        if settings.fetch_proxy:
            print(f"  fetches   through {public_name(settings.fetch_proxy)}")
        print(f"  keys      {door}", flush=True)
        if not page.is_built():
            print(f"  page      {page.MISSING}", flush=True)

    serve_app(app, opened, say_ready)


def _runs(settings: Settings, slots: int) -> str:
    """Return in words who does the requests."""
    if settings.executor == "none":
        return "none here; soundlora work does them, with this database and these files"
    if settings.executor != "local":
        return f"by the Ray cluster {settings.executor}"
    return f"{slots} at a time; sounds are made between their steps"


def _seen_from_here(address: str) -> str:
    """Return the address for a browser on this machine, which can't go to "all addresses"."""
    return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def need_server() -> None:
    """Raise InputError when packages of the extra `serve` are missing."""
    # The packages are only looked for, because no command needs to import all of them.
    missing = [name for name in SERVER_PACKAGES if find_spec(name) is None]
    if missing:
        found = f"The server is not installed ({', '.join(missing)} missing)"
        raise InputError(f'{found}; install it with pip install "soundlora[serve]".')


def settings_of(**given: Any) -> Settings:
    from soundlora.server.settings import Settings

    return Settings.from_environment(**given)


@contextlib.contextmanager
def database_told(settings: Settings) -> Iterator[None]:
    """Turn what the database answers into a MachineError where it can't be opened, read or written."""
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise MachineError(
            f"The database {without_password(settings.database)} can't be used ({reason}); mend that, or name another "
            "one with --database or --data-dir.",
            "files",
        ) from error


def _door(settings: Settings, keys: Keys) -> str:
    """Return in words who may use the server. Raises InputError when that is everybody without --allow-anonymous."""
    found = keys.list()
    valid = sum(key.revoked_at is None for key in found)
    if found:
        return f"{valid} valid" if valid else "all revoked: nobody can come in; soundlora keys create NAME makes one"
    if settings.allow_anonymous:
        return "none: everybody who reaches the server may use it"
    if not settings.loopback:
        raise InputError(
            f"There are no keys, so everybody who reaches {settings.host} could use the server. Make a key with "
            "soundlora keys create NAME, or say --allow-anonymous."
        )
    return "none: only this machine may use the server; soundlora keys create NAME makes one"


def _missing(base: str) -> str:
    """Return a note when the first run has to fetch the base, else "". Raises InputError when there is no such base."""
    from soundlora.net.addresses import is_bucket, is_url
    from soundlora.system.cache_root import expanded
    from soundlora.weights.fetched import is_hub_name

    if base == "nano" or expanded(base).exists():
        return ""
    if is_url(base) or is_hub_name(base) or is_bucket(base):
        from soundlora.weights.components import is_here  # It loads torch, which stays for as long as the server does.

        return "" if is_here(base) else " (not fetched yet: the first run will do it)"
    raise InputError(
        f"There is no base {base}; give nano, the path of a checkpoint, owner/name on the hub, s3://bucket/folder, or "
        "a URL."
    )


def without_password(url: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)
