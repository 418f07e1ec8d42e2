"""`soundlora base check`: does this base sound as it should?

A wrong switch, a wrong precision or a damaged download gives no error, but noise. The check needs no reference of the
base. It compares a base with itself: each measure is a ratio, an order or a law that any trained base keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from soundlora.pipeline.base_measures import (
    Line,
    of_blocks,
    of_codec,
    of_kept_text,
    of_losses,
    of_norms,
    of_plain,
    of_precision,
    of_samples,
    of_stored,
    of_text,
    of_text_ways,
    of_ways,
)
from soundlora.pipeline.base_probe import Probe
from soundlora.pipeline.base_sound import clips, round_trip
from soundlora.pipeline.base_text import Text
from soundlora.system.devices import compute_dtype
from soundlora.version import __version__
from soundlora.weights.base import Base, check_holds


@dataclass(frozen=True)
class Report:
    """All lines, and which base, program and numbers they are of. It names no path and nothing of the machine."""

    base: dict[str, Any]
    soundlora: str
    torch: str
    device: str
    lines: tuple[Line, ...]

    @property
    def fine(self) -> bool:
        return all(line.fine is not False for line in self.lines)

    def as_json(self) -> dict[str, Any]:
        return {"fine": self.fine, **asdict(self)}


OnLine = Callable[[Line], None]


def check_base(
    base: Base,
    device: torch.device,
    *,
    quantization: str | None = None,
    seed: int = 0,
    on_line: OnLine | None = None,
) -> Report:
    """Measure a base on the clips that come with the package. on_line is called with each line as it is there.

    Raises as `Base.transformer` and `Base.contexts` do.
    """
    lines: list[Line] = []
    for line in measured(base, device, quantization, seed):
        lines.append(line)
        if on_line is not None:
            on_line(line)
    numbers = quantization or str(compute_dtype(device)).removeprefix("torch.")
    described = {
        "hash": base.hash,
        "generation": base.generation.title,
        "layers": base.config.transformer.layers,
        "width": base.config.transformer.width,
        "prompt_adaln": base.config.transformer.prompt_adaln,
        "ff_bias": base.config.transformer.ff_bias,
        "numbers": numbers,
    }
    return Report(described, __version__, torch.__version__, device.type, tuple(lines))


def measured(base: Base, device: torch.device, quantization: str | None = None, seed: int = 0) -> Iterator[Line]:
    """Yield the lines of `check_base` one by one, and raise as it does."""
    if quantization is not None:
        check_holds(device, quantization)
    sounds = clips()
    codec = base.codec(device, encoder=True, decoder=True)
    trip, latents = round_trip(codec, sounds)
    yield from of_codec(codec, trip, latents[0])
    yield from of_stored(base)
    text = Text(base, [clip.caption for clip in sounds], device)
    # With bf16 blocks some processors multiply in bf16, too.
    rounding = 5e-4 if compute_dtype(device) == torch.float32 and quantization != "bf16" else 0.05
    yield from of_text(text, rounding)
    model = base.transformer(device, quantization)
    probe = Probe(model, base.config.audio, latents, text.contexts[:-1], seed)
    # What takes longest comes last.
    yield of_plain(probe, rounding)
    yield from of_norms(probe)
    yield from of_kept_text(probe)
    yield of_precision(base, device, probe)
    yield from of_losses(probe)
    yield of_text_ways(text, probe)
    yield from of_samples(base, codec, probe, sounds, text.contexts[-1], seed)
    yield from of_blocks(probe)
    yield from of_ways(probe)
