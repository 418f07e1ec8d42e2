"""What LoRA files call the linear layers of the audio stream.

| naming | a file's key |
|---|---|
| official | `diffusion_model.<module>.lora_A.weight` |
| comfyui | `diffusion_model.<module>.lora_down.weight` |
| diffusers | `transformer.<diffusers' module>.lora_A.weight` |
| kohya | `lora_unet_<module, dots as underscores>.lora_down.weight`, and `.alpha` |
| peft | `base_model.model.<module>.lora_A.weight` |
| bare | `<module>.lora_A.weight` |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

WrittenNaming = Literal["official", "comfyui", "diffusers", "kohya"]
Naming = Literal[WrittenNaming, "peft", "bare"]
WRITTEN_NAMINGS: tuple[WrittenNaming, ...] = get_args(WrittenNaming)

# Every linear layer of a block, and those around the blocks.
_OF_A_BLOCK = (
    *(f"audio_attn{n}.{part}" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0", "to_gate_logits")),
    "audio_ff.net.0.proj",
    "audio_ff.net.2",
)
_OF_ADALN = ("emb.timestep_embedder.linear_1", "emb.timestep_embedder.linear_2", "linear")
_AROUND = (
    "audio_patchify_proj",
    "audio_proj_out",
    *(f"{name}.{part}" for name in ("audio_adaln_single", "audio_prompt_adaln_single") for part in _OF_ADALN),
)
_DIFFUSERS = {
    "audio_patchify_proj": "audio_proj_in",
    "audio_adaln_single": "audio_time_embed",
    "audio_prompt_adaln_single": "audio_prompt_adaln",
}


def _in_diffusers(module: str) -> str:
    first, dot, rest = module.partition(".")
    return _DIFFUSERS.get(first, first) + dot + rest


# kohya's names have lost their dots, so everything is looked up without.
_BLOCK_BY_FLAT_NAME = {name.replace(".", "_"): name for name in _OF_A_BLOCK}
_AROUND_BY_FLAT_NAME = {
    spelling.replace(".", "_"): name for name in _AROUND for spelling in (name, _in_diffusers(name))
}
_PREFIX = re.compile(r"(base_model\.model\.)?(diffusion_model\.|transformer\.|lora_unet_)?")
_PARTS = {
    suffix: part
    for part, suffixes in {
        "A": (
            ".lora_A.weight",
            ".lora_A.default.weight",
            ".lora_A",
            ".lora_down.weight",
            ".lora.down.weight",
            "_lora.down.weight",
            ".lora_linear_layer.down.weight",
        ),
        "B": (
            ".lora_B.weight",
            ".lora_B.default.weight",
            ".lora_B",
            ".lora_up.weight",
            ".lora.up.weight",
            "_lora.up.weight",
            ".lora_linear_layer.up.weight",
        ),
        "alpha": (".alpha",),
    }.items()
    for suffix in suffixes
}


@dataclass(frozen=True)
class LoraKey:
    """A key of a file, taken apart."""

    module: str  # as the checkpoint calls it; as the file does where it is none of the audio stream
    audio: bool  # a linear layer of the audio stream
    part: str | None  # "A", "B", "alpha", or None: nothing that a plain LoRA has
    naming: Naming
    written: str  # the module as the file calls it, without the prefix


def parse_key(key: str) -> LoraKey:
    """'lora_unet_transformer_blocks_3_audio_ff_net_2.lora_up.weight' → B of transformer_blocks.3.audio_ff.net.2."""
    found = _PREFIX.match(key)
    assert found is not None  # both halves are optional
    rest = key[found.end() :]
    suffix = next((suffix for suffix in _PARTS if rest.endswith(suffix)), "")
    naming = _naming(found[1], found[2], suffix)
    written = rest.removesuffix(suffix)
    if suffix:
        module = _official(written)
        return LoraKey(module or written, module is not None, _PARTS[suffix], naming, written)
    # Such as `<module>.dora_scale`: the module is what is left of the key when enough is taken away.
    while written:
        written = written.rpartition(".")[0]
        module = _official(written)
        if module is not None:
            return LoraKey(module, True, None, naming, written)
    return LoraKey(rest, False, None, naming, rest)


def written_keys(module: str, naming: WrittenNaming) -> tuple[str, str, str | None]:
    """Keys of A, of B and, where the naming has one, of alpha, for a module as the checkpoint calls it."""
    if naming == "official":
        return f"diffusion_model.{module}.lora_A.weight", f"diffusion_model.{module}.lora_B.weight", None
    if naming == "comfyui":
        return f"diffusion_model.{module}.lora_down.weight", f"diffusion_model.{module}.lora_up.weight", None
    if naming == "diffusers":
        name = f"transformer.{_in_diffusers(module)}"
        return f"{name}.lora_A.weight", f"{name}.lora_B.weight", None
    name = "lora_unet_" + module.replace(".", "_")
    return f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha"


def _naming(peft: str | None, prefix: str | None, suffix: str) -> Naming:
    if peft:
        return "peft"
    if prefix == "diffusion_model.":
        return "official" if suffix in (".lora_A.weight", ".lora_B.weight") else "comfyui"
    return {None: "bare", "transformer.": "diffusers", "lora_unet_": "kohya"}[prefix]  # type: ignore[return-value]


def _official(written: str) -> str | None:
    flat = written.replace(".", "_")
    block = re.fullmatch(r"transformer_blocks_(\d+)_(\w+)", flat)
    if block is None:
        return _AROUND_BY_FLAT_NAME.get(flat)
    name = _BLOCK_BY_FLAT_NAME.get(block[2])
    return name and f"transformer_blocks.{int(block[1])}.{name}"
