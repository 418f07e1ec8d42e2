"""Addresses on the web: this module recognises what users give, and shortens it to what may be shown."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def is_url(name: str) -> bool:
    return name.lower().startswith(("http://", "https://"))


def is_bucket(name: str) -> bool:
    """Return whether this is a place in S3, s3://bucket/folder."""
    return name.lower().startswith("s3://")


def public_name(name: str) -> str:
    """Return the name as it may be shown and kept: a URL without its password and its query, which can hold secrets."""
    if not is_url(name):
        return name.rstrip("/") if is_bucket(name) else name
    try:
        parts = urlsplit(name)
    except ValueError:  # It is no address, such as http://[, but a message may still have to name it.
        return name.partition("?")[0].partition("#")[0].rpartition("@")[2]
    return urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2], parts.path, "", ""))


def is_remote(source: str) -> bool:
    """Return whether `source` is an http or https URL or a data: URI, not a path."""
    return is_url(source) or source[:5].lower() == "data:"


def shown(source: str) -> str:
    """Return `source` as it may stand in a message or a report: without passwords, signatures and inline data."""
    return "data: URI" if source[:5].lower() == "data:" else public_name(source)
