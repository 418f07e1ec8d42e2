"""This module points the official Python client, fal_client, at this server instead of the hosted one.

    import soundlora.client
    soundlora.client.connect("http://127.0.0.1:8420")

From then on every call of the process through fal_client goes there: runs, the queue and uploads. Plain http works.
"""

from __future__ import annotations

import os

from soundlora.errors import InputError

_MADE_AT_FIRST_USE = ("_auth", "_client", "_token_manager")


def connect(url: str, key: str = "local") -> None:
    """Send fal_client's calls to the server at `url`, with `key`. A server without keys takes any key.

    The call sets FAL_KEY to `key`, so that a key of the hosted service is never sent to another server. Existing
    clients that have a key of their own keep it. Raises InputError when `url` is not an http or https address, or when
    fal_client is not installed.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url!r} is not the address of a server; write it as http://127.0.0.1:8420.")
    try:
        import fal_client
    except ModuleNotFoundError:
        raise InputError("fal_client is missing; install it with pip install fal-client.") from None

    url = url.rstrip("/")
    # fal_client reads all four at each call, so setting them is enough.
    fal_client.client.QUEUE_URL_FORMAT = url + "/"
    fal_client.client.RUN_URL_FORMAT = url + "/run/"
    fal_client.client.REST_URL = url
    fal_client.client.CDN_URL = url
    os.environ["FAL_KEY"] = key
    # The functions of the module share two clients, which may have been used with another key already.
    for client in (fal_client.sync_client, fal_client.async_client):
        for name in _MADE_AT_FIRST_USE:
            vars(client).pop(name, None)
