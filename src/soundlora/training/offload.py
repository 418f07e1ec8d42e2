"""Blocks of the frozen transformer whose weights lie in the host's memory, and come to the device as they are needed.

A block is needed for a moment in the forward pass, and for another in the backward pass, where its activations are
computed again. The device holds the weights of two such blocks: of the one that computes, and of the next, which is
copied meanwhile. Nothing is rounded, so the numbers are those of a model that lies on the device as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from soundlora.model.transformer import AudioTransformer
from soundlora.system.devices import pins

SLOTS = 2
"""The blocks whose weights the device has room for at a time."""


def chosen_blocks(count: int, blocks: int) -> list[int]:
    """Return the numbers of `count` blocks, or of all if there are fewer.

    They are evenly spread: while one of them is copied, the blocks between it and the last one compute.
    """
    count = min(count, blocks)
    return [number * blocks // count for number in range(count)]


def offload(model: AudioTransformer, count: int, device: torch.device) -> None:
    """Move a model from the host's memory to the device, all but the weights of `count` blocks.

    model: it is frozen, on the CPU, and has no adapter yet. From then on its activations are computed again in the
    backward pass, which needs the weights a second time.
    """
    numbers = chosen_blocks(count, len(model.transformer_blocks))
    away = [_Weights(model.transformer_blocks[number], device) for number in numbers]
    for number, block in enumerate(model.transformer_blocks):
        if number not in numbers:
            block.to(device)
    for name, child in model.named_children():
        if name != "transformer_blocks":
            child.to(device)
    for name, parameter in model.named_parameters(recurse=False):
        setattr(model, name, nn.Parameter(parameter.detach().to(device), requires_grad=False))
    model.checkpointing = model.offloaded = True
    fetcher = _Fetcher(away, device)
    for place, number in enumerate(numbers):
        model.transformer_blocks[number].register_forward_pre_hook(
            lambda module, inputs, place=place: fetcher.bring(place)
        )


class _Weights:
    """The weights of a block, in the host's memory; pinned where the device then copies them by itself."""

    def __init__(self, block: nn.Module, device: torch.device) -> None:
        self.places = [
            (module, name) for module in block.modules() for name, own in module.named_parameters(recurse=False)
        ]
        self.host = [module.get_parameter(name) for module, name in self.places]
        if pins(device):
            for parameter in self.host:
                _pin(parameter)

    def use(self, parameters: Sequence[nn.Parameter]) -> None:
        """Let the block compute with these."""
        for (module, name), parameter in zip(self.places, parameters, strict=True):
            setattr(module, name, parameter)


class _Fetcher:
    """The device's room for two blocks' weights, and the copies into it."""

    def __init__(self, away: Sequence[_Weights], device: torch.device) -> None:
        self.away, self.device = away, device
        self.room = [
            [nn.Parameter(parameter.detach().to(device).clone(), requires_grad=False) for parameter in away[0].host]
            for _ in range(min(SLOTS, len(away)))
        ]
        self.held: list[int | None] = [None] * len(self.room)  # the place of the block in each slot
        self.last = 0
        # Copies on a stream of their own go on while the device computes.
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.arrived: list[torch.cuda.Event | None] = [None] * len(self.room)

    def bring(self, place: int) -> None:
        """Have the weights of the block on the device before it computes, and those of the next one on their way."""
        # The passes go up through the blocks, and the backward pass down.
        following = place + 1 if place >= self.last else place - 1
        self.last = place
        slot = self._fetch(place)
        event = self.arrived[slot]
        if event is not None:
            torch.cuda.current_stream(self.device).wait_event(event)
        if len(self.room) > 1 and 0 <= following < len(self.away):
            self._fetch(following, besides=slot)

    def _fetch(self, place: int, besides: int | None = None) -> int:
        """Return the slot that the block's weights are in, or will be as soon as they are copied."""
        if place in self.held:
            return self.held.index(place)
        slot = self._free(place, besides)
        before = self.held[slot]
        if before is not None:
            self.away[before].use(self.away[before].host)
            self.held[slot] = None  # whatever interrupts the copies, the slot holds no whole block
        with self._beside(slot), torch.no_grad():
            for here, there in zip(self.room[slot], self.away[place].host, strict=True):
                for target, source in zip(_plain(here), _plain(there), strict=True):
                    target.copy_(source, non_blocking=self.stream is not None)
        self.away[place].use(self.room[slot])
        self.held[slot] = place
        return slot

    def _free(self, place: int, besides: int | None) -> int:
        """Return the slot to use: an empty one, or the one whose block is farthest from this one."""
        slots = [slot for slot in range(len(self.room)) if slot != besides]
        return max(slots, key=lambda slot: float("inf") if (held := self.held[slot]) is None else abs(held - place))

    @contextmanager
    def _beside(self, slot: int) -> Iterator[None]:
        """Put copies into a slot on the stream. They wait for what computes with its weights so far."""
        if self.stream is None:
            yield
            return
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            yield
            self.arrived[slot] = self.stream.record_event()


def _plain(parameter: Tensor) -> list[Tensor]:
    """Return the tensors that a weight is made of: itself, or the values and scales of a quantised one."""
    if not is_traceable_wrapper_subclass(parameter):
        return [parameter]
    names, _ = parameter.__tensor_flatten__()
    return [getattr(parameter, name) for name in names]


def _pin(parameter: nn.Parameter) -> None:
    """Pin a weight's memory. Where the system grants no more of it, the weight stays as it is, and is copied slower."""
    try:
        if not is_traceable_wrapper_subclass(parameter):
            parameter.data = parameter.data.pin_memory()
            return
        for name in parameter.__tensor_flatten__()[0]:
            setattr(parameter, name, getattr(parameter, name).pin_memory())
    except RuntimeError:
        pass
