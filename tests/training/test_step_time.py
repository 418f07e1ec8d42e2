from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from soundlora.lora.adapter import Adapter
from soundlora.model.config import TransformerConfig
from soundlora.model.transformer import AudioTransformer
from soundlora.training.gradient import Gradient, Samples
from soundlora.training.memory_plan import Settings
from soundlora.training.step_time import CARDS, card_of, least_seconds, work
from soundlora.weights.full_size import LTX_2_3

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from history import read

MEASURED = {
    "ours | batch 1": Settings(),
    "ours | batch 8": Settings(clips=8),
    "ours, activations computed again | batch 1": Settings(checkpointing=True),
    "base in int8, not compiled | batch 1": Settings(quantize="int8"),
    "base in fp8, not compiled | batch 1": Settings(quantize="fp8"),
}


@pytest.mark.parametrize("row", MEASURED)
def test_no_step_was_ever_faster(row: str) -> None:
    """Nor is the bound so low that it says nothing: a step takes at most sixteen times as long."""
    entries = [entry for entry in read() if entry.benchmark == "step_full" and entry.figure == row]
    assert entries
    for entry in entries:
        card = card_of(entry.machine.removeprefix("one "))
        assert card is not None
        least = 1000 * least_seconds(LTX_2_3, MEASURED[row], card)
        assert least < entry.value < 16 * least


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("clips", [1, 3])
def test_the_work_is_that_of_the_products(clips: int, checkpointing: bool) -> None:
    transformer = TransformerConfig(2, 4, 64, 128, 128, 256, 20.0, 10000.0, 1000.0, 1e-6, True)
    config = replace(LTX_2_3, transformer=transformer, text=replace(LTX_2_3.text, context_length=64))
    settings = Settings(rank=8, seconds=1.0, clips=clips, dtype=torch.float32, checkpointing=checkpointing)
    adapter = Adapter.create(AudioTransformer(transformer).requires_grad_(False), 8)
    adapter.model.checkpointing = checkpointing
    tokens = 26
    samples = Samples(
        torch.randn(clips, tokens, 128), torch.randn(clips, tokens, 128), torch.rand(clips), torch.randn(clips, 64, 256)
    )
    with FlopCounterMode(display=False) as counter:
        Gradient(adapter, config.audio, clips).add(samples)
    # Gates, timesteps and what lies around the blocks are left out, and the first block's input has no gradient. CPUs
    # don't make the scores anew.
    assert work(config, settings) == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_cards_are_known_by_what_their_drivers_call_them() -> None:
    for name, card in {
        "NVIDIA H200": "H200",
        "NVIDIA H100 80GB HBM3": "H100 80GB HBM3",
        "NVIDIA A100-SXM4-80GB": "A100",
        "NVIDIA GeForce RTX 4090": "RTX 4090",
        "NVIDIA RTX 6000 Ada Generation": "RTX 6000 Ada",
        "NVIDIA L40S": "L40S",
        "NVIDIA L4": "L4",
    }.items():
        assert card_of(name) == CARDS[card]
    for name in ("NVIDIA GeForce GTX 1080", "NVIDIA A10G", "Tesla T4", "AMD Instinct MI300X"):
        assert card_of(name) is None


def test_more_of_anything_takes_longer_and_narrow_weights_do_not() -> None:
    card = CARDS["RTX 4090"]
    plain = least_seconds(LTX_2_3, Settings(), card)
    for more in (Settings(rank=128), Settings(seconds=20.0), Settings(clips=2), Settings(checkpointing=True)):
        assert least_seconds(LTX_2_3, more, card) > plain
    for less in (Settings(targets="self-ff"), Settings(optimizer="adamw8bit"), Settings(captions=1)):
        assert least_seconds(LTX_2_3, less, card) < plain
    assert least_seconds(LTX_2_3, Settings(quantize="int8"), CARDS["H200"]) < least_seconds(
        LTX_2_3, Settings(), CARDS["H200"]
    )
