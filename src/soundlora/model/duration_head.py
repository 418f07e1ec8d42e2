"""The duration head of LTX 2.5, which predicts how long the sound of a prompt should last."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from soundlora.model.tensor_file import TensorInfo


class _AttentionPooler(nn.Module):
    def __init__(self, width: int, queries: int, heads: int) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(Tensor(queries, width))
        self.cross_attn = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return what the queries attend to in tokens (B, S, width), side by side, (B, queries·width)."""
        queries = self.query_tokens.expand(len(tokens), -1, -1)
        pooled: Tensor = self.cross_attn(queries, tokens, tokens, need_weights=False)[0]
        return pooled.flatten(1)


class DurationHead(nn.Module):
    """Pools the tokens of a context by attention, and makes one number of them. Names are those of the checkpoint."""

    def __init__(self, context_dim: int, width: int, queries: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.audio_input_proj = nn.Linear(context_dim, width)
        self.audio_modality_emb = nn.Parameter(Tensor(width))
        self.attention_pooler = _AttentionPooler(width, queries, heads)
        self.mlp_hidden = nn.Linear(queries * width, hidden)
        self.mlp_out = nn.Linear(hidden, 1)

    def forward(self, context: Tensor) -> Tensor:
        """Return the seconds (B,) for contexts (B, S, context_dim), the connector's output."""
        tokens = self.audio_input_proj(context) + self.audio_modality_emb  # (B, S, width)
        h = F.gelu(self.mlp_hidden(self.attention_pooler(tokens)), approximate="tanh")
        seconds: Tensor = self.mlp_out(h)[:, 0].exp()
        return seconds


def sizes_in(tensors: dict[str, TensorInfo], prefix: str) -> dict[str, int]:
    """Return the arguments of `DurationHead` that the shapes of its tensors tell, which are all but the heads.

    Raises KeyError when a tensor is missing.
    """
    width, context_dim = tensors[prefix + "audio_input_proj.weight"].shape
    queries = tensors[prefix + "attention_pooler.query_tokens"].shape[0]
    hidden = tensors[prefix + "mlp_hidden.weight"].shape[0]
    return {"context_dim": context_dim, "width": width, "queries": queries, "hidden": hidden}
