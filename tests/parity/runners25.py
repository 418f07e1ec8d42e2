"""How our code computes the outputs of the reference cases of LTX 2.5."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from soundlora.lora.adapter import Adapter
from soundlora.model.audio_vae import patchify
from soundlora.model.condition import Condition, at_end, at_start
from soundlora.model.config import ModelConfig, parse_config
from soundlora.model.connector import AudioConnector, FeatureProjection
from soundlora.model.gemma import Gemma
from soundlora.model.tensor_file import TensorFile
from soundlora.model.transformer import AudioTransformer, bypass_blocks
from soundlora.training.flow import loss_per_sample, noisy
from soundlora.weights.checkpoint import fitted, load_duration_head, load_module

from .cases import CPU, ROOTS, Case

Outputs = dict[str, Tensor]
_DIT = "model.diffusion_model."


@cache
def opened(path: Path) -> tuple[TensorFile, ModelConfig]:
    """A file with a transformer, and the config that it carries."""
    file = TensorFile(path, "take another")
    return file, fitted(parse_config(json.loads(file.metadata["config"])), file.tensors, file.metadata)


def fresh_transformer25(path: Path) -> AudioTransformer:
    file, config = opened(path)
    return load_module(lambda: AudioTransformer(config.transformer), file.read, _DIT, CPU, torch.float32)


def unmodulated_transformer() -> AudioTransformer:
    """One whose prompts are the same at every noise level, and whose feed-forward has no biases."""
    file, config = opened(ROOTS["parity25"] / "transformer_kv.safetensors")
    sizes = replace(config.transformer, prompt_adaln=False, ff_bias=False)
    return load_module(lambda: AudioTransformer(sizes), file.read, _DIT, CPU, torch.float32)


def run_transformer(case: Case) -> Outputs:
    return _gradients(case) if case.name.endswith("lora_gradients") else _velocity(case)


@torch.no_grad()
def _velocity(case: Case) -> Outputs:
    x, model = case.inputs, fresh_transformer25(case.root / case.params["checkpoint"])
    blocks = case.params.get("stg_blocks")
    velocity = model(
        x["latent"],
        x["timesteps"],
        x["sigma"],
        x["context"],
        model.rope(x["positions"]),
        context_mask=x.get("context_mask"),
        bypass=None if blocks is None else bypass_blocks(blocks, model.config.layers),
    )
    return {"velocity": velocity}


def _gradients(case: Case) -> Outputs:
    x, model = case.inputs, fresh_transformer25(case.root / case.params["checkpoint"])
    suffixes = (".lora_A.weight", ".lora_B.weight")
    modules = dict.fromkeys(name.removesuffix(suffixes[0]) for name in x if name.endswith(suffixes[0]))
    pairs = {module: (x[module + suffixes[0]], x[module + suffixes[1]]) for module in modules}
    adapter = Adapter.attach(model, pairs, scale=case.params["alpha"] / case.params["rank"])
    latent = noisy(x["latent_clean"], x["noise"], x["sigma"])
    velocity = model(latent, x["sigma"][:, None], x["sigma"], x["context"], model.rope(x["positions"]))
    loss = loss_per_sample(velocity, x["latent_clean"], x["noise"])
    loss.mean().backward()
    gradients = {
        f"grad {name}{suffix}": parameter.grad
        for name, layer in adapter.layers.items()
        for suffix, parameter in zip(suffixes, (layer.lora_A, layer.lora_B), strict=True)
    }
    expected = case.expected["loss"]
    outputs = {"velocity": velocity.detach(), "loss": loss.detach().mean() if expected.dim() == 0 else loss.detach()}
    return outputs | {name: g for name, g in gradients.items() if g is not None and name in case.expected}


@torch.no_grad()
def run_gemma(case: Case) -> Outputs:
    gemma = Gemma(case.root / case.params["folder"], CPU, torch.float32)
    captions = case.inputs["input_ids"].tolist()
    streamed = list(gemma.stream(captions))
    states = [torch.stack([layer[number] for layer in streamed], dim=-1) for number in range(len(captions))]
    return {"hidden_states_valid": torch.stack(states)}


@torch.no_grad()
def run_text(case: Case) -> Outputs:
    packed = TensorFile(case.root / case.params["text_encoder"], "take another")
    file, config = opened(case.root / case.params["connector"])
    hidden, mask = case.inputs["hidden_states"], case.inputs["attention_mask"]
    text = fitted(config, file.tensors, packed.metadata).text
    projection = load_module(
        lambda: FeatureProjection(text, hidden.shape[-1]),
        packed.read,
        "text_embedding_projection.",
        CPU,
        torch.float32,
    )
    prefix = _DIT + "audio_embeddings_connector."
    connector = load_module(lambda: AudioConnector(config.text), file.read, prefix, CPU, torch.float32)
    features = projection(hidden, mask)
    context = [connector(f[m.bool()], len(m)) for f, m in zip(features, mask, strict=True)]
    return {"audio_features": features, "audio_encoding": torch.stack(context)}


def run_duration(case: Case) -> Outputs:
    head = load_duration_head(case.root / "duration_head.safetensors", CPU)
    return {"seconds": head(case.inputs["audio_tokens"])}


@torch.no_grad()
def run_mode(case: Case) -> Outputs:
    """Training with conditions, which the case's source names as JSON."""
    x, model = case.inputs, fresh_transformer25(case.root / case.params["checkpoint"])
    _, config = opened(case.root / case.params["checkpoint"])
    clean, noise, sigma = patchify(x["latents"]), x["noise"], x["sigma"]
    count, tokens, given = len(clean), clean.shape[1], None
    for condition in json.loads(case.source[case.source.index("[{") :]):
        if condition["type"] == "prefix":
            given = at_start(tokens, condition["temporal_boundary"]).expand(count, -1)
        elif condition["type"] == "suffix":
            given = at_end(tokens, condition["temporal_boundary"]).expand(count, -1)
        elif condition["type"] == "mask":
            given = x["mask"] > 0
    references = x.get("reference_latents")
    condition = Condition(given, None if references is None else patchify(references))
    mask = condition.mask(tokens, CPU)
    assert mask is not None
    noised = condition.sequence(noisy(clean, noise, sigma), clean)
    timesteps = condition.timesteps(sigma, tokens)
    places = condition.positions(tokens, config.audio)
    velocity = model(noised, sigma[:, None], sigma, x["context"], model.rope(places), given=mask)
    return {
        "noisy": noised,
        "timesteps": timesteps,
        "positions": places.expand(count, -1, -1, -1),
        "loss_mask": ~mask,
        "targets": noise - clean,
        "velocity": velocity,
        "loss": loss_per_sample(velocity[:, condition.front :], clean, noise, given),
    }


RUNNERS_25: dict[str, tuple[tuple[str, ...], Callable[[Case], Outputs]]] = {
    "2.5: transformer and LoRA's gradients": (("t25_",), run_transformer),
    "2.5: Gemma 4": (("gemma4_",), run_gemma),
    "2.5: features and connector": (("text25_",), run_text),
    "2.5: duration head": (("duration_head",), run_duration),
    "2.5: conditions of training": (("mode_",), run_mode),
}
