"""The sizes of LTX 2.3 and 2.5 and of their text encoders, for planning without the files."""

from __future__ import annotations

from dataclasses import replace

from soundlora.model.config import (
    AudioConfig,
    GeneratorConfig,
    ModelConfig,
    TextConfig,
    TransformerConfig,
    VocoderConfig,
)
from soundlora.model.gemma_config import GemmaConfig, parse_gemma_config

_DILATIONS = ((1, 3, 5), (1, 3, 5), (1, 3, 5))

LTX_2_3 = ModelConfig(
    transformer=TransformerConfig(
        layers=48,
        heads=32,
        head_dim=64,
        in_channels=128,
        out_channels=128,
        context_dim=2048,
        max_seconds=20.0,
        rope_theta=10000.0,
        timestep_scale=1000.0,
        norm_eps=1e-6,
        ff_bias=True,
    ),
    text=TextConfig(
        encoder_dim=3840,
        layers=8,
        heads=32,
        head_dim=64,
        max_position=4096.0,
        registers=128,
        ff_bias=True,
        context_length=1024,
    ),
    audio=AudioConfig(
        sample_rate=16000,
        n_fft=1024,
        hop=160,
        mel_bins=64,
        channels=2,
        base_channels=128,
        multipliers=(1, 2, 4),
        res_blocks=2,
        latent_channels=8,
    ),
    vocoder=VocoderConfig(
        stage1=GeneratorConfig(1536, (5, 2, 2, 2, 2, 2), (11, 4, 4, 4, 4, 4), (3, 7, 11), _DILATIONS, True),
        bwe=GeneratorConfig(512, (6, 5, 2, 2, 2), (12, 11, 4, 4, 4), (3, 7, 11), _DILATIONS, False),
        input_rate=16000,
        output_rate=48000,
        hop=80,
        n_fft=512,
        mel_bins=64,
    ),
)

# The published files' own switches were not to be seen. They are taken to be off, as in the reference's first case.
LTX_2_5 = replace(LTX_2_3, transformer=replace(LTX_2_3.transformer, ff_bias=False, prompt_adaln=False))

GEMMA_3_12B_CONFIG = {
    "model_type": "gemma3_text",
    "hidden_size": 3840,
    "intermediate_size": 15360,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "sliding_window": 1024,
    "query_pre_attn_scalar": 256,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
}
GEMMA_3_12B: GemmaConfig = parse_gemma_config(GEMMA_3_12B_CONFIG)

GEMMA_4_12B_CONFIG = {
    "model_type": "gemma4_unified_text",
    "hidden_size": 3840,
    "intermediate_size": 15360,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "global_head_dim": 512,
    "num_global_key_value_heads": 1,
    "attention_k_eq_v": True,
    "sliding_window": 1024,
    "vocab_size": 262144,
}
GEMMA_4_12B: GemmaConfig = parse_gemma_config(GEMMA_4_12B_CONFIG)
