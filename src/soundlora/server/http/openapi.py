"""These routes describe each endpoint: as an OpenAPI document for tools, and in words for language models."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from soundlora.server.endpoints import Endpoint
from soundlora.server.http.address import base_url
from soundlora.server.http.depends import service_of

router = APIRouter(tags=["description"])

_REF = "#/components/schemas/"
_SENTENCE = {
    "type": "object",
    "required": ["detail"],
    "properties": {"detail": {"type": "string"}},
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"description": "There is no such endpoint.", "content": {"application/json": {"schema": _SENTENCE}}}
}


@router.get("/api/openapi/queue/openapi.json", responses=_UNKNOWN)
def openapi(request: Request, endpoint_id: Annotated[str, Query(max_length=2000)]) -> dict[str, Any]:
    """Return the OpenAPI document of one endpoint."""
    return document(_endpoint(request, endpoint_id), base_url(request))


@router.get("/models/{endpoint_id:path}/llms.txt", response_class=PlainTextResponse, responses=_UNKNOWN)
def llms_txt(request: Request, endpoint_id: str) -> str:
    """Describe one endpoint in words: its input, its output and its price."""
    return words(_endpoint(request, endpoint_id), base_url(request))


def document(endpoint: Endpoint, address: str) -> dict[str, Any]:
    """Return the OpenAPI 3.0.4 document of the queue of one endpoint on the server at `address`."""
    name = _name(endpoint.id)
    schemas: dict[str, Any] = {"QueueStatus": _QUEUE_STATUS, "Error": _ERROR, "Cancellation": _CANCELLATION}
    for model, role in ((endpoint.input, "Input"), (endpoint.output, "Output")):
        schema = model.model_json_schema(ref_template=_REF + "{model}")
        schemas |= {inner: _older(each) for inner, each in schema.pop("$defs", {}).items()}
        schemas[name + role] = _older(schema) | {"title": name + role}
    for schema in schemas.values():
        schema["x-fal-order-properties"] = list(schema["properties"])
    one = f"/{endpoint.id}/requests/{{request_id}}"
    which = {
        "name": "request_id",
        "in": "path",
        "required": True,
        "description": "Request ID",
        "schema": {"type": "string", "format": "uuid"},
    }
    logs = {
        "name": "logs",
        "in": "query",
        "required": False,
        "description": "Whether to include logs (`1`) in the response or not (`0`).",
        "schema": {"type": "integer", "minimum": 0, "maximum": 1},
    }
    unknown = {"404": _answer("There is no such request.", "Error")}
    return {
        "openapi": "3.0.4",
        "info": {
            "title": f"Queue OpenAPI for {endpoint.id}",
            "version": "1.0.0",
            "description": f"The OpenAPI schema for the {endpoint.id} queue.",
            "x-fal-metadata": {
                "endpointId": endpoint.id,
                "category": endpoint.category,
                "thumbnailUrl": "",
                "playgroundUrl": f"{address}/",
                "documentationUrl": f"{address}/models/{endpoint.id}/llms.txt",
                "about": endpoint.title,
            },
        },
        "components": {
            "securitySchemes": {
                "apiKeyAuth": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Fal Key"}
            },
            "schemas": schemas,
        },
        "paths": {
            f"/{endpoint.id}": {
                "post": {
                    "operationId": "submit",
                    "requestBody": {"required": True, "content": _json(name + "Input")},
                    "responses": {
                        "200": _answer("The request is in the queue.", "QueueStatus"),
                        "400": _answer("The body is no JSON, or a header is wrong.", "Error"),
                        "413": _answer("The body is too large.", "Error"),
                        "429": _answer("The queue is full.", "Error"),
                        **_REFUSED,
                    },
                }
            },
            f"{one}/status": {
                "get": {
                    "operationId": "status",
                    "parameters": [which, logs],
                    "responses": {
                        "200": _answer("The request has completed.", "QueueStatus"),
                        "202": _answer("The request waits or runs.", "QueueStatus"),
                        **unknown,
                        **_REFUSED,
                    },
                }
            },
            f"{one}/cancel": {
                "put": {
                    "operationId": "cancel",
                    "parameters": [which],
                    "responses": {
                        "200": _answer("The request was waiting and has ended.", "Cancellation"),
                        "202": _answer("The request runs and will be stopped.", "Cancellation"),
                        "400": _answer("The request had completed.", "Cancellation"),
                        "404": _answer("There is no such request.", "Cancellation"),
                        **_REFUSED,
                    },
                }
            },
            one: {
                "get": {
                    "operationId": "result",
                    "parameters": [which],
                    "responses": {
                        "200": _answer("Result of the request.", name + "Output"),
                        "400": _answer("The request is still in progress.", "Error"),
                        "422": _answer("The input was wrong.", "Error"),
                        "499": _answer("The request was cancelled.", "Error"),
                        "500": _answer("The run failed.", "Error"),
                        "504": _answer("The request did not start, or not end, in time.", "Error"),
                        **unknown,
                        **_REFUSED,
                    },
                }
            },
        },
        "servers": [{"url": address}],
        "security": [{"apiKeyAuth": []}],
    }


def words(endpoint: Endpoint, address: str) -> str:
    """Return Markdown with an overview, the price, the input, the output, and a call of each client."""
    price = (
        f"- **Price**: ${endpoint.unit_price:g} per {endpoint.unit}; a request that fails costs nothing."
        if endpoint.unit_price
        else "- **Price**: free on this server."
    )
    wanted = json.dumps(
        {name: f"<{name}>" for name, field in endpoint.input.model_fields.items() if field.is_required()}
    )
    return "\n".join(
        [
            f"# {endpoint.title}",
            "",
            "## Overview",
            "",
            f"- **Endpoint**: `{address}/{endpoint.id}`",
            f"- **Model ID**: `{endpoint.id}`",
            f"- **Category**: {endpoint.category}",
            "- **Kind**: inference" if endpoint.category != "training" else "- **Kind**: training",
            "",
            "## Pricing",
            "",
            price,
            "",
            "## Input Schema",
            "",
            *_fields(endpoint.input),
            "## Output Schema",
            "",
            *_fields(endpoint.output),
            "## Usage Examples",
            "",
            "### cURL",
            "",
            "```bash",
            f"curl --request POST --url {address}/{endpoint.id} \\",
            '  --header "Authorization: Key $FAL_KEY" --header "Content-Type: application/json" \\',
            f"  --data '{wanted}'",
            "```",
            "",
            "### Python",
            "",
            "```python",
            "import fal_client",
            "import soundlora.client",
            "",
            f'soundlora.client.connect("{address}")',
            f'result = fal_client.subscribe("{endpoint.id}", arguments={wanted})',
            "```",
            "",
            "## Additional Resources",
            "",
            f"- OpenAPI: {address}/api/openapi/queue/openapi.json?endpoint_id={endpoint.id}",
            "",
        ]
    )


def _fields(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema(ref_template=_REF + "{model}")
    required = schema.get("required", [])
    lines = []
    for name, field in schema["properties"].items():
        lines += [
            f"- **`{name}`** (`{_kind(field)}`, _{'required' if name in required else 'optional'}_):",
            f"  {field.get('description', '')}",
        ]
        if field.get("default") is not None:
            lines.append(f"  - Default: `{json.dumps(field['default'])}`")
        if "minimum" in field or "maximum" in field:
            lines.append(f"  - Range: `{field.get('minimum', '')}` to `{field.get('maximum', '')}`")
        if "enum" in field:
            lines.append(f"  - Options: {', '.join(f'`{json.dumps(each)}`' for each in field['enum'])}")
        lines.append("")
    return lines


def _kind(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "anyOf" in field:
        return " | ".join(_kind(each) for each in field["anyOf"] if each.get("type") != "null")
    if field.get("type") == "array":
        return f"list<{_kind(field['items'])}>"
    return str(field.get("type", "enum" if "enum" in field else "any"))


def _endpoint(request: Request, endpoint_id: str) -> Endpoint:
    endpoint = service_of(request).endpoints.get(endpoint_id)
    if endpoint is None:
        raise HTTPException(404, f"There is no endpoint {endpoint_id[:200]!r}.")
    return endpoint


def _name(endpoint_id: str) -> str:
    """Return the endpoint's name for schemas: fal-ai/ltx23-trainer-v2/t2a becomes Ltx23TrainerV2T2a."""
    parts = endpoint_id.partition("/")[2].replace("/", "-").replace(".", "-").split("-")
    return "".join(part[:1].upper() + part[1:] for part in parts)


def _older(schema: Any) -> Any:
    """Return a JSON Schema in the form of OpenAPI 3.0."""
    if isinstance(schema, list):
        return [_older(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    said = {name: each if name in ("default", "enum", "required") else _older(each) for name, each in schema.items()}
    choices = said.get("anyOf", [])
    if {"type": "null"} in choices:
        rest = [each for each in choices if each != {"type": "null"}]
        del said["anyOf"]
        said["nullable"] = True
        if len(rest) == 1 and "$ref" not in rest[0]:
            said = rest[0] | said
        else:
            said["allOf" if len(rest) == 1 else "anyOf"] = rest
    if "const" in said:
        said["enum"] = [said.pop("const")]
    return said


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF + schema}}}


def _answer(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": _json(schema)}


_REFUSED = {
    "401": _answer("A key is missing or unknown.", "Error"),
    "403": _answer("The server has no keys and answers its own machine only.", "Error"),
    "503": _answer("The database can't be reached, or the workers vanished.", "Error"),
}
_URL = {"type": "string", "format": "uri", "nullable": True}
_QUEUE_STATUS = {
    "type": "object",
    "title": "QueueStatus",
    "required": ["status", "request_id"],
    "properties": {
        "status": {"type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]},
        "request_id": {"type": "string", "description": "The request id."},
        "response_url": _URL,
        "status_url": _URL,
        "cancel_url": _URL,
        "logs": {"type": "array", "nullable": True, "items": {"type": "object"}, "description": "Lines of the log."},
        "metrics": {"type": "object", "description": "inference_time in seconds, when it has completed."},
        "queue_position": {"type": "integer", "minimum": 0, "description": "How many requests wait before it."},
        "error": {"type": "string", "description": "Why it failed."},
        "error_type": {"type": "string", "nullable": True},
    },
}
_ERROR = {
    "type": "object",
    "title": "Error",
    "required": ["detail"],
    "properties": {
        "detail": {
            "description": "A sentence; or, where the input or the run is at fault, what is wrong where.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}],
        },
        "error_type": {"type": "string"},
    },
}
_CANCELLATION = {
    "type": "object",
    "title": "Cancellation",
    "required": ["status", "success"],
    "properties": {
        "status": {"type": "string", "enum": ["OK", "CANCELLATION_REQUESTED", "ALREADY_COMPLETED", "NOT_FOUND"]},
        "success": {"type": "boolean"},
    },
}
