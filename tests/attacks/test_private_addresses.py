"""Addresses of the server's own machine and network, in all their spellings, through every field that is fetched."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient
from file_server import FileServer, serving
from pydantic import BaseModel
from rows import claimed
from target import Target

from soundlora.contract.generation import GenerationRequest
from soundlora.errors import InputError
from soundlora.net.guard import is_public
from soundlora.pipeline.inputs import TRAINING_INPUTS
from soundlora.server.endpoints import GENERATION, GENERATION_WITH_LORA, TRAINERS, TRAINING, endpoints
from soundlora.server.http.app import create_app
from soundlora.server.http.webhooks import Webhooks
from soundlora.server.settings import Settings
from soundlora.server.store.deliveries import Deliveries
from soundlora.server.work.generation import GenerationJob
from soundlora.server.work.job import Job
from soundlora.server.work.training import TrainingJob

PUBLIC = "93.184.216.34"
LOOPBACK = [
    "127.0.0.1",
    "127.0.1",
    "127.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7F.1",
    "0x7f.0x0.0x0.0x1",
    "0177.1",
    "0177.0.0.1",
    "017700000001",
    "127.000.000.001",
    "127.0.0.1.",
    "127.0.0.1:80",
    "0",
    "0x0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "%6c%6f%63%61%6c%68%6f%73%74",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "127。0。0。1",
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
    "ⓛocalhost",
    "12\t7.0.0.1",
    "public.example@127.0.0.1",
    "public.example:80@127.0.0.1",
    "public.example%40127.0.0.1",
    "127.0.0.1#@public.example",
    "127.0.0.1?@public.example",
    "127.0.0.1/@public.example",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::127.0.0.1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::1]",
    "[::1%25lo]",
    "[::1%lo]",
]
NETWORK = [
    "10.0.0.1",
    "0xa.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "3232235521",
    "100.64.0.1",
    "198.18.0.1",
    "192.0.0.8",
    "192.88.99.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd12:3456:789a::1]",
    "[ff02::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[5f00::1]",
    "[::10.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[2002:a00:1::]",
]
METADATA = [
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0xa9.254.0251.0xfe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[::169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16.private.example",
    "metadata.example",
]
NAMED = ["private.example", "PRIVATE.example", "six.example", "mapped.example", "compatible.example", "nat64.example"]
NAMES = {
    "public.example": [PUBLIC],
    "both.example": ["10.0.0.1", PUBLIC, "::1", "169.254.169.254"],
    "private.example": ["127.0.0.1"],
    "168.63.129.16.private.example": ["127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "six.example": ["::1", "fd00::1", "fe80::1%2"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "compatible.example": ["::7f00:1"],
    "nat64.example": ["64:ff9b::a00:1"],
    "localhost": ["127.0.0.1", "::1"],
    "redirects.example": ["127.0.0.1"],
}
"""What the name service answers. Nothing else has an address."""
HIDDEN = [*LOOPBACK, *NETWORK, *METADATA, *NAMED]
SCHEMES = ["file", "ftp", "ftps", "gopher", "dict", "ldap", "tftp", "jar", "netdoc", "ws", "unix", "javascript", "s3"]


@dataclass
class World:
    """A server whose every connection is watched: what may be reached is on no machine but this one."""

    target: Target
    settings: Settings
    reached: list[str] = field(default_factory=list)
    open_ports: list[int] = field(default_factory=list)  # of servers of the tests

    def job(self, endpoint: str, payload: dict[str, Any]) -> Job:
        self.target.service.requests.submit(endpoint, payload)
        request, _ = claimed(self.target.service.requests)
        job = Job(request, self.settings, self.target.service.files)
        job.pulse = Pulse()  # type: ignore[assignment]
        return job


class Pulse:
    def log(self, *arguments: object) -> None: ...
    def show(self, *arguments: object) -> None: ...


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), private_hosts=("redirects.example",))
    app = create_app(settings, executor=False)
    with pytest.MonkeyPatch.context() as patch:
        # The tests deliver webhooks themselves.
        patch.setattr(Webhooks, "start", lambda _: None)
        patch.setattr(Webhooks, "stop", lambda _: None)
        with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
            yield Target(app, client)


@pytest.fixture
def world(shared: Target, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(shared, shared.service.settings)
    connect, look_up = socket.create_connection, socket.getaddrinfo

    def watched(address: tuple[str, int], *arguments: Any, **named: Any) -> socket.socket:
        world.reached.append(address[0])
        if address[1] in world.open_ports:
            return connect(address, *arguments, **named)
        raise ConnectionRefusedError("nobody listens")

    def asked(host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
        found = NAMES.get(str(host).lower().rstrip("."))
        if found is not None:
            return [answer for each in found for answer in look_up(each, port, **named)]
        with contextlib.suppress(OSError):
            return look_up(host, port, **named | {"flags": socket.AI_NUMERICHOST})
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # To read the machine's certificates anew for each of thousands of clients would take a minute.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *arguments, **named: None)
    monkeypatch.setattr(socket, "create_connection", watched)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.setattr("soundlora.net.download.WAITS", ())
    return world


# ----------------------------------------------------------------------------------------------------------------------
# every way by which a client's address is fetched; each returns what is said of it


def by_inspection(world: World, url: str) -> str:
    answer = world.target.ask("POST", "/v1/datasets/inspect", json={"training_data_url": url})
    assert answer.status_code == 422, answer.text
    (entry,) = answer.json()["detail"]
    assert (entry["loc"], entry["type"]) == (["body", "training_data_url"], "file_download_error")
    return str(entry["msg"])


def by_training(world: World, url: str) -> str:
    job = world.job(TRAINING, {"training_data_url": url, "number_of_steps": 100})
    with pytest.raises(InputError) as refused:
        TrainingJob(job).run()
    assert refused.value.field == "data"
    return str(refused.value)


def by_lora(world: World, url: str) -> str:
    job = world.job(GENERATION_WITH_LORA, {"prompt": "rain", "loras": [{"path": url}]})
    with pytest.raises(InputError) as refused:
        GenerationJob(job).run()
    assert refused.value.field == "loras.0.path"
    return str(refused.value)


def by_preview(world: World, url: str) -> str:
    data = "data:application/zip;base64,AAAA"
    entry = {"prompt": "rain", "reference_audio_url": url}
    job = world.job(f"{TRAINERS}/a2a", {"training_data_url": data, "validation": [entry]})
    with pytest.raises(InputError) as refused:
        TrainingJob(job).run()
    assert refused.value.field == "validation.0.reference_audio_url"
    return str(refused.value)


def by_source(world: World, url: str) -> str:
    job = world.job(GENERATION, {"prompt": "rain", "audio_url": url})
    with pytest.raises(InputError) as refused:
        GenerationJob(job).run()
    assert refused.value.field == "audio_url"
    return str(refused.value)


def by_webhook(world: World, url: str) -> str:
    answer = world.target.ask("POST", f"/{TRAINING}", json={}, params={"fal_webhook": url})
    if answer.status_code == 400:
        return str(answer.json()["detail"])
    service = world.target.service
    delivery = Deliveries(service.database).claim()
    assert delivery is not None
    assert delivery.request_id == answer.json()["request_id"]
    error, _ = Webhooks(service.settings, service.database)._send(delivery)
    Deliveries(service.database).delivered(delivery)
    assert error is not None
    return error


Way = Callable[[World, str], str]
WAYS: list[Way] = [by_inspection, by_training, by_preview, by_lora, by_source, by_webhook]
FETCHED = {
    "training_data_url",
    "loras.path",
    "audio_url",
    "validation.audio_url",
    "validation.reference_audio_url",
}
"""Fields of the input that are fetched; a webhook's address is in the query."""
TEXTS = {
    "trigger_phrase",
    "caption_template",
    "name",
    "validation.prompt",
    "validation_negative_prompt",
    "prompt",
    "negative_prompt",
    "noise_levels",
    "slide_from",
    "slide_to",
    "slide_prompt",
}


def texts(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every field of a model that takes text, those of its lists too."""
    for name, info in model.model_fields.items():
        if info.annotation is str or str in get_args(info.annotation):
            yield before + name
        for inner in get_args(info.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from texts(inner, f"{before}{name}.")


def test_no_field_that_is_fetched_is_forgotten() -> None:
    inputs = [endpoint.input for endpoint in endpoints(Settings()).values()]
    assert {GenerationRequest, *TRAINING_INPUTS.values()} == set(inputs)
    assert {name for each in inputs for name in texts(each)} == FETCHED | TEXTS


@pytest.mark.parametrize("way", WAYS)
def test_a_public_address_is_asked(world: World, way: Way) -> None:
    """So what is refused below is refused for its address."""
    assert "nobody listens" in way(world, "http://public.example/x")
    assert world.reached == [PUBLIC]


@pytest.mark.parametrize("way", WAYS)
def test_of_a_name_that_leads_to_both_kinds_the_public_address_alone_is_asked(world: World, way: Way) -> None:
    assert "nobody listens" in way(world, "http://both.example:8080/x")
    assert world.reached == [PUBLIC]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("host", HIDDEN)
def test_nothing_of_this_machine_and_its_network_is_asked(world: World, way: Way, host: str) -> None:
    assert way(world, f"http://{host}/x")
    assert world.reached == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("port", [22, 25, 80, 443, 2375, 5432, 6379, 8420, 9200, 65535])
def test_no_port_of_this_machine_is_asked(world: World, way: Way, port: int) -> None:
    for host in ("127.0.0.1", "[::1]", "localhost", "0x7f.1"):
        assert way(world, f"http://{host}:{port}/x")
    assert world.reached == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_other_kind_of_address_is_fetched(world: World, way: Way, scheme: str) -> None:
    for rest in (f"//{PUBLIC}/etc/passwd", "///etc/passwd", f":{PUBLIC}", "/etc/passwd"):
        assert way(world, f"{scheme}:{rest}")
    assert world.reached == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///x",
        "http://[",
        "http://[::1",
        "http://]",
        "http://[]/",
        "http://a b/",
        "http://public.example:port/",
        "http://public.example:99999/",
        "http:\\\\127.0.0.1\\x",
        "http:/127.0.0.1/x",
        "http:127.0.0.1",
        "//127.0.0.1/x",
        "\\\\127.0.0.1\\x",
        " http://127.0.0.1/",
        "http://127.0.0.1\x00.public.example/",
        "http://127.0.0.1\r\nHost: public.example/",
        "http://127.0.0.1\\@public.example:x/",
        "http://" + "a" * 300 + ".example/",
        "http://" + "a." * 5000,
        "http://xn--/",
        "http://.../",
    ],
)
def test_what_is_no_address_is_said_to_be_none(world: World, way: Way, url: str) -> None:
    if way is by_webhook and not url.isprintable():
        url = "".join(letter for letter in url if letter.isprintable())
    assert way(world, url)
    assert world.reached == []


@pytest.fixture
def redirecting(world: World) -> Iterator[FileServer]:
    """A server that may be asked, and sends its callers on."""
    with serving() as server:
        world.open_ports.append(int(server.url.rpartition(":")[2]))
        yield server


def sent_on(server: FileServer, to: str) -> str:
    server.redirects["/away"] = to
    return server.url.replace("127.0.0.1", "redirects.example") + "/away"


@pytest.mark.parametrize("host", HIDDEN)
def test_nobody_is_sent_on_to_this_machine_or_its_network(world: World, redirecting: FileServer, host: str) -> None:
    """The way of all downloads; a host that no header of an answer can name is left out."""
    host = "".join(letter for letter in host if letter.isascii() and letter.isprintable())
    for scheme in ("http", "https"):
        world.reached.clear()
        assert by_training(world, sent_on(redirecting, f"{scheme}://{host}/x"))
        assert set(world.reached) == {"127.0.0.1"}
        assert [each.path for each in redirecting.asked] == ["/away"]
        redirecting.asked.clear()


@pytest.mark.parametrize("way", WAYS)
def test_every_way_checks_where_it_is_sent_on_to(world: World, redirecting: FileServer, way: Way) -> None:
    """A webhook is never sent on at all."""
    for to in ("http://127.0.0.1/x", "//localhost/x", "http://169.254.169.254/", "http://private.example/"):
        world.reached.clear()
        assert way(world, sent_on(redirecting, to))
        assert world.reached == ["127.0.0.1"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nobody_is_sent_on_to_another_kind_of_address(world: World, redirecting: FileServer, scheme: str) -> None:
    for way in WAYS:
        world.reached.clear()
        assert way(world, sent_on(redirecting, f"{scheme}:///etc/passwd"))
        assert world.reached == ["127.0.0.1"]


def test_a_circle_of_redirects_ends(world: World, redirecting: FileServer) -> None:
    url = sent_on(redirecting, "/away")
    assert by_training(world, url)
    assert len(redirecting.asked) <= 10


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "localhost", "fal.run@127.0.0.1", PUBLIC])
def test_the_proxy_of_the_official_clients_fetches_nothing(world: World, host: str) -> None:
    answer = world.target.ask("GET", "/api/fal/proxy", headers={"x-fal-target-url": f"http://{host}/v1/runs"})
    assert answer.status_code == 412
    assert world.reached == []


def test_a_path_of_the_server_is_never_read(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "secret.zip"
    secret.write_bytes(b"PK")
    for way in WAYS:
        for path in (str(secret), f"file://{secret}", f"../..{secret}", f"~{secret}", str(secret.relative_to("/"))):
            said = way(world, path)
            assert "URL" in said or "address" in said
    assert world.reached == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
        ("64:ff9b::5db8:d822", True),
        ("2002:5db8:d822::1", True),
        ("::ffff:93.184.216.34", True),
        ("::93.184.216.34", False),
        ("::ffff:0:93.184.216.34", False),
        ("64:ff9b:1::5db8:d822", False),
        ("2001::1", False),
        ("fec0::1", False),
        ("4000::1", False),
        ("192.0.0.192", False),
    ],
)
def test_addresses_of_the_internet_are_told_from_all_others(address: str, public: bool) -> None:
    """By lists of our own: each version of Python has others."""
    assert is_public(ipaddress.ip_address(address)) is public
