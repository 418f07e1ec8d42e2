"""The setting that says which noise levels a training draws."""

from __future__ import annotations

import re
from typing import Any

from soundlora.errors import InputError
from soundlora.pipeline.settings import decimal
from soundlora.wording import setting

REFERENCE = "reference"
_RANGE = re.compile(r"(\d{0,3}\.?\d{1,9}) ?: ?(\d{0,3}\.?\d{1,9})", re.ASCII)


def noise_levels_of(name: str, value: Any) -> str:
    """Return the value as it is kept: reference, uniform, or LOW:HIGH. Raises InputError for anything else.

    name: of the setting.
    """
    text = value.strip() if isinstance(value, str) else ""
    band = _RANGE.fullmatch(text)
    if text not in (REFERENCE, "uniform") and not (band and 0 <= float(band[1]) < float(band[2]) <= 1):
        raise InputError(
            f"{setting(name)} is {str(value)[:60]!r}, but it must be reference, uniform, or a range of levels from 0 "
            "to 1, such as 0.3:0.9.",
            field=name,
        )
    return f"{decimal(float(band[1]))}:{decimal(float(band[2]))}" if band else text


def band_of(levels: str) -> tuple[float, float] | None:
    """Return the lowest and the highest noise level of levels drawn evenly, None for those of the reference."""
    if levels == REFERENCE:
        return None
    low, _, high = levels.partition(":")
    return (float(low), float(high)) if high else (0.0, 1.0)
