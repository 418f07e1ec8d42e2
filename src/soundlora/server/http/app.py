"""The server's parts are put together here. It also sweeps old files while it answers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI

from soundlora.net.guard import Networks
from soundlora.net.storage import Storage
from soundlora.server.endpoints import endpoints, unit_prices
from soundlora.server.http import (
    answers,
    billing,
    downloads,
    errors,
    history,
    inspection,
    marks,
    metrics,
    models,
    openapi,
    own_limits,
    page,
    queue,
    runs,
    status,
    uploads,
    webhooks,
)
from soundlora.server.http.auth import Authenticator
from soundlora.server.http.middleware import EdgeMiddleware
from soundlora.server.http.state import Service
from soundlora.server.http.status_cache import StatusCache
from soundlora.server.settings import Settings
from soundlora.server.store import duties, usage
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.keys import Keys
from soundlora.server.store.listing import outlived, sweep_folders
from soundlora.server.store.news import Listener
from soundlora.server.store.requests import Requests
from soundlora.server.store.retention import DAY, prune
from soundlora.server.store.totals import Totals
from soundlora.server.work.executors import executor_of
from soundlora.server.work.no_executor import NoExecutor
from soundlora.server.work.supervisor import Supervisor
from soundlora.version import __version__

_IN_ORDER = (
    # What is polled comes first, since one route is tried after the other.
    status,
    queue,
    runs,
    uploads,
    downloads,
    models,
    history,
    billing,
    own_limits,
    openapi,
    webhooks,
    metrics,
    marks,
    inspection,
    page,
)
_SWEEP_SECONDS = 300.0
_RESULT_SECONDS = 3600.0
"""The result of a request that is not kept can be fetched for this long."""


def create_app(settings: Settings, *, database: Database | None = None, executor: bool = True) -> FastAPI:
    """Return the server as an ASGI app, whose `app.state.service` is the Service. The tables are migrated at once.

    With `executor` the server also does the requests, as the settings say. Without it they are only queued, and nobody
    looks at leases and deadlines. Raises InputError for settings that can't be used.
    """
    service = _service(settings, database or Database(settings.database), executor)
    listener = Listener(service.database, service.heard)
    sender = webhooks.Webhooks(settings, service.database)
    supervisor = Supervisor(service.requests, settings.lease_seconds) if executor else None
    proxies = Networks(settings.trusted_proxies)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep_again_and_again(service))
        service.executor.start()
        if supervisor is not None:
            supervisor.start()
        sender.start()
        listener.start()
        try:
            yield
        finally:
            service.closing = True
            sweeper.cancel()
            await asyncio.to_thread(service.executor.stop)
            if supervisor is not None:
                await asyncio.to_thread(supervisor.stop)
            await asyncio.to_thread(sender.stop)
            await asyncio.to_thread(listener.stop)
            service.database.close()

    # Its own pages of the API would load scripts from elsewhere; /openapi.json and llms.txt stay.
    app = FastAPI(
        title="soundlora",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        default_response_class=answers.JSONResponse,
    )
    app.state.service = service
    app.state.totals = Totals(service.database)
    errors.install(app)
    for routes in _IN_ORDER:
        app.include_router(routes.router)
    app.add_middleware(EdgeMiddleware, authenticator=service.authenticator, proxies=proxies)
    return app


def _service(settings: Settings, database: Database, executor: bool) -> Service:
    database.migrate()
    requests = Requests(database, unit_prices(settings), max_running=settings.max_running_per_key)
    storage = Storage(settings.storage)
    keys = Keys(database)
    return Service(
        settings=settings,
        database=database,
        requests=requests,
        storage=storage,
        files=Files(database, storage),
        keys=keys,
        endpoints=endpoints(settings),
        authenticator=Authenticator(keys, settings),
        status_cache=StatusCache(database, requests),
        executor=executor_of(settings, requests) if executor else NoExecutor(),
    )


def prune_daily(service: Service, now: float) -> None:
    """Prune the files of old runs, once a day by any one server, and what was used long ago."""
    with service.database.write() as connection:
        usage.forget(connection, now)
    keep_days, keep_bytes = service.settings.keep_days, service.settings.keep_bytes
    if (keep_days or keep_bytes) and duties.take(service.database, "prune", now, DAY):
        prune(service.files, keep_days=keep_days, keep_bytes=keep_bytes, now=now)
        duties.done(service.database, "prune", now, DAY)


async def _sweep_again_and_again(service: Service) -> None:
    """Remove expired files, and payloads and folders of requests that are not kept."""
    while True:
        try:
            await asyncio.to_thread(service.files.sweep)
            await asyncio.to_thread(service.requests.forget_unkept, time.time() - _RESULT_SECONDS)
            await asyncio.to_thread(sweep_folders, service.settings, service.database, time.time())
            await asyncio.to_thread(prune_daily, service, time.time())
            await asyncio.to_thread(_sweep_states, service, time.time())
        except Exception as error:  # The storage may be away for a while. The sweeping must go on.
            print(f"soundlora: files could not be swept: {error}", file=sys.stderr, flush=True)
        await asyncio.sleep(_SWEEP_SECONDS)


def _sweep_states(service: Service, now: float) -> None:
    """Remove the states from the storage that nobody may go on from any more, by the rules of `sweep_folders`."""
    for request_id in outlived(service.database, service.settings, service.run_states.ids(), now):
        service.run_states.remove(request_id)
