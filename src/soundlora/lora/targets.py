"""The layers that an adapter changes."""

from __future__ import annotations

from soundlora.errors import InputError
from soundlora.model.transformer import AudioTransformer

# An adapter changes attention and feed-forward projections of the audio stream; gates, norms and modulation stay as
# they are. A group has the layers with one input.
GROUPS = (
    ("audio_attn1.to_q", "audio_attn1.to_k", "audio_attn1.to_v"),
    ("audio_attn1.to_out.0",),
    ("audio_attn2.to_q",),
    ("audio_attn2.to_k", "audio_attn2.to_v"),
    ("audio_attn2.to_out.0",),
    ("audio_ff.net.0.proj",),
    ("audio_ff.net.2",),
)
TARGETS = tuple(target for group in GROUPS for target in group)

# The values of `--targets`. A LoRA without the attention to the text leaves the base's obedience to prompts alone.
PRESETS = {
    "all": TARGETS,
    "attention": tuple(target for target in TARGETS if target.startswith("audio_attn")),
    "self-ff": tuple(target for target in TARGETS if not target.startswith("audio_attn2")),
}

PARTS = {"self": "audio_attn1", "text": "audio_attn2", "ff": "audio_ff"}
"""The parts of a block that can have strengths of their own: self-attention, attention to text, feed-forward."""


def part_of(module: str) -> str | None:
    """Return the part of `PARTS` that a module belongs to, None for what lies around the blocks."""
    inside = module.split(".")
    return next((part for part, name in PARTS.items() if name in inside), None)


def target_names(model: AudioTransformer, targets: str = "all") -> list[str]:
    """Return the preset's modules of every block, in order. Raises InputError when there is no such preset."""
    if targets not in PRESETS:
        raise InputError(f"targets is {targets!r}, but it must be one of {', '.join(PRESETS)}.")
    return [f"transformer_blocks.{i}.{target}" for i in range(model.config.layers) for target in PRESETS[targets]]
