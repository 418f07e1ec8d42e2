"""The HTTP reference: every endpoint's fields, and every route with what it takes and answers.

What a route is for is said by the tables of docs/server.md, which the tests hold to the routes; the rest comes from the
OpenAPI documents of a server that is made for this and never listens.
"""

from __future__ import annotations

import copy
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi.openapi.utils import get_openapi
from site_pages import ROOT

from soundlora.server.endpoints import Endpoint
from soundlora.server.http.app import create_app
from soundlora.server.http.openapi import document
from soundlora.server.settings import Settings

_INTRODUCTION = """# HTTP reference

The endpoints and the routes of `soundlora serve`, from its own OpenAPI documents. [The server](../server.md) says how
to run it, and [clients](../clients.md) how programs call it. A running server hands the same documents out:
`GET /api/openapi/queue/openapi.json?endpoint_id=ID` and `GET /openapi.json`.
"""
_ROW = re.compile(r"^\| (`(?:GET|POST|PUT|PATCH|DELETE) .*?) \| (.*) \|$", re.MULTILINE)
# Characters of a default; a longer one stands with the meaning, where there is room.
_LONG = 40
# Said once above the routes.
_EVERYWHERE = {"422", "401", "403", "503"}


def reference() -> str:
    """Return the page as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder)), executor=False)
        app.state.service.database.close()
        endpoints: list[Endpoint] = list(app.state.service.endpoints.values())
        described = _openapi(app)
    return "\n".join([_INTRODUCTION, *_endpoints(endpoints), *_routes(described, endpoints[0])])


def routes_of(app: Any) -> list[Any]:
    """Return every route of an app, those of included routers as their own."""

    def walk(routes: list[Any]) -> Iterator[Any]:
        for route in routes:
            inner = getattr(route, "original_router", None)
            if inner is None:
                yield route
            else:
                yield from walk(inner.routes)

    return list(walk(app.routes))


def _openapi(app: Any) -> dict[str, Any]:
    """Return the OpenAPI document of all routes, of those too that the server's own document leaves out."""
    # Copies, since every app of a process has the same routes.
    routes = [copy.copy(route) for route in routes_of(app)]
    for route in routes:
        route.include_in_schema = True
        # A HEAD is a GET without its body.
        route.methods = route.methods - {"HEAD"}
    return get_openapi(title=app.title, version=app.version, routes=routes)


# ----------------------------------------------------------------------------------------------------------------------
# endpoints


def _endpoints(endpoints: list[Endpoint]) -> Iterator[str]:
    yield "## Endpoints\n\nA request is sent to `POST /ID` and its answer names where it stands.\n"
    yield "| id | what it does | price |\n|---|---|---|"
    for endpoint in endpoints:
        price = f"${endpoint.unit_price:g} a {endpoint.unit}" if endpoint.unit_price else "free"
        yield f"| [`{endpoint.id}`](#{_slug(endpoint.id)}) | {endpoint.title} | {price} |"
    yield "\nPrices are those of the hosted service where `--price-per-step` says nothing else.\n"
    first: dict[str, tuple[Endpoint, dict[str, Any]]] = {}
    for endpoint in endpoints:
        schemas = document(endpoint, "http://127.0.0.1:8420")["components"]["schemas"]
        (inputs,) = (name for name in schemas if name.endswith("Input"))
        (outputs,) = (name for name in schemas if name.endswith("Output"))
        yield f"### `{endpoint.id}`\n\n{endpoint.title}.\n"
        known, before = first.setdefault(endpoint.work, (endpoint, schemas[inputs]))
        if known is endpoint:
            yield f"Input:\n\n{_fields(schemas[inputs], schemas)}\nResult:\n\n{_fields(schemas[outputs], schemas)}"
        else:
            yield f"Input and result are those of [`{known.id}`](#{_slug(known.id)})" + _differences(
                before, schemas[inputs], schemas
            )


def _differences(before: dict[str, Any], now: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return the rest of the sentence that compares two inputs, with a table of the fields that differ."""
    old, new = before["properties"], now["properties"]
    other = {name: field for name, field in new.items() if field != old.get(name)}
    gone = [f"`{name}`" for name in old if name not in new]
    without = f", without {', '.join(gone)}" if gone else ""
    if not other:
        return f"{without}.\n"
    return f"{without}, but for these fields:\n\n{_fields(now | {'properties': other}, schemas)}"


def _slug(text: str) -> str:
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def _fields(schema: dict[str, Any], schemas: dict[str, Any], prefix: str = "") -> str:
    """Return a table of an object's fields; the fields of objects in it follow as `outer.inner`."""
    lines = [] if prefix else ["| field | type | default | range | meaning |", "|---|---|---|---|---|"]
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else _default(field)
        meaning = " ".join(str(field.get("description", "")).split()).replace("|", "\\|")
        if len(default) > _LONG:
            default, meaning = "a text", f"{meaning} By default {default}."
        lines.append(f"| `{prefix}{name}` | {_type(field)} | {default} | {_range(field)} | {meaning} |")
        inner = schemas.get(_reference(field))
        if inner and not prefix:
            lines += [_fields(inner, schemas, f"{name}.")]
    return "\n".join(line for line in lines if line) + ("" if prefix else "\n")


def _reference(field: dict[str, Any]) -> str:
    """Return the name of the schema that a field, or each of a list, refers to."""
    for each in (field, field.get("items", {}), *field.get("allOf", ()), *field.get("anyOf", ())):
        if "$ref" in each:
            return str(each["$ref"]).rpartition("/")[2]
        if "$ref" in each.get("items", {}):
            return str(each["items"]["$ref"]).rpartition("/")[2]
    return ""


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "enum" in field:
        return " or ".join(f"`{json.dumps(each)}`" for each in field["enum"])
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    for choices in ("anyOf", "allOf", "oneOf"):
        if choices in field:
            return " or ".join(dict.fromkeys(_type(each) for each in field[choices] if each.get("type") != "null"))
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("format", field.get("type", "any")))


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "" if value is None else f"`{json.dumps(value)}`"


def _range(field: dict[str, Any]) -> str:
    """Return the least and the largest value, of a number, a length of text or of a list."""
    for each in (field, *field.get("anyOf", ()), *field.get("allOf", ())):
        for least, most, unit in (
            ("minimum", "maximum", ""),
            ("exclusiveMinimum", "maximum", ""),
            ("minLength", "maxLength", " characters"),
            ("minItems", "maxItems", " entries"),
        ):
            low, high = each.get(least), each.get(most)
            if low is not None and high is not None:
                return f"{low:,} to {high:,}{unit}"
            if high is not None:
                return f"at most {high:,}{unit}"
            if low is not None:
                return f"{low:,} or more{unit}"
    return ""


# ----------------------------------------------------------------------------------------------------------------------
# routes


def _routes(described: dict[str, Any], endpoint: Endpoint) -> Iterator[str]:
    """Return the groups and rows of docs/server.md, each route with what its OpenAPI document adds."""
    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    own = document(endpoint, "")["paths"]
    by_shape = {_shape(path): methods for path, methods in described["paths"].items()}
    yield "## Routes\n"
    yield (
        "A call that needs a key answers 401 without a known one, and 403 where the server has no keys and the caller "
        "is elsewhere; 503 says that the database can't be reached, 422 that a parameter is wrong. All have a body "
        '`{"detail": …}`.\n'
    )
    for part in page.partition("\n## All routes\n")[2].split("\n### ")[1:]:
        yield f"### {part.splitlines()[0]}\n"
        for row in _ROW.finditer(part.partition("\n## ")[0]):
            spans = re.findall(r"`([^`]+)`", row[1])
            meaning = _in_site(row[2])
            yield f"#### {', '.join(f'`{span}`' for span in spans)}\n\n{meaning[:1].upper()}{meaning[1:]}.\n"
            said: dict[str, None] = {}  # routes of one row mostly say the same
            for span in spans:
                method, path = span.split()
                operation = by_shape.get(_shape(path), {}).get(method.lower()) or _of_queue(own, endpoint, method, path)
                said["\n".join(_operation(operation or {}, described))] = None
            yield from said


def _of_queue(paths: dict[str, Any], endpoint: Endpoint, method: str, path: str) -> dict[str, Any] | None:
    """Return the description of a route of the queue, which stands in each endpoint's document."""
    wanted = path.replace("/fal-ai/{path}", f"/{endpoint.id}").replace("{id}", "{request_id}")
    found: dict[str, Any] | None = paths.get(wanted.removesuffix("/response"), {}).get(method.lower())
    return found


def _operation(operation: dict[str, Any], described: dict[str, Any]) -> Iterator[str]:
    schemas = described.get("components", {}).get("schemas", {})
    # What a path names has no more to be said of it.
    parameters = [each for each in operation.get("parameters", []) if each["in"] != "path"]
    if parameters:
        yield "| parameter | type | default | range | meaning |\n|---|---|---|---|---|"
        for each in parameters:
            schema = each.get("schema", {})
            default = "required" if each.get("required") else _default(schema)
            words = " ".join(each.get("description", schema.get("description", "")).split())
            yield f"| `{each['name']}` | {_type(schema)} | {default} | {_range(schema)} | {words} |"
        yield ""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if _reference(body) in schemas:
        yield "Its body:\n"
        yield _fields(schemas[_reference(body)], schemas)
    answers = {
        code: words for code, words in operation.get("responses", {}).items() if code not in _EVERYWHERE | {"200"}
    }
    if answers:
        yield "Other answers:\n"
        yield "\n".join(f"- **{code}**: {words['description']}" for code, words in sorted(answers.items())) + "\n"


def _shape(path: str) -> str:
    """Return a path with all of its parameters alike."""
    return re.sub(r"{[^}]*}", "{}", path)


def _in_site(text: str) -> str:
    """Return a row of docs/server.md with its links meant from here."""
    return re.sub(r"\]\((?!\w+:|/)", "](../", text)
