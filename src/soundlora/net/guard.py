"""The guard fetches addresses that users name without giving them access to this machine's network.

It looks a name up once, checks every address of the name, and connects to an address that it has checked. An attacker
gains nothing by changing the name's address in between. The same holds for each redirect.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx2

from soundlora.errors import InputError
from soundlora.net.addresses import shown
from soundlora.net.download import CONNECT_SECONDS, MAX_REDIRECTS, READ_SECONDS, FileDownloadError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE_HOSTS = "SOUNDLORA_PRIVATE_HOSTS"
_FETCH_PROXY = "SOUNDLORA_FETCH_PROXY"
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Everything outside is reserved, local, or an old way to write an IPv4 address, such as ::127.0.0.1.
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20")))
"""These belong to protocols and to documentation. Not every Python knows all of them, and clouds use some inside."""


class PrivateAddressError(FileDownloadError):
    """The address is not public, and the settings don't allow it."""


def guarded_client(private_hosts: Sequence[str], proxy: str = "") -> httpx2.Client:
    """Return a client for addresses that users name. It checks redirects like first addresses.

    `private_hosts` lists names, addresses and networks that are allowed although they are not public; * allows all.
    `proxy` is the address of an HTTP proxy that every request goes through; it may be private. It is told the address
    that was checked, and never the name. Proxies of the environment are not asked.
    Raises InputError for an entry or a proxy that can't be used. Requests of the client raise PrivateAddressError
    besides httpx2's own errors.
    """
    return httpx2.Client(
        transport=_GuardedTransport(private_hosts, proxy),
        trust_env=False,
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
    )


class _GuardedTransport(httpx2.BaseTransport):
    def __init__(self, private_hosts: Sequence[str], proxy: str) -> None:
        self._allowed = _Allowed(private_hosts)
        self._proxied = bool(proxy)
        # A kept connection belongs to the address of one name. It must not serve another name at that address.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._transport = httpx2.HTTPTransport(limits=limits, proxy=_proxy(proxy) if proxy else None)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        _check(request.url)
        host = request.url.raw_host.decode("ascii")
        addresses = [address for address in _look_up(host) if self._allowed(host, address)]
        if not addresses:
            raise PrivateAddressError(
                f"{shown(str(request.url))} cannot be reached (its address is not a public one); upload the file, or "
                f"let whoever runs the server allow {host} with SOUNDLORA_PRIVATE_HOSTS."
            )
        for number, address in enumerate(addresses):
            # The name stays in the Host header and in the TLS check. Only the connection goes to the address.
            checked = httpx2.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions | {"sni_hostname": host},
            )
            try:
                return self._transport.handle_request(checked)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
                if number < len(addresses) - 1:
                    continue
                if self._proxied:
                    raise type(error)(f"through the server's proxy: {error}") from error
                raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._transport.close()


def _proxy(address: str) -> httpx2.Proxy:
    """Return the proxy at an address such as http://user:password@proxy.example:3128. Raises InputError."""
    try:
        parts = urlsplit(address)
        plain = parts.path in ("", "/") and not parts.query and not parts.fragment
        if parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0 and plain:
            return httpx2.Proxy(address)
    except (httpx2.InvalidURL, ValueError):
        pass
    named = shown(address).rpartition("@")[2]
    raise InputError(f"{_FETCH_PROXY} is {named!r}; write the address of an HTTP proxy, such as http://host:3128.")


def _check(url: httpx2.URL) -> None:
    """Raise UnsupportedProtocol or InvalidURL for what the library would open although it is no address of a file."""
    if url.scheme not in ("http", "https"):
        raise httpx2.UnsupportedProtocol(f"{url.scheme}: is another kind of address than http: and https:")
    if url.port is not None and not 0 < url.port < 65536:
        raise httpx2.InvalidURL(f"there is no port {url.port}")


class Networks:
    """Addresses and networks that somebody has named, such as 10.0.0.5 or 10.0.0.0/8."""

    def __init__(self, entries: Sequence[str], setting: str = "SOUNDLORA_TRUSTED_PROXIES") -> None:
        """setting: where they were named. Raises InputError for what is neither an address nor a network."""
        self._networks = []
        for entry in entries:
            try:
                self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                raise InputError(
                    f"{setting} names {entry!r}; write addresses, or networks such as 10.0.0.0/8, without scheme and "
                    "port."
                ) from None

    def __contains__(self, host: str) -> bool:
        """Whether a host, as a connection gives it, is an address in one of them."""
        try:
            address = _innermost(ipaddress.ip_address(host))
        except ValueError:
            return False
        return any(address in network for network in self._networks)


class _Allowed:
    """Decides whether a name may lead to an address."""

    def __init__(self, private_hosts: Sequence[str]) -> None:
        """Read the entries. Raises InputError for one that is neither a name nor an address nor a network."""
        self._everything = "*" in private_hosts
        names = [entry for entry in private_hosts if not _is_network(entry) and "/" not in entry and ":" not in entry]
        self._names = {name.lower().rstrip(".") for name in names}
        self._networks = Networks([entry for entry in private_hosts if entry not in names], _PRIVATE_HOSTS)

    def __call__(self, host: str, address: Address) -> bool:
        if self._everything or host.lower().rstrip(".") in self._names or str(address) in self._networks:
            return True
        return is_public(address)


def is_public(address: Address) -> bool:
    """Return whether an address is one of the Internet's, also when it is wrapped into one of IPv6."""
    real = _innermost(address)
    if isinstance(real, ipaddress.IPv6Address) and real not in _PUBLIC_IPV6:
        return False
    return real.is_global and not real.is_multicast and not any(real in network for network in _NOT_PUBLIC)


def _is_network(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
    return True


def _innermost(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address wraps, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _look_up(host: str) -> list[Address]:
    """Return every address of a host, which is a name or an address in any spelling that the system understands.

    Raises httpx2.ConnectError when there is none.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx2.ConnectError(f"{host} has no address ({error})") from error
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
