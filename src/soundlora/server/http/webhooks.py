"""Webhooks bring results to the addresses that requests named. They are signed, and repeated after failures."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import sqlalchemy as sa
from fastapi import APIRouter, Request, Response

from soundlora.net.addresses import public_name
from soundlora.net.guard import PrivateAddressError, guarded_client
from soundlora.server.http.address import absolute
from soundlora.server.http.signature import Signer
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.deliveries import Deliveries, Delivery
from soundlora.version import __version__

TICK_SECONDS = 1.0
AT_A_TIME = 16

router = APIRouter(tags=["webhooks"])


@router.get("/.well-known/jwks.json")
def jwks(request: Request, response: Response) -> dict[str, Any]:
    """Return the public key that webhooks are signed with."""
    response.headers["Cache-Control"] = "public, max-age=3600"
    return Signer(request.app.state.service.database).jwks()


class Webhooks:
    """One thread looks for deliveries that are due, and each delivery has a thread of its own.

    Nothing is kept here. A delivery that a stopped or killed server has not settled stays in the table.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.deliveries = Deliveries(database)
        self._signer = Signer(database)
        self._client = guarded_client(settings.private_hosts, settings.fetch_proxy)
        self._places = threading.Semaphore(AT_A_TIME)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no further delivery. An attempt that is under way is cut off, and repeated after the next start."""
        self._stopped.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._places.acquire()
            delivery = None
            try:
                delivery = self.deliveries.claim()
            except sa.exc.SQLAlchemyError as error:
                # The deliveries wait in the database until it can be reached again.
                print(f"soundlora: webhooks can't be read: {error}", file=sys.stderr, flush=True)
            if delivery is None:
                self._places.release()
                self._stopped.wait(TICK_SECONDS)
            else:
                threading.Thread(target=self._attempt, args=(delivery,), name="webhook", daemon=True).start()

    def _attempt(self, delivery: Delivery) -> None:
        try:
            error, for_good = self._send(delivery)
            if self._stopped.is_set() and error is not None:
                return
            if error is None:
                self.deliveries.delivered(delivery)
            else:
                self.deliveries.failed(delivery, error, for_good=for_good)
        except sa.exc.SQLAlchemyError as error:
            # The delivery is not settled, so it will be due again.
            print(f"soundlora: a webhook's outcome can't be written: {error}", file=sys.stderr, flush=True)
        finally:
            self._places.release()

    def _send(self, delivery: Delivery) -> tuple[str | None, bool]:
        """Return (the error, whether it is permanent), or (None, False) after a success."""
        if delivery.body is None:
            return "The server's database is damaged: it has lost what was to be sent.", True
        address = (self.settings.public_url or delivery.base_url).rstrip("/")
        body = json.dumps(absolute(delivery.body, address)).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"soundlora/{__version__}",
            **self._signer.headers(delivery.request_id, delivery.key_id, body, int(time.time())),
        }
        try:
            with (
                _cut_off(delivery.seconds) as extensions,
                self._client.stream(
                    "POST",
                    delivery.url,
                    content=body,
                    headers=headers,
                    follow_redirects=False,
                    timeout=delivery.seconds,
                    extensions=extensions,
                ) as response,
            ):
                status = response.status_code
        except (PrivateAddressError, httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            return str(error), True
        except Exception as error:  # The next attempt may succeed after any error, and the row must not get stuck.
            return f"{public_name(delivery.url)} can't be reached ({error or type(error).__name__}).", False
        if 200 <= status < 300:
            return None, False
        return f"{public_name(delivery.url)} answered with status {status}.", 300 <= status < 400


@contextlib.contextmanager
def _cut_off(seconds: float) -> Iterator[dict[str, Any]]:
    """Yield extensions that end a request after `seconds` in all. The client's own limits restart with every byte."""
    connections: list[socket.socket] = []

    def trace(event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            # TLS takes the first handle over, so this is a second one.
            connections.append(info["return_value"].get_extra_info("socket").dup())

    def cut() -> None:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield {"trace": trace}
    finally:
        timer.cancel()
        for connection in connections:
            connection.close()
