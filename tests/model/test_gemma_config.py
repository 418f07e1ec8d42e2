from __future__ import annotations

from typing import Any

import pytest

from soundlora.errors import InputError
from soundlora.model.gemma_config import family_of, parse_gemma_config
from soundlora.weights.full_size import GEMMA_4_12B, GEMMA_4_12B_CONFIG


def test_the_sizes_of_the_published_gemma_4_are_those_that_transformers_reads() -> None:
    from transformers import Gemma4UnifiedTextConfig  # it takes seconds, which other tests need not wait

    theirs = Gemma4UnifiedTextConfig(**GEMMA_4_12B_CONFIG)
    assert theirs.layer_types is not None
    assert GEMMA_4_12B.is_local == tuple(kind == "sliding_attention" for kind in theirs.layer_types)
    assert (GEMMA_4_12B.layers, GEMMA_4_12B.is_local.count(False)) == (48, 8)
    for layer in (4, 5):
        ours, sizes = GEMMA_4_12B.attention[GEMMA_4_12B.is_local[layer]], theirs.per_layer_config[layer]
        assert (ours.head_dim, ours.kv_heads) == (sizes.head_dim, sizes.num_key_value_heads)
    full, local = GEMMA_4_12B.attention
    assert (full.rotated, full.theta, full.keys_are_values) == (64, 1e6, True)
    assert (local.rotated, local.theta, local.keys_are_values) == (128, 1e4, False)
    assert (GEMMA_4_12B.scale, GEMMA_4_12B.eps, GEMMA_4_12B.window) == (1.0, theirs.rms_norm_eps, 1024)


@pytest.mark.parametrize("form", ["global_head_dim", "per_layer_config"])
def test_global_layers_may_name_their_sizes_in_two_ways(form: str) -> None:
    named: dict[str, Any] = {"global_head_dim": 24, "num_global_key_value_heads": 1}
    if form == "per_layer_config":
        named = {"per_layer_config": {"1": {"head_dim": 24, "num_key_value_heads": 1}}}
    kinds = ["sliding_attention", "full_attention"]
    config = {"model_type": "gemma4_unified_text", "layer_types": kinds, "attention_k_eq_v": True}
    full, local = parse_gemma_config(config | named).attention
    assert (full.head_dim, full.kv_heads, full.keys_are_values) == (24, 1, True)
    assert (local.head_dim, local.kv_heads, local.keys_are_values) == (256, 4, False)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"num_kv_shared_layers": 2}, "num_kv_shared_layers = 2, but Gemma 4 has 0"),
        ({"hidden_size_per_layer_input": 256}, "hidden_size_per_layer_input = 256"),
        ({"use_bidirectional_attention": "all"}, "use_bidirectional_attention = 'all', but Gemma 4 has 'vision'"),
        ({"quantization_config": {"bits": 4}}, "is quantised"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "asks for 'yarn' RoPE, but Gemma 4 has"),
    ],
)
def test_what_the_text_encoder_of_ltx_has_not_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        parse_gemma_config({"model_type": "gemma4_unified_text"} | change)


def test_a_family_is_known_by_its_type() -> None:
    types = ("gemma3", "gemma3_text", "gemma4_unified", "gemma4_unified_text", "gemma4", "t5")
    expected = ["Gemma 3", "Gemma 3", "Gemma 4", "Gemma 4", None, None]
    assert [family_of({"model_type": kind}) for kind in types] == expected
    assert family_of({}) is None
