"""What clients name is fetched through the operator's proxy where there is one, and is checked all the same."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from file_server import FileServer, serving
from local_http import QuietHandler
from proxy_server import ProxyServer, proxying

from soundlora.errors import InputError
from soundlora.net import guard
from soundlora.net.download import FileDownloadError, download
from soundlora.net.guard import PrivateAddressError, guarded_client

PUBLIC = "93.184.216.34"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as found:
        found.files["/clips.zip"] = b"zip" * 1000
        yield found


@pytest.fixture
def proxy(server: FileServer) -> Iterator[ProxyServer]:
    with proxying() as found:
        found.to = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        yield found


@pytest.fixture(autouse=True)
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions to the name service, which knows these names alone."""
    names = {
        "sound.example": [PUBLIC],
        "both.example": ["10.0.0.1", PUBLIC, "93.184.216.35"],
        "private.example": ["10.0.0.1"],
        "localhost": ["127.0.0.1"],
    }
    asked: list[str] = []

    def look_up(host: str) -> list[guard.Address]:
        asked.append(host)
        return [ipaddress.ip_address(each) for each in names.get(host, [host.strip("[]")])]

    monkeypatch.setattr(guard, "_look_up", look_up)
    monkeypatch.setattr("soundlora.net.download.WAITS", ())
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return asked


def test_http_goes_through_it_to_the_address_that_was_checked(proxy: ProxyServer, looked_up: list[str]) -> None:
    """The proxy gets no name to look up for itself. The far server sees the name."""
    with guarded_client((), proxy.url) as client:
        assert client.get("http://sound.example:8080/clips.zip").content == b"zip" * 1000
    assert proxy.asked == [("GET", f"http://{PUBLIC}:8080/clips.zip")]
    assert proxy.headers[0]["Host"] == "sound.example:8080"
    assert looked_up == ["sound.example"]


def test_without_it_nothing_does(proxy: ProxyServer, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the environment are for what the operator names, such as bases."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    with guarded_client(("127.0.0.1",)) as client:
        assert client.get(server.url + "/clips.zip").status_code == 200
    assert proxy.asked == []


def test_with_it_those_of_the_environment_still_are_not_asked(
    proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxying() as other:
        for name in ("HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, other.url)
        monkeypatch.setenv("NO_PROXY", "*")
        with guarded_client((), proxy.url) as client:
            assert client.get("http://sound.example/clips.zip").status_code == 200
        assert (len(proxy.asked), other.asked) == (1, [])


@pytest.mark.parametrize(
    "url",
    [
        "http://private.example/clips.zip",
        "https://private.example/clips.zip",
        "http://127.0.0.1/clips.zip",
        "http://[::ffff:10.0.0.1]/clips.zip",
        "http://[::127.0.0.1]/clips.zip",
        "http://localhost/clips.zip",
        "http://169.254.169.254/latest/meta-data",
    ],
)
def test_a_private_address_never_gets_to_it(proxy: ProxyServer, url: str) -> None:
    with guarded_client((), proxy.url) as client, pytest.raises(PrivateAddressError):
        client.get(url)
    assert proxy.asked == []


def test_its_own_address_opens_nothing_beside_it(proxy: ProxyServer) -> None:
    """The proxy lies on this machine, which the operator may do; clients can't name it."""
    with guarded_client((), proxy.url) as client, pytest.raises(PrivateAddressError):
        client.get(proxy.url)
    assert proxy.asked == []


@pytest.mark.parametrize("to", ["http://private.example/", "http://127.0.0.1:9/", "//localhost/", "https://10.0.0.1/"])
def test_redirects_are_checked_too(proxy: ProxyServer, server: FileServer, to: str) -> None:
    server.redirects["/away"] = to
    with guarded_client((), proxy.url) as client, pytest.raises(PrivateAddressError):
        client.get("http://sound.example/away")
    assert proxy.asked == [("GET", f"http://{PUBLIC}/away")]


def test_a_redirect_to_a_public_address_goes_through_it_again(proxy: ProxyServer, server: FileServer) -> None:
    server.redirects["/away"] = "http://both.example/clips.zip"
    with guarded_client((), proxy.url) as client:
        assert client.get("http://sound.example/away").content == b"zip" * 1000
    assert proxy.asked[1] == ("GET", f"http://{PUBLIC}/clips.zip")


def test_what_the_operator_allows_goes_through_it_as_well(proxy: ProxyServer) -> None:
    with guarded_client(("private.example",), proxy.url) as client:
        assert client.get("http://private.example/clips.zip").status_code == 200
    assert proxy.asked == [("GET", "http://10.0.0.1/clips.zip")]


def test_its_password_is_for_it_alone(proxy: ProxyServer, server: FileServer, tmp_path: Path) -> None:
    with guarded_client((), proxy.url.replace("//", "//user:secret%21@")) as client:
        assert client.get("http://sound.example/clips.zip").status_code == 200
        proxy.to = ("127.0.0.1", 9)
        with pytest.raises(FileDownloadError) as failed:
            download("https://sound.example/x", tmp_path / "x", client=client)
    expected = "Basic " + base64.b64encode(b"user:secret!").decode()
    assert proxy.headers[0]["Proxy-Authorization"] == expected
    assert proxy.headers[1]["Proxy-Authorization"] == expected
    assert "secret" not in str(failed.value)
    assert proxy.url.removeprefix("http://") not in str(failed.value)


def test_a_proxy_that_is_away_is_said_to_be_without_its_address(tmp_path: Path) -> None:
    with guarded_client((), "http://user:secret@127.0.0.1:9") as client:
        for url in ("http://sound.example/x", "https://sound.example/x"):
            with pytest.raises(FileDownloadError, match="through the server's proxy") as failed:
                download(url, tmp_path / "x", client=client)
            assert "127.0.0.1" not in str(failed.value)
            assert "secret" not in str(failed.value)


def test_what_it_refuses_is_tried_at_the_names_next_address(
    proxy: ProxyServer, tmp_path: Path, authority: Authority
) -> None:
    proxy.refused = {f"{PUBLIC}:443"}
    with authority.serving("both.example") as port:
        proxy.to = ("127.0.0.1", port)
        with guarded_client((), proxy.url) as client:
            assert client.get("https://both.example/").content == b"over TLS"
            assert proxy.asked == [("CONNECT", f"{PUBLIC}:443"), ("CONNECT", "93.184.216.35:443")]
            proxy.refused.add("93.184.216.35:443")
            with pytest.raises(FileDownloadError, match="through the server's proxy: 403"):
                download("https://both.example/", tmp_path / "x", client=client)


@pytest.mark.parametrize(
    "address",
    [
        "proxy.example:3128",
        "user:secret@proxy.example:3128",
        "socks5://user:secret@proxy.example",
        "ftp://proxy.example",
        "http://",
        "http://[",
        "http://proxy.example:port",
        "http://proxy.example:99999",
        "http://user:secret@proxy.example/path",
        "http://proxy.example/?x",
    ],
)
def test_what_is_no_proxy_is_refused_at_once(address: str) -> None:
    with pytest.raises(InputError, match=r"SOUNDLORA_FETCH_PROXY is .*; write the address of an HTTP proxy") as refused:
        guarded_client((), address)
    assert "secret" not in str(refused.value)


# ----------------------------------------------------------------------------------------------------------------------
# https


class Authority:
    """A company's own certificates, of which nobody else knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "company")])
        self.file = folder / "company.pem"
        self.file.write_bytes(self._certificate(self._name, self._key, None).public_bytes(_PEM))

    def serving(self, host: str) -> _Secure:
        """A server with a certificate for that name; `with` gives its port."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        private = key.private_bytes(_PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        path = self.folder / f"{host}.pem"
        path.write_bytes(private + self._certificate(subject, key, host).public_bytes(_PEM))
        return _Secure(path)

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, host: str | None) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


_PEM = serialization.Encoding.PEM


class _Answer(QuietHandler):
    def do_GET(self) -> None:  # noqa: N802
        self.send_response(200)
        self.send_header("Content-Length", "8")
        self.end_headers()
        self.wfile.write(b"over TLS")


class _Secure:
    def __init__(self, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> int:
        self._thread.start()
        return self._server.server_port

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Known to this process by SSL_CERT_FILE, as a company's machines are told of theirs."""
    found = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(found.file))
    return found


Open = Callable[[], httpx2.Client]


@pytest.fixture(params=["directly", "through a proxy"])
def opened(
    request: pytest.FixtureRequest, proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], tuple[Open, str]]:
    """For a server on a port of this machine: a client for it, and the address under which it asks."""

    def on(port: int) -> tuple[Open, str]:
        if request.param == "directly":
            monkeypatch.setattr(guard, "_look_up", lambda host: [ipaddress.ip_address("127.0.0.1")])
            return lambda: guarded_client(("sound.example",)), f"https://sound.example:{port}/"
        proxy.to = ("127.0.0.1", port)
        return lambda: guarded_client((), proxy.url), "https://sound.example/"

    return on


def test_a_companys_certificates_are_known(
    authority: Authority, opened: Callable[[int], tuple[Open, str]], proxy: ProxyServer
) -> None:
    with authority.serving("sound.example") as port:
        client, url = opened(port)
        with client() as asking:
            assert asking.get(url).content == b"over TLS"
    assert proxy.asked in ([], [("CONNECT", f"{PUBLIC}:443")])


def test_a_certificate_of_another_name_or_of_nobody_is_refused(
    authority: Authority, opened: Callable[[int], tuple[Open, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name counts, and not the address that the connection or the proxy goes to."""
    with authority.serving("other.example") as port:
        client, url = opened(port)
        with client() as asking, pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            asking.get(url)
    monkeypatch.delenv("SSL_CERT_FILE")
    with authority.serving("sound.example") as port:
        client, url = opened(port)
        with client() as asking, pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            asking.get(url)
