"""The way from the text encoder's hidden states to the context that the transformer attends to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from soundlora.model.attention import Attention, FeedForward, rms_norm
from soundlora.model.config import TextConfig
from soundlora.model.rope import Rope, rope_table

_EPS = 1e-6
_ROPE_THETA = 10000.0


class FeatureProjection(nn.Module):
    """Normalises every hidden state of a token by its RMS, and projects all of them together to the audio width."""

    def __init__(self, config: TextConfig, encoder_layers: int) -> None:
        super().__init__()
        self.scale = (config.width / config.encoder_dim) ** 0.5
        self.layers = encoder_layers
        self.audio_aggregate_embed = nn.Linear(config.encoder_dim * encoder_layers, config.width)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return features (..., S, width) of hidden states (..., S, d, L), where L is the encoder's layers + 1.

        mask: (..., S), 0 at padding.
        """
        flat = _unit_rms(hidden, -2).flatten(-2)  # (..., S, d·L), the layer runs fastest
        if mask is not None:
            flat = flat * mask.unsqueeze(-1).to(flat.dtype)
        result: Tensor = self.audio_aggregate_embed(flat * self.scale)
        return result

    def layer_weight(self, layer: int) -> Tensor:
        """Return the weight (width, d), fp32, that multiplies the states of one layer; see `layer`."""
        linear = self.audio_aggregate_embed
        return linear.weight.view(linear.out_features, -1, self.layers)[..., layer].float()

    def layer(self, states: Tensor, weight: Tensor) -> Tensor:
        """Return the share of the features (S, width), fp32, that one layer's states (S, d) have.

        The sum over layers, plus the bias, is `forward` without the states of all layers in memory.
        """
        return nn.functional.linear((_unit_rms(states, -1) * self.scale).float(), weight)


def _unit_rms(x: Tensor, dim: int) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dim=dim, keepdim=True) + _EPS)


class _ConnectorBlock(nn.Module):
    def __init__(self, c: TextConfig) -> None:
        super().__init__()
        self.attn1 = Attention(c.width, c.width, c.heads, c.head_dim, _EPS)
        self.ff = FeedForward(c.width, c.ff_bias)

    def forward(self, h: Tensor, rope: Rope) -> Tensor:
        h = h + self.attn1(rms_norm(h, _EPS), rope=rope)
        result: Tensor = h + self.ff(rms_norm(h, _EPS))
        return result


class AudioConnector(nn.Module):
    """A small transformer over the caption's features, which learnable registers fill up to the context's length."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.learnable_registers = nn.Parameter(torch.zeros(config.registers, config.width))
        self.transformer_1d_blocks = nn.ModuleList(_ConnectorBlock(config) for _ in range(config.layers))

    def forward(self, features: Tensor, length: int | None = None) -> Tensor:
        """Return the context (length, width) of one caption, from the features (n, width) of its true tokens.

        length: None takes the config's. The tokens come first; position s ≥ n takes register s mod 128. Every position
        is attended to. Raises ValueError when the length is no multiple of the number of registers.
        """
        return self.run(self.with_registers(features, length)[None])[0]

    def with_registers(self, features: Tensor, length: int | None = None) -> Tensor:
        """Fill (n, width) up to (length, width) with registers by absolute position. Raises as `forward` does."""
        length = length or self.config.context_length
        if length % self.config.registers:
            raise ValueError(f"the context length must be a multiple of {self.config.registers}, not {length}")
        features = features[:length]
        registers = self.learnable_registers.repeat(length // self.config.registers, 1).to(features.dtype)
        return torch.cat((features, registers[len(features) :]))

    def run(self, h: Tensor) -> Tensor:
        """Return the context (B, S, width) of features (B, S, width) that have their registers already."""
        c = self.config
        position = torch.arange(h.shape[1], device=h.device, dtype=torch.float32)[None]
        cos, sin = rope_table(position, c.max_position, _ROPE_THETA, c.heads, c.head_dim)
        rope = (cos.to(h.dtype), sin.to(h.dtype))
        for block in self.transformer_1d_blocks:
            h = block(h, rope)
        return rms_norm(h, _EPS)
