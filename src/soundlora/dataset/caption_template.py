"""The template of captions, such as "{trigger} {caption}, {room}": how a clip's texts become its caption."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from soundlora.dataset.captions import one_line, with_trigger
from soundlora.dataset.tags import TAG_FIELDS
from soundlora.errors import InputError
from soundlora.wording import setting

TEMPLATE_FIELDS = ("trigger", "caption", "file", "folder", *TAG_FIELDS)
"""What a template may ask of every clip; columns of tables come on top."""

_FIELD = re.compile(r"\{([^{}]*)\}")
# What stands between two texts and is left out where there is nothing before it.
_SEPARATORS = " ,;:.|/-–—"


def check_template(template: str, columns: Iterable[str] = (), *, known: bool = True) -> None:
    """Raise InputError where a template has a lone brace, or a field that is neither ours nor a column of a table.

    Without `known` the columns are not known yet, and any name is taken.
    """
    if not isinstance(template, str) or set(_FIELD.sub("", template)) & set("{}"):
        raise InputError(
            f"{setting('caption_template')} is {template!r}, but its braces must stand around the names of fields, "
            "such as {trigger} {caption}.",
            field="caption_template",
        )
    fields = dict.fromkeys((*TEMPLATE_FIELDS, *columns))
    for name in fields_of(template):
        if known and name not in fields:
            raise InputError(
                f"{setting('caption_template')} has a field {{{name}}}, but the known ones are {', '.join(fields)}.",
                field="caption_template",
            )


def fields_of(template: str) -> list[str]:
    """Return the names of the fields in a template, in small letters."""
    return [name.strip().lower() for name in _FIELD.findall(template)]


def filled(template: str, trigger: str, values: Mapping[str, str]) -> str:
    """Return the caption that a template gives. Without {trigger} in it, the trigger phrase is put before it.

    A field without a text is left out, and what stands before it, too: of "{caption}, {room}" remains "rain" where no
    room is known. Where no field but the trigger has a text, the trigger phrase stands alone.
    """
    template = template or "{caption}"
    trigger = one_line(trigger)
    pieces = _FIELD.split(template)
    parts: list[str] = []
    said = False
    for number, (before, field) in enumerate(zip(pieces[::2], pieces[1::2], strict=False)):
        name = field.strip().lower()
        text = trigger if name == "trigger" else values.get(name, "")
        if name == "caption" and "trigger" in fields_of(template):
            text = _without_trigger(trigger, text)
        said = said or bool(text and name != "trigger")
        if text or number == 0:
            # The first words of a template stay, unless they only separate.
            parts.append((before if parts and parts[-1] else before.lstrip(_SEPARATORS)) + text)
    if not said:
        return with_trigger(trigger, "")
    text = one_line("".join(parts) + pieces[-1]).strip()
    return text if "trigger" in fields_of(template) else with_trigger(trigger, text)


def _without_trigger(trigger: str, caption: str) -> str:
    """Return a caption without the trigger phrase at its start."""
    starts = trigger and with_trigger(trigger, caption)[len(trigger) :] == caption[len(trigger) :]
    return caption[len(trigger) :].lstrip(_SEPARATORS) if starts else caption
