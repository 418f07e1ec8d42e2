"""S3 on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "sounds"


@contextlib.contextmanager
def serving_s3() -> Iterator[str]:
    """The address of the service."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextlib.contextmanager
def bucket(url: str) -> Iterator[Any]:
    """An empty bucket, and an environment that leads there."""
    given = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1,0.0.0.0",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        found = boto3.resource("s3", endpoint_url=url, region_name="us-east-1").Bucket(BUCKET)
        found.create()
        yield found
        found.objects.all().delete()
        found.delete()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
