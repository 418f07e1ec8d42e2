"""The names that LoRA files have for the linear layers of the audio stream.

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


# kohya's names have lost their dots, so everything is looked up without dots.
_BLOCK_BY_FLAT_NAME = {name.replace(".", "_"): name for name in _OF_A_BLOCK}
_AROUND_BY_FLAT_NAME = {
    spelling.replace(".", "_"): name for name in _AROUND for spelling in (name, _in_diffusers(name))
}
# `<module>.lora_A.weight`, `.lora.down.weight`, `_lora.up.weight`; PEFT puts an adapter's name before `weight`.
_MATRIX = re.compile(
    r"(?P<module>.+?)[._]lora(?:_linear_layer)?[._](?P<half>A|B|down|up)(?:(?:\.(?P<adapter>[^.]+))?\.weight)?"
)
# `<module>.lokr_w1`, `<module>.hada_w2_b`: an update of more matrices than two.
_PRODUCT = re.compile(r"(?P<module>.+)\.(?P<part>lokr_w[12](?:_[ab])?|hada_w[12]_[ab])(?:\.weight)?")
# `<module>.dora_scale`, and PEFT's `<module>.lora_magnitude_vector`: the lengths of a DoRA.
_MAGNITUDE = re.compile(r"(?P<module>.+)\.(?:dora_scale|lora_magnitude_vector)(?:(?:\.(?P<adapter>[^.]+))?\.weight)?")
_KNOWN_PREFIXES = ("base_model.model.diffusion_model.", "base_model.model.", "diffusion_model.", "transformer.")
_HALVES = {"A": "A", "down": "A", "B": "B", "up": "B"}


@dataclass(frozen=True)
class LoraKey:
    """The parts of a file's key.

    module: the checkpoint's name of the layer, or the file's where it is no layer of the audio stream.
    audio: whether it is a linear layer of the audio stream.
    part: "A", "B", "alpha", a matrix of LoKr or LoHa, such as "lokr_w1", or "magnitude"; None for anything else.
    written: the file's name of the layer, without the prefix.
    adapter: the name that PEFT puts into keys, "" where there is none.
    """

    module: str
    audio: bool
    part: str | None
    naming: Naming
    written: str
    adapter: str = ""


def parse_key(key: str) -> LoraKey:
    """Take a key apart.

    'lora_unet_transformer_blocks_3_audio_ff_net_2.lora_up.weight' is B of transformer_blocks.3.audio_ff.net.2. Programs
    put all kinds of prefixes before a module, one after the other. Whatever stands before a module of the audio stream
    is taken away.
    """
    matrix = _MATRIX.fullmatch(key)
    if matrix is not None:
        part, adapter = _HALVES[matrix["half"]], matrix["adapter"] or ""
        plain = key.endswith((".lora_A.weight", ".lora_B.weight"))
        prefix, written, module = _peeled(matrix["module"])
        return LoraKey(module or written, module is not None, part, _naming(prefix, plain), written, adapter)
    product = _PRODUCT.fullmatch(key)
    if product is not None:
        prefix, written, module = _peeled(product["module"])
        return LoraKey(module or written, module is not None, product["part"], _naming(prefix, False), written)
    magnitude = _MAGNITUDE.fullmatch(key)
    if magnitude is not None:
        prefix, written, module = _peeled(magnitude["module"])
        adapter = magnitude["adapter"] or ""
        return LoraKey(module or written, module is not None, "magnitude", _naming(prefix, False), written, adapter)
    if key.endswith(".alpha"):
        prefix, written, module = _peeled(key.removesuffix(".alpha"))
        return LoraKey(module or written, module is not None, "alpha", _naming(prefix, False), written)
    # The key may be one like `<module>.oft_blocks`, so its end is taken away until a module is left.
    rest = key
    while rest:
        rest = rest.rpartition(".")[0]
        prefix, written, module = _peeled(rest)
        if module is not None:
            return LoraKey(module, True, None, _naming(prefix, False), written)
    prefix, written, _ = _peeled(key)
    return LoraKey(written, False, None, _naming(prefix, False), written)


def _peeled(name: str) -> tuple[str, str, str | None]:
    """Return what stands before the module, the file's name of it, and the checkpoint's; None where it is none."""
    parts = name.split(".")
    for first in range(len(parts)):
        written = ".".join(parts[first:])
        module = _official(written)
        if module is not None:
            return ".".join(parts[:first]), written, module
    flat = name.removeprefix("lora_unet_").removeprefix("lora_transformer_").removeprefix("lycoris_")
    if flat != name:
        return name[: len(name) - len(flat)], flat, _official(flat)
    known = next((prefix for prefix in _KNOWN_PREFIXES if name.startswith(prefix)), "")
    return known.removesuffix("."), name.removeprefix(known), None


def written_keys(module: str, naming: WrittenNaming) -> tuple[str, str, str | None]:
    """Return the keys of A, of B and, where the naming has one, of alpha. module: its name in the checkpoint."""
    if naming == "official":
        return f"diffusion_model.{module}.lora_A.weight", f"diffusion_model.{module}.lora_B.weight", None
    if naming == "comfyui":
        return f"diffusion_model.{module}.lora_down.weight", f"diffusion_model.{module}.lora_up.weight", None
    if naming == "diffusers":
        name = f"transformer.{_in_diffusers(module)}"
        return f"{name}.lora_A.weight", f"{name}.lora_B.weight", None
    name = "lora_unet_" + module.replace(".", "_")
    return f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha"


def _naming(prefix: str, plain: bool) -> Naming:
    """By what stands before the module. plain: the matrices are called lora_A and lora_B."""
    if "base_model.model" in prefix:
        return "peft"
    if prefix.endswith("diffusion_model"):
        return "official" if plain else "comfyui"
    if prefix.startswith(("lora_", "lycoris_")):
        return "kohya"
    return "diffusers" if prefix.endswith("transformer") else "bare"


def _official(written: str) -> str | None:
    flat = written.replace(".", "_")
    block = re.fullmatch(r"transformer_blocks_(\d+)_(\w+)", flat)
    if block is None:
        return _AROUND_BY_FLAT_NAME.get(flat)
    name = _BLOCK_BY_FLAT_NAME.get(block[2])
    return name and f"transformer_blocks.{int(block[1])}.{name}"
