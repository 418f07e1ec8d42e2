"""HTML, SVG and scripts that somebody stores here: as files, in their names and types, in texts, in logs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from live_server import live
from rows import claimed
from support import routes_of
from target import Target

from soundlora.server.endpoints import TRAINING
from soundlora.server.http.app import create_app
from soundlora.server.http.page import is_built
from soundlora.server.settings import Settings
from soundlora.server.store.finish import Outcome

SCRIPT = "<script>window.hit = 1</script>"
HTML = b"<!doctype html><title>x</title>" + SCRIPT.encode()
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="window.hit = 1"><script>window.hit = 1</script></svg>'
ACTIVE = [
    "text/html",
    "TEXT/HTML",
    "text/html; charset=utf-7",
    " text/html ",
    "text/html,audio/wav",
    "audio/wav,text/html",
    "audio/wav text/html",
    "application/xhtml+xml",
    "image/svg+xml",
    "Image/SVG+XML",
    "image/svg",
    "text/xml",
    "application/xml",
    "application/xslt+xml",
    "application/rss+xml",
    "application/mathml+xml",
    "text/javascript",
    "application/javascript",
    "text/css",
    "application/pdf",
    "application/x-shockwave-flash",
    "application/wasm",
    "application/manifest+json",
    "text/cache-manifest",
    "text/vtt",
    "message/rfc822",
    "multipart/x-mixed-replace; boundary=x",
    "multipart/related",
    "application/vnd.ms-htmlhelp",
    "text/plain\ttext/html",
    "",
    "*/*",
    "x",
    "audio/",
    "\xa0text/html",
]
"""Types that a browser would run, in their spellings."""
NAMES = [
    "a.html",
    "a.svg",
    "a.xhtml",
    "a.wav.html",
    "a.htm\0.wav",
    '"><img src=x onerror=alert(1)>.svg',
    'a";filename=b.html;x=".wav',
    "a\r\nContent-Type: text/html\r\n\r\n<script>.wav",
    "../../index.html",
    "..\\..\\index.html",
    "%2e%2e%2findex.html",
    "\u202elmth.wav",
    "ａ.html",
    "javascript:alert(1)",
    "CON",
    ".htaccess",
    "{{7*7}}",
]
TEXTS = [
    SCRIPT,
    '"><img src=x onerror="window.hit = 1">',
    "<svg onload='window.hit = 1'>",
    "<a href='javascript:window.hit = 1'>x</a>",
    "</title></textarea></style></script>" + SCRIPT,
    "{@html '" + SCRIPT + "'}",
    "javascript:window.hit = 1",
    "&lt;script&gt;window.hit = 1&lt;/script&gt;",
]
SAFE = {"application/octet-stream", "audio/wav", "text/plain; charset=utf-8", "application/json"}


def uploaded(target: Target, content: bytes, kind: str, name: str, way: str) -> str:
    """The address of a file that was sent in one of the ways."""
    if way == "whole":
        headers = {"Content-Type": kind.encode("latin-1"), "X-Fal-File-Name": name.encode().translate(None, b"\0\r\n")}
        return str(target.ask("POST", "/files/upload", content=content, headers=headers).json()["access_url"])
    given = target.ask("POST", "/storage/upload/initiate", json={"file_name": name, "content_type": kind}).json()
    assert target.ask("PUT", given["upload_url"], content=content, headers={"Content-Type": kind.encode("latin-1")})
    return str(given["file_url"])


def assert_harmless(answer: Any) -> None:
    """It is none of this server's pages to a browser, and runs nothing."""
    assert answer.headers["content-type"] in SAFE, answer.headers["content-type"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert policy.endswith("sandbox")
    assert "script" not in policy
    place = answer.headers["content-disposition"]
    assert place.startswith(("attachment; filename*=UTF-8''", "inline; filename*=UTF-8''"))
    assert place.startswith("attachment") or answer.headers["content-type"] != "application/octet-stream"
    assert not set(place.partition("UTF-8''")[2]) & set("\"';<>\\/ \r\n")


@pytest.mark.parametrize("way", ["whole", "signed"])
@pytest.mark.parametrize("kind", ACTIVE)
def test_no_type_makes_a_file_a_page(target: Target, kind: str, way: str) -> None:
    for content in (HTML, SVG):
        url = uploaded(target, content, kind, "a.html", way)
        for method, headers in (
            ("GET", {}),
            ("HEAD", {}),
            ("GET", {"Range": "bytes=0-10"}),
            ("GET", {"Range": "bytes=-10"}),
            ("GET", {"Accept": "text/html,image/svg+xml"}),
        ):
            answer = target.ask(method, url, headers=headers)
            assert answer.status_code in (200, 206)
            assert_harmless(answer)
            assert answer.headers["content-disposition"].startswith("attachment")
        again = target.ask("GET", url, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert_harmless(again)


@pytest.mark.parametrize("way", ["whole", "signed"])
@pytest.mark.parametrize("name", NAMES)
def test_no_name_makes_a_file_a_page(target: Target, name: str, way: str) -> None:
    url = uploaded(target, HTML, "audio/wav", name, way)
    assert not set(url.removeprefix("http://localhost/")) & set("\"'<>\\ %:;{}\r\n")
    answer = target.ask("GET", url)
    assert answer.content == HTML
    assert_harmless(answer)
    for other in ("index.html", "a.svg", "x"):  # the name in the address is for people, and makes no difference
        assert_harmless(target.ask("GET", url.rpartition("/")[0] + "/" + other))


@pytest.mark.parametrize("text", TEXTS)
def test_texts_come_back_as_json_and_never_as_a_page(target: Target, text: str) -> None:
    """Also in errors, which name what was sent."""
    payload = {
        "training_data_url": f"https://a.example/{text}",
        "trigger_phrase": text,
        "validation": [{"prompt": text}],
    }
    id = target.ask("POST", f"/{TRAINING}", json=payload).json()["request_id"]
    request, owner = claimed(target.service.requests)
    target.service.requests.beat(request.id, owner, progress={"message": text}, lines=[(1.0, "INFO", text)])
    target.service.requests.finish(id, owner, Outcome(200, {"note": text}))
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"/{TRAINING}/requests/{id}", {}),
        ("GET", f"/{TRAINING}/requests/{id}/status?logs=1", {}),
        ("GET", f"/v1/runs/{id}", {}),
        ("GET", "/v1/runs", {"params": {"search": text}}),
        ("GET", f"/v1/runs/{text}", {}),
        ("GET", f"/{text}", {}),
        ("GET", f"/fal-ai/{text}/requests/{text}", {}),
        ("POST", f"/fal-ai/{text}", {"json": {}}),
        ("POST", f"/{TRAINING}", {"params": {"fal_webhook": text}, "json": {}}),
        ("POST", f"/{TRAINING}", {"headers": {"X-Fal-Queue-Priority": text}, "json": {}}),
        ("POST", "/v1/datasets/inspect", {"json": {"training_data_url": text}}),
        ("GET", "/v1/models", {"params": {"endpoint_id": text}}),
        ("GET", "/api/openapi/queue/openapi.json", {"params": {"endpoint_id": text}}),
        ("GET", f"/models/{text}/llms.txt", {}),
        ("GET", f"/files/{text}/{text}", {}),
        ("GET", f"/assets/{text}", {}),
        ("GET", "/api/fal/proxy", {"headers": {"x-fal-target-url": f"https://fal.run/{text}"}}),
    ]
    for method, path, options in calls:
        answer = target.ask(method, path, **options)
        assert answer.headers["content-type"] == "application/json", path
        assert answer.headers["x-content-type-options"] == "nosniff", path
    for path in (f"/v1/runs/{id}/events", f"/{TRAINING}/requests/{id}/status/stream"):
        assert target.ask("GET", path).headers["content-type"].startswith("text/event-stream")


def test_one_page_alone_is_html(target: Target) -> None:
    """And no answer leaves its type to a browser's guess."""
    for route in routes_of(target.app):
        for method in route.methods:
            if method in ("GET", "HEAD") and not route.path.endswith("/events") and route.path != "/v1/machine":
                answer = target.ask(method, route.path.replace(":path", ""))
                kind = answer.headers["content-type"]
                assert kind.startswith("text/html") == (route.path == "/" and is_built()), route.path
                assert answer.headers["x-content-type-options"] == "nosniff", route.path


# ----------------------------------------------------------------------------------------------------------------------
# in a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return create_app(Settings(data_dir=tmp_path_factory.mktemp("data")), executor=False)


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    with live(app) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is missing (Debian, Ubuntu: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_the_page_shows_texts_as_texts(app: FastAPI, url: str, browser: Any) -> None:
    """Everything that a client, a clip or a log says: nothing of it becomes a part of the page."""
    if not is_built():
        pytest.skip("the page was not built")
    service, every = app.state.service, " ".join(TEXTS)
    payload = {
        "training_data_url": f"https://a.example/{every}",
        "trigger_phrase": every,
        "validation": [{"prompt": every}, {"prompt": every}],
    }
    done, failed, running = (service.requests.submit(TRAINING, payload, summary=every).id for _ in range(3))
    source = Path(service.settings.data_dir, "source")
    source.write_bytes(HTML)
    for id in (done, failed, running):
        _, owner = claimed(service.requests)
        service.requests.beat(id, owner, progress={"stage": every, "message": every}, lines=[(1.0, "WARN", every)])
        for role, name in (("lora", every), ("preview", "step_000010_prompt_0.wav"), ("report", every)):
            service.files.add(source, name=name, content_type=every, role=role, key_id="", request_id=id)
        if id == done:
            file = service.files.of_request(id, "lora")[0].to_file()
            service.requests.finish(id, owner, Outcome(200, {"lora_file": file, "report": file, "note": every}))
        if id == failed:
            outcome = Outcome(422, {"detail": [{"loc": ["body", every], "msg": every}]}, error=every, error_type=every)
            service.requests.finish(id, owner, outcome)
    page = browser.new_page()
    said: list[str] = []

    def dismiss(dialog: Any) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    for to in ("", "try", "history", f"run/{done}", f"run/{failed}", f"run/{running}"):
        page.goto(f"{url}/#/{to}")
        page.reload()
        if to not in ("", "try"):
            page.get_by_text("window.hit = 1").first.wait_for(state="attached", timeout=60_000)
        page.wait_for_timeout(300)
        assert page.evaluate("window.hit") is None, to
        assert page.evaluate("document.querySelectorAll('img[src=x], svg[onload], script:not([src])').length") == 0, to
        assert page.evaluate("document.querySelectorAll('a[href^=\"javascript:\" i]').length") == 0, to
    assert said == []
    page.close()


@pytest.mark.parametrize(("content", "kind"), [(HTML, "text/html"), (SVG, "image/svg+xml"), (HTML, "text/plain")])
def test_a_stored_page_runs_in_no_browser(url: str, browser: Any, content: bytes, kind: str) -> None:
    """Opened by its address, or put into a frame of this server's own origin."""
    page = browser.new_page()
    page.goto(f"{url}/health")
    address = page.evaluate(
        """async ([content, kind]) => (await (await fetch('/files/upload',
        {method: 'POST', body: content, headers: {'Content-Type': kind}})).json()).access_url""",
        [content.decode(), kind],
    )
    if kind == "text/plain":
        page.goto(address)
        assert page.evaluate("document.scripts.length") == 0
        assert SCRIPT in page.inner_text("body")
    else:
        with page.expect_download():
            page.evaluate("address => { location.href = address }", address)
        hit = page.evaluate(
            """address => new Promise(done => {
              const frame = document.createElement('iframe')
              frame.src = address
              document.body.append(frame)
              setTimeout(() => { try { done(frame.contentWindow.hit ?? null) } catch { done(null) } }, 500)
            })""",
            address,
        )
        assert hit is None
    assert page.evaluate("window.hit") is None
    page.close()
