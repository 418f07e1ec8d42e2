"""Answers are JSON in ASCII, which every client takes, whatever text another one has sent.

Half of a surrogate pair can stand in JSON, and so in an input and in what is told of it. UTF-8 has no bytes for it.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse as _JSONResponse


class JSONResponse(_JSONResponse):
    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
