"""Counts the calls that a GPU would be given in a training step, on the CPU: at full depth, and at small widths.

A call is an operation that computes. Views are none, nor is memory that is only set aside. What differs on a GPU has
stand-ins: a norm is one call each way, and so is attention, of which a profiler counts more backwards. Each product of
joined layers is one call forward and one for the gradient of its input, as one kernel makes it; without Triton they are
two each. Of what is compiled, inductor's own scheduler says which operations become one kernel, as it fuses them for a
GPU; see `gpu_scheduler.py`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from gpu_scheduler import kernels
from parity.cases import checkpoint
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from soundlora.lora.adapter import Adapter
from soundlora.lora.joint import Joint, Joints
from soundlora.model import attention, transformer
from soundlora.model.rope import rope_table
from soundlora.model.transformer import AudioTransformer
from soundlora.training import gradient
from soundlora.training.optimizer import Optimizer
from soundlora.training.trainer import Example, Trainer

PRODUCTS, OTHERS, ATTENTION = "products of joined layers", "products without an adapter", "attention"
BETWEEN, GATHERED, REFRESH = "between two products", "gradients of A and B", "A and B brought to the joint matrices"
UPDATE = "clipping, AdamW, mean"
KINDS = (PRODUCTS, OTHERS, ATTENTION, BETWEEN, GATHERED, REFRESH, UPDATE)

_NO_KERNEL = {
    "detach",
    "alias",
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "lift_fresh",
    "_unsafe_view",
    "promote_types",
    "_record_function_enter_new",
    "_record_function_exit",
}


class Calls(TorchDispatchMode):
    """Counts the calls while it is entered, by kind."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_kind: Counter[str] = Counter()
        self._kind, self._pauses = BETWEEN, 0

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let what is compiled stay compiled while the mode is entered."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        name = func.overloadpacket.__name__
        if not (self._pauses or func.is_view or name in _NO_KERNEL):
            kind = ATTENTION if name.startswith("attention") else self._kind
            self.by_kind[OTHERS if kind == BETWEEN and name in ("mm", "addmm") else kind] += 1
        return func(*args, **(kwargs or {}))

    @contextmanager
    def one(self, kind: str, count: int = 1) -> Iterator[None]:
        """Let all that is called within count as so many calls of a kind."""
        self.by_kind[kind] += count
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        """Let what is called within be of a kind."""
        before, self._kind = self._kind, kind
        try:
            yield
        finally:
            self._kind = before


def calls_of_a_step(monkeypatch: pytest.MonkeyPatch, *, layers: int = 48, compiled: bool) -> Counter[str]:
    """The calls of a step of one clip with all targets, as a GPU records it, by kind."""
    calls = Calls()
    _stand_in(monkeypatch, calls)
    config = checkpoint().config
    # As many heads as can be rows of a joint matrix without zeros behind them, like the 32 of LTX.
    c = replace(config.transformer, layers=layers, heads=8, context_dim=8 * config.transformer.head_dim)
    torch.manual_seed(0)
    adapter = Adapter.create(AudioTransformer(c).requires_grad_(False), 4, seed=1)
    example = Example("noise", torch.randn(6, c.in_channels), torch.randn(config.text.context_length, c.context_dim))
    trainer = Trainer(adapter, [example], config.audio, steps=9, learning_rate=1e-3, seed=1, average=True)
    adapter.join()
    if compiled:
        compile_, backend = torch.compile, _backend(calls)
        monkeypatch.setattr(torch, "compile", lambda block, **_: compile_(block, backend=backend, dynamic=False))
        gradient.compile_blocks(adapter)
    trainer.step(0)  # makes what stays
    samples = trainer._draw(1)
    calls.by_kind.clear()
    trainer.optimizer.begin()
    with calls:
        trainer._gradient.add(samples[0], trainer._advance)
    return calls.by_kind


def calls_of_attention(
    monkeypatch: pytest.MonkeyPatch, heads: int, head_dim: int, tokens: int, dtype: torch.dtype
) -> Counter[str]:
    """The calls from the product that makes q, k, v and gates to the one that takes the result, and back, compiled."""
    calls, width = Calls(), heads * head_dim
    _stand_in(monkeypatch, calls)
    module = attention.Attention(width, width, heads, head_dim, 1e-6).to(dtype).requires_grad_(False)
    module.to_out[0] = torch.nn.Identity()
    together = torch.randn(1, tokens, 3 * width + heads, dtype=dtype, requires_grad=True)
    module.joint = torch.compiler.disable(lambda x: together.clone())
    rope = rope_table(torch.rand(1, tokens), 20.0, 10_000.0, heads, head_dim)
    run = torch.compile(module, backend=_backend(calls), dynamic=False)
    run(torch.randn(1, tokens, width, dtype=dtype), rope=rope).sum().backward()
    return calls.by_kind


class _Norm(torch.autograd.Function):
    """A norm in one call each way, as GPUs have it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, eps: float, calls: Calls) -> Tensor:
        with calls.one(BETWEEN), torch.enable_grad():
            ctx.x = x.detach().requires_grad_()
            ctx.out = F.rms_norm(ctx.x, x.shape[-1:], weight, eps)
        ctx.calls = calls
        return ctx.out.detach()  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        with ctx.calls.one(BETWEEN):
            return torch.autograd.grad(ctx.out, ctx.x, gradient)[0], None, None, None


def _stand_in(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    def norm(x: Tensor, eps: float, weight: Tensor | None = None) -> Tensor:
        if torch.compiler.is_compiling():
            return F.rms_norm(x, x.shape[-1:], weight, eps)
        result: Tensor = _Norm.apply(x, weight, eps, calls)  # type: ignore[no-untyped-call]
        return result

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        assert mask is None
        return _attention(q, k, v)  # type: ignore[no-any-return]

    for module in attention, transformer:
        monkeypatch.setattr(module, "rms_norm", norm)
    monkeypatch.setattr(attention, "scaled_dot_product", attend)
    monkeypatch.setattr(Optimizer, "advances", True)

    def within(owner: Any, name: str, entered: Callable[..., Any]) -> None:
        plain = getattr(owner, name)

        def calling(*arguments: Any, **named: Any) -> Any:
            with entered(*arguments):
                return plain(*arguments, **named)

        monkeypatch.setattr(owner, name, calling)

    within(Joint, "forward", lambda *_: calls.one(PRODUCTS))
    within(Joint, "on_top", lambda *_: calls.one(PRODUCTS))
    within(Joint, "backward", lambda *arguments: calls.one(PRODUCTS, int(arguments[-1])))
    within(Joints, "gather", lambda *_: calls.of(GATHERED))
    within(Joints, "refresh", lambda *_: calls.of(REFRESH))
    within(Optimizer, "advance", lambda *_: calls.of(UPDATE))


def _backend(calls: Calls) -> Any:
    """A compiler that computes as it was told, and counts the kernels that inductor would make of it."""
    from torch._dynamo.backends.common import aot_autograd
    from torch._inductor.compile_fx import partition_fn
    from torch._inductor.decomposition import select_decomp_table

    def compiler(module: torch.fx.GraphModule, inputs: Sequence[Any], backward: bool = False) -> Any:
        plain = copy.deepcopy(module)
        made = _kernels(module, inputs, backward)

        def run(values: list[Any]) -> Any:
            with calls.one(BETWEEN, 0):
                calls.by_kind.update(made)
                return plain(*values)

        run._boxed_call = True  # type: ignore[attr-defined]
        return run

    return aot_autograd(
        fw_compiler=compiler,
        bw_compiler=lambda module, inputs: compiler(module, inputs, True),
        decompositions=select_decomp_table(),
        partition_fn=partition_fn,
    )


def _kernels(module: torch.fx.GraphModule, inputs: Sequence[Any], backward: bool) -> Counter[str]:
    from torch._inductor.scheduler import ExternKernelSchedulerNode

    found: Counter[str] = Counter()
    for node in kernels(module, inputs, backward):
        if not isinstance(node, ExternKernelSchedulerNode):
            found[BETWEEN] += 1
        else:
            found[ATTENTION if "attention" in str(getattr(node.node, "op_overload", "")) else OTHERS] += 1
    return found


@torch.library.custom_op("step_calls::attention", mutates_args=(), tags=[torch.Tag.flexible_layout])
def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention in one call, with the result's strides as a GPU's kernels have them: those of (B, T, H, d)."""
    return _as_tokens(F.scaled_dot_product_attention(q, k, v))


@torch.library.custom_op("step_calls::attention_backward", mutates_args=(), tags=[torch.Tag.flexible_layout])
def _attention_backward(g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale = q.shape[-1] ** -0.5
    weights = (q @ k.mT * scale).softmax(-1)  # (B, H, T, S)
    g_weights = g @ v.mT
    g_scores = weights * (g_weights - (g * out).sum(-1, keepdim=True)) * scale
    return _as_tokens(g_scores @ k), _as_tokens(g_scores.mT @ q), _as_tokens(weights.mT @ g)


def _as_tokens(x: Tensor) -> Tensor:
    return _room(x).copy_(x)


def _room(x: Tensor) -> Tensor:
    """Return memory for a tensor (B, H, T, d) in which tokens lie one after the other."""
    return x.new_empty(x.transpose(1, 2).shape).transpose(1, 2)


@_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _room(q)


@_attention_backward.register_fake
def _(g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _room(q), _room(k), _room(v)


def _backwards(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _attention_backward(gradient, *ctx.saved_tensors)  # type: ignore[no-any-return]


_attention.register_autograd(
    _backwards, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs, output)
)
