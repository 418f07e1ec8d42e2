"""What a LoRA can learn. Each mode has its data, the hosted endpoints that train it, and their price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ModeName = Literal["t2a", "extend-prefix", "extend-suffix", "inpaint", "a2a"]
GivenPart = Literal["nothing", "start", "end", "spans", "reference"]


@dataclass(frozen=True)
class Mode:
    """given: the part of a clip that is given, while the rest is learnt.

    endpoints: the last parts of the hosted names, the first of which names the training in a LoRA's header.
    """

    name: ModeName
    title: str
    given: GivenPart
    endpoints: tuple[str, ...]
    price_per_step: float  # US dollars, as hosted

    @property
    def takes_seconds(self) -> bool:
        """Whether a number of seconds says how much is given."""
        return self.given in ("start", "end")

    @property
    def partner(self) -> Literal["", "spans", "reference"]:
        """What every clip of the data set needs beside it, in the words of `dataset.partners`."""
        return self.given if self.given in ("spans", "reference") else ""


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode("t2a", "text to audio", "nothing", ("t2a",), 0.0022),
        Mode("extend-prefix", "audio extension", "start", ("audio-extend-prefix",), 0.0022),
        Mode("extend-suffix", "audio lead-in", "end", ("audio-extend-suffix",), 0.0023),
        Mode("inpaint", "audio inpainting", "spans", ("audio-inpaint",), 0.0023),
        Mode("a2a", "audio to audio", "reference", ("a2a", "ic-lora/a2a"), 0.0023),
    )
}
assert tuple(MODES) == get_args(ModeName)
