"""The sentence on stderr where the plain products are taken."""

from __future__ import annotations

import sys


def tell(reason: str | Exception) -> None:
    """Say why the plain products are taken. Of an error it is the first line."""
    said = str(reason).strip().partition("\n")[0] or type(reason).__name__
    print(f"The products of LoRA layers are not fused, and take more calls: {said}", file=sys.stderr)
