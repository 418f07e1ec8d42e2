"""What the LoRA of a run is called: its title, and the file's name that is made of it."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from soundlora.errors import InputError
from soundlora.net.addresses import is_remote, is_url, public_name
from soundlora.system.file_names import short_stem
from soundlora.wording import setting

_ENDING = ".safetensors"


def check_name(name: str) -> None:
    """Raise InputError for a name that a file's name can't be made of. "" stands for none."""
    if name and not short_stem(name.removesuffix(_ENDING)):
        raise InputError(
            f"{setting('name')} is {name!r}, but it must have a letter or a digit, since the LoRA's file is called so.",
            field="name",
        )


def lora_title(name: str, trigger_phrase: str, data: str | os.PathLike[str]) -> str:
    """Return what people call the LoRA: by its name, else by its trigger phrase, else by its data, a path or a URL."""
    given = (name.removesuffix(_ENDING), trigger_phrase, _data_name(os.fspath(data)))
    return next((words for each in given if short_stem(words := _shown(each))), "lora")


def _shown(text: str) -> str:
    """Return the text in one line, without what a terminal would obey, and without bytes that are no text."""
    return "".join(c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cs"))


def _data_name(data: str) -> str:
    if is_remote(data):
        return Path(unquote(urlsplit(public_name(data)).path)).stem if is_url(data) else ""
    path = Path(os.path.abspath(os.path.expanduser(data)))
    return path.name if path.is_dir() else path.stem
