"""Which calls come from this machine: by the connection, and by what a browser can't make up.

A page from anywhere may send requests to this machine, and a name of its own may lead here (DNS rebinding). A browser
then tells in Host which name it has asked, and in Origin whose page asks. What a proxy forwards is never taken as a
reason to let somebody in.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from starlette.types import Scope

from soundlora.server.http.headers import header, headers_named

OFFICIAL_HOSTS = (".fal.run", ".fal.ai", ".fal.media", ".falrun.com")
"""Names under which the official clients reach this machine when they were redirected to it."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class LocalCalls:
    """Tells calls of this machine from others. `public_url` is how its operator has it called, "" for no such name."""

    def __init__(self, public_url: str = "") -> None:
        self._public = urlsplit(public_url).hostname or ""

    def __contains__(self, scope: Scope) -> bool:
        """Whether connection, Host, Origin and forwarding headers all say so."""
        peer = scope["client"][0] if scope.get("client") else ""
        hosts, origins = headers_named(scope, "host"), headers_named(scope, "origin")
        return (
            _is_near(peer)
            and all(_is_near(name.strip()) for name in header(scope, "x-forwarded-for").split(",") if name.strip())
            and len(hosts) <= 1
            and len(origins) <= 1
            and all(self._is_ours(host) for host in hosts)
            and all(self._is_own_page(origin, hosts) for origin in origins)
        )

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this machine: an address, which no name service can bend, or one of its names."""
        parts = _parts(f"//{host}")
        if parts is None:
            return False
        name = (parts.hostname or "").rstrip(".")
        return (
            _address(name) is not None
            or name == "localhost"
            or name.endswith(".localhost")
            or ("." + name).endswith(OFFICIAL_HOSTS)
            or (bool(self._public) and name == self._public)
        )

    def _is_own_page(self, origin: str, hosts: list[str]) -> bool:
        """Whether an Origin is a page of this machine, or one that this server has served."""
        parts = _parts(origin)
        if parts is None or parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            return False
        name = parts.hostname.rstrip(".")
        address = _address(name)
        if name == "localhost" or name.endswith(".localhost") or (address is not None and _is_loopback(address)):
            return True
        if self._public and name == self._public:
            return True
        asked = _parts(f"{parts.scheme}://{hosts[0]}") if hosts else None
        return asked is not None and self._is_ours(hosts[0]) and _place(asked) == _place(parts)


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (raises for what is no port)
        parts.hostname  # noqa: B018
    except ValueError:
        return None
    return None if parts.username is not None or parts.path or parts.query or parts.fragment else parts


def _place(parts: SplitResult) -> tuple[str, int | None]:
    return (parts.hostname or "").rstrip("."), parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_near(peer: str) -> bool:
    """Whether a peer is this machine: by a loopback address, or by a socket that has no address at all."""
    address = _address(peer.strip("[]"))
    return address is None or _is_loopback(address)
