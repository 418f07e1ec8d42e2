"""How our code computes the outputs of each reference case, by the name of the expected tensor."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from soundlora.lora.adapter import Adapter
from soundlora.lora.file import read_lora
from soundlora.model.audio_vae import AudioVAE, patchify, unpatchify
from soundlora.model.connector import AudioConnector, FeatureProjection
from soundlora.model.latents import initial_noise, positions
from soundlora.model.mel import log_mel, resample, to_stereo
from soundlora.model.text_encoder import TextEncoder
from soundlora.model.transformer import AudioTransformer, bypass_blocks, denoised
from soundlora.model.vocoder import AliasFreeActivation, Vocoder, hann_sinc_filter, kaiser_sinc_filter
from soundlora.sampling.guidance import Guidance, denoise
from soundlora.sampling.schedule import sigmas
from soundlora.training.flow import loss_per_sample, noisy, sample_sigma, shape_sigma
from soundlora.training.optimizer import Optimizer

from .cases import CPU, ROOT, Case, checkpoint, read_file
from .runners25 import RUNNERS_25

Outputs = dict[str, Tensor]


@cache
def transformer(dtype: torch.dtype = torch.float32) -> AudioTransformer:
    return checkpoint().load_transformer(CPU, dtype)


@cache
def vae() -> AudioVAE:
    return checkpoint().load_vae(CPU, encoder=True, decoder=True)


@cache
def vocoder() -> Vocoder:
    return checkpoint().load_vocoder(CPU)


@cache
def projection(dtype: torch.dtype = torch.float32) -> FeatureProjection:
    return checkpoint().load_projection(CPU, dtype)


@cache
def connector(dtype: torch.dtype = torch.float32) -> AudioConnector:
    return checkpoint().load_connector(CPU, dtype)


@cache
def text_encoder() -> TextEncoder:
    return TextEncoder(ROOT / "gemma_tiny", CPU, torch.float32, max_length=128)


def fresh_transformer() -> AudioTransformer:
    return checkpoint().load_transformer(CPU, torch.float32)


# ---------------------------------------------------------------------------------------------------------------------
# transformer


@torch.no_grad()
def run_transformer(case: Case) -> Outputs:
    x = case.inputs
    model = transformer(torch.bfloat16 if case.name == "tr_bf16" else torch.float32)
    layers, batch = model.config.layers, len(x["sigma"])
    bypass = None
    if case.name.startswith("tr_stg"):
        samples: Tensor | bool = True
        if "perturbed_samples" in case.params:
            samples = torch.tensor([i in case.params["perturbed_samples"] for i in range(batch)])
        bypass = bypass_blocks(case.params["stg_blocks"], layers, samples)
    blocks: list[Tensor] = []
    hooks = [b.register_forward_hook(lambda m, i, o: blocks.append(o)) for b in model.transformer_blocks]
    timesteps = x.get("timesteps", x["sigma"][:, None])
    rope = model.rope(x["positions"], x["latent"].dtype)

    def run(model: AudioTransformer, latent: Tensor) -> Tensor:
        result: Tensor = model(
            latent,
            timesteps,
            x["sigma"],
            x["context"],
            rope,
            context_mask=x.get("context_mask"),
            attention_mask=x.get("attention_mask"),
            bypass=bypass,
        )
        return result

    velocity = run(model, x["latent"])
    for hook in hooks:
        hook.remove()
    if case.name == "tr_bf16":
        rope = transformer().rope(x["positions"])
        return {"velocity_bf16": velocity, "velocity_fp32_compute": run(transformer(), x["latent"].float())}
    outputs = {"velocity": velocity}
    if "x0" in case.expected:
        outputs["x0"] = denoised(x["latent"], velocity, timesteps)
    if "rope_cos" in case.expected:
        scale = model.config.timestep_scale
        modulation, embedded = model.audio_adaln_single(timesteps * scale, torch.float32)
        assert model.audio_prompt_adaln_single is not None
        prompt, _ = model.audio_prompt_adaln_single(x["sigma"][:, None] * scale, torch.float32)
        outputs |= {
            "rope_cos": rope[0],
            "rope_sin": rope[1],
            "adaln_timestep": modulation,
            "embedded_timestep": embedded,
            "prompt_timestep": prompt,
            "patchified": model.audio_patchify_proj(x["latent"]),
        } | {f"block{i}_out": out for i, out in enumerate(blocks)}
    return outputs


def run_gradients(case: Case) -> Outputs:
    x = case.inputs
    model = fresh_transformer().requires_grad_(True)
    latent = noisy(x["latent_clean"], x["noise"], x["sigma"]).requires_grad_()
    context = x["context"].clone().requires_grad_()
    velocity = model(
        latent, x["sigma"][:, None], x["sigma"], context, model.rope(x["positions"]), context_mask=x["context_mask"]
    )
    loss = loss_per_sample(velocity, x["latent_clean"], x["noise"])
    loss.mean().backward()
    gradients = {"latent_noisy": latent.grad, "context": context.grad}
    gradients |= {name: p.grad for name, p in model.named_parameters()}
    outputs = {"loss_per_sample": loss.detach(), "velocity": velocity.detach()}
    for name in case.expected:
        if name.startswith("grad."):
            gradient = gradients[name.removeprefix("grad.")]
            assert gradient is not None
            outputs[name] = gradient
    return outputs


# ---------------------------------------------------------------------------------------------------------------------
# lora and training


def run_lora(case: Case) -> Outputs:
    x = case.inputs
    model = fresh_transformer()
    rope = model.rope(x["positions"])
    latent = noisy(x["latent_clean"], x["noise"], x["sigma"])

    def velocity() -> Tensor:
        out: Tensor = model(latent, x["sigma"][:, None], x["sigma"], x["context"], rope)
        return out

    outputs = {"velocity_base": velocity()}
    pairs = read_lora(ROOT / case.params["lora_file"]).pairs
    adapter = Adapter.attach(model, pairs)
    outputs["velocity_ltxcore_fused_strength1"] = velocity().detach()
    adapter.detach()
    adapter = Adapter.attach(model, pairs, scale=case.params["alpha"] / case.params["rank"])
    trained = velocity()
    loss = loss_per_sample(trained, x["latent_clean"], x["noise"])
    loss.mean().backward()
    outputs |= {"velocity_training": trained.detach(), "loss_per_sample": loss.detach()}
    for name, layer in adapter.layers.items():
        for part in ("lora_A", "lora_B"):
            gradient = getattr(layer, part).grad
            key = f"grad.diffusion_model.{name}.{part}.weight"
            if key in case.expected:
                outputs[key] = gradient
    return outputs


def run_train_steps(case: Case) -> Outputs:
    x = case.inputs
    model = fresh_transformer()
    pairs = read_lora(ROOT / case.params["init"]).pairs
    adapter = Adapter.attach(model, pairs, scale=case.params["alpha"] / case.params["rank"])
    steps = sum(name.endswith(".sigma") for name in x)
    optimizer = Optimizer(adapter.parameters(), learning_rate=1e-2, steps=steps)
    rope = None
    losses, rates, norms = [], [], []
    for step in range(steps):
        s = {key.removeprefix(f"s{step}."): value for key, value in x.items() if key.startswith(f"s{step}.")}
        clean = patchify(s["latents"])
        with torch.no_grad():
            context = torch.stack(
                [
                    connector()(features[mask.bool()], len(mask))
                    for features, mask in zip(s["audio_features"], s["prompt_attention_mask"], strict=True)
                ]
            )
        if rope is None:
            rope = model.rope(positions(clean.shape[1], checkpoint().config.audio))
        velocity = model(noisy(clean, s["noise"], s["sigma"]), s["sigma"][:, None], s["sigma"], context, rope)
        loss = loss_per_sample(velocity, clean, s["noise"])
        loss.mean().backward()
        losses.append(loss.detach())
        rate, norm = optimizer.step()
        rates.append(rate)
        norms.append(norm)
    outputs = {
        "loss_per_sample": torch.stack(losses),
        "lr": torch.tensor(rates),
        "grad_norm_before_clip": torch.tensor(norms),
    }
    outputs = {key: value.reshape(case.expected[key].shape) for key, value in outputs.items()}
    return outputs | {f"final {key}": value for key, value in adapter.state_dict().items()}


def final_lora(case: Case) -> Outputs:
    """Expected tensors of `run_train_steps` beyond those in the case itself."""
    return {f"final {key}": value for key, value in read_file(case.params["final"]).items()}


# ---------------------------------------------------------------------------------------------------------------------
# audio


@torch.no_grad()
def run_vae(case: Case) -> Outputs:
    x, channels = case.inputs, checkpoint().config.audio.latent_channels
    if case.name == "patchify":
        tokens, statistics = patchify(x["latent"]), vae().per_channel_statistics
        return {
            "tokens": tokens,
            "tokens_normalized": statistics.normalize(tokens),
            "tokens_unnormalized": statistics.denormalize(tokens),
        }
    if "mel" in x:
        return {"latent": unpatchify(vae().encode(x["mel"]), channels), "raw_mean": vae().encoder(x["mel"])}
    return {"mel": vae().decode(patchify(x["latent"]))}


@torch.no_grad()
def run_mel(case: Case) -> Outputs:
    config, rate = checkpoint().config.audio, case.params["sampling_rate"]
    waveform = case.inputs["waveform"]
    if case.name.startswith("encode_audio"):
        stereo = resample(to_stereo(waveform), rate, config.sample_rate)
        return {"latents": unpatchify(vae().encode(log_mel(stereo[None], config)), config.latent_channels)[0]}
    resampled = resample(waveform, rate, config.sample_rate)
    outputs = {"mel": log_mel(resampled, config)}
    return outputs | ({"resampled": resampled} if "resampled" in case.expected else {})


@torch.no_grad()
def run_vocoder(case: Case) -> Outputs:
    x, model = case.inputs, vocoder()
    if case.name == "activation1d":
        act = model.vocoder.get_submodule("resblocks.0.acts1.0")
        assert isinstance(act, AliasFreeActivation)
        return {"y": act(x["x"]), "up": act.upsample(x["x"])}
    if case.name == "ampblock":
        return {"y": model.vocoder.resblocks[1](x["x"])}
    if case.name == "resampler_filter":
        return {"filter": hann_sinc_filter(model.config.ratio)}
    if case.name == "kaiser_filter":
        return {"filter": kaiser_sinc_filter()}
    if case.name.startswith("decode_latent"):
        return {"waveform": model(vae().decode(patchify(x["latent"])))[0]}
    stage1 = model.vocoder(x["mel"])
    logmel = model.mel_stft(stage1)
    return {
        "stage1_unclamped": model.vocoder.unclamped(x["mel"]),
        "stage1": stage1,
        "bwe_logmel": logmel,
        "bwe_residual": model.bwe_generator(logmel.transpose(2, 3)),
        "resampler_skip": model.skip(stage1),
        "waveform": model(x["mel"]),
    }


# ---------------------------------------------------------------------------------------------------------------------
# text


@torch.no_grad()
def run_text(case: Case) -> Outputs:
    hidden, mask = case.inputs["hidden_states"], case.inputs["attention_mask"]
    dtype = hidden.dtype
    features = projection(dtype)(hidden, mask)
    context = torch.stack([connector(dtype)(f[m.bool()], len(m)) for f, m in zip(features, mask, strict=True)])
    # Every position of the context counts, so the mask that the reference hands on is all ones.
    return {"audio_features": features, "audio_encoding": context, "binary_mask": torch.ones_like(mask)}


def run_tokenize(case: Case) -> Outputs:
    length = case.params["max_length"]
    padding = text_encoder().tokenizer.token_to_id("<pad>")
    assert padding is not None
    rows, masks = [], []
    for prompt in case.params["prompts"]:
        ids = text_encoder().tokenize(prompt)
        pad = length - len(ids)
        rows.append([padding] * pad + ids)
        masks.append([0] * pad + [1] * len(ids))
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}


@torch.no_grad()
def run_gemma(case: Case) -> Outputs:
    expected = case.expected["hidden_states_valid"]
    padded, contexts = torch.zeros_like(expected), []
    for row, prompt in enumerate(case.params["prompts"]):
        hidden = text_encoder().hidden_states(prompt)
        padded[row, -len(hidden) :] = hidden
        contexts.append(connector()(projection()(hidden), expected.shape[1]))
    return {"hidden_states_valid": padded, "audio_encoding": torch.stack(contexts)}


# ---------------------------------------------------------------------------------------------------------------------
# flow and sampling


def run_schedule(case: Case) -> Outputs:
    p, x = case.params, case.inputs
    if case.name.startswith("sigmas"):
        return {"sigmas": sigmas(p["steps"], p["tokens"])}
    if case.name.startswith("positions"):
        return {"positions": positions(p["frames"], checkpoint().config.audio)}
    if "seed" in p:
        generator = torch.Generator().manual_seed(p["seed"])
        return {"sigma": sample_sigma(len(case.expected["sigma"]), p["seq_length"], generator)}
    return {"sigma": shape_sigma(x["normal"], x["uniform"], x["prob"], p["seq_length"])}


def run_guidance(case: Case) -> Outputs:
    p, x = case.params, case.inputs
    if case.name.startswith("initial_noise"):
        dtype = case.expected["x"].dtype
        return {"x": initial_noise(p["shape"][1], p["shape"][2], p["seed"], dtype)}
    if case.name == "guided_e2e_waveform":
        channels = checkpoint().config.audio.latent_channels
        with torch.no_grad():
            wave = vocoder()(vae().decode(x["x_final"]))[0]
        return {"latent": unpatchify(x["x_final"], channels), "waveform": wave}
    model = transformer()
    guidance = Guidance(p["cfg_scale"], p["stg_scale"], p["stg_blocks"], p["rescale"])
    levels = sigmas(p["steps"])
    rope = model.rope(x["positions"])
    guided: list[Tensor] = []
    after: list[Tensor] = []

    def record(step: int, prediction: Tensor, latents: Tensor) -> None:
        guided.append(prediction)
        after.append(latents)

    start, context, negative = x["x_init"], x["context_pos"], x["context_neg"]
    final = denoise(model, start, levels, rope, context, negative, guidance, record)
    outputs = {
        "x_final": final,
        "x_after_step": torch.stack(after),
        "guided_x0": torch.stack(guided),
        "sigmas": levels,
    }
    with torch.no_grad():
        sigma = levels[:1]
        passes = {
            "step0_x0_cond": (context, None),
            "step0_x0_uncond": (negative, None),
            "step0_x0_perturbed": (context, bypass_blocks(p["stg_blocks"], model.config.layers)),
        }
        for key, (text, bypass) in passes.items():
            if key in case.expected:
                velocity = model(start, sigma[:, None], sigma, text, rope, bypass=bypass)
                outputs[key] = denoised(start, velocity, sigma[:, None])
    return outputs


RUNNERS: dict[str, tuple[tuple[str, ...], Callable[[Case], Outputs]]] = {
    "transformer": (("tr_",), run_transformer),
    "gradients": (("grads_",), run_gradients),
    "LoRA": (("lora_",), run_lora),
    "training steps": (("train_",), run_train_steps),
    "audio VAE": (("vae_", "patchify"), run_vae),
    "mel and resampling": (("mel_", "encode_audio"), run_mel),
    "vocoder": (
        ("vocoder_", "activation1d", "ampblock", "resampler_filter", "kaiser_filter", "decode_latent"),
        run_vocoder,
    ),
    "features and connector": (("text_",), run_text),
    "tokenizer": (("tokenize",), run_tokenize),
    "Gemma 3": (("gemma_",), run_gemma),
    "schedule and sigma": (("sigmas_", "positions_", "timestep_sampler"), run_schedule),
    "guided sampling": (("guided_", "initial_noise"), run_guidance),
} | RUNNERS_25
