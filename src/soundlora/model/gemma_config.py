"""The sizes of Gemma 3 and Gemma 4 text models, from the config.json that Hugging Face's library writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from soundlora.errors import InputError

Family = Literal["Gemma 3", "Gemma 4"]
_FAMILIES: dict[str, Family] = {
    "gemma3": "Gemma 3",
    "gemma3_text": "Gemma 3",
    "gemma4_unified": "Gemma 4",
    "gemma4_unified_text": "Gemma 4",
}
# The published configs leave these out; the values are those of transformers' own classes.
_DEFAULTS: dict[str, Any] = {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "sliding_window_pattern": 6,
}
_DEFAULTS_3 = _DEFAULTS | {
    "num_hidden_layers": 26,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
}
_DEFAULTS_4 = _DEFAULTS | {
    "num_hidden_layers": 30,
    "global_head_dim": 512,
    "num_global_key_value_heads": None,
    "attention_k_eq_v": False,
    "sliding_window": 1024,
    "rope_parameters": {
        "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
}
# Other values would make another network, which `gemma` does not compute.
_FIXED: dict[str, tuple[Any, ...]] = {"hidden_activation": ("gelu_pytorch_tanh",), "attention_bias": (False,)}
_FIXED_3 = _FIXED | {"attn_logit_softcapping": (None,), "use_bidirectional_attention": (False,)}
_FIXED_4 = _FIXED | {
    "use_bidirectional_attention": ("vision", None),  # captions hold no pictures
    "num_kv_shared_layers": (0, None),
    "hidden_size_per_layer_input": (0, None),
    "enable_moe_block": (False, None),
}


@dataclass(frozen=True)
class AttentionSizes:
    """The attention of the layers of one kind: global ones see all tokens before theirs, local ones a window."""

    head_dim: int
    kv_heads: int
    theta: float  # RoPE's base
    stretch: float  # divisor of the positions
    rotated: int  # pairs of a head's channels that turn, the first of head_dim/2
    keys_are_values: bool = False  # there is no v_proj; keys are values before their norm and rotation


@dataclass(frozen=True)
class GemmaConfig:
    """Sizes of a Gemma text model."""

    family: Family
    width: int
    hidden: int  # of the feed-forward
    heads: int
    eps: float
    scale: float  # of the attention logits
    window: int  # tokens that a local layer sees
    is_local: tuple[bool, ...]  # one a layer
    attention: tuple[AttentionSizes, AttentionSizes]  # of global and local layers

    @property
    def layers(self) -> int:
        return len(self.is_local)

    @property
    def head_dim(self) -> int:
        """Channels of a head in global layers, which are the largest."""
        return self.attention[0].head_dim

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values in global layers."""
        return self.attention[0].kv_heads

    @property
    def norm_offset(self) -> float:
        """The number that is added to a norm's weights: Gemma 3 multiplies by 1 + weight."""
        return 1.0 if self.family == "Gemma 3" else 0.0

    @property
    def norms_values(self) -> bool:
        """Whether values are normalised, without a weight."""
        return self.family == "Gemma 4"

    @property
    def has_layer_scalar(self) -> bool:
        """Whether each layer's output is multiplied by a number of its own."""
        return self.family == "Gemma 4"


def family_of(config: dict[str, Any]) -> Family | None:
    """Return the family that a config names, and None for any other model."""
    return _FAMILIES.get(str(config.get("model_type")))


def parse_gemma_config(config: dict[str, Any]) -> GemmaConfig:
    """Read the config of a text or multimodal model. Raises InputError for what no Gemma 3 or 4 has."""
    family: Family = family_of(config) or "Gemma 3"
    text: dict[str, Any] = (_DEFAULTS_3 if family == "Gemma 3" else _DEFAULTS_4) | config.get("text_config", config)
    for key, values in (_FIXED_3 if family == "Gemma 3" else _FIXED_4).items():
        if text.get(key, values[0]) not in values:
            raise InputError(f"The text encoder's config has {key} = {text[key]!r}, but {family} has {values[0]!r}.")
    if "quantization_config" in config or "quantization_config" in text:
        raise InputError("The text encoder is quantised, which changes every context; download the bf16 one.")
    count, pattern = text["num_hidden_layers"], text["sliding_window_pattern"]
    kinds = text.get("layer_types") or [
        "sliding_attention" if (layer + 1) % pattern else "full_attention" for layer in range(count)
    ]
    return GemmaConfig(
        family,
        width=text["hidden_size"],
        hidden=text["intermediate_size"],
        heads=text["num_attention_heads"],
        eps=text["rms_norm_eps"],
        scale=text["query_pre_attn_scalar"] ** -0.5 if family == "Gemma 3" else 1.0,
        window=text["sliding_window"],
        is_local=tuple(kind == "sliding_attention" for kind in kinds),
        attention=_attention_3(text) if family == "Gemma 3" else _attention_4(text, kinds),
    )


def _attention_3(text: dict[str, Any]) -> tuple[AttentionSizes, AttentionSizes]:
    ropes = text.get("rope_parameters") or {}
    full = {"rope_theta": text["rope_theta"]} | (ropes.get("full_attention") or text.get("rope_scaling") or {})
    local = {"rope_theta": text["rope_local_base_freq"]} | (ropes.get("sliding_attention") or {})
    head_dim, kv_heads = text["head_dim"], text["num_key_value_heads"]
    return _sizes(head_dim, kv_heads, full, "Gemma 3"), _sizes(head_dim, kv_heads, local, "Gemma 3")


def _attention_4(text: dict[str, Any], kinds: list[str]) -> tuple[AttentionSizes, AttentionSizes]:
    ropes = _DEFAULTS_4["rope_parameters"] | (text["rope_parameters"] or {})
    # Newer configs have the sizes of global layers by the layer's number.
    by_layer = text.get("per_layer_config") or {}
    of_global = next((by_layer.get(str(n)) or {} for n, kind in enumerate(kinds) if kind == "full_attention"), {})
    same, kv_heads = bool(text["attention_k_eq_v"]), text["num_key_value_heads"]
    global_heads = of_global.get("num_key_value_heads") or (text["num_global_key_value_heads"] if same else None)
    head_dim = of_global.get("head_dim") or text["global_head_dim"]
    return (
        _sizes(head_dim, global_heads or kv_heads, ropes["full_attention"], "Gemma 4", same),
        _sizes(text["head_dim"], kv_heads, ropes["sliding_attention"], "Gemma 4"),
    )


def _sizes(
    head_dim: int, kv_heads: int, rope: dict[str, Any], family: Family, keys_are_values: bool = False
) -> AttentionSizes:
    kind = rope.get("rope_type", rope.get("type", "default"))
    scaled = "linear" if family == "Gemma 3" else "proportional"
    if kind not in ("default", scaled):
        raise InputError(f"The text encoder's config asks for {kind!r} RoPE, but {family} has 'default' or {scaled!r}.")
    stretch, share = 1.0, 1.0
    if kind == "linear":
        stretch = float(rope["factor"])
    elif kind == "proportional":
        stretch, share = float(rope.get("factor", 1.0)), float(rope.get("partial_rotary_factor", 1.0))
    rotated = int(share * head_dim // 2)
    return AttentionSizes(head_dim, kv_heads, float(rope["rope_theta"]), stretch, rotated, keys_are_values)
