"""The official Python client, fal_client, with this server in the place of the hosted one.

    import soundlora.client
    soundlora.client.connect("http://127.0.0.1:8420")

From then on everything that the process does with fal_client goes there: runs, the queue, uploads; plain http works.
"""

from __future__ import annotations

import os

from soundlora.errors import InputError

_MADE_AT_FIRST_USE = ("_auth", "_client", "_token_manager")


def connect(url: str, key: str = "local") -> None:
    """Send fal_client's calls to the server at `url`, with `key`; a server without keys takes any.

    FAL_KEY is set to `key`, so that no key of the hosted service is ever sent to another server. Clients that were made
    before with a key of their own keep it. Raises InputError when `url` is none or fal_client is not installed.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url!r} is not the address of a server; write it as http://127.0.0.1:8420.")
    try:
        import fal_client
    except ModuleNotFoundError:
        raise InputError("fal_client is missing; install it with pip install fal-client.") from None

    url = url.rstrip("/")
    # All four are read at each call.
    fal_client.client.QUEUE_URL_FORMAT = url + "/"
    fal_client.client.RUN_URL_FORMAT = url + "/run/"
    fal_client.client.REST_URL = url
    fal_client.client.CDN_URL = url
    os.environ["FAL_KEY"] = key
    # The functions of the module share two clients, which may have been used with another key already.
    for client in (fal_client.sync_client, fal_client.async_client):
        for name in _MADE_AT_FIRST_USE:
            vars(client).pop(name, None)
