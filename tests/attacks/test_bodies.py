"""Bodies that are nested, huge, doubled, of another type or encoding, or wrong in 300,000 places."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from support import routes_of
from target import Target

from soundlora.server.endpoints import GENERATION_WITH_LORA, TRAINING, endpoints
from soundlora.server.http import submission, uploads
from soundlora.server.http.models import HistoricalEstimate, UnitEstimate
from soundlora.server.http.parts import MOST_PARTS
from soundlora.server.settings import Settings

JSON = {"Content-Type": "application/json"}
URL = "https://data.example/x.zip"


@pytest.fixture
def upload(target: Target) -> str:
    given = target.ask("POST", "/storage/upload/initiate", content=b"{}", headers=JSON).json()
    return str(given["upload_url"]).removeprefix("http://localhost").replace("?token", "/complete?token")


@pytest.fixture
def doors(target: Target, upload: str) -> list[str]:
    """Every address that reads its body as JSON, but for /run, which waits for what is well and reads as a submit."""
    found = [
        f"/{TRAINING}",
        f"/{GENERATION_WITH_LORA}",
        "/v1/datasets/inspect",
        "/v1/models/pricing/estimate",
        "/v1/runs/00000000-0000-0000-0000-000000000000/continue",
        "/storage/upload/initiate",
        "/storage/upload/initiate-multipart",
        upload,
        upload.replace("/storage/upload/", "/files/").replace("/complete?token=", "/a/multipart/") + "/complete",
    ]
    by_model = [route for route in routes_of(target.app) if getattr(route, "body_field", None) is not None]
    assert len(by_model) == 6, "a new route that reads a body belongs into the list"
    return found


def read(target: Target, answer: Any) -> Any:
    """The answer, or the result of what it has queued."""
    body = answer.json()
    return target.ask("GET", body["response_url"]) if "response_url" in body else answer


# ----------------------------------------------------------------------------------------------------------------------
# nesting


@pytest.mark.parametrize(
    "levels",
    [99, 101, 2000, 100_000, *(pytest.param(levels, marks=pytest.mark.slow) for levels in (50, 300, 900))],
)
def test_nesting(target: Target, doors: list[str], levels: int) -> None:
    """Up to a hundred levels are taken, told of and replayed; more are refused in a sentence."""
    for opened, closed in (("[", "]"), ('{"a":', "}")):
        nest = opened * (levels - 1) + "1" + closed * (levels - 1)
        for body in (
            f'{{"training_data_url": {nest}}}',
            f'{{"validation": {nest}}}',
            f'{{"other": {nest}, "rank": 9}}',
        ):
            for path in doors:
                answer = target.ask("POST", path, content=body.encode(), headers=JSON)
                if levels > 100:
                    assert answer.status_code == 400, path
                    assert "nested too deeply" in answer.text
                    continue
                read(target, answer)
                id = answer.json().get("request_id")
                if id:
                    assert target.ask("GET", f"/v1/runs/{id}").status_code == 200
                    assert target.ask("GET", f"/{TRAINING}/requests/{id}/status?logs=1").status_code in (200, 404)
    assert target.ask("GET", "/v1/runs?limit=20").status_code == 200
    listed = target.ask("GET", "/v1/models/requests/search?expand=payloads&limit=100")
    assert listed.status_code == 200


@pytest.mark.parametrize("start", ["[", '{"a":', '[{"b":', '"', '{"', "[[1],", "-", "1e", "\\", '"\\u', "tru"])
def test_what_never_ends(target: Target, doors: list[str], start: str) -> None:
    for path in doors:
        answer = target.ask("POST", path, content=(start * 20_000).encode(), headers=JSON)
        assert answer.status_code in (400, 422)
        assert len(answer.text) < 5000


@pytest.mark.parametrize("levels", [10, 1000, 100_000])
def test_nesting_in_headers_and_queries(target: Target, levels: int) -> None:
    for nest in ("[" * levels, '{"initial_acl":' * levels, "[" * levels + "]" * levels):
        headers = {"X-Fal-Object-Lifecycle-Preference": nest}
        assert target.ask("POST", "/files/upload", content=b"x", headers=headers).status_code == 400
        assert target.ask("GET", "/v1/models/billing-events", params={"cursor": nest[:5000]}).status_code == 400


# ----------------------------------------------------------------------------------------------------------------------
# names that come twice


def test_of_a_name_that_comes_twice_the_last_value_counts_everywhere(target: Target) -> None:
    """So that nobody checks one value and another one works with the other."""
    body = f'{{"training_data_url": "{URL}", "rank": 9, "rank": 32, "training_data_url": "https://last.example/x.zip"}}'
    answer = target.ask("POST", f"/{TRAINING}", content=body.encode())
    found = target.service.requests.find(answer.json()["request_id"])
    assert found is not None
    assert found.state == "queued"
    assert found.input == {"training_data_url": "https://last.example/x.zip", "rank": 32}
    target.service.requests.cancel(found.id)
    wrong = f'{{"training_data_url": "{URL}", "rank": 32, "rank": 9}}'
    assert read(target, target.ask("POST", f"/{TRAINING}", content=wrong.encode())).status_code == 422


def test_a_million_names_are_read(target: Target) -> None:
    body = "{" + ",".join(f'"{number}":0' for number in range(100_000)) + "}"
    answer = read(target, target.ask("POST", f"/{TRAINING}", content=body.encode()))
    assert (answer.status_code, len(answer.json()["detail"])) == (422, 1)
    assert len(answer.content) < 20_000


def test_headers_and_parameters_that_come_twice(target: Target) -> None:
    twice = [("X-Fal-Queue-Priority", "low"), ("X-Fal-Queue-Priority", "urgent"), ("X-Fal-Request-Timeout", "1")]
    answer = target.ask("POST", f"/{TRAINING}?priority=low&priority=x&logs=1&logs=2", content=b"{}", headers=twice)
    assert answer.status_code in (200, 400)
    assert target.ask("GET", "/v1/runs?limit=1&limit=2&before=1&before=x").status_code in (200, 400)


# ----------------------------------------------------------------------------------------------------------------------
# types and encodings

TYPES = ["", "text/plain", "text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
TYPES += ["multipart/form-data", "application/xml", "application/json; charset=utf-16", "application/json; charset=x"]
TYPES += ["application/json, text/plain", "application/", "/", ";", "application/vnd.api+json", "APPLICATION/JSON"]


BODIES = [b'{"a": 1}', b"a=1&b=2", b"--x\r\n\r\n--x--\r\n", b"<a/>", b"\0\0", b"\x1f\x8b\x08"]
# Each type meets one body in the quick tests, and each body two types.
TYPED = [
    pytest.param(kind, body, marks=[pytest.mark.slow] * ((number - other) % len(BODIES) != 0))
    for number, kind in enumerate(TYPES)
    for other, body in enumerate(BODIES)
]


@pytest.mark.parametrize(("kind", "body"), TYPED)
def test_no_type_of_body_breaks_anything(target: Target, doors: list[str], kind: str, body: bytes) -> None:
    for path in doors:
        for encoding in ({}, {"Content-Encoding": "gzip"}, {"Transfer-Encoding": "gzip, chunked"}):
            target.ask("POST", path, content=body, headers={"Content-Type": kind} | encoding)


def test_nothing_is_unpacked(target: Target, doors: list[str]) -> None:
    """A body of a few kilobytes can't become one of gigabytes."""
    packed = gzip.compress(b'{"training_data_url": "' + b"x" * 1_000_000 + b'"}')
    for path in doors:
        answer = target.ask("POST", path, content=packed, headers=JSON | {"Content-Encoding": "gzip"})
        assert answer.status_code in (400, 422)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe{\0}\0",
        b"\xfe\xff\0{\0}",
        b"\xef\xbb\xbf{}",
        b'{"training_data_url": "\xff"}',
        b'{"training_data_url": "\xc0\xaf"}',
        b'{"training_data_url": "\xed\xa0\x80"}',
        b'{"\xed\xa0\x80": 1}',
        b'{"training_data_url": "\xf8\x88\x80\x80\x80"}',
        '{"training_data_url": "ü"}'.encode("latin-1"),
        '{"training_data_url": "ü"}'.encode("utf-16"),
        '{"training_data_url": "ü"}'.encode("utf-32"),
        '{"training_data_url": "ü"}'.encode("utf-7"),
        b"+AHs-+AH0-",
        b"\0",
        b"\0{}",
        b"{}\0",
        b"{}{}",
        b"{} x",
        b"'a'",
        b"{a: 1}",
        b"[1,]",
        b"/**/{}",
        b"undefined",
        b'"\n"',
    ],
)
def test_encodings(target: Target, doors: list[str], body: bytes) -> None:
    for path in doors:
        read(target, target.ask("POST", path, content=body, headers=JSON))
    assert target.ask("GET", "/v1/runs?limit=20").status_code == 200


# ----------------------------------------------------------------------------------------------------------------------
# size


@pytest.mark.parametrize("announced", [True, False])
def test_no_address_holds_a_body_beyond_the_limit(
    target: Target, doors: list[str], monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    """Of one that is not announced no more is read than the limit and a piece."""
    monkeypatch.setattr(submission, "MAX_BODY_BYTES", 1024**2)
    sent: list[int] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(16):
            sent.append(2**18)
            yield b" " * 2**18

    for path in doors:
        sent.clear()
        content: Any = b" " * 2**20 + b"{}" if announced else pieces()
        answer = target.ask("POST", path, content=content, headers=JSON)
        assert answer.status_code == 413, path
        assert "1 MiB" in answer.text


@pytest.mark.parametrize("length", ["99999999999", "9" * 30, "9" * 5000])
def test_a_length_beyond_all_limits_is_refused_before_a_byte_is_read(
    target: Target, doors: list[str], length: str
) -> None:
    for path in doors:
        answer = target.ask("POST", path, content=iter([b"{}"]), headers=JSON | {"Content-Length": length})
        assert answer.status_code == 413, path
    for path in ("/files/upload", "/files/upload/multipart"):
        answer = target.ask("POST", path, content=iter([b"x"]), headers={"Content-Length": length})
        assert answer.status_code == 413, path


@pytest.mark.parametrize("length", ["-1", "+1", "0x10", "1e3", "\u00b2", "1, 1", "", " ", "one"])
def test_a_length_that_is_none(target: Target, doors: list[str], length: str) -> None:
    for path in [*doors, "/files/upload"]:
        headers = {"Content-Length": length.encode("latin-1"), **JSON}
        target.ask("POST", path, content=iter([b"{}"]), headers=headers)


def test_the_body_of_a_mark(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten megabytes, a deep nest, names without end, and what is no JSON are told in a sentence, and change nothing."""
    id = target.ask("POST", f"/{TRAINING}", content=b"{}", headers=JSON).json()["request_id"]
    path = f"/v1/runs/{id}"
    large = json.dumps({"note": "x" * 10_000_000}).encode()
    names = json.dumps(dict.fromkeys(map(str, range(100_000)), 1)).encode()
    bodies = {
        large: 422,
        json.dumps({"name": "\U0001f600" * 1_000_000}).encode(): 422,
        b'{"note": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": 400,
        b'{"starred": ' + b"9" * 5000 + b"}": 400,
        b'{"starred": 1e999}': 400,
        b'{"starred": NaN}': 400,
        b'{"note": "\xff"}': 400,
        b'{"note": ["x", "x"]}': 422,
        b'{"starred": "true"}': 422,
        b'{"note": "a", "note": 1}': 422,
        b'{"request_id": "x"}': 422,
        b'{"key_id": "x"}': 422,
        names: 422,
    }
    for body, code in bodies.items():
        answer = target.ask("PATCH", path, content=body, headers=JSON)
        assert answer.status_code == code, body[:100]
        assert len(answer.content) < 1000
        assert answer.json()["error"]["message"].endswith(".") or code == 400
    monkeypatch.setattr(submission, "MAX_BODY_BYTES", 1024**2)
    assert target.ask("PATCH", path, content=large, headers=JSON).status_code == 413
    run = target.ask("GET", path).json()
    assert (run["starred"], run["name"], run["note"]) == (False, "", "")


# ----------------------------------------------------------------------------------------------------------------------
# errors by the hundred thousand

WRONG: list[Any] = [1, {}, "x", None, [], {"prompt": 1}, {"path": 1, "scale": "x", "transformer": 1}]


def many(count: int) -> list[tuple[str, bytes]]:
    """(where to, body) of calls that are wrong in so many places."""
    found = []
    for entry in WRONG:
        wrong = [entry] * count
        found += [
            (f"/{TRAINING}", json.dumps({"training_data_url": URL, "validation": wrong}).encode()),
            (f"/{GENERATION_WITH_LORA}", json.dumps({"prompt": "rain", "loras": wrong}).encode()),
            ("/v1/datasets/inspect", json.dumps({"training_data_url": URL, "validation": wrong}).encode()),
            ("complete", json.dumps({"parts": wrong}).encode()),
        ]
    for kind in ("unit_price", "historical_api_price"):
        by_name = {str(number): {"unit_quantity": "x"} for number in range(count)}
        body = json.dumps({"estimate_type": kind, "endpoints": by_name}).encode()
        found.append(("/v1/models/pricing/estimate", body))
    return found


def assert_bounded(target: Target, upload: str, count: int) -> None:
    for path, body in many(count):
        path = upload if path == "complete" else path
        answer = read(target, target.ask("POST", path, content=body, headers=JSON))
        assert answer.status_code in (400, 422)
        assert len(answer.json().get("detail", [])) <= 1
        assert len(answer.content) < 30_000


def test_what_is_wrong_in_many_places_is_told_once(target: Target, upload: str) -> None:
    """A list that is too long is refused for its length: its entries are not even looked at."""
    assert_bounded(target, upload, MOST_PARTS + 1)


@pytest.mark.slow
def test_300_000_errors_in_one_request(target: Target, upload: str) -> None:
    assert_bounded(target, upload, 300_000)


def test_entries_are_not_looked_at_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of errors that are made, whatever the clock says."""
    models: list[Any] = [*(each.input for each in endpoints(Settings()).values()), uploads.Completion]
    models += [UnitEstimate, HistoricalEstimate]
    for model in models:
        for field in ("validation", "loras", "parts", "endpoints"):
            wrong: Any = [1] * 20_000 if field != "endpoints" else dict.fromkeys(map(str, range(20_000)), 1)
            if field in model.model_fields:
                with pytest.raises(ValidationError) as refused:
                    model.model_validate({field: wrong})
                assert len([each for each in refused.value.errors() if each["loc"][:1] == (field,)]) == 1


def test_every_list_of_an_input_has_its_length_checked_first() -> None:
    """A new list without it would be the way to a flood of errors."""
    models: list[Any] = [*(each.input for each in endpoints(Settings()).values()), uploads.Completion]
    models += [UnitEstimate, HistoricalEstimate]
    lists = {
        name
        for model in models
        for name, info in model.model_fields.items()
        if getattr(info.annotation, "__origin__", None) in (list, dict)
    }
    assert lists == {"validation", "loras", "spans", "parts", "endpoints"}


def test_at_most_a_hundred_errors_are_told(target: Target, upload: str) -> None:
    parts = json.dumps({"parts": [{"partNumber": "x"}] * 5000}).encode()
    answer = target.ask("POST", upload, content=parts, headers=JSON)
    assert (answer.status_code, len(answer.json()["detail"])) == (422, 100)
    queries = target.ask("GET", "/v1/models", params=[("expand", "x")] * 2000)
    assert queries.status_code == 400
    assert len(queries.content) < 2000
