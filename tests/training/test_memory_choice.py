from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from support import Gpu

from soundlora.system.gpu_memory import GIB
from soundlora.training import memory_choice
from soundlora.training.memory_choice import choose, out_of_memory, what_to_lower
from soundlora.training.memory_plan import SHARE, Settings, plan
from soundlora.weights.full_size import GEMMA_3_12B, LTX_2_3, LTX_2_5
from soundlora.wording import command_line_words, wording


@pytest.fixture(autouse=True)
def _on_the_command_line() -> Iterator[None]:
    """Whose words the sentences are in."""
    with wording(command_line_words):
        yield


def test_the_choice_is_explained(gpu: Gpu) -> None:
    longest = Settings(seconds=20.0)
    chosen, why = choose(LTX_2_3, longest, gpu(24), None, GEMMA_3_12B)
    assert why == "about 11.7 GiB of this GPU's 24.0 GiB at the peak; activations are kept"
    chosen, why = choose(LTX_2_3, longest, gpu(11), None, GEMMA_3_12B)
    assert chosen.settings.checkpointing
    assert why.endswith("activations are computed again block by block, as keeping them would take 11.7 GiB")
    chosen, why = choose(LTX_2_3, longest, gpu(7.5), None, GEMMA_3_12B)
    assert "that may not fit. Any of these takes less, by the plan: --quantize int8 (" in why
    chosen, why = choose(LTX_2_3, replace(longest, clips=8), gpu(26), None, GEMMA_3_12B)
    assert (chosen.settings.clips, why.endswith("; 4 of 8 clips go through at once")) == (4, True)


def test_what_other_programs_hold_is_not_planned_with(gpu: Gpu) -> None:
    chosen, why = choose(LTX_2_3, Settings(seconds=20.0), gpu(24, held=13), None, GEMMA_3_12B)
    assert chosen.settings.checkpointing
    assert "of this GPU's 24.0 GiB at the peak, of which other programs hold 12.4 GiB;" in why


def test_kept_keys_and_values_are_said(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, why = choose(LTX_2_5, Settings(captions=3), gpu(24))
    assert chosen.settings.captions == 3
    assert why.endswith("; keys and values of 3 captions are kept (1.5 GiB)")
    monkeypatch.setattr(memory_choice, "memory_bytes", lambda: 16 * GIB)
    for captions, kept in ((2, 2), (3, 0)):  # of 0.75 GiB each in fp32
        chosen, why = choose(LTX_2_5, Settings(captions=captions, dtype=torch.float32), torch.device("cpu"))
        assert chosen.settings.captions == kept
        assert ("keys and values" in why) == bool(kept)


def test_a_cpu_keeps_activations_unless_told_otherwise() -> None:
    chosen, why = choose(LTX_2_3, Settings(clips=4), torch.device("cpu"))
    assert (chosen.settings.clips, chosen.settings.checkpointing, chosen.runtime) == (1, False, 0)
    assert "GiB at the peak; activations are kept" in why
    chosen, why = choose(LTX_2_3, Settings(), torch.device("cpu"), True)
    assert chosen.settings.checkpointing
    assert why.endswith("activations are computed again block by block, as was asked for")


def test_what_it_says_to_lower_is_enough_and_no_more_than_needed() -> None:
    chosen, memory = plan(LTX_2_3, Settings(clips=8)), 16 * GIB
    said = what_to_lower(LTX_2_3, chosen, None, memory)
    sizes = dict(re.findall(r"(--[a-z-]+(?: \d+)?) \(([0-9.]+) GiB\)", said))
    assert sizes.keys() == {"--batch-size 4", "--checkpoint-activations"}
    half = plan(LTX_2_3, replace(chosen.settings, clips=4)).peak
    again = plan(LTX_2_3, replace(chosen.settings, checkpointing=True)).peak
    for size, flag in (half, "--batch-size 4"), (again, "--checkpoint-activations"):
        assert size <= SHARE * memory
        assert float(sizes[flag]) == pytest.approx(size / GIB, abs=0.05)
    for other in ({"rank": 8}, {"quantize": "int8"}, {"optimizer": "adamw8bit"}, {"seconds": 0.625}):
        assert plan(LTX_2_3, replace(chosen.settings, **other)).peak > SHARE * memory


def test_a_small_gpu_gets_blocks_from_the_host_and_is_told_what_is_faster(gpu: Gpu) -> None:
    chosen, why = choose(LTX_2_3, Settings(), gpu(8), None, GEMMA_3_12B, offload=None)
    assert (chosen.settings.offload, chosen.settings.checkpointing) == (16, True)
    assert chosen.peak <= SHARE * 8 * GIB
    assert why == (
        "about 7.2 GiB of this GPU's 8.0 GiB at the peak; activations are computed again block by block, as keeping "
        "them would take 9.9 GiB; 16 of 48 blocks lie in the host's memory, 2.0 GiB, and 3.5 GiB are copied each time "
        "that clips go through; --quantize int8 takes 6.9 GiB without copies, which is faster"
    )
    chosen, why = choose(LTX_2_3, Settings(), gpu(24), None, GEMMA_3_12B, offload=None)
    assert (chosen.settings.offload, why.count("host")) == (0, 0)


def test_what_was_asked_for_in_the_hosts_memory_is_there(gpu: Gpu) -> None:
    chosen, why = choose(LTX_2_3, Settings(), gpu(80), None, GEMMA_3_12B, offload=99)
    assert (chosen.settings.offload, chosen.settings.checkpointing) == (48, True)
    assert "; 48 of 48 blocks lie in the host's memory" in why
    assert "faster" not in why
    assert choose(LTX_2_3, Settings(), gpu(8), False, GEMMA_3_12B, offload=None)[0].settings.offload == 0
    assert "that may not fit" in choose(LTX_2_3, Settings(), gpu(8), None, GEMMA_3_12B, offload=0)[1]


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_a_device_in_the_hosts_own_memory_offloads_nothing_and_says_so(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 7 * GIB)
    for offload in (None, 5):
        chosen, why = choose(LTX_2_3, Settings(), torch.device(kind), None, GEMMA_3_12B, offload=offload)
        assert (chosen.settings.offload, chosen.host, chosen.copied) == (0, 0, 0)
        said = f"; no block is offloaded, as {kind} computes in the host's own memory"
        assert (said in why) is (offload == 5)


def test_an_apple_gpu_is_planned_with_its_scores_and_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 20 * GIB)
    chosen, why = choose(LTX_2_3, Settings(), torch.device("mps"), None, GEMMA_3_12B)
    assert (chosen.settings.fused_attention, chosen.runtime) == (False, 0)
    assert why.startswith(f"about {chosen.peak / GIB:.1f} GiB of this GPU's 20.0 GiB at the peak; activations are kept")


def test_blocks_may_be_offloaded_on_the_way(gpu: Gpu) -> None:
    chosen = plan(LTX_2_3, Settings(checkpointing=True))
    said = out_of_memory(LTX_2_3, chosen, GEMMA_3_12B, gpu(10))
    assert "--quantize int8 (6.2 GiB), --offload 48 (" in said
    assert said.endswith(
        "A run can take up --checkpoint-activations and --offload on its way; anything else begins a new one."
    )


def test_a_batch_is_named_as_all_processes_have_it() -> None:
    said = what_to_lower(LTX_2_3, plan(LTX_2_3, Settings(clips=8)), None, 16 * GIB, processes=2)
    assert "--batch-size 8 (" in said


def test_what_no_single_setting_brings_is_brought_by_several() -> None:
    chosen, memory = plan(LTX_2_3, Settings(rank=128, seconds=20.0)), 9 * GIB
    said = what_to_lower(LTX_2_3, chosen, GEMMA_3_12B, memory)
    named: dict[str, Any] = {"checkpointing": True, "optimizer": "adamw8bit", "quantize": "int8", "rank": 64}
    peak = plan(LTX_2_3, replace(chosen.settings, **named), GEMMA_3_12B).peak
    assert peak <= SHARE * memory
    flags = "--checkpoint-activations --optimizer adamw8bit --quantize int8 --rank 64"
    assert said == f"Together these take {peak / GIB:.1f} GiB, by the plan: {flags}."


def test_a_gpu_that_can_not_do_is_said_to_be_too_small() -> None:
    said = what_to_lower(LTX_2_3, plan(LTX_2_3, Settings()), GEMMA_3_12B, 2 * GIB)
    assert said.startswith("Even with --checkpoint-activations --optimizer adamw8bit --quantize int8")
    assert said.endswith("so a larger GPU is needed.")


def test_where_a_plan_was_wrong_a_tenth_less_is_asked_for(gpu: Gpu) -> None:
    chosen = plan(LTX_2_3, Settings())
    said = out_of_memory(LTX_2_3, chosen, GEMMA_3_12B, gpu(80))
    assert said.startswith("The memory ran out, though 9.9 GiB were planned of this GPU's 80.0 GiB. Any of these")
    for size in re.findall(r"\(([0-9.]+) GiB\)", said):
        assert float(size) * GIB <= 0.9 * chosen.peak + 0.05 * GIB
