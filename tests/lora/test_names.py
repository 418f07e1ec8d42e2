from __future__ import annotations

import gzip
import json

import pytest
import torch
from parity.runners import fresh_transformer
from support import FIXTURES
from torch import nn

from soundlora.lora.names import WRITTEN_NAMINGS, WrittenNaming, parse_key, written_keys
from soundlora.model.config import parse_config
from soundlora.model.transformer import AudioTransformer

MODULE = "transformer_blocks.7.audio_attn2.to_out.0"
FLAT = "transformer_blocks_7_audio_attn2_to_out_0"


def linear_layers() -> list[str]:
    """Every linear layer of the tiny model, as the checkpoint calls it."""
    return [name for name, module in fresh_transformer().named_modules() if isinstance(module, nn.Linear)]


@pytest.mark.parametrize(
    ("key", "part", "naming"),
    [
        (f"diffusion_model.{MODULE}.lora_A.weight", "A", "official"),
        (f"diffusion_model.{MODULE}.lora_B.weight", "B", "official"),
        (f"diffusion_model.{MODULE}.lora_down.weight", "A", "comfyui"),
        (f"diffusion_model.{MODULE}.lora_up.weight", "B", "comfyui"),
        (f"diffusion_model.{MODULE}.lora.up.weight", "B", "comfyui"),
        (f"diffusion_model.{MODULE}_lora.down.weight", "A", "comfyui"),
        (f"diffusion_model.{MODULE}.lora_linear_layer.up.weight", "B", "comfyui"),
        (f"diffusion_model.{MODULE}.lora_A", "A", "comfyui"),
        (f"diffusion_model.{MODULE}.lora_B.default.weight", "B", "comfyui"),
        (f"transformer.{MODULE}.lora_A.weight", "A", "diffusers"),
        (f"transformer.{MODULE}.lora.down.weight", "A", "diffusers"),
        (f"transformer.{MODULE}.lora.up.weight", "B", "diffusers"),
        (f"base_model.model.{MODULE}.lora_B.weight", "B", "peft"),
        (f"base_model.model.diffusion_model.{MODULE}.lora_B.weight", "B", "peft"),
        (f"lora_unet_{FLAT}.lora_down.weight", "A", "kohya"),
        (f"lora_unet_{FLAT}.lora_up.weight", "B", "kohya"),
        (f"lora_unet_{FLAT}.alpha", "alpha", "kohya"),
        (f"{MODULE}.lora_A.weight", "A", "bare"),
        (f"lora_unet_{FLAT}.dora_scale", "magnitude", "kohya"),
        (f"diffusion_model.{MODULE}.lora_mid.weight", None, "comfyui"),
        (f"transformer.{MODULE}.lora_A.bias", None, "diffusers"),
    ],
)
def test_a_key_is_taken_apart(key: str, part: str | None, naming: str) -> None:
    parsed = parse_key(key)
    assert (parsed.module, parsed.audio, parsed.part, parsed.naming) == (MODULE, True, part, naming)


@pytest.mark.parametrize(
    "module",
    [
        "transformer_blocks.0.attn1.to_q",
        "transformer_blocks.0.ff.net.2",
        "transformer_blocks.0.audio_to_video_attn.to_q",
        "transformer_blocks.0.video_to_audio_attn.to_out.0",
        "transformer_blocks.x.audio_attn1.to_q",
        "transformer_blocks.0.audio_attn1.q_norm",
        "audio_embeddings_connector.transformer_1d_blocks.0.attn1.to_q",
        "patchify_proj",
        "adaln_single.linear",
        "av_ca_audio_scale_shift_adaln_single.linear",
    ],
)
def test_modules_outside_the_audio_stream_are_told_apart(module: str) -> None:
    for key in (f"diffusion_model.{module}.lora_A.weight", f"lora_unet_{module.replace('.', '_')}.lora_down.weight"):
        assert not parse_key(key).audio


@pytest.mark.parametrize("naming", WRITTEN_NAMINGS)
def test_what_is_written_is_read_back_for_every_linear_layer_there_is(naming: WrittenNaming) -> None:
    layers = linear_layers()
    assert len(layers) == 2 * 12 + 8
    keys = [key for module in layers for key in written_keys(module, naming) if key is not None]
    assert len(set(keys)) == len(keys) == (3 if naming == "kohya" else 2) * len(layers)
    for module in layers:
        a, b, alpha = written_keys(module, naming)
        for key, part in ((a, "A"), (b, "B"), (alpha, "alpha")):
            if key is not None:
                parsed = parse_key(key)
                assert (parsed.module, parsed.audio, parsed.part) == (module, True, part)


def test_no_two_layers_of_the_full_size_model_share_a_kohya_name() -> None:
    layout = json.loads(gzip.decompress((FIXTURES / "full_size_layout.json.gz").read_bytes()))
    with torch.device("meta"):
        model = AudioTransformer(parse_config(layout["config"]).transformer)
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert len(layers) == 48 * 12 + 8
    assert [parse_key(written_keys(module, "kohya")[1]).module for module in layers] == layers
