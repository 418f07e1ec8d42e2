"""NULs, halves of surrogate pairs, control characters and overlong strings wherever a client can put text."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, get_args
from urllib.parse import quote, unquote

import pytest
from pydantic import BaseModel
from starlette.types import Message
from support import routes_of
from target import Target

from soundlora.server.endpoints import GENERATION_WITH_LORA, TRAINING, endpoints
from soundlora.server.http import inspection
from soundlora.server.settings import Settings

ID = "00000000-0000-4000-8000-000000000000"
TEXTS = {
    "NUL": "a\0b",
    "an id with a NUL": ID[:-1] + "\0",
    "halves of pairs": "\ud800 a\udfffb \udc00\ud800",
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f\x80\x85\x9f",
    "line ends": "a\r\nSet-Cookie: x=1\r\n\r\nb\u2028c\u2029d",
    "odd characters": "\u202ea\u2066b\ufeff\ufffe\uffff\U0010ffff\U0001f600\u200d",
    "overlong": "x" * 100_000,
    "overlong in bytes": "\U0001f600" * 20_000,
    "quotes": "'\"`\\;--%_*(){}[]<>$%s%n{0.__class__}{{7*7}}${7*7}",
    "empty": "",
}
WORDS = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
HEADERS = [
    "authorization",
    "content-type",
    "content-length",
    "accept",
    "range",
    "if-range",
    "if-none-match",
    "origin",
    "host",
    "x-fal-file-name",
    "x-fal-target-url",
    "x-fal-queue-priority",
    "x-fal-request-timeout",
    "x-fal-no-retry",
    "x-fal-store-io",
    "x-fal-object-lifecycle",
    "x-fal-object-lifecycle-preference",
    "x-forwarded-for",
    "x-forwarded-host",
    "access-control-request-headers",
    "access-control-request-private-network",
    "transfer-encoding",
]
"""All that the server reads."""
QUERY = ["fal_webhook", "priority", "fal_max_queue_length", "logs"]
"""Parameters that the queue's routes read for themselves; the others are found in signatures."""


@pytest.fixture(scope="module", autouse=True)
def _no_processes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:

        async def answer(*arguments: Any, **_: Any) -> Any:
            return {"status": 200, "body": {}}

        patch.setattr(inspection, "_answer", answer)
        patch.setattr("soundlora.net.download.WAITS", ())
        patch.setattr("soundlora.net.guard._look_up", lambda host: [])
        yield


def fields_of(
    model: type[BaseModel], place: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], bool]]:
    """The place of every field of a model, those of its lists too, and whether it takes text."""
    for name, info in model.model_fields.items():
        yield (*place, name), info.annotation is str
        for inner in get_args(info.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from fields_of(inner, (*place, name, 0))


def with_text(place: tuple[str | int, ...], text: Any) -> Any:
    """A body that is right but for the text at that place."""
    value = text
    for part in reversed(place):
        value = [value] if part == 0 else {part: value}
    return {"training_data_url": "data:,x", "prompt": "rain", "loras": [{"path": "data:,x"}]} | value


def asgi(target: Target, method: str, path: bytes, query: bytes, headers: dict[str, bytes], body: bytes = b"") -> int:
    """The status of a call with any bytes, as no client would send them and some servers would pass them on."""
    messages: list[Message] = []
    came = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        return next(came, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.encode(), value) for name, value in ({"host": b"localhost"} | headers).items()],
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 8420),
    }
    assert target.client.portal is not None
    target.client.portal.call(target.app, scope, receive, send)
    status: int = next(each["status"] for each in messages if each["type"] == "http.response.start")
    head = next(each["headers"] for each in messages if each["type"] == "http.response.start")
    assert not [value for _, value in head if b"\r" in value or b"\n" in value or b"\0" in value], head
    return status


@WORDS
@pytest.mark.parametrize("endpoint", [TRAINING, GENERATION_WITH_LORA])
def test_every_field_of_a_request(target: Target, endpoint: str, text: str) -> None:
    """Taken or refused, and read again by every route that tells of requests: each text alone, the others at once."""
    fields = dict(fields_of(endpoints(Settings())[endpoint].input))
    texts = [place for place, takes_text in fields.items() if takes_text]
    assert len(texts) >= 3
    bodies = [with_text(place, text) for place in texts]
    bodies.append({place[0]: text for place in fields})
    bodies.append({place[0]: [text, {text[:10]: text}] for place in fields if text.isascii()})
    for number, made in enumerate(bodies):
        answer = target.ask("POST", f"/{endpoint}", content=json.dumps(made))
        assert answer.status_code == 200, number
        id = answer.json()["request_id"]
        for path in (f"/{endpoint}/requests/{id}/status?logs=1", f"/v1/runs/{id}"):
            assert target.ask("GET", path).status_code in (200, 202)
        assert target.ask("GET", f"/{endpoint}/requests/{id}").status_code in (400, 422)
    assert target.ask("GET", "/v1/runs?limit=20").status_code == 200
    listed = target.ask("GET", f"/v1/models/requests/search?expand=payloads&limit=20&endpoint_id={endpoint}")
    assert listed.status_code == 200


@WORDS
def test_the_name_and_the_note_of_a_run(target: Target, text: str) -> None:
    """Kept as far as a database and a reader can take it, or refused for its length; and found by it."""
    id = target.ask("POST", f"/{TRAINING}", json={}).json()["request_id"]
    for field, most in (("name", 200), ("note", 2000)):
        kept = text.encode(errors="replace").decode().replace("\0", "")
        kept = " ".join(kept.split()) if field == "name" else kept
        answer = target.ask("PATCH", f"/v1/runs/{id}", content=json.dumps({field: text}))
        if len(kept) > most:
            assert answer.status_code == 422
            assert "characters, but at most" in answer.json()["error"]["message"]
            continue
        assert answer.json()[field] == kept
        assert target.ask("GET", f"/v1/runs/{id}").json()[field] == kept
        assert target.ask("GET", f"/v1/runs/{id}/events").text.count("data: ") == 1
        if kept.strip() and len(kept) < 500:
            found = target.ask("GET", "/v1/runs", params={"search": kept, "limit": 100}).json()["runs"]
            assert [each for each in found if each["id"] == id]
    for name in (text, text[:300]):
        assert target.ask("PATCH", f"/v1/runs/{id}", content=json.dumps({name: "x"})).status_code in (400, 422)


@WORDS
def test_every_name_of_a_field(target: Target, text: str) -> None:
    whole = text.isascii() or text == text.encode(errors="replace").decode()
    for body in ({text: 1}, {"validation": [{text: text}]}, {"loras": [{"path": {text: text}}]}, text, [text]):
        answer = target.ask("POST", f"/{TRAINING}", content=json.dumps(body))
        if not whole and isinstance(body, dict):
            assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")
            assert "name of a field" in answer.json()["detail"]
            continue
        assert answer.status_code == 200
        id = answer.json()["request_id"]
        assert target.ask("GET", f"/{TRAINING}/requests/{id}").status_code == 422
    for path in ("/v1/runs?limit=100", "/v1/models/requests/search?expand=payloads&limit=100"):
        assert target.ask("GET", path).status_code == 200


@WORDS
def test_every_field_of_the_other_bodies(target: Target, text: str) -> None:
    endpoint = {"estimate_type": "unit_price", "endpoints": {text: {"unit_quantity": 1}}}
    for path, body in (
        ("/storage/upload/initiate", {"file_name": text}),
        ("/storage/upload/initiate", {"content_type": text}),
        ("/storage/upload/initiate", {"file_name": text, "content_type": "image/png; name=" + text}),
        ("/storage/upload/initiate-multipart", {"file_name": text, "content_type": text}),
        ("/v1/models/pricing/estimate", endpoint),
        ("/v1/models/pricing/estimate", {"estimate_type": text, "endpoints": {}}),
        ("/v1/models/pricing/estimate", {"estimate_type": "historical_api_price", "endpoints": {text: text}}),
        ("/v1/datasets/inspect", {"training_data_url": text}),
        ("/v1/datasets/inspect", {"training_data_url": "data:,x", "trigger_phrase": text}),
        ("/v1/datasets/inspect", {"training_data_url": "http://" + text}),
        ("/v1/datasets/inspect", {"training_data_url": f"http://127.0.0.1/{text}?{text}#{text}"}),
    ):
        for written in (json.dumps(body), json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")):
            headers = {"Content-Type": "application/json"}
            target.ask("POST", path, content=written, headers=headers)


def parameters(target: Target) -> list[tuple[str, str, list[str]]]:
    """(method, path, query parameters) of every route."""
    found = []
    for route in routes_of(target.app):
        dependant = getattr(route, "dependant", None)
        names = [each.alias for each in dependant.query_params] if dependant else []
        names += QUERY if dependant is None else ["token"] if route.path.startswith("/storage/") else []
        found += [(method, route.path, names) for method in sorted(route.methods)]
    return found


@WORDS
def test_every_parameter_of_every_query(target: Target, text: str) -> None:
    value = quote(text.encode(errors="surrogatepass")[:20_000])
    for method, path, names in parameters(target):
        made = filled(path, ID)
        for name in names:
            known = "" if name == "endpoint_id" else f"endpoint_id={TRAINING}&"
            status = asgi(target, method, made.encode(), f"{known}{name}={value}".encode(), {})
            assert status < 500, (method, path, name)
        assert asgi(target, method, made.encode(), f"{value}={value}&{value}".encode(), {}) < 500


@WORDS
def test_every_part_of_every_path(target: Target, text: str) -> None:
    value = quote(text.encode(errors="surrogatepass")[:20_000], safe="")
    for method, path, _ in parameters(target):
        if "{" in path:
            assert asgi(target, method, filled(path, value).encode(), b"", {}) < 500, (method, path)
    for path in (f"/fal-ai/{value}", f"/{TRAINING}/{value}", f"/{TRAINING}/requests/{value}", f"/{value}", "//", "/."):
        for method in ("GET", "PUT", "POST", "DELETE", "OPTIONS"):
            assert asgi(target, method, path.encode(), b"", {}) < 500, (method, path[:100])


def sendable(value: bytes) -> bytes:
    """The value without what ends a header; no server takes it for a part of one."""
    return value.translate(None, b"\0\r\n")


def filled(path: str, value: str) -> str:
    """The address of a route with the value at all of its places, but for the name of an endpoint."""
    made = path.replace("/fal-ai/{path:path}", f"/{TRAINING}")
    return re.sub(r"{[^}]*}", lambda _: value, made)


@WORDS
def test_every_header(target: Target, text: str) -> None:
    """Latin-1 and UTF-8, on routes that read it."""
    raw = sendable(text.encode(errors="surrogatepass")[:20_000])
    latin = sendable(text.encode("latin-1", "replace")[:20_000])
    body = json.dumps({"training_data_url": "data:,x"}).encode()
    calls = [
        ("POST", f"/{TRAINING}", body),
        ("POST", "/files/upload", b"x"),
        ("GET", f"/files/{'0' * 32}/x", b""),
        ("POST", "/api/fal/proxy", b"{}"),
        ("OPTIONS", f"/{TRAINING}", b""),
    ]
    for header, value, (method, path, content) in itertools.product(HEADERS, {raw, latin}, calls):
        status = asgi(target, method, path.encode(), b"", {header: value}, content)
        assert status < 500, (header, method, path)


@WORDS
def test_the_proxys_target(target: Target, text: str) -> None:
    raw = quote(text.encode(errors="surrogatepass")[:5000], safe="").encode()
    for url in (
        b"https://fal.run/" + raw,
        b"https://fal.run/" + sendable(text.encode(errors="surrogatepass")[:5000]),
        b"https://" + raw + b".fal.run/",
        b"https://fal.run/x?" + raw + b"=" + raw,
        b"https://" + sendable(text.encode(errors="surrogatepass")[:300]) + b".fal.run/x",
        b"https://\xe9" + b"x" * 80 + b".fal.run/",
        b"https://\xe9..fal.run/",
        b"https://fal.run:99999/",
    ):
        for method in ("GET", "POST", "PUT"):
            assert asgi(target, method, b"/api/fal/proxy", b"", {"x-fal-target-url": url}) < 500, url


@WORDS
def test_the_name_and_type_of_a_file_that_is_served(target: Target, text: str) -> None:
    """Stored, and written into headers again."""
    raw = text.encode(errors="surrogatepass")[:20_000]
    for header in ("x-fal-file-name", "content-type"):
        headers = {header: sendable(raw)}
        answer = target.ask("POST", "/files/upload", content=b"x", headers=headers)
        assert answer.status_code == 200
        path = answer.json()["access_url"].removeprefix("http://localhost")
        found = target.ask("GET", path)
        assert (found.status_code, found.content) == (200, b"x")
    body = json.dumps({"file_name": text})
    given = target.ask(
        "POST", "/storage/upload/initiate", content=body, headers={"Content-Type": "application/json"}
    ).json()
    assert target.ask("PUT", given["upload_url"], content=b"y").status_code == 200
    found = target.ask("GET", given["file_url"])
    assert (found.status_code, found.content) == (200, b"y")
    assert len(found.headers["content-disposition"]) < 2000
