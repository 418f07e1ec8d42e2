"""Names of files that are made from people's words."""

from __future__ import annotations

import re
import unicodedata

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
# Earlier versions wrote step_000500.safetensors. A LoKr says so behind its steps.
_STEPS = re.compile(r"(?:step_|.+-)(\d+)(?:-lokr)?\.safetensors", re.S)
_LONGEST_STEM, _MOST_BYTES = 48, 120
"""The characters of a stem, and its bytes in UTF-8, which a letter of some alphabets takes three of."""
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\..*)?", re.I | re.S)


def portable_name(name: str) -> str:
    """Return `name` as every system takes it for a file's name: most names stay as they are.

    Windows forbids some characters, drops dots and spaces at the end, and takes `nul.wav` for a device.
    """
    name = _FORBIDDEN.sub("_", name).rstrip(". ") or "_"
    return f"_{name}" if _DEVICES.fullmatch(name) else name


def lora_file_name(title: str, steps: int, form: str = "lora") -> str:
    """Return the name of a LoRA's file, on every system and in every shell: `rusty-gate-2000.safetensors`.

    form: lokr stands behind the steps of a file in such a form: `rusty-gate-2000-lokr.safetensors`.
    """
    return f"{short_stem(title)}-{steps}{'' if form == 'lora' else f'-{form}'}.safetensors"


def steps_of(name: str) -> int | None:
    """Return the steps that the name of a checkpoint's LoRA ends in, None for another file."""
    found = _STEPS.fullmatch(name)
    return None if found is None else int(found[1])


def short_stem(words: str) -> str:
    """Return a file's name without its ending, made of people's words: `Rusty gate!` → `Rusty-gate`.

    Letters, marks and digits of every alphabet stay; what a shell or an address would have to quote becomes a dash. It
    is "" where nothing is left.
    """
    kept = (
        c if c in "._-" or unicodedata.category(c)[0] in "LMN" else "-" for c in unicodedata.normalize("NFC", words)
    )
    stem = re.sub(r"-{2,}", "-", "".join(kept)).strip("._-")[:_LONGEST_STEM]
    stem = stem.encode()[:_MOST_BYTES].decode(errors="ignore").rstrip("._-")
    return portable_name(stem) if stem else ""
