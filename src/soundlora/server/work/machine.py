"""What a worker's process has of its machine: the turn on the device, and the base that stays loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from soundlora.errors import InputError
from soundlora.server.work.turn import Turn

if TYPE_CHECKING:
    from soundlora.pipeline.generate import Generator
    from soundlora.pipeline.lora_use import LoraFile

Stamp = list[tuple[str, int, int]]


class NoRoomError(RuntimeError):
    """The device has no memory for a generation beside its training."""


class Keeper:
    """It keeps one generator between the requests of a process."""

    def __init__(self) -> None:
        self._generator: Generator | None = None
        self._key: tuple[str, str | None] = ("", None)
        self._stamp: Stamp = []

    def generator(
        self,
        base: str,
        text_encoder: str | None,
        loras: Sequence[LoraFile],
        device: str | None,
        *,
        beside: float | None = None,
    ) -> Generator:
        """Return a generator with these LoRAs, the kept one if it has this base.

        beside: the seconds of the sound, where the device's memory is shared with a training; None where it is not.
        Raises as `Generator` does, and NoRoomError.
        """
        # This takes torch, which a worker imports once it has something to do.
        from soundlora.pipeline.generate import Generator, check_room

        kept = self._generator
        if kept is not None and self._key == (base, text_encoder) and _stamp(kept) == self._stamp:
            self._generator = None  # It is not kept where an interrupt comes in the middle of the exchange.
            try:
                kept.exchange(loras)
            except InputError:
                self._generator = kept
                raise
            self._generator = kept
            return kept
        self._generator = kept = None  # its memory is free before the next one is loaded
        if beside is not None and not check_room(base, text_encoder, device, beside):
            raise NoRoomError("The device has no memory for it beside the training; it waits until that has ended")
        made = Generator(base, loras, text_encoder=text_encoder, device=device)
        self._generator, self._key, self._stamp = made, (base, text_encoder), _stamp(made)
        return made


@dataclass
class Machine:
    """What a request is done with. shared: a training has memory on the same device."""

    turn: Turn = field(default_factory=Turn)
    keeper: Keeper = field(default_factory=Keeper)
    shared: bool = False


def _stamp(generator: Generator) -> Stamp:
    """Return what changes when other files take the place of those that were loaded."""
    files = [*generator.base.checkpoint.paths, generator.base.text_encoder_path]
    found = [(path, path.stat()) for path in files if path.exists()]
    return [(str(path), stat.st_mtime_ns, stat.st_size) for path, stat in found]
