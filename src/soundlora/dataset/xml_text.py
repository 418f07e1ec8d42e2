"""XML that a stranger's file holds is parsed without a tree, without entities and as far as it is whole."""

from __future__ import annotations

import re
from typing import Protocol
from xml.etree import ElementTree

from soundlora.dataset.captions import decode_text

MOST_BYTES = 256 * 1024
"""No more of a document is read, which bounds its depth and its size."""
# With a document type come entities, which can grow without end. Neither a recorder nor XMP writes one.
_DOCUMENT_TYPE = re.compile(r"<!\s*(?:DOCTYPE|ENTITY)", re.I)
_DECLARATION = re.compile(r"^\s*<\?xml\s.*?\?>", re.S)


class Target(Protocol):
    """What is told of a document: its elements with their attributes, and the texts between."""

    def start(self, tag: str, attributes: dict[str, str]) -> None: ...

    def data(self, text: str) -> None: ...

    def end(self, tag: str) -> None: ...

    def close(self) -> object: ...


def parse(raw: bytes, target: Target) -> None:
    """Tell `target` the elements of a document up to its end, its first damage or the limit of `MOST_BYTES`.

    Nothing is told of one with a document type.
    """
    # Programs fill the room of a document with zeros, which would look like the half of UTF-16.
    plain = raw[:MOST_BYTES].rstrip(b"\0")
    text = decode_text(raw[:MOST_BYTES] if b"\0" in plain else plain, cut=True)[0].strip("\0 \t\r\n\ufeff")
    if _DOCUMENT_TYPE.search(text):
        return
    parser = ElementTree.XMLParser(target=target)
    try:
        # The text is decoded already, whatever the declaration says of its encoding.
        parser.feed(_DECLARATION.sub("", text))
        parser.close()
    except (ElementTree.ParseError, ValueError):
        pass  # what stands before the damage counts
