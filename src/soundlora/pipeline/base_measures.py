"""The lines of `soundlora base check`: each measure with its bound and a sentence.

A bound is a ratio or an order wherever one would do, since nothing is known of the base. In shapes N is clips, T
latents, C their channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.model.transformer import AudioTransformer
from soundlora.pipeline import base_plain, base_text, base_weights
from soundlora.pipeline.base_probe import LEVELS, USUAL, Change, Probe, average_spectrum_loss, difference
from soundlora.pipeline.base_sound import SECONDS, Clip, Trip, bands, level
from soundlora.pipeline.base_ways import block_ways, ways
from soundlora.sampling.generate import sample_latents
from soundlora.sampling.guidance import Guidance
from soundlora.system.devices import compute_dtype
from soundlora.system.gpu_memory import available, is_measured
from soundlora.system.operating_system import memory_bytes
from soundlora.weights.base import Base, Codec

_VOCODED = 20  # latents
_MIDDLE = (0.5,)
_FEW_STEPS = 8
_GUIDED = 3.0  # for a base whose own CFG is off
_WAYS = {
    "time axis": "Other places in time cost loss.",
    "noise level": "Other timesteps cost loss.",
    "modulation": "Other orders of the modulation's rows cost loss.",
    "attention": "Other norms, scales and gates cost loss.",
    "feed-forward": "Other activations cost loss.",
    "prediction": "Taking the prediction for anything but a velocity costs loss.",
}
_SLACK = 0.005  # of the loss; a way that lowers it by more is the better one
_BLOCK_SLACK = 0.03  # a block of many may be better halved, by little


@dataclass(frozen=True)
class Line:
    """One measure. `fine` is None where it was not taken, as the sentence then says."""

    measure: str
    value: float | None
    bound: str
    fine: bool | None
    sentence: str


def _at_most(measure: str, value: float, bound: float, sentence: str) -> Line:
    return Line(measure, _finite(value), f"at most {bound:g}", math.isfinite(value) and value <= bound, sentence)


def _at_least(measure: str, value: float, bound: float, sentence: str) -> Line:
    return Line(measure, _finite(value), f"at least {bound:g}", math.isfinite(value) and value >= bound, sentence)


def _within(measure: str, value: float, low: float, high: float, sentence: str) -> Line:
    fine = math.isfinite(value) and low <= value <= high
    return Line(measure, _finite(value), f"{low:g} to {high:g}", fine, sentence)


def _finite(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def of_plain(probe: Probe, rounding: float) -> Line:
    worst = base_plain.errors(probe)
    part = max(worst, key=lambda name: worst[name])
    sentence = f"The transformer's parts compute as specified. The worst is {part}."
    return _at_most("computed plainly", worst[part], rounding, sentence)


def of_codec(codec: Codec, trip: Trip, latents: Tensor) -> Iterator[Line]:
    assert codec.vocoder is not None
    wide = all(p.dtype == torch.float32 for part in (codec.vae, codec.vocoder) for p in part.parameters())
    yield Line("codec numbers", None, "fp32", wide, "The VAE and the vocoder compute in fp32.")
    with torch.inference_mode():
        mel = codec.vae.decode(latents[None, :_VOCODED].to(codec.device)).to(next(codec.vocoder.parameters()).device)
    error = base_plain.vocoder_error(codec.vocoder, mel)
    yield _at_most("vocoder", error, 1e-3, "Both stages of the vocoder and the mel between them are as specified.")
    yield _at_most(
        "codec error",
        trip.error / max(trip.shuffled, 1e-9),
        0.5,
        "Through the codec a clip stays nearer to itself than to another one.",
    )
    yield _within("codec level", trip.level, -6, 6, "Through the codec the level stays, in dB.")
    yield _within("codec slope", trip.slope, 8, 16, "A clip of 12 dB less comes out 12 dB softer.")
    yield _within("codec delay", trip.lag, -1, 1, "Through the codec no sound moves in time, in 10 ms.")
    yield _at_least("codec sides", trip.stereo, -3, "Left comes out on the left, in dB.")
    yield _at_most("codec height", trip.high, 30, "What is above 8 kHz is not lost, in dB.")
    yield _at_most("codec causality", trip.causal, 0.001, "What comes later does not change what came before.")
    yield _at_most("codec mono", trip.mono, 0.001, "Mono has the latents of the same sound on both sides.")
    yield _within("codec balance", trip.balance, -3, 3, "What is in the middle stays in the middle, in dB.")
    yield _within("latents", trip.spread, 1 / 3, 3, "Latents have a deviation near 1.")
    yield _at_most(
        "latents' order", trip.order, 1, "The statistics fit channels better in this order than in the other."
    )


def of_stored(base: Base) -> Iterator[Line]:
    found = base_weights.stored(base)
    for measure, names, word in (
        ("weights", found.no_numbers, "NaN or infinity"),
        ("weights' zeros", found.empty, "rows of zeros"),
    ):
        sentence = f"{len(names)} tensors hold {word}" + (f", the first is {names[0]}." if names else ".")
        yield Line(measure, float(len(names)), "0", not names, sentence)
    sentence = f"No weight is far above its tensor's root mean square. The farthest is in {found.outlier_name}."
    yield _at_most("weights' outliers", found.outlier, 1000, sentence)
    yield _alike("stored norms", "Stored norms", found.jump, found.jump_name, 2.5)


def _alike(measure: str, what: str, jump: float, name: str, bound: float) -> Line:
    farthest = f" The largest factor is that of {name}." if name else " Two blocks can't be told apart."
    return _at_most(measure, jump, bound, f"{what} are alike from block to block.{farthest}")


def of_norms(probe: Probe) -> Iterator[Line]:
    jump, name = base_weights.loaded_jump(probe.model)
    yield _alike("loaded norms", "Loaded norms", jump, name, 2.5)
    jump, name, growth = base_weights.activation_jump(probe, _MIDDLE[0])
    yield _alike("activations", "The sizes of what parts give", jump, name, 10)
    yield _at_most("growth", growth, 30, "No block raises what goes through by more than this factor.")


def of_text(text: base_text.Text, rounding: float) -> Iterator[Line]:
    fine = text.begin_well == len(text.tokens)
    yield Line(
        "tokens", float(text.begin_well), str(len(text.tokens)), fine, "Captions begin with <bos>, which comes once."
    )
    sentence = "The text encoder's first layer and last norm compute as specified."
    yield _at_most("text encoder", text.encoder_error, rounding, sentence)
    yield _at_most("text projection", text.projection_error, rounding, "The text projection computes as specified.")
    yield _at_most("connector", text.connector_error, rounding, "The text connector computes as specified.")
    size = text.contexts.float().square().mean(dim=-1).sqrt()
    sentence = "Each token of a context has a root mean square of 1."
    yield _at_most("context", float((size - 1).abs().max()), 0.05, sentence)


def of_text_ways(text: base_text.Text, probe: Probe) -> Line:
    given = base_text.contrast(probe, probe.contexts)
    found = [(base_text.contrast(probe, contexts), name) for name, contexts in text.ways()]
    best, name = max(found)
    fine = best < 1.25 * given + 0.02
    sentence = (
        "Other ways to make contexts tell captions apart less well." if fine else f"It would be better with {name}."
    )
    return Line("text", _finite(best), f"at most {1.25 * given + 0.02:.3g}", fine, sentence)


def of_losses(probe: Probe) -> Iterator[Line]:
    usual = probe.usual
    trivial = average_spectrum_loss(probe.latents)
    for index, sigma in enumerate(LEVELS):
        yield _at_most(
            f"loss at {sigma:g}",
            float(usual[index].mean() / trivial[index]),
            0.8,
            "The base guesses clips better than their average spectrum alone does.",
        )
    count = len(probe.latents)
    rolled = [probe.losses(Change(contexts=probe.contexts.roll(k, 0))) for k in range(1, count)]
    others = torch.stack(rolled)  # (N − 1, levels, N)
    cost = difference(others.mean(dim=0), usual)
    yield _certain(
        "other captions", cost.share, cost.errors, 0.02, "Another clip's caption costs loss, as a share of it."
    )
    better = float((others.mean(dim=1) > usual.mean(dim=0)).float().mean())
    yield _at_least(
        "captions told apart", better, 0.75, "A clip's own caption is better than this share of the others."
    )
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(probe.latents.shape[1], generator=generator).to(probe.latents.device)
    for measure, latents, least in (
        ("shuffled in time", probe.latents[:, order], 0.1),
        ("reversed in time", probe.latents.flip(1), 0.02),
    ):
        cost = probe.cost(Change(latents=latents))
        yield _certain(
            measure, cost.share, cost.errors, least, f"The same latents {measure} cost loss, as a share of it."
        )


def _certain(measure: str, value: float, errors: float, least: float, sentence: str) -> Line:
    fine = math.isfinite(value) and value >= least and errors >= 2
    return Line(measure, _finite(value), f"at least {least:g}, twice its error", fine, sentence)


def of_ways(probe: Probe) -> Iterator[Line]:
    found: dict[str, list[tuple[float, str, bool]]] = {name: [] for name in _WAYS}
    for way in ways(probe):
        with way.begin(probe) as change:
            cost = probe.cost(change)
        found[way.measure].append((cost.share, way.name, cost.lowers(_SLACK)))
    for measure, costs in found.items():
        yield _best_way(measure, costs, _SLACK, _WAYS[measure])


def _best_way(measure: str, costs: list[tuple[float, str, bool]], slack: float, sentence: str) -> Line:
    if not all(math.isfinite(share) for share, _, _ in costs):
        return Line(measure, None, "numbers", False, "Some losses are no numbers.")
    share, name, _ = min(costs)
    lowered = [each for each in costs if each[2]]
    if lowered:
        share, name, _ = min(lowered)
        return Line(measure, _finite(share), f"at least -{slack:g}", False, f"It would be better with {name}.")
    if max(costs)[0] < slack:
        return Line(measure, _finite(max(costs)[0]), f"at least {slack:g}", False, "No other way makes a difference.")
    return Line(measure, _finite(share), f"at least -{slack:g}", True, f"{sentence} The least is {name}.")


def of_blocks(probe: Probe) -> Iterator[Line]:
    costs, without = [], []
    for way, factor in block_ways(probe):
        with way.begin(probe) as change:
            cost = probe.cost(change, _MIDDLE)
        costs.append((cost.share, way.name, cost.lowers(_BLOCK_SLACK)))
        if factor == 0:
            without.append((abs(cost.share), way.name))
    yield _best_way("blocks", costs, _BLOCK_SLACK, "Each part of each block belongs there, in its strength.")
    least, name = min(without)
    yield _at_least("blocks' shares", least, 1e-6, f"No part does nothing. The least is {name}.")


def of_kept_text(probe: Probe) -> Iterator[Line]:
    measure, model = "kept keys and values", probe.model
    if not model.text_lasts:
        yield Line(measure, None, "equal", None, "The noise level modulates this base's prompts: nothing is kept.")
        return
    sigma = torch.full((len(probe.latents),), _MIDDLE[0], device=probe.latents.device)
    inputs = (probe.latents, sigma[:, None], sigma, probe.contexts, probe.rope)
    with torch.inference_mode():
        plain = model(*inputs)
        worst = max(
            _relative(model(*inputs, projected=model.project_text(probe.contexts, whole), whole=whole), plain)
            for whole in (False, True)
        )
    yield _at_most(measure, worst, 0.02, "With keys and values of the prompt kept, the result stays.")


def _relative(found: Tensor, wanted: Tensor) -> float:
    wanted = wanted.float()
    return float((found.float() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt().clamp_min(1e-12))


def of_samples(
    base: Base, codec: Codec, probe: Probe, sounds: list[Clip], negative: Tensor, seed: int
) -> Iterator[Line]:
    defaults = base.config.sampling
    guidance = Guidance(cfg=defaults.cfg, stg=defaults.stg, stg_blocks=defaults.stg_blocks, rescale=defaults.rescale)

    def sampled(clip: int, steps: int, guidance: Guidance) -> Tensor:
        return sample_latents(
            probe.model,
            base.config.audio,
            probe.contexts[clip],
            negative,
            seconds=SECONDS,
            seed=seed,
            steps=steps,
            guidance=guidance,
        )

    chosen = (0, 2)
    latents = [sampled(clip, defaults.steps, guidance) for clip in chosen]
    made = [codec.decode(one) for one in latents]
    rate = codec.sample_rate
    quietest = min(level(one) for one in made)
    yield _at_least("samples' level", quietest, -60, "The softer of two sampled sounds is not silent, in dB.")
    clipped = max(float((one.abs() > 0.999).float().mean()) for one in made)
    yield _at_most("samples clipped", clipped, 0.02, "Sampled sounds are not clipped, as a share of samples.")
    ratios = [float(one.std() / probe.latents[clip].std()) for one, clip in zip(latents, chosen, strict=True)]
    deviation = max(ratios, key=lambda ratio: abs(math.log(max(ratio, 1e-9))))
    yield _within("samples' latents", deviation, 1 / 3, 3, "Sampled latents deviate as those of clips do, as a ratio.")
    steadiness = _follows(latents[1]) / _follows(probe.latents[chosen[1]])
    yield _at_least(
        "samples no noise", steadiness, 0.3, "A bell's latents follow each other as its clip's do, as a ratio."
    )
    average = [_shape(bands(one, rate)) for one in made]
    wanted = [_shape(bands(sounds[clip].waveform, sounds[clip].rate)) for clip in chosen]
    own = sum(float((a - b).abs().mean()) for a, b in zip(average, wanted, strict=True))
    crossed = sum(float((a - b).abs().mean()) for a, b in zip(average, wanted[::-1], strict=True))
    yield _at_most(
        "samples' prompts",
        own / max(crossed, 1e-9),
        0.9,
        "Sampled sounds are nearer to their prompt's clip than to another.",
    )
    without = sampled(2, _FEW_STEPS, Guidance(1.0, 0.0, None, 0.0))
    cfg = defaults.cfg if defaults.cfg != 1 else _GUIDED
    for measure, used in (
        ("guidance", Guidance(cfg, 0.0, None, 0.0)),
        ("STG", Guidance(1.0, defaults.stg or 1.0, defaults.stg_blocks, 0.0)),
    ):
        moved = _relative(sampled(2, _FEW_STEPS, used), without)
        yield _within(measure, moved, 0.02, 20, f"{measure} moves the sampled latents, as a share of them.")


def _follows(latents: Tensor) -> float:
    """Return the correlation of latents (T, C) with those before them, over their channels' means."""
    x = latents.float() - latents.float().mean(dim=0)
    return float((x[1:] * x[:-1]).mean() / x.square().mean())


def _shape(levels: Tensor) -> Tensor:
    """Return the average spectrum and then the deviations over time in dB, (2·bands,), of levels (frames, bands)."""
    heard = levels.clamp_min(levels.max() - 60)
    average = heard.mean(dim=0)
    return torch.cat((average - average.mean(), heard.std(dim=0)))


def of_precision(base: Base, device: torch.device, probe: Probe) -> Line:
    """Compare what the model predicts with what it does in bf16, or in fp32 where it computes in bf16."""
    measure = "bf16 against fp32"
    dtype = torch.bfloat16 if compute_dtype(device) == torch.float32 else torch.float32
    count = sum(p.numel() for p in probe.model.parameters())
    memory = available(device)[0] if is_measured(device) else memory_bytes()
    if memory and memory < count * (compute_dtype(device).itemsize + dtype.itemsize) * 1.3:
        return Line(measure, None, "at most 0.1", None, "There is no memory for a second copy of the base.")
    found, _ = probe.velocity(USUAL, _MIDDLE[0])
    other: AudioTransformer = base.checkpoint.load_transformer(device, dtype)
    second = replace_model(probe, other)
    return _at_most(measure, _relative(second, found), 0.1, "Both numbers give the same, as a share of the prediction.")


@torch.inference_mode()
def replace_model(probe: Probe, model: AudioTransformer) -> Tensor:
    """Return what another model predicts in the probe's place."""
    kept, probe.model = probe.model, model
    try:
        return probe.velocity(USUAL, _MIDDLE[0])[0]
    finally:
        probe.model = kept
