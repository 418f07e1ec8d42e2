from __future__ import annotations

import copy
import gzip
import json
from typing import Any

import pytest
from support import FIXTURES

from soundlora.errors import InputError
from soundlora.model.config import (
    AudioConfig,
    GeneratorConfig,
    SamplingDefaults,
    TextConfig,
    TransformerConfig,
    parse_config,
)

OFFICIAL: dict[str, Any] = json.loads(gzip.decompress((FIXTURES / "full_size_layout.json.gz").read_bytes()))["config"]
DDCONFIG = "audio_vae.model.params.ddconfig"
DILATIONS = ((1, 3, 5),) * 3


def changed(path: str, value: Any) -> dict[str, Any]:
    """The official config with another value at the dotted path."""
    config = copy.deepcopy(OFFICIAL)
    *blocks, key = path.split(".")
    block = config
    for name in blocks:
        block = block[name]
    block[key] = value
    return config


def without(path: str) -> dict[str, Any]:
    config = changed(path, None)
    *blocks, key = path.split(".")
    block = config
    for name in blocks:
        block = block[name]
    del block[key]
    return config


def test_the_official_config_is_read_in_full() -> None:
    config = parse_config(OFFICIAL)
    assert config.transformer == TransformerConfig(48, 32, 64, 128, 128, 2048, 20.0, 10000.0, 1000.0, 1e-6, True)
    assert config.text == TextConfig(3840, 8, 32, 64, 4096.0, 128, True, 1024)
    assert config.audio == AudioConfig(16000, 1024, 160, 64, 2, 128, (1, 2, 4), 2, 8)
    assert config.vocoder.stage1 == GeneratorConfig(
        1536, (5, 2, 2, 2, 2, 2), (11, 4, 4, 4, 4, 4), (3, 7, 11), DILATIONS, True
    )
    assert config.vocoder.bwe == GeneratorConfig(512, (6, 5, 2, 2, 2), (12, 11, 4, 4, 4), (3, 7, 11), DILATIONS, False)
    assert config.sampling == SamplingDefaults(30, 7.0, 1.0, (28,), 0.7, None)


def test_sizes_that_follow_from_the_config() -> None:
    config = parse_config(OFFICIAL)
    assert (config.transformer.width, config.text.width) == (2048, 2048)
    assert (config.audio.downsample, config.audio.latent_bins, config.audio.latent_rate) == (4, 16, 25.0)
    assert (config.vocoder.stage1.factor, config.vocoder.bwe.factor, config.vocoder.ratio) == (160, 240, 3)


@pytest.mark.parametrize(
    ("path", "attribute", "value"),
    [
        ("transformer.audio_out_channels", "transformer.out_channels", 128),
        ("transformer.audio_positional_embedding_max_pos", "transformer.max_seconds", 20.0),
        ("transformer.positional_embedding_theta", "transformer.rope_theta", 10000.0),
        ("transformer.timestep_scale_multiplier", "transformer.timestep_scale", 1000.0),
        ("transformer.norm_eps", "transformer.norm_eps", 1e-6),
        ("transformer.connector_num_layers", "text.layers", 2),
        ("transformer.connector_positional_embedding_max_pos", "text.max_position", 1.0),
        ("audio_vae.preprocessing", "audio.hop", 160),
        ("audio_vae.preprocessing", "audio.n_fft", 1024),
        ("audio_vae.model.params.sampling_rate", "audio.sample_rate", 16000),
        (f"{DDCONFIG}.mel_bins", "audio.mel_bins", 64),
    ],
)
def test_an_absent_key_has_the_references_default(path: str, attribute: str, value: float) -> None:
    block, name = attribute.split(".")
    assert getattr(getattr(parse_config(without(path)), block), name) == value


def test_a_size_that_is_named_is_taken() -> None:
    assert parse_config(changed("transformer.audio_in_channels", 32)).transformer.in_channels == 32
    assert parse_config(changed("transformer.audio_positional_embedding_max_pos", [24])).transformer.max_seconds == 24
    assert parse_config(changed("transformer.audio_ff_bias", False)).transformer.ff_bias is False
    assert parse_config(changed("transformer.connector_ff_bias", False)).text.ff_bias is False
    assert parse_config(changed("transformer.audio_connector_num_layers", 3)).text.layers == 3


def test_the_number_of_registers_is_128_whatever_the_config_says() -> None:
    assert parse_config(changed("transformer.connector_num_learnable_registers", 64)).text.registers == 128


REFUSED = [
    ("transformer.rope_type", "interleaved"),
    ("transformer.frequencies_precision", "float32"),
    ("transformer.use_middle_indices_grid", False),
    ("transformer.apply_gated_attention", False),
    ("transformer.connector_apply_gated_attention", False),
    ("transformer.cross_attention_adaln", False),
    ("transformer.qk_norm", "layer_norm"),
    ("transformer.norm_elementwise_affine", True),
    ("transformer.activation_fn", "gelu"),
    ("transformer.attention_bias", False),
    ("transformer.positional_embedding_type", "absolute"),
    ("transformer.double_self_attention", True),
    ("transformer.share_ff", True),
    ("transformer.caption_proj_before_connector", False),
    ("transformer.caption_projection_first_linear", True),
    ("transformer.caption_projection_second_linear", True),
    ("transformer.caption_proj_input_norm", True),
    (f"{DDCONFIG}.double_z", False),
    (f"{DDCONFIG}.attn_resolutions", [16]),
    (f"{DDCONFIG}.mid_block_add_attention", True),
    (f"{DDCONFIG}.norm_type", "group"),
    (f"{DDCONFIG}.causality_axis", "width"),
    ("vocoder.vocoder.resblock", "1"),
    ("vocoder.vocoder.activation", "snake"),
    ("vocoder.vocoder.stereo", False),
    ("vocoder.vocoder.use_tanh_at_final", True),
    ("vocoder.vocoder.use_bias_at_final", True),
    ("vocoder.bwe.resblock", "2"),
    ("vocoder.bwe.use_tanh_at_final", True),
]


@pytest.mark.parametrize(("path", "value"), REFUSED)
def test_a_setting_that_would_be_another_network_is_refused_by_name(path: str, value: Any) -> None:
    with pytest.raises(InputError) as error:
        parse_config(changed(path, value))
    assert f"{path} = {value!r}" in str(error.value)


@pytest.mark.parametrize(
    "key",
    [
        "rope_type",
        "frequencies_precision",
        "apply_gated_attention",
        "connector_apply_gated_attention",
        "cross_attention_adaln",
        "caption_proj_before_connector",
        "caption_projection_first_linear",
        "caption_projection_second_linear",
        "caption_proj_input_norm",
    ],
)
def test_a_switch_whose_default_is_another_network_must_be_there(key: str) -> None:
    with pytest.raises(InputError, match=key):
        parse_config(without(f"transformer.{key}"))


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("transformer", "transformer"),
        ("audio_vae", "audio_vae"),
        ("vocoder", "vocoder"),
        ("transformer.num_layers", "num_layers"),
        ("transformer.audio_num_attention_heads", "audio_num_attention_heads"),
        ("transformer.caption_channels", "caption_channels"),
        (f"{DDCONFIG}.ch_mult", "ch_mult"),
        ("vocoder.bwe.hop_length", "hop_length"),
    ],
)
def test_a_missing_key_is_named(path: str, named: str) -> None:
    with pytest.raises(InputError, match=f"has no '{named}'"):
        parse_config(without(path))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("transformer", []),
        ("transformer.num_layers", "many"),
        ("transformer.num_layers", None),
        ("transformer.audio_positional_embedding_max_pos", []),
        ("audio_vae.model.params.ddconfig.ch_mult", 4),
        ("vocoder.bwe.resblock_dilation_sizes", [1]),
    ],
)
def test_a_value_of_the_wrong_kind_is_a_sentence_too(path: str, value: Any) -> None:
    with pytest.raises(InputError, match="config can't be read"):
        parse_config(changed(path, value))


def test_a_vocoder_without_bandwidth_extension_is_known_as_ltx_2_0() -> None:
    with pytest.raises(InputError, match=r"LTX 2\.0"):
        parse_config(without("vocoder.bwe"))


def test_window_and_filter_lengths_must_agree() -> None:
    with pytest.raises(InputError, match="STFT window"):
        parse_config(changed("audio_vae.preprocessing.stft.win_length", 512))


@pytest.mark.parametrize("length", [0, -128, 100, 1000])
def test_the_context_is_whole_rounds_of_registers(length: int) -> None:
    with pytest.raises(InputError, match=f"context_length is {length}"):
        parse_config(OFFICIAL, {"context_length": length})


@pytest.mark.parametrize(("layers", "block"), [(48, 28), (29, 28), (28, 16), (8, 4), (2, 1), (1, 0)])
def test_a_smaller_network_is_guided_at_the_same_relative_depth(layers: int, block: int) -> None:
    assert parse_config(changed("transformer.num_layers", layers)).sampling.stg_blocks == (block,)


def test_sampling_values_of_the_base_win_over_the_references() -> None:
    named = {"steps": 12, "cfg": 3, "stg": 0, "stg_blocks": [1, 2], "rescale": 0, "negative_prompt": "noise"}
    assert parse_config(OFFICIAL, {"sampling": named}).sampling == SamplingDefaults(12, 3.0, 0.0, (1, 2), 0.0, "noise")
    assert parse_config(OFFICIAL, {"sampling": {"stg_blocks": None}}).sampling.stg_blocks is None


@pytest.mark.parametrize("blocks", [[48], [3, 48], [-1]])
def test_guidance_by_blocks_that_there_are_not_is_refused(blocks: list[int]) -> None:
    with pytest.raises(InputError, match=r"stg_blocks = \[.*\], but its blocks are 0 to 47"):
        parse_config(OFFICIAL, {"sampling": {"stg_blocks": blocks}})
