"""Gated multi-head attention and feed-forward, which the transformer and the text connector share.

In shapes B is samples, T tokens, S tokens of the context, H heads, d channels of a head, and C = H·d.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundlora.model.rope import Rope, rotate


def rms_norm(x: Tensor, eps: float, weight: Tensor | None = None) -> Tensor:
    """Return x / sqrt(mean(x²) + eps) over the last axis of x (..., C), times `weight` (C,) where there is one.

    This is root mean square layer normalization (Zhang & Sennrich 2019, arXiv:1910.07467).
    """
    if x.device.type != "cpu":
        fused: Tensor = F.rms_norm(x, x.shape[-1:], weight, eps)
        return fused
    result: Tensor = _RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return result


class _RMSNorm(torch.autograd.Function):
    """The norm for CPUs. Torch composes it of seven operations with a gradient each; this takes four and four."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)  # (..., 1), fp32
        scale = (norm.square_() / x.shape[-1] + eps).rsqrt_().to(x.dtype)  # (..., 1)
        normed: Tensor = x * scale  # (..., C)
        ctx.save_for_backward(normed, scale, weight)
        return normed if weight is None else normed * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        normed, scale, weight = ctx.saved_tensors
        g_weight = None
        if ctx.needs_input_grad[1]:
            g_weight = (gradient * normed).flatten(0, -2).sum(0)  # (C,)
        g = gradient if weight is None else gradient * weight  # (..., C)
        projection = (g * normed).mean(dim=-1, keepdim=True)  # (..., 1)
        return torch.addcmul(g, normed, projection, value=-1).mul_(scale), g_weight, None


class RMSNorm(nn.Module):
    """`rms_norm` with a learnt weight (width,)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.eps, self.weight)


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Return softmax(q kᵀ / sqrt(d) + mask) v (B, H, T, d) for q (B, H, T, d) and k and v (B, H, S, d).

    `mask` is added, and broadcasts against (B, H, T, S). CPUs take the plain products: at these lengths the backward
    pass of the fused kernel takes 40 % of a training step.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    shape, d = q.shape, q.shape[-1]
    q, k, v = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)  # (B·H, T, d), k and v (B·H, S, d)
    scores = torch.baddbmm(q.new_empty(1, 1, 1), q, k.transpose(1, 2), beta=0, alpha=d**-0.5)  # (B·H, T, S)
    if mask is not None:
        scores = (scores.unflatten(0, shape[:2]) + mask).flatten(0, 1)
    return torch.bmm(scores.softmax(-1), v).view(shape)


class Attention(nn.Module):
    """LTX's attention, with RMS-normalised queries and keys and a gate per head.

    q and k are normalised over all channels before the split into heads. The gate 2·sigmoid(to_gate_logits(x)) comes
    from the attention's own input x and scales each head before the output projection.
    """

    def __init__(self, width: int, context_dim: int, heads: int, head_dim: int, eps: float) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads, self.head_dim = heads, head_dim
        self.to_q = nn.Linear(width, inner)
        self.to_k = nn.Linear(context_dim, inner)
        self.to_v = nn.Linear(context_dim, inner)
        self.to_out = nn.ModuleList([nn.Linear(inner, width)])
        self.q_norm = RMSNorm(inner, eps)
        self.k_norm = RMSNorm(inner, eps)
        self.to_gate_logits = nn.Linear(width, heads)
        # In training one product makes of x what `_of_x` returns, side by side; the gates' logits may be missing.
        # Another makes k and v of a context, or adds the adapter's share to what is known of them. See `Adapter.join`.
        self.joint: Callable[[Tensor], Tensor] | None = None
        self.joint_of_context: Callable[..., tuple[Tensor, ...]] | None = None

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        rope: Rope | None = None,
        mask: Tensor | None = None,
        bypass: Tensor | bool = False,
        context_of: Tensor | None = None,
        projected: Tensor | None = None,
        whole: bool = False,
    ) -> Tensor:
        """Return what x (B, T, width) attends to in the context, (B, T, width).

        context: (B, S, context_dim); None makes it self-attention.
        rope: tables that rotate q and k. mask: added to the scores, broadcasts against (B, H, T, S).
        bypass: spatio-temporal guidance's perturbation, True for all samples or a bool tensor (B,). to_v(x) takes the
            place of the attention's result; the gate and the output projection still apply.
        context_of: (B,), the number of each sample's context where several share one, whose keys and values are then
            computed once.
        projected: (B, S, 2C), to_k and to_v of the context side by side, where they are known already; see `project`.
            Unless they are `whole`, they lack an adapter's share, which is added.
        """
        if bypass is True:
            out = v = self._heads(self.to_v(x if context is None else context))  # (B, H, T, d)
            logits = self.to_gate_logits(x)  # (B, T, H)
        else:
            # A compiler joins what lies between two products, and so the gradients of their results, where it is.
            together = None if self.joint is None or not torch.is_grad_enabled() else self.joint(x)
            if context is None:
                q, k, v, logits = self._of_x(x, together, own=True)  # (B, T, C), logits (B, T, H)
            else:
                k, v = self._of_context(context, projected, whole)  # (B, S, C)
                q, logits = self._of_x(x, together, own=False)
            # (B, H, T, d), k and v (B, H, S, d)
            q, k, v = self._heads(self.q_norm(q)), self._heads(self.k_norm(k)), self._heads(v)
            if context_of is not None:
                k, v = k[context_of], v[context_of]  # one a context before, one a sample now
            if rope is not None:
                q, k = rotate(q, rope), rotate(k, rope)
            # The reference keeps fp32 tables beside bf16 weights: it rotates in fp32 and attends in bf16.
            out = scaled_dot_product(q.to(v.dtype), k.to(v.dtype), v, mask)  # (B, H, T, d)
            if isinstance(bypass, Tensor):
                out = torch.where(bypass[:, None, None, None], v, out)
        out, logits = out.transpose(1, 2), logits.unsqueeze(-1)  # (B, T, H, d), (B, T, H, 1)
        if torch.compiler.is_compiling():
            logits = logits.expand_as(out)  # or else a compiler keeps the gates, and makes them by themselves
        out = out * (2 * torch.sigmoid(logits))  # (B, T, H, d)
        result: Tensor = self.to_out[0](out.flatten(2))  # (B, T, width)
        return result

    def project(self, context: Tensor, whole: bool) -> Tensor:
        """Return to_k and to_v of a context (B, S, context_dim) side by side, (B, S, 2C).

        whole: with what adapters add to them; without, frozen weights alone make them.
        """
        k, v = (layer if whole else _frozen(layer) for layer in (self.to_k, self.to_v))
        return torch.cat((k(context), v(context)), dim=-1)

    def _of_x(self, x: Tensor, together: Tensor | None, own: bool) -> tuple[Tensor, ...]:
        """Return q (B, T, C), k and v of x, too, if they are its `own`, and the gates' logits (B, T, H).

        together: what `joint` makes of x, if it does.
        """
        layers = (self.to_q, self.to_k, self.to_v) if own else (self.to_q,)
        if together is None:
            return (*(layer(x) for layer in layers), self.to_gate_logits(x))
        sizes = [self.heads * self.head_dim] * len(layers)
        *made, rest = together.split([*sizes, together.shape[-1] - sum(sizes)], dim=-1)
        return (*made, rest[..., : self.heads] if rest.shape[-1] else self.to_gate_logits(x))

    def _of_context(self, context: Tensor, projected: Tensor | None, whole: bool) -> tuple[Tensor, ...]:
        """Return k and v (B, S, C) of a context (B, S, context_dim), or of what is known of them, (B, S, 2C)."""
        known = () if projected is None else (projected,)
        if not whole and self.joint_of_context is not None and torch.is_grad_enabled():
            return self.joint_of_context(context, *known)
        if projected is None:
            return self.to_k(context), self.to_v(context)
        k, v = projected.chunk(2, dim=-1)
        if whole:
            return k, v
        return _adapted(self.to_k, context, k), _adapted(self.to_v, context, v)

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)  # (B, T, C) → (B, H, T, d)
        return heads


def _frozen(layer: nn.Module) -> nn.Module:
    """Return the layer that stands below all adapters."""
    while isinstance(base := getattr(layer, "base", None), nn.Module):
        layer = base
    return layer


def _adapted(layer: nn.Module, x: Tensor, frozen: Tensor) -> Tensor:
    """Return the frozen layer's outputs with what an adapter makes of x on top, if there is one."""
    on_top: Callable[[Tensor, Tensor], Tensor] | None = getattr(layer, "on_top", None)
    return frozen if on_top is None else on_top(x, frozen)


class _Projection(nn.Module):
    def __init__(self, width: int, inner: int, bias: bool) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    """Two linear layers, width → 4·width → width, with the tanh form of GELU between them."""

    def __init__(self, width: int, bias: bool = True) -> None:
        super().__init__()
        # The middle entry stands for the reference's dropout, which is always 0 but counts in the tensor names.
        self.net = nn.ModuleList(
            [_Projection(width, 4 * width, bias), nn.Identity(), nn.Linear(4 * width, width, bias=bias)]
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net[2](self.net[0](x))  # (B, T, width) → (B, T, 4·width) → (B, T, width)
        return result
