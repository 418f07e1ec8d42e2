"""`soundlora base check` finds faults in bases, and none in one that has none."""

from __future__ import annotations

import getpass
import json
import math
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from support import CPU, BaseNames, Cli
from torch import Tensor

from soundlora.model.gemma import Gemma
from soundlora.pipeline import base_measures, base_plain, base_sound, base_weights
from soundlora.pipeline.base_probe import Difference, Probe, average_spectrum_loss
from soundlora.pipeline.base_sound import clips
from soundlora.pipeline.base_ways import block_ways, ways
from soundlora.weights.base import Base, open_base

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from base_check import false_alarms, told_by  # noqa: E402
from base_variants import variants  # noqa: E402  # it lies among the benchmarks

VARIANTS = {variant.words: variant for variant in variants()}
NOT_TOLD = {
    "Gemma 4: embeddings not scaled",
    "trap 41: tokens from last to first",
    "trap 40: a text encoder in about three bits",
    "connector: its feed-forwards without biases",
    "use_prompt_adaln_single: off where it is on, by the file",
    "damage: two blocks exchanged",
    "damage: a VAE decoder's convolution of noise",
    "damage: the second generator of noise",
}
"""Faults that change too little of nano to be found. docs/bases.md says so, too."""

Heard = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def heard() -> Heard:
    """Latents and contexts of four of the clips, 2 s of each."""
    base, sounds = open_base("nano"), clips()[:4]
    codec = base.codec(CPU, encoder=True)
    latents = [codec.encode(clip.waveform[:, : 2 * clip.rate], clip.rate) for clip in sounds]
    return torch.stack(latents), torch.stack(base.contexts([clip.caption for clip in sounds], CPU))


@contextmanager
def wrong(fault: str, folder: Path) -> Iterator[Base]:
    """A base with this fault."""
    (variant,) = [variant for variant in VARIANTS.values() if variant.fault == fault]
    with variant.build(folder) as base:
        yield base


def probe_of(base: Base, heard: Heard) -> Probe:
    return Probe(base.transformer(CPU), base.config.audio, *heard)


def better(probe: Probe, measure: str) -> list[str]:
    """The other ways with which the loss is lower, and so the fault is likely to be."""
    found = []
    for way in ways(probe):
        if way.measure == measure:
            with way.begin(probe) as change:
                if probe.cost(change).lowers(0.005):
                    found.append(way.name)
    return found


def test_the_right_base_is_fine(heard: Heard) -> None:
    probe = probe_of(open_base("nano"), heard)
    lines = [
        *base_measures.of_losses(probe),
        *base_measures.of_norms(probe),
        base_measures.of_plain(probe, 5e-4),
        *base_measures.of_ways(probe),
        *base_measures.of_blocks(probe),
    ]
    assert [line for line in lines if line.fine is not True] == []
    assert len({line.measure for line in lines}) == len(lines) > 15


def test_a_base_is_left_as_it_was(heard: Heard) -> None:
    probe = probe_of(open_base("nano"), heard)
    before = {name: tensor.clone() for name, tensor in probe.model.state_dict().items()}
    for way in [*ways(probe), *(way for way, _ in block_ways(probe))]:
        with way.begin(probe):
            pass
    assert all(torch.equal(tensor, before[name]) for name, tensor in probe.model.state_dict().items())
    assert torch.equal(probe.losses(), probe.usual)


@pytest.mark.parametrize(
    ("fault", "measure", "way"),
    [
        ("one rotary band for all heads", "time axis", "as specified"),
        ("a longest place of 40 s", "time axis", "places times 2"),
        ("rows of text before the feed-forward's", "modulation", "rows with feed-forward and text changed about"),
        ("a timestep scale of 500", "noise level", "timesteps times 2"),
    ],
)
def test_a_wrong_way_is_told_by_the_right_one(heard: Heard, tmp_path: Path, fault: str, measure: str, way: str) -> None:
    with wrong(fault, tmp_path) as base:
        assert way in better(probe_of(base, heard), measure)


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        ("LayerNorm for RMSNorm in blocks", "norm"),
        ("RMSNorm for LayerNorm in the head", "head"),
        ("halved on its way into the model", "prompt"),
        ("sines first", "modulation"),
        ("STG without gates", "bypass"),
        ("a norm of the modulated context", "prompt"),
    ],
)
def test_what_the_loss_does_not_show_is_computed_plainly(heard: Heard, tmp_path: Path, fault: str, part: str) -> None:
    right = base_plain.errors(probe_of(open_base("nano"), heard))
    assert max(right.values()) < 1e-4
    with wrong(fault, tmp_path) as base:
        found = base_plain.errors(probe_of(base, heard))
    assert found[part] > 5e-4


def test_an_activation_is_told_behind_a_generator_that_is_silent(tmp_path: Path) -> None:
    """nano's second generator adds next to nothing, and an activation changes nothing of that."""

    def error(base: Base) -> float:
        vocoder = base.codec(CPU, decoder=True).vocoder
        assert vocoder is not None
        before = vocoder.bwe_generator.conv_post.weight.clone()
        found = base_plain.vocoder_error(vocoder, torch.randn(1, 2, 8, 64, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(vocoder.bwe_generator.conv_post.weight, before)
        return found

    assert error(open_base("nano")) < 1e-3
    with wrong("an activation after the second generator", tmp_path) as base:
        assert error(base) > 0.1


def test_a_scaled_matrix_is_named(tmp_path: Path) -> None:
    with wrong("one matrix of queries times four", tmp_path) as base:
        jump, name = base_weights.loaded_jump(base.transformer(CPU))
    assert name == "transformer_blocks.1.audio_attn1.to_q.weight"
    assert 3 < jump < 5


@pytest.mark.parametrize(
    ("fault", "of"), [("a page of zeros in a matrix", "empty"), ("NaN in one matrix", "no_numbers")]
)
def test_damaged_tensors_are_named(tmp_path: Path, fault: str, of: str) -> None:
    with wrong(fault, tmp_path) as base:
        (name,) = getattr(base_weights.stored(base), of)
    assert name.startswith("model.diffusion_model.transformer_blocks.1.audio_ff.net.")


@pytest.mark.parametrize("name", ["parity/gemma_tiny", "parity25/gemma4_tiny", "parity25/gemma4_tiny_shared"])
def test_text_encoders_compute_as_specified(name: str) -> None:
    gemma = Gemma(ROOT / "tests" / "fixtures" / name, CPU, torch.float32)
    states = [one for (one,) in gemma.stream([[2, 5, 7, 9, 11, 3]])]
    assert base_plain.encoder_error(gemma, states) < 1e-5
    assert base_plain.encoder_error(gemma, [states[0], 1.01 * states[1], *states[2:]]) > 5e-3


def test_a_loss_that_falls_by_chance_is_no_fault() -> None:
    assert Difference(-0.02, -6.0).lowers(0.005)
    assert not Difference(-0.02, -1.0).lowers(0.005)
    assert not Difference(-0.001, -6.0).lowers(0.005)


def test_the_average_spectrum_loses_what_it_cannot_know() -> None:
    latents = torch.randn(4, 500, 3, generator=torch.Generator().manual_seed(0))
    # Of latents with a variance of 1, the best guess of noise − clean is off by 1 / (σ² + (1 − σ)²).
    wanted = torch.tensor([1 / (s**2 + (1 - s) ** 2) for s in (0.2, 0.5, 0.8)])
    assert torch.allclose(average_spectrum_loss(latents), wanted, rtol=0.05)


def test_bands_measure_levels_in_decibels() -> None:
    time = torch.arange(48_000) / 48_000
    loud = torch.sin(2 * math.pi * 1_000 * time).expand(2, -1)
    change = base_sound.bands(loud, 48_000) - base_sound.bands(loud / 10, 48_000)
    peak = base_sound.bands(loud, 48_000).mean(dim=0).argmax()
    assert change[:, peak].mean() == pytest.approx(20, abs=0.1)
    assert base_sound.level(loud) == pytest.approx(-3.01, abs=0.01)


def test_a_base_of_random_weights_looks_wrong_in_a_report_without_names(
    soundlora: Cli, quick_base_25: BaseNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_sound, "SECONDS", 1.0)
    monkeypatch.setattr(base_measures, "SECONDS", 1.0)
    report = tmp_path / "report.json"
    flags = ("--text-encoder", quick_base_25.encoder, "--device", "cpu", "--out", report, "--json")
    outcome = soundlora("base", "check", quick_base_25.checkpoint, *flags)
    assert outcome.code == 1
    text = report.read_text(encoding="utf-8")
    found = json.loads(text)
    assert json.loads(outcome.out) == found
    assert found["fine"] is False
    assert found["base"]["generation"] == "LTX 2.5"
    lines = {line["measure"]: line for line in found["lines"]}
    assert all(line["bound"] and line["sentence"].endswith(".") for line in lines.values())
    # Random weights are computed as they should, and mean nothing.
    for measure in ("computed plainly", "kept keys and values", "connector", "text encoder", "bf16 against fp32"):
        assert lines[measure]["fine"] is True, lines[measure]
    for measure in ("codec error", "loss at 0.5", "other captions", "shuffled in time", "samples no noise"):
        assert lines[measure]["fine"] is False, lines[measure]
    for private in (str(tmp_path), str(quick_base_25.encoder), platform.node(), f"/{getpass.getuser()}", "/tmp"):
        assert private not in text


@pytest.mark.parametrize("place", ["", "nowhere/report.json"])
def test_a_report_needs_a_place(soundlora: Cli, tmp_path: Path, place: str) -> None:
    outcome = soundlora("base", "check", "nano", "--out", tmp_path / place)
    assert outcome.code == 2
    assert "--out" in outcome.err


def test_a_wrong_quantisation_is_refused_at_once(soundlora: Cli) -> None:
    outcome = soundlora("base", "check", "nano", "--quantize", "int3")
    assert outcome.code == 2
    assert outcome.out == ""
    assert "int3" in outcome.err


@pytest.mark.slow
def test_nano_sounds_as_it_should(soundlora: Cli) -> None:
    outcome = soundlora("base", "check", "nano")
    assert outcome.code == 0, outcome.out
    assert outcome.out.endswith("This base sounds as it should.\n")
    assert "WRONG" not in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize("words", VARIANTS)
def test_faults_are_told(words: str) -> None:
    assert bool(told_by(VARIANTS[words], stop=True)) == (words not in NOT_TOLD)


def test_nine_faults_in_ten_are_told() -> None:
    assert len(VARIANTS) > 80
    assert VARIANTS.keys() >= NOT_TOLD
    assert len(NOT_TOLD) <= 0.1 * len(VARIANTS)


@pytest.mark.slow
@pytest.mark.parametrize("quantization", [None, "int8", "fp8"])
@pytest.mark.parametrize("seed", range(10))
def test_the_right_base_raises_no_alarm(seed: int, quantization: str | None) -> None:
    assert false_alarms(seed, quantization) == []
