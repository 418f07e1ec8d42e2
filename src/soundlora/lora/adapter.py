"""Adapters, which are put around linear layers and saved so that they load everywhere.

They are saved under the official names, which ComfyUI, diffusers and LTX's own pipelines share. A plain LoRA has no
alpha, which two of the three ignore or refuse; the scale alpha/rank is folded into B. A LoKr is saved in its
own form, and `plain` makes the plain LoRA of it that comes nearest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor, nn

from soundlora.errors import InputError
from soundlora.lora.file import read_lora, write_matrices
from soundlora.lora.forms import FileForm, Form, Matrices, form_of, fresh_layer, layer_of, size_of
from soundlora.lora.joint import Aside, Joint, Joints, Kernels, linear_of
from soundlora.lora.layer import AdapterLayer, LoRALinear, TrainableLayer
from soundlora.lora.pair import Pair
from soundlora.lora.targets import GROUPS, part_of, target_names
from soundlora.model.attention import Attention
from soundlora.model.quantize import QuantizedLinear, in_eight_bits, widened
from soundlora.model.transformer import AudioTransformer
from soundlora.system.devices import empty_cache

_LARGE = 1.0
"""Times the size of the weights: a LoRA that was trained stays far below, and nano's lie between 0.01 and 0.3."""


class Adapter:
    """The adapter's layers inside one transformer."""

    def __init__(self, model: AudioTransformer, layers: Mapping[str, AdapterLayer], form: FileForm = "lora") -> None:
        self.model = model
        self.layers = layers  # by module name, such as transformer_blocks.0.audio_attn1.to_q
        self.form = form
        self.joints: list[Joints] = []

    @classmethod
    def create(
        cls,
        model: AudioTransformer,
        rank: int,
        *,
        targets: str = "all",
        alpha: float | None = None,
        rslora: bool = False,
        seed: int = 0,
        form: Form = "lora",
    ) -> Adapter:
        """Put a fresh adapter into the model. It leaves the output unchanged, see `forms.fresh_layer`.

        targets: a key of `PRESETS`. alpha: None takes the rank. rslora: the scale is alpha/√rank instead of alpha/rank
        (Kalajdzievski 2023, arXiv:2312.03732). Raises InputError when there is no such preset.
        """
        generator = torch.Generator().manual_seed(seed)
        layers = {}
        device = model.audio_patchify_proj.weight.device
        for name in target_names(model, targets):
            linear = model.get_submodule(name)
            assert isinstance(linear, nn.Linear)
            layers[name] = fresh_layer(form, linear, rank, scale_of(rank, alpha, rslora), generator, device)
        for name, layer in layers.items():
            _put(model, name, layer)
        return cls(model, layers, form)

    @classmethod
    def attach(cls, model: AudioTransformer, weights: Mapping[str, Pair | Matrices], scale: float = 1.0) -> Adapter:
        """Wrap the named modules with pairs of A (rank, inputs) and B (outputs, rank), or matrices of other forms.

        Raises InputError when a name or shape does not fit the model.
        """
        layers = {}
        device = model.audio_patchify_proj.weight.device
        for name, update in weights.items():
            try:
                base = model.get_submodule(name)
            except AttributeError:
                raise InputError(f"This base has no {name}, which the LoRA changes; use its own base.") from None
            inner = base
            while isinstance(inner, AdapterLayer):
                inner = inner.base
            flat = not isinstance(update, tuple) or (update[0].ndim, update[1].ndim) == (2, 2)
            if not isinstance(inner, nn.Linear) or not flat:
                raise InputError(f"The LoRA's {name} is no pair of matrices for a linear layer; use another LoRA.")
            check_shapes(name, update, inner.weight.shape)
            layers[name] = layer_of(base, update, scale, device)
            _put(model, name, layers[name])
        forms = {form_of(update) for update in weights.values()}
        return cls(model, layers, forms.pop() if len(forms) == 1 else "lora")

    def set_strength(self, strength: float, parts: Mapping[str, float]) -> bool:
        """Let it work at this strength, and in a part of `targets.PARTS` at the strength times that part's share.

        parts: a part that is not in it has the share 1. With a strength of 0 the model is the base, to the bit. Returns
        whether that changes anything.
        """
        changed = False
        for name, layer in self.layers.items():
            scale = strength * parts.get(part_of(name) or "", 1.0)
            changed |= layer.scale != scale
            layer.scale = scale
        return changed

    def switched_off(self) -> AbstractContextManager[None]:
        """Let the base compute alone within the block, wherever no gradients are recorded."""
        return self.at(0.0)

    @contextmanager
    def at(self, strength: float) -> Iterator[None]:
        """Let it work so many times as strongly within the block. Joined layers follow with the next `refresh`."""
        scales = {name: layer.scale for name, layer in self.layers.items()}
        for name, layer in self.layers.items():
            layer.scale = scales[name] * strength
        try:
            yield
        finally:
            for name, layer in self.layers.items():
                layer.scale = scales[name]

    @property
    def trainable(self) -> dict[str, TrainableLayer]:
        """The layers of forms that can be trained."""
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, TrainableLayer)}

    def parameters(self) -> list[nn.Parameter]:
        """Return what is learnt of every layer: A and B, or the matrices of another form."""
        return [parameter for layer in self.trainable.values() for parameter in layer.trained.values()]

    def state_dict(self) -> dict[str, Tensor]:
        """Return what is learnt by key, fp32 and unscaled, for a checkpoint of the training."""
        return {
            f"diffusion_model.{name}.{part}.weight": parameter.detach()
            for name, layer in self.trainable.items()
            for part, parameter in layer.trained.items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` returned."""
        with torch.no_grad():
            for key, tensor in self.state_dict().items():
                tensor.copy_(state[key])

    def join(self, gathers: bool = True, kernels: Kernels | None = None) -> None:
        """Compute layers with one input together wherever gradients are recorded, see `Joint`.

        From then on A and B get their gradients straight, without autograd. Call `refresh` after every change of them,
        and `settle` after a backward pass. Layers whose rank or scale differs from block to block stay by themselves,
        and so do all of an offloaded model: a joint holds weights for good, and those come and go.
        gathers: see `Joints`; the memory that it takes is in `Plan.gathered`.
        kernels: they make the products, and join layers in int8 and fp8, too. Without them quantised layers stay by
        themselves.
        """
        if self.joints or self.model.offloaded:
            return
        self.aside = Aside(self.parameters()[0].device)
        blocks = self.model.transformer_blocks
        for group in GROUPS:
            layers = [[block.get_submodule(name) for name in group] for block in blocks]
            adapted = [[layer for layer in row if _can_join(layer, kernels)] for row in layers]
            kinds = {tuple((layer.lora_A.shape, layer.lora_B.shape, layer.scale) for layer in row) for row in adapted}
            if [len(row) for row in adapted] != [len(group)] * len(blocks) or len(kinds) > 1:
                continue
            gates = _gates(blocks, group, linear_of(adapted[0][0]).weight)
            joints = Joints(adapted, self.aside, gathers, self.model.audio_scale_shift_table.dtype, kernels, gates)
            self.joints.append(joints)
            for block, joint in zip(blocks, joints.of, strict=True):
                _hand_over(joint, block, group)
            empty_cache(joints.matrices.device)  # the weights' old places are too small for what comes next

    def refresh(self) -> None:
        """Call it after the last change of A or B and before a forward pass that records gradients."""
        for joints in self.joints:
            joints.refresh()

    def settle(self) -> None:
        """Call it after a backward pass: A and B have their gradients only then."""
        if not self.joints:
            return
        self.aside.join()
        # The largest come last, when least is kept beside them.
        for joints in sorted(self.joints, key=lambda joints: joints.kept_bytes):
            if joints.kept_bytes:
                joints.gather()

    def detach(self) -> None:
        """Put the original modules back."""
        self.model.compiled = []
        for module in self.model.modules():
            if isinstance(module, Attention):
                module.joint = module.joint_of_context = None
        for name, layer in self.layers.items():
            _put(self.model, name, layer.base)

    def doubts(self) -> list[str]:
        """Sentences on an update that is so large that noise is likelier than sound."""
        updates = weights = 0.0
        for layer in self.layers.values():
            updates += layer.energy()
            weights += float(widened(layer.frozen.weight.detach()).square().sum())
        times = math.sqrt(updates / weights) if weights else 0.0
        if times <= _LARGE:
            return []
        return [
            f"The LoRA's update is {times:,.1f} times as large as the weights that it changes, so that noise comes "
            "out; it may be damaged, or meant for a much smaller strength."
        ]

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write a file of the adapter's own form in bf16, with the scale in it."""
        write_matrices(path, {name: layer.written() for name, layer in self.trainable.items()}, metadata)


def scale_of(rank: int, alpha: float | None = None, rslora: bool = False) -> float:
    """Return what B·A is multiplied with. alpha: None takes the rank."""
    return (rank if alpha is None else alpha) / (math.sqrt(rank) if rslora else rank)


def _can_join(layer: nn.Module, kernels: Kernels | None) -> TypeGuard[LoRALinear]:
    """Say whether it is a LoRA layer on an ordinary matrix, or with kernels on one in eight bits."""
    if not isinstance(layer, LoRALinear):
        return False
    narrow = isinstance(layer.base, QuantizedLinear) and in_eight_bits(layer.base.weight)
    return type(layer.base) is nn.Linear or (narrow and kernels is not None)


def _put(model: AudioTransformer, name: str, layer: nn.Module) -> None:
    parent_name, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent_name), child, layer)


def _gates(blocks: nn.ModuleList, group: tuple[str, ...], weight: Tensor) -> list[nn.Linear]:
    """Return the gates' layers of all blocks if they can be part of a group's matrices, else none.

    Their input is that of the queries. weight: the group's own, which may be in eight bits as the gates' never is.
    """
    owner, _, first = group[0].rpartition(".")
    found = [block.get_submodule(f"{owner}.to_gate_logits") for block in blocks] if first == "to_q" else []
    gates = [gate for gate in found if type(gate) is nn.Linear and gate.weight.dtype == weight.dtype]
    return gates if len(gates) == len(blocks) and not in_eight_bits(weight) else []


def _hand_over(joint: Joint, block: nn.Module, group: tuple[str, ...]) -> None:
    """Give a block's joint to the module that calls it."""
    owner, _, first = group[0].rpartition(".")
    module = block.get_submodule(owner if first in ("to_q", "to_k") else group[0])
    assert isinstance(module, Attention | LoRALinear)
    if first == "to_k":
        assert isinstance(module, Attention)
        module.joint_of_context = joint.apart
    else:
        module.joint = joint


def check_shapes(name: str, update: Pair | Matrices, shape: tuple[int, ...]) -> None:
    """Raise InputError unless an update has the shape (outputs, inputs) of the weight that the base has there."""
    size = size_of(update)
    if size != tuple(shape) or (isinstance(update, tuple) and update[0].shape[0] != update[1].shape[1]):
        raise InputError(
            f"The LoRA's {name} is {size[0]}×{size[1]}, but this base has {shape[0]}×{shape[1]} there; it was "
            "trained on another base."
        )


def load_lora(model: AudioTransformer, path: Path, strength: float = 1.0) -> tuple[Adapter, dict[str, str]]:
    """Attach the LoRA at `path`, unmerged, at the given strength. Return it with the file's metadata.

    Raises InputError when the file is no LoRA, or does not fit the model.
    """
    lora = read_lora(path)
    return Adapter.attach(model, lora.pairs, scale=strength), lora.metadata
