"""One key asks for everything of another one, by every route that the server has, and gets none of it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rows import claimed
from support import routes_of
from target import Target

from soundlora.server.endpoints import GENERATION, TRAINING
from soundlora.server.http import inspection
from soundlora.server.store.finish import Outcome, infrastructure_error
from soundlora.server.store.marks import Marks

SECRET = "sesame-of-the-owner"
"""Stands in everything that the owner has: inputs, logs, results, names of files, addresses of webhooks."""
APP = "ltx23-trainer-v2"
WAV = "audio/wav"


@dataclass
class Place:
    """A server with a key that owns things of every kind, and one that owns nothing of them."""

    target: Target
    owner: str = ""  # secrets of keys
    other: str = ""
    revoked: str = ""
    owner_id: str = ""
    done: str = ""  # requests of the owner, by what became of them
    waiting: str = ""
    failed: str = ""
    stopped: str = ""
    finished: str = ""
    sound: str = ""
    file: str = ""  # path of a file of its result
    upload: str = ""  # id of a file that is being uploaded, and the token of its address
    token: str = ""
    other_upload: str = ""
    other_token: str = ""
    ids: list[str] = field(default_factory=list)

    def ask(self, call: Call, key: str | None) -> Any:
        headers = {} if key is None else {"Authorization": f"Key {key}"}
        options = {name: value for name, value in call.options.items() if name != "headers"}
        return self.target.ask(call.method, call.path, headers=headers | call.options.get("headers", {}), **options)


@dataclass
class Call:
    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)


Make = Callable[[Place], Call]


def call(path: str, **options: Any) -> tuple[str, Make]:
    """A route, and a call of it with the owner's things in their places."""
    method, route = path.split(" ", 1)

    def make(place: Place) -> Call:
        address = options.get("at", lambda _: route)(place)
        return Call(method, address, {name: value for name, value in options.items() if name != "at"})

    return path, make


PUBLIC = dict(
    [
        call("GET /"),
        call("GET /icon.svg"),
        call("GET /assets/{name}", at=lambda place: "/assets/none.js"),
        call("GET /health"),
        call("GET /openapi.json"),
        call("GET /api/openapi/queue/openapi.json", params={"endpoint_id": TRAINING}),
        call("GET /models/{endpoint_id:path}/llms.txt", at=lambda place: f"/models/{TRAINING}/llms.txt"),
        call("GET /.well-known/jwks.json"),
    ]
)
"""Open to everybody, and the same for everybody."""
BY_ADDRESS = dict([call("GET /files/{file_id}/{name}", at=lambda place: place.file)])
"""Open to everybody who knows a random address."""
SIGNED = dict(
    [
        call(
            "PUT /storage/upload/{file_id}",
            at=lambda p: f"/storage/upload/{p.upload}?token={p.token}",
            content=b"x",
        ),
        call(
            "PUT /storage/upload/{file_id}/{number}",
            at=lambda p: f"/storage/upload/{p.upload}/1?token={p.token}",
            content=b"x",
        ),
        call(
            "POST /storage/upload/{file_id}/complete",
            at=lambda p: f"/storage/upload/{p.upload}/complete?token={p.token}",
            json={"parts": [{"partNumber": 1}]},
        ),
        call(
            "PUT /files/{file_id}/{name}/multipart/{upload_id}/{number}",
            at=lambda p: f"/files/{p.upload}/a.zip/multipart/{p.token}/1",
            content=b"x",
        ),
        call(
            "POST /files/{file_id}/{name}/multipart/{upload_id}/complete",
            at=lambda p: f"/files/{p.upload}/a.zip/multipart/{p.token}/complete",
            json={"parts": [{"partNumber": 1}]},
        ),
    ]
)
"""Open to whoever was given the signed address."""
OWN = dict(
    [
        call("GET /fal-ai/{path:path}/requests/{id}/status", at=lambda p: f"/fal-ai/{APP}/requests/{p.done}/status"),
        call(
            "GET /fal-ai/{path:path}/requests/{id}/status/stream",
            at=lambda p: f"/fal-ai/{APP}/requests/{p.done}/status/stream?logs=1",
        ),
        call("GET /fal-ai/{path:path}/requests/{id}", at=lambda p: f"/fal-ai/{APP}/requests/{p.done}"),
        call("GET /fal-ai/{path:path}/requests/{id}/response", at=lambda p: f"/{TRAINING}/requests/{p.done}/response"),
        call("GET /v1/runs/{run_id}", at=lambda p: f"/v1/runs/{p.done}"),
        call("GET /v1/runs/{run_id}/events", at=lambda p: f"/v1/runs/{p.done}/events"),
        call("PATCH /v1/runs/{run_id}", at=lambda p: f"/v1/runs/{p.done}", json={"starred": True}),
        # These change something, so the owner's own call of them comes after all of the other's.
        call("PUT /fal-ai/{path:path}/requests/{id}/cancel", at=lambda p: f"/fal-ai/{APP}/requests/{p.waiting}/cancel"),
        call("POST /v1/runs/{run_id}/resume", at=lambda p: f"/v1/runs/{p.failed}/resume"),
        call("POST /v1/runs/{run_id}/stop", at=lambda p: f"/v1/runs/{p.stopped}/stop"),
        call(
            "POST /v1/runs/{run_id}/continue",
            at=lambda p: f"/v1/runs/{p.finished}/continue",
            json={"number_of_steps": 300},
        ),
        call(
            "DELETE /v1/models/requests/{request_id}/payloads",
            at=lambda p: f"/v1/models/requests/{p.done}/payloads",
        ),
    ]
)
"""Name a thing of the owner."""
LISTS = dict(
    [
        call("GET /v1/runs"),
        call("GET /v1/models/requests/by-endpoint", params={"endpoint_id": TRAINING, "expand": "payloads"}),
        call("GET /v1/models/requests/search", params={"query": "sesame", "expand": "payloads"}),
        call("GET /v1/models/billing-events"),
        call("GET /v1/models/usage"),
        call("GET /v1/limits"),
    ]
)
"""Answer with what the caller has."""
SHARED = dict(
    [
        call("GET /v1/models"),
        call("GET /v1/models/pricing"),
        call(
            "POST /v1/models/pricing/estimate",
            json={"estimate_type": "unit_price", "endpoints": {TRAINING: {"unit_quantity": 1}}},
        ),
        call("GET /v1/meta"),
        call("GET /v1/machine"),
        call("GET /metrics"),
    ]
)
"""Need a key, and are the same for every key."""
STARTS = dict(
    [
        call("POST /fal-ai/{path:path}", at=lambda p: f"/{TRAINING}", json={"training_data_url": "https://a.example"}),
        call("POST /run/fal-ai/{path:path}", at=lambda p: f"/run/{TRAINING}", json={}),
        call("POST /files/upload", content=b"x"),
        call("POST /files/upload/multipart"),
        call("POST /storage/upload/initiate", json={}),
        call("POST /storage/upload/initiate-multipart", json={}),
        call("POST /storage/auth/token"),
        call("POST /v1/datasets/inspect", json={"training_data_url": "data:,x"}),
    ]
)
"""Begin something that belongs to the caller."""
GUARDED = OWN | LISTS | SHARED | STARTS


@pytest.fixture(scope="module")
def place(target: Target) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        # Looking through data and examining the machine take seconds in other processes, and are not what is tried.
        async def answer(*arguments: Any, **__: Any) -> Any:
            return {"status": 200, "body": {}}

        patch.setattr(inspection, "_answer", answer)
        yield furnished(target)


def furnished(target: Target) -> Place:
    place, service = Place(target), target.service
    owner, place.owner = service.keys.create("owner")
    _, place.other = service.keys.create("other")
    gone, place.revoked = service.keys.create("gone")
    service.keys.revoke(gone.id)
    place.owner_id = owner.id
    payload = {"training_data_url": f"https://data.example/{SECRET}.zip", "trigger_phrase": SECRET}
    more: dict[str, Any] = {
        "key_id": owner.id,
        "summary": SECRET,
        "webhook_url": f"https://hooks.example/{SECRET}",
        "base_url": "http://localhost",
    }
    place.done = service.requests.submit(TRAINING, payload, **more).id
    end(target, Outcome(200, {"lora_file": {"url": f"/files/{'0' * 32}/{SECRET}"}}, units=100))
    source = Path(service.settings.data_dir, "source")
    source.write_bytes(b"sound")
    for role, name in (("lora", f"{SECRET}.safetensors"), ("preview", "step_000010_prompt_0.wav"), ("audio", SECRET)):
        row = service.files.add(source, name=name, content_type=WAV, role=role, key_id=owner.id, request_id=place.done)
        place.file = row.path
    place.sound = service.requests.submit(GENERATION, {"prompt": SECRET}, **more).id
    end(target, Outcome(200, {"audio": {"url": place.file}, "prompt": SECRET}))
    place.failed = service.requests.submit(TRAINING, payload, **more).id
    end(target, infrastructure_error(503, "runner_disconnected", SECRET))
    checkpoints = service.settings.runs / place.failed / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "step_000010.pt").touch()
    place.stopped = service.requests.submit(TRAINING, payload, **more).id
    end(target, infrastructure_error(503, "runner_disconnected", SECRET))
    place.finished = service.requests.submit(TRAINING, payload, **more).id
    end(target, Outcome(200, {}))
    for id in (place.stopped, place.finished):
        run = service.settings.runs / id / "run"
        (run / "checkpoints").mkdir(parents=True)
        (run / "checkpoints" / "step_000100.pt").touch()
        for name in ("request.json", "config.json"):
            (run / name).write_text('{"number_of_steps": 100}')
        (run / "lora.safetensors").touch()
    place.waiting = service.requests.submit(TRAINING, payload, **more).id
    for key, names in ((place.owner, ("upload", "token")), (place.other, ("other_upload", "other_token"))):
        headers = {"Authorization": f"Key {key}"}
        found = target.ask("POST", "/storage/upload/initiate", json={"file_name": SECRET}, headers=headers).json()
        path, _, token = found["upload_url"].partition("?token=")
        setattr(place, names[0], path.rpartition("/")[2])
        setattr(place, names[1], token)
    Marks(service.database).change(place.done, owner.id, {"name": SECRET, "note": SECRET})
    place.ids = [place.done, place.sound, place.failed, place.stopped, place.finished, place.waiting]
    return place


def end(target: Target, outcome: Outcome) -> None:
    """The request that waits ends, with a log, a curve and a live state."""
    requests = target.service.requests
    request, token = claimed(requests)
    line = (1.0, "INFO", SECRET)
    requests.beat(request.id, token, progress={"message": SECRET}, lines=[line], curve=[(10, "loss", 0.5)])
    requests.finish(request.id, token, outcome)


def holds_nothing(answer: Any, place: Place) -> None:
    """Neither head nor body has anything of the owner's."""
    said = answer.text + "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    for secret in (SECRET, place.owner_id, place.owner, place.file.split("/")[2]):
        assert secret not in said, said


def test_every_route_is_tried(place: Place) -> None:
    """A new route belongs into one of the lists: what is open to everybody is so on purpose."""
    found = [
        f"{method} {route.path}" for route in routes_of(place.target.app) for method in sorted(route.methods - {"HEAD"})
    ]
    lists = (PUBLIC, BY_ADDRESS, SIGNED, OWN, LISTS, SHARED, STARTS)
    assert sorted(found) == sorted(itertools.chain(*lists))


@pytest.mark.parametrize("route", GUARDED)
def test_nobody_comes_in_without_a_good_key(place: Place, route: str) -> None:
    made = GUARDED[route](place)
    forged = ("", "no", place.revoked, place.owner[:-1], place.owner + "x", place.owner.swapcase(), place.owner_id)
    for key in (None, *forged):
        answer = place.ask(made, key)
        assert answer.status_code == 401, (route, key)
        holds_nothing(answer, place)
    for header in (f"Basic {place.owner}", place.owner, "Key", f"Key{place.owner}", f"Key ,{place.owner}"):
        assert place.target.ask(made.method, made.path, headers={"Authorization": header}).status_code == 401


@pytest.mark.parametrize("route", OWN)
def test_what_another_key_owns_is_not_there(place: Place, route: str) -> None:
    """Also right after its owner has asked for it, so that a cache might have it; and by no method."""
    made = OWN[route](place)
    before = [place.target.service.requests.find(id) for id in place.ids]
    marks = Marks(place.target.service.database).of(place.ids)
    assert marks[place.done].note == SECRET
    if made.method == "GET":
        assert place.ask(made, place.owner).status_code < 300
    answer = place.ask(made, place.other)
    assert answer.status_code in (403, 404), route
    holds_nothing(answer, place)
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        answer = place.ask(Call(method, made.path, made.options), place.other)
        assert answer.status_code in (403, 404, 405), (method, route)
        holds_nothing(answer, place)
    assert [place.target.service.requests.find(id) for id in place.ids] == before
    assert Marks(place.target.service.database).of(place.ids) == marks
    assert (place.target.service.settings.runs / place.failed / "run").exists()


@pytest.mark.parametrize("route", OWN)
def test_what_another_key_owns_looks_as_what_does_not_exist(place: Place, route: str) -> None:
    made = OWN[route](place)
    nobody = str(uuid.uuid4())
    theirs = next(id for id in place.ids if id in made.path)
    real = place.ask(made, place.other)
    missing = place.ask(Call(made.method, made.path.replace(theirs, nobody), made.options), place.other)
    assert real.status_code == missing.status_code

    def told(answer: Any, id: str) -> Any:
        body = answer.json()
        body.get("error", {}).pop("request_id", None) if isinstance(body.get("error"), dict) else None
        return str(body).replace(id, "ID").replace(id[:40], "ID")

    assert told(real, theirs) == told(missing, nobody)


@pytest.mark.parametrize("route", OWN)
def test_the_proxy_and_the_official_names_are_no_way_around(place: Place, route: str) -> None:
    made = OWN[route](place)
    way = {"x-fal-target-url": f"https://queue.fal.run{made.path}"}
    for path, headers in (("/api/fal/proxy", way), (made.path, {"Host": "fal.run"}), (made.path, {"Host": "fal.ai"})):
        method = made.method if made.method != "DELETE" or path == made.path else "POST"
        answer = place.ask(Call(method, path, made.options | {"headers": headers}), place.other)
        assert answer.status_code in (403, 404, 405)
        holds_nothing(answer, place)
        assert place.ask(Call(method, path, {"headers": headers}), None).status_code in (401, 404, 405)


@pytest.mark.parametrize("route", LISTS)
def test_lists_have_the_callers_own_and_nothing_else(place: Place, route: str) -> None:
    made = LISTS[route](place)
    mine, theirs = place.ask(made, place.owner), place.ask(made, place.other)
    assert mine.status_code == theirs.status_code == 200
    told = [SECRET, place.done, '"quantity":100', '"used_this_month":100']
    assert any(each in mine.text.replace(" ", "") for each in told)
    holds_nothing(theirs, place)
    assert not [id for id in place.ids if id in theirs.text]
    assert '"quantity"' not in theirs.text
    assert '"used_this_month":100' not in theirs.text.replace(" ", "")


@pytest.mark.parametrize("route", LISTS)
def test_naming_what_another_key_owns_finds_nothing(place: Place, route: str) -> None:
    """By its id, its text, its place in the list, its endpoint and its moment."""
    made = LISTS[route](place)
    given = made.options.get("params", {})
    cursor = place.ask(Call("GET", made.path, {"params": given | {"limit": 1}}), place.owner).json().get("next_cursor")
    for more in (
        {"request_id": place.done},
        {"query": place.done},
        {"search": SECRET},
        {"key_id": place.owner_id},
        {"start": "2000-01-01", "end": "2100-01-01"},
        {"limit": 100, "before": 10**9},
        {"cursor": cursor} if cursor else {},
    ):
        answer = place.ask(Call("GET", made.path, {"params": given | more}), place.other)
        assert answer.status_code == 200
        holds_nothing(answer, place)
        assert not [id for id in place.ids if id in answer.text]


@pytest.mark.parametrize("route", SHARED)
def test_what_all_keys_share_has_nothing_of_one(place: Place, route: str) -> None:
    answer = place.ask(SHARED[route](place), place.other)
    assert answer.status_code == 200
    holds_nothing(answer, place)
    assert not [id for id in place.ids if id in answer.text]


def test_an_estimate_by_the_past_knows_the_callers_own_past_alone(place: Place) -> None:
    body = {"estimate_type": "historical_api_price", "endpoints": {TRAINING: {"call_quantity": 1}}}
    wanted = Call("POST", "/v1/models/pricing/estimate", {"json": body})
    assert place.ask(wanted, place.owner).json()["total_cost"] == pytest.approx(0.22)
    assert place.ask(wanted, place.other).status_code == 400


@pytest.mark.parametrize("route", STARTS)
def test_what_a_key_starts_is_its_own(place: Place, route: str) -> None:
    answer = place.ask(STARTS[route](place), place.other)
    assert answer.status_code in (200, 422), answer.text
    holds_nothing(answer, place)
    made = answer.json()
    if "request_id" in made:
        found = place.target.service.requests.find(made["request_id"])
        assert found is not None
        assert found.key_id not in ("", place.owner_id)
        assert place.ask(Call("GET", f"/v1/runs/{made['request_id']}"), place.owner).status_code == 404
    address = made.get("file_url") or made.get("access_url")
    if address:
        row = place.target.service.files.find(address.split("/files/")[1].split("/")[0])
        assert row is not None
        assert row.key_id not in ("", place.owner_id)


@pytest.mark.parametrize("route", SIGNED)
def test_an_upload_takes_nothing_without_its_own_token(place: Place, route: str) -> None:
    """Not with another upload's token, not with one for uploading at all, and a key is none."""
    made = SIGNED[route](place)
    given = place.ask(Call("POST", "/storage/auth/token"), place.other).json()["token"]
    for token in ("x", place.other_token, given, place.token[:-1], "." + place.token, place.token.replace(".", "..")):
        path = made.path.replace(place.token, token)
        for key in (None, place.other, place.owner):
            answer = place.ask(Call(made.method, path, made.options), key)
            assert answer.status_code == 403, token
            holds_nothing(answer, place)
    swapped = made.path.replace(place.upload, place.other_upload)
    assert place.ask(Call(made.method, swapped, made.options), place.other).status_code == 403
    row = place.target.service.files.find(place.upload)
    assert row is not None
    assert row.size is None


@pytest.mark.parametrize("route", PUBLIC)
def test_what_is_open_is_open_and_has_nothing_of_anybody(place: Place, route: str) -> None:
    for key in (None, place.other):
        answer = place.ask(PUBLIC[route](place), key)
        assert answer.status_code in (200, 404)
        holds_nothing(answer, place)


def test_a_file_is_found_by_its_whole_random_address_alone(place: Place) -> None:
    assert place.target.ask("GET", place.file).content == b"sound"
    id = place.file.split("/")[2]
    for guess in (id[:-1] + ("0" if id[-1] != "0" else "1"), id.upper(), id[:31], id + "0", "*", "%25", id[:-1] + "_"):
        answer = place.target.ask("GET", f"/files/{guess}/x")
        assert answer.status_code == 404
        holds_nothing(answer, place)


def test_keys_that_are_alike_own_nothing_of_each_other(place: Place) -> None:
    """Everything is found by the key's random id, so a second key of the same name has nothing either."""
    _, twin = place.target.service.keys.create("owner")
    for path in (f"/v1/runs/{place.done}", f"/fal-ai/{APP}/requests/{place.done}"):
        assert wait_for_key(place, Call("GET", path), twin).status_code == 404
    assert place.ask(Call("GET", "/v1/runs"), twin).json()["runs"] == []


def wait_for_key(place: Place, made: Call, key: str) -> Any:
    """The answer once the server has read the new key, which takes up to a second."""
    place.target.service.authenticator._read_at = -1.0
    return place.ask(made, key)


def test_the_owner_itself_can_do_all_of_it(place: Place) -> None:
    """So what the other key was refused was refused for its owner, and not because the call was wrong."""
    for route, make in OWN.items():
        answer = place.ask(make(place), place.owner)
        assert answer.status_code < 300, (route, answer.text)
        assert place.done in answer.text or SECRET in answer.text or answer.json(), route
