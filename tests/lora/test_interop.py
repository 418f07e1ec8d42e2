"""What other programs make of our files: by their rules where those can be written down, and in diffusers itself."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from parity.cases import checkpoint
from parity.runners import fresh_transformer
from safetensors.torch import load_file
from support import FIXTURES, TINY_CHECKPOINT
from torch import Tensor

from soundlora.lora.adapter import Adapter, load_lora
from soundlora.lora.file import write_lora
from soundlora.lora.names import WrittenNaming, written_keys
from soundlora.lora.targets import target_names
from soundlora.model.config import parse_config
from soundlora.model.latents import positions
from soundlora.model.transformer import AudioTransformer

PREFIX = "model.diffusion_model."
SIGMA = torch.tensor([0.6])


@pytest.fixture(scope="module")
def trained() -> Adapter:
    """As it might be after training, with alpha = 2 · rank."""
    adapter = Adapter.create(fresh_transformer(), 4, alpha=8, seed=3)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=0.2)
    return adapter


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    c = checkpoint().config.transformer
    generator = torch.Generator().manual_seed(3)
    return {
        "x": torch.randn(1, 7, c.in_channels, generator=generator),
        "context": torch.randn(1, 5, c.context_dim, generator=generator),
        "positions": positions(7, checkpoint().config.audio),
    }


@torch.no_grad()
def velocity(model: AudioTransformer, inputs: dict[str, Tensor]) -> Tensor:
    result: Tensor = model(inputs["x"], SIGMA[:, None], SIGMA, inputs["context"], model.rope(inputs["positions"]))
    return result


def pairs(adapter: Adapter) -> dict[str, tuple[Tensor, Tensor]]:
    return {
        name: (layer.lora_A.detach(), layer.scale * layer.lora_B.detach()) for name, layer in adapter.layers.items()
    }


def full_size_targets() -> list[str]:
    layout = json.loads(gzip.decompress((FIXTURES / "full_size_layout.json.gz").read_bytes()))
    with torch.device("meta"):
        return target_names(AudioTransformer(parse_config(layout["config"]).transformer))


# ----------------------------------------------------------------------------------------------------------------------
# the official loader


def test_by_the_official_loader_s_rule_the_file_does_what_was_trained(
    trained: Adapter, inputs: dict[str, Tensor], tmp_path: Path
) -> None:
    write_lora(tmp_path / "lora.safetensors", pairs(trained), {}, dtype=torch.float32)
    lora = {key.removeprefix("diffusion_model."): t for key, t in load_file(tmp_path / "lora.safetensors").items()}
    model = fresh_transformer()
    plain = velocity(model, inputs)
    weights, changed = model.state_dict(), 0
    for key, a in lora.items():
        if key.endswith(".lora_A.weight"):
            module = key.removesuffix(".lora_A.weight")
            weights[f"{module}.weight"] += lora[f"{module}.lora_B.weight"] @ a
            changed += 1
    model.load_state_dict(weights)
    assert changed == len(trained.layers) == len(lora) / 2
    torch.testing.assert_close(velocity(model, inputs), velocity(trained.model, inputs), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(velocity(model, inputs), plain, atol=0.05)


# ----------------------------------------------------------------------------------------------------------------------
# ComfyUI


def accepted_by_comfyui(weights: list[str]) -> dict[str, str]:
    """The weight by each name that ComfyUI's model_lora_keys_unet takes for LTX's audio-video model."""
    names = {}
    for weight in weights:
        module = weight.removeprefix(PREFIX).removesuffix(".weight")
        for name in (f"diffusion_model.{module}", module, "lora_unet_" + module.replace(".", "_")):
            names[name] = weight
    return names


COMFYUI_SUFFIXES = [
    (".lora_up.weight", ".lora_down.weight"),
    ("_lora.up.weight", "_lora.down.weight"),
    (".lora_B.weight", ".lora_A.weight"),
    (".lora.up.weight", ".lora.down.weight"),
    (".lora_B", ".lora_A"),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
    (".lora_B.default.weight", ".lora_A.default.weight"),
]


@pytest.mark.parametrize("naming", ["official", "comfyui", "kohya"])
def test_comfyui_knows_every_key_of_a_full_size_lora(naming: WrittenNaming) -> None:
    layout = json.loads(gzip.decompress((FIXTURES / "full_size_layout.json.gz").read_bytes()))
    weights = [name for part in layout["parts"].values() for name in part if name.startswith(PREFIX)]
    accepted = accepted_by_comfyui([name for name in weights if name.endswith(".weight")])
    targets = full_size_targets()
    keys = {key for module in targets for key in written_keys(module, naming) if key is not None}
    loaded = {}
    for name, weight in accepted.items():
        for up, down in COMFYUI_SUFFIXES:
            if name + up in keys and name + down in keys:
                loaded[weight] = {name + up, name + down, f"{name}.alpha"}
    assert len(loaded) == 480
    assert set(loaded) == {f"{PREFIX}{module}.weight" for module in targets}
    assert keys <= set.union(*loaded.values()), "a key that ComfyUI doesn't load"


# ----------------------------------------------------------------------------------------------------------------------
# diffusers


@pytest.fixture(scope="module")
def diffusers() -> Any:
    import diffusers

    return diffusers


@pytest.fixture
def theirs(diffusers: Any) -> Any:
    """The tiny checkpoint in diffusers' transformer, which has a video stream too, and takes LoRAs as its pipeline."""
    from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_ltx2_lora_to_diffusers

    transformer = diffusers.LTX2VideoTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=24,
        cross_attention_dim=48,
        caption_channels=24,
        gated_attn=True,
        cross_attn_mod=True,
        audio_in_channels=32,
        audio_out_channels=32,
        audio_num_attention_heads=2,
        audio_attention_head_dim=16,
        audio_cross_attention_dim=32,
        audio_gated_attn=True,
        audio_cross_attn_mod=True,
        num_layers=2,
        rope_type="split",
        use_prompt_embeddings=False,
    )
    stored = {name.removeprefix("model."): t for name, t in load_file(TINY_CHECKPOINT).items()}
    named = _convert_non_diffusers_ltx2_lora_to_diffusers(stored)
    weights = {key.removeprefix("transformer."): tensor.float() for key, tensor in named.items()}
    wanted = transformer.state_dict().keys()
    assert wanted <= weights.keys()
    transformer.load_state_dict({key: weights[key] for key in wanted})
    return SimpleNamespace(transformer=transformer.eval(), mixin=diffusers.loaders.LTX2LoraLoaderMixin)


@torch.no_grad()
def their_velocity(theirs: Any, inputs: dict[str, Tensor]) -> Tensor:
    scaled = 1000 * SIGMA
    result: Tensor = theirs.transformer(
        hidden_states=torch.zeros(1, 4, 16),
        audio_hidden_states=inputs["x"],
        encoder_hidden_states=torch.zeros(1, 5, 48),
        audio_encoder_hidden_states=inputs["context"],
        timestep=scaled,
        sigma=scaled,
        num_frames=1,
        height=2,
        width=2,
        audio_coords=inputs["positions"],
        isolate_modalities=True,
        return_dict=False,
    )[1]
    return result


def load_there(theirs: Any, path: Path) -> int:
    """As `pipeline.load_lora_weights(path)`; returns how many modules were changed."""
    state, metadata = theirs.mixin.lora_state_dict(str(path), return_lora_metadata=True)
    assert all("lora" in key for key in state), "the pipeline would refuse the file"
    theirs.mixin.load_lora_into_transformer(state, theirs.transformer, metadata=metadata)
    return sum(hasattr(module, "lora_A") for module in theirs.transformer.modules())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("naming", ["official", "diffusers"])
def test_in_diffusers_the_lora_does_what_it_does_here(
    naming: WrittenNaming, theirs: Any, trained: Adapter, inputs: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lora.safetensors"
    write_lora(path, pairs(trained), {"rank": "4", "trigger_phrase": "TRG"}, naming=naming, dtype=torch.float32)
    plain = their_velocity(theirs, inputs)
    torch.testing.assert_close(plain, velocity(fresh_transformer(), inputs), atol=2e-5, rtol=1e-4)
    assert load_there(theirs, path) == 10 * 2
    changed = their_velocity(theirs, inputs)
    torch.testing.assert_close(changed, velocity(trained.model, inputs), atol=2e-5, rtol=1e-4)
    assert not torch.allclose(changed, plain, atol=0.05)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stabilised", [False, True])
def test_a_lora_that_diffusers_saved_does_here_what_it_did_there(
    stabilised: bool, theirs: Any, inputs: dict[str, Tensor], tmp_path: Path
) -> None:
    from diffusers.training_utils import _collate_lora_metadata
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    modules = r".*\.audio_(attn[12]\.to_([qkv]|out\.0)|ff\.net\.(0\.proj|2))|audio_proj_in|audio_time_embed\.linear"
    theirs.transformer.add_adapter(
        LoraConfig(r=4, lora_alpha=6, target_modules=modules, init_lora_weights=False, use_rslora=stabilised)
    )
    theirs.mixin.save_lora_weights(
        tmp_path,
        transformer_lora_layers=get_peft_model_state_dict(theirs.transformer),
        **_collate_lora_metadata({"transformer": theirs.transformer}),
    )
    model = fresh_transformer()
    adapter, _ = load_lora(model, tmp_path / "pytorch_lora_weights.safetensors")
    assert len(adapter.layers) == 10 * 2 + 2
    torch.testing.assert_close(velocity(model, inputs), their_velocity(theirs, inputs), atol=2e-5, rtol=1e-4)
    assert not torch.allclose(velocity(model, inputs), velocity(fresh_transformer(), inputs), atol=0.05)
