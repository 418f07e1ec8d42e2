"""The gradient of some clips: a function of fixed shapes, which a GPU records once and then replays.

In shapes n is clips, T latents, R those of a reference in front, C their channels, S tokens of the context, D its
width.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from soundlora.lora.adapter import Adapter
from soundlora.lora.layer import LoRALinear
from soundlora.model.attention import Attention
from soundlora.model.condition import Condition
from soundlora.model.config import AudioConfig
from soundlora.model.transformer import Block, Sum
from soundlora.system.devices import empty_cache, pins
from soundlora.training.flow import either, error_per_sample, noisy, slid
from soundlora.training.kernels.card import fused

_BEFORE_RECORDING = 3  # calls of a shape, in which libraries choose their kernels
# Compiling pays from so many blocks times steps. It takes 25 s, or 4 s where an earlier run left its kernels, and then
# saves 0.2 ms a block and step on an H200.
_WORTH_COMPILING = 90_000

Then = Callable[[Tensor], Tensor]


class Samples(NamedTuple):
    """The tensors that a gradient is computed from. They are on one device, where `projected` always lies."""

    clean: Tensor  # (n, T, C)
    noise: Tensor  # (n, T, C)
    sigma: Tensor  # (n,)
    context: Tensor  # (n, S, D)
    given: Tensor | None = None  # (n, T) bool, see `Condition`
    reference: Tensor | None = None  # (n, R, C)
    projected: Tensor | None = None  # (n, blocks, S, 2C), see `AudioTransformer.project_text`
    padding: Tensor | None = None  # (n, T) bool, silence behind short clips, which counts nothing
    preserving: bool = False  # whether the target is the base's own velocity instead of the clips'
    ends: Tensor | None = None  # (n, 2, S, D), contexts between which a slider goes, see `flow.slid`
    strength: float = 1.0  # at which the adapter works

    def pinned(self) -> Samples:
        """Return the samples in memory that a GPU copies from while the host goes on."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> Samples:
        """Return the samples on a device. The host does not wait for pinned ones."""
        # Where memory is not pinned, the host might write over it while a copy that it does not wait for still reads.
        return self._each(lambda tensor: tensor.to(device, non_blocking=pins(device)))

    def _each(self, move: Callable[[Tensor], Tensor]) -> Samples:
        """Return the samples with `move` done to all tensors but `projected`, which lies where it belongs."""
        tensors = {name: each for name, each in self._asdict().items() if isinstance(each, Tensor)}
        moved: dict[str, Any] = {name: move(tensor) for name, tensor in tensors.items()}
        return self._replace(**moved | {"projected": self.projected})

    @property
    def shape(self) -> tuple[object, ...]:
        """What a recording is made for: samples of another shape need another one."""
        return tuple(part.shape if isinstance(part, Tensor) else part for part in self)


class Gradient:
    """Adds the samples' share of a batch's gradient to the adapter's. It reads nothing back from the device.

    A full-size step is thousands of short calls, which take the host longer to make than the GPU to carry out. So a GPU
    has layers with one input joined, and their products made by `kernels`. In long runs the operations between two
    products are compiled to one call. All calls are then recorded as a CUDA graph, one for each shape of samples, which
    a single call starts.
    """

    def __init__(
        self, adapter: Adapter, audio: AudioConfig, batch_size: int, steps: int = 1, gathers: bool = True
    ) -> None:
        """batch_size: clips a step, over which the loss is averaged. steps: the number of steps that a run takes.

        gathers: see `Adapter.join`.
        """
        self.adapter, self.model, self.audio, self.batch_size = adapter, adapter.model, audio, batch_size
        self.device = self.model.audio_patchify_proj.weight.device
        # On CPUs larger products are no faster. A recording reads weights where they lay when it was made, and those of
        # an offloaded model come and go.
        fast = self.device.type == "cuda" and not self.model.offloaded
        if fast:
            long = steps * len(self.model.transformer_blocks) >= _WORTH_COMPILING
            adapter.join(gathers, fused(self.device, tunes=long))
            # Without joints a quantised base's steps are spent on widening it.
            if long and adapter.joints and compiles(self.device):
                compile_blocks(adapter)
        self._ropes: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._calls: dict[tuple[object, ...], int] = {}
        self._recordings: dict[tuple[object, ...], _Recording] = {}
        self._records = fast
        # Streams and recordings are those of the current GPU, whichever the tensors are on.
        self._on_device = torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()
        self._pool: Any = None  # memory that recordings share, since they run one after the other

    def add(self, samples: Samples, then: Then | None = None) -> Tensor:
        """Add the gradient of samples in the host's memory, and return their losses (n,) on the device.

        then: what is done with the losses, in the same recording; its result is returned in their place. It reads
        nothing back, and is always the same function.
        """
        with self._on_device:
            return self._recorded(samples, then)

    def forget(self) -> None:
        """Give back the memory that recordings keep for the next call, which then records anew."""
        if self._recordings:
            self._recordings.clear()
            self._pool = None
            empty_cache(self.device)

    def _recorded(self, samples: Samples, then: Then | None) -> Tensor:
        """Do what `_add` does, by a recording once there is one."""
        shape = *samples.shape, then is not None
        if shape in self._recordings:
            return self._recordings[shape].replay(samples)
        calls = self._calls[shape] = self._calls.get(shape, 0) + 1
        if self._records and calls > _BEFORE_RECORDING:
            try:
                recording = _Recording(partial(self._add, then=then), samples.to(self.device), self._pool)
            except RuntimeError as error:
                # Recording carries nothing out, so only speed is lost.
                self._records = False
                print(f"The training step could not be recorded, and runs call by call: {error}", file=sys.stderr)
            else:
                self._recordings[shape], self._pool = recording, recording.graph.pool()
                return recording.replay(samples)
        return self._add(samples.to(self.device), then)

    def _add(self, samples: Samples, then: Then | None = None) -> Tensor:
        with self.adapter.at(samples.strength):
            losses = self._computed(samples)
        return losses if then is None else then(losses)

    def _computed(self, samples: Samples) -> Tensor:
        """Add the gradient of samples on the device, and return their losses (n,)."""
        clean, noise, sigma, given = samples.clean, samples.noise, samples.sigma, samples.given
        condition, tokens = Condition(given, samples.reference), clean.shape[1]
        place = condition.front, tokens
        if place not in self._ropes:
            # cos and sin, (1, H, R + T, head_dim/2) each
            self._ropes[place] = self.model.rope(condition.positions(tokens, self.audio).to(self.device))
        self.adapter.refresh()
        x = condition.sequence(noisy(clean, noise, sigma), clean)  # (n, R + T, C)
        mask = condition.mask(tokens, self.device)  # (n, R + T)
        rope = self._ropes[place]

        def velocity(context: Tensor = samples.context, projected: Tensor | None = samples.projected) -> Tensor:
            out: Tensor = self.model(x, sigma[:, None], sigma, context, rope, projected=projected, given=mask)
            return out[:, condition.front :]  # (n, T, C)

        target = noise - clean  # (n, T, C)
        if samples.preserving or samples.ends is not None:
            with torch.no_grad(), self.adapter.switched_off():
                target = velocity().float()  # (n, T, C)
                if samples.ends is not None:
                    low, high = (velocity(context, None).float() for context in samples.ends.unbind(1))
                    target = slid(target, low, high, samples.strength)
        losses = error_per_sample(velocity(), target, either(given, samples.padding))  # (n,)
        (losses.sum() / self.batch_size).backward()
        self.adapter.settle()
        return losses.detach()


def compile_blocks(adapter: Adapter) -> None:
    """Let one kernel do all that lies between two products. The products stay calls of the library best at them."""
    for module in adapter.model.modules():
        if isinstance(module, Attention | LoRALinear) and module.joint is not None:
            module.joint = torch.compiler.disable(module.joint)
        if isinstance(module, Attention) and module.joint_of_context is not None:
            module.joint_of_context = torch.compiler.disable(module.joint_of_context)
    model = adapter.model
    # A block's last sum is part of the next block's first kernel, unless it is what a second pass begins with.
    blocks = [block for block in model.transformer_blocks if isinstance(block, Block)]
    parts: list[Callable[..., Tensor | Sum]] = [block if model.checkpointing else block.unsummed for block in blocks]
    model.compiled = [torch.compile(part, dynamic=False) for part in parts]


def compiles(device: torch.device) -> bool:
    """Say whether torch compiles on this device. If not, a sentence on stderr says why, and only speed is lost."""
    try:
        torch.compile(torch.nn.functional.silu)(torch.zeros(8, device=device))
    except Exception as error:  # any of three libraries may find something missing, each with errors of its own
        reason = str(error).strip().partition("\n")[0]
        print(f"The training step could not be compiled, and takes half as long again: {reason}", file=sys.stderr)
        return False
    return True


class _Recording:
    """A CUDA graph, and the memory that it reads and writes."""

    def __init__(self, function: Callable[[Samples], Tensor], samples: Samples, pool: Any) -> None:
        """Record `function`. samples: they are on the GPU, and become the graph's own."""
        if samples.projected is not None:  # that of a caption, which stays as it is
            samples = samples._replace(projected=samples.projected.clone())
        self.samples = samples
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.result = function(samples)

    def replay(self, samples: Samples) -> Tensor:
        """Run the graph on new samples of the same shapes, and return what the function does."""
        for mine, new in zip(self.samples, samples, strict=True):
            if isinstance(mine, Tensor) and isinstance(new, Tensor):
                mine.copy_(new, non_blocking=True)
        self.graph.replay()
        return self.result.clone()  # the next replay writes over it
