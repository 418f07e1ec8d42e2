from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import CPU, BaseNames, Gpu

from soundlora.pipeline.options import TrainingOptions
from soundlora.pipeline.placement import placed, planned
from soundlora.system import devices
from soundlora.training.memory_plan import Settings, plan


def test_the_plan_is_that_of_one_processs_share(quick_base: BaseNames, tmp_path: Path) -> None:
    options = TrainingOptions(data="clips", out=tmp_path, rank=8, duration=0.5, batch_size=4, quantize="int8")
    found, why = planned(options, quick_base.open(), CPU, processes=2)
    assert found.settings == Settings(
        8, "all", 0.5, 1, torch.float32, "int8", "adamw", True, checkpointing=False, fused_attention=False
    )
    assert why.endswith("activations are kept, which is faster")


@pytest.mark.parametrize(("offload", "away"), [(None, 0), (0, 0), (1, 1), (9, 2)])
def test_blocks_are_offloaded_as_they_were_asked_for(
    quick_base: BaseNames, tmp_path: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch, offload: int | None, away: int
) -> None:
    monkeypatch.setattr(devices, "_product_error", lambda device, dtype: 0.0)
    options = TrainingOptions(data="clips", out=tmp_path, rank=8, duration=0.5, offload=offload)
    found, why = planned(options, quick_base.open(), gpu(24), processes=1)
    assert (found.settings.offload, found.settings.checkpointing) == (away, away > 0)
    assert (f"{away} of 2 blocks lie in the host's memory" in why) is (away > 0)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_model_is_placed_as_it_was_planned(quick_base: BaseNames, quantize: str | None) -> None:
    base = quick_base.open()
    settings = Settings(dtype=torch.float32, quantize=quantize)
    for offload, checkpointing in ((0, False), (0, True), (2, True)):
        wanted = replace(settings, offload=offload, checkpointing=checkpointing)
        model = placed(base, plan(base.config, wanted, cuda=False), CPU)
        assert (model.offloaded, model.checkpointing) == (offload > 0, checkpointing)
        assert len(model.transformer_blocks[0]._forward_pre_hooks) == (1 if offload else 0)
