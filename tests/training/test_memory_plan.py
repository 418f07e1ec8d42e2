from __future__ import annotations

from dataclasses import replace
from typing import Literal
from unittest.mock import Mock

import pytest
import torch
from memory import TensorMemory
from parity.cases import checkpoint

from soundlora.lora.adapter import Adapter
from soundlora.lora.joint import Kernels
from soundlora.lora.targets import target_names
from soundlora.model import attention
from soundlora.model.condition import at_start
from soundlora.model.config import ModelConfig, TransformerConfig
from soundlora.model.quantize import quantize
from soundlora.model.transformer import AudioTransformer
from soundlora.sampling.generate import sample_takes
from soundlora.sampling.guidance import Guidance
from soundlora.system.gpu_memory import GIB
from soundlora.training.memory_plan import SHARE, Plan, Settings, _forward, fitting, of_generation, plan
from soundlora.training.trainer import Example, Trainer
from soundlora.weights.full_size import GEMMA_3_12B, LTX_2_3, LTX_2_5

CPU_SETTINGS = Settings(dtype=torch.float32, fused_attention=False)


def sized(layers: int, heads: int = 8, context: int = 1024) -> ModelConfig:
    """A base of the tiny one's audio, whose transformer is wide enough for its activations to matter."""
    width = heads * 64
    transformer = TransformerConfig(layers, heads, 64, 128, 128, width, 20.0, 10000.0, 1000.0, 1e-6, True)
    config = replace(checkpoint().config, transformer=transformer)
    return replace(config, audio=LTX_2_3.audio, text=replace(config.text, context_length=context))


def measure(config: ModelConfig, settings: Settings) -> tuple[int, int, int]:
    """Bytes that are really allocated: the base's weights, the adapter's, and the most in a step above both."""
    c = config.transformer
    with TensorMemory() as memory:
        model = AudioTransformer(c).to(settings.dtype).requires_grad_(False)
        if settings.quantize is not None:
            quantize(model, settings.quantize)
        model.checkpointing = settings.checkpointing
        weights = memory.live
        adapter = Adapter.create(model, settings.rank, form=settings.adapter)
        tokens = round(settings.seconds * 25) + 1
        context = torch.zeros(config.text.context_length, c.context_dim, dtype=settings.dtype)
        given = at_start(tokens, 25) if settings.given == "latents" else None
        reference = torch.randn(tokens, 128) if settings.given == "reference" else None
        examples = [Example(str(i), torch.randn(tokens, 128), context, given, reference) for i in range(settings.clips)]
        data = sum(tensor.nbytes for tensor in (context, given, reference) if tensor is not None)
        data += sum(example.latents.nbytes for example in examples)
        trainer = Trainer(
            adapter, examples, config.audio, steps=4, learning_rate=1e-4, seed=0,
            batch_size=settings.clips, at_once=settings.clips, optimizer=settings.optimizer,
            average=settings.average, project_text=settings.captions > 0,
        )  # fmt: skip
        if settings.joined:
            adapter.join(settings.gathers)
        trainer.step(0)
        held = memory.live
        memory.peak = held
        trainer.step(1)
    return weights, held - weights - data, memory.peak - held


@pytest.mark.parametrize(
    ("layers", "settings"),
    [
        pytest.param(8, CPU_SETTINGS, id="fp32"),
        pytest.param(2, replace(CPU_SETTINGS, dtype=torch.bfloat16), id="bf16"),
        pytest.param(2, replace(CPU_SETTINGS, rank=128, average=False), id="without the weights' mean"),
        pytest.param(4, replace(CPU_SETTINGS, checkpointing=True), id="checkpointing"),
        pytest.param(2, replace(CPU_SETTINGS, clips=3), id="three clips at once"),
        pytest.param(2, replace(CPU_SETTINGS, rank=128, seconds=10.0), id="rank 128, 10 s"),
        pytest.param(2, replace(CPU_SETTINGS, rank=128, optimizer="adamw8bit"), id="moments in 8 bits"),
        pytest.param(4, replace(CPU_SETTINGS, quantize="int8"), id="int8"),
        pytest.param(4, replace(CPU_SETTINGS, given="latents"), id="a start that is given"),
        pytest.param(4, replace(CPU_SETTINGS, given="reference"), id="a reference"),
        pytest.param(6, replace(CPU_SETTINGS, given="reference", clips=2, dtype=torch.bfloat16), id="two references"),
        pytest.param(4, replace(CPU_SETTINGS, given="latents", checkpointing=True), id="checkpointing a given start"),
        pytest.param(2, replace(CPU_SETTINGS, quantize="bf16"), id="bf16 held, fp32 computed"),
        pytest.param(2, replace(CPU_SETTINGS, adapter="lokr"), id="LoKr"),
        pytest.param(2, replace(CPU_SETTINGS, adapter="lokr", rank=128), id="LoKr, w2 nearly whole"),
    ],
)
def test_a_plan_is_within_15_percent_of_what_is_allocated(layers: int, settings: Settings) -> None:
    config = sized(layers)
    expected = plan(config, settings, cuda=False)
    weights, adapter, step = measure(config, settings)
    assert weights == pytest.approx(expected.weights, rel=0.01)
    assert adapter == pytest.approx(expected.adapter, rel=0.03, abs=300_000)  # the rotation is in it, too
    assert step == pytest.approx(expected.saved + expected.workspace, rel=0.15)


@pytest.mark.parametrize("given", ["nothing", "reference"])
@pytest.mark.parametrize(("checkpointing", "gathered"), [(False, False), (True, False), (True, True)])
def test_a_plan_for_a_gpu_counts_what_gradients_of_a_and_b_are_made_of(
    checkpointing: bool, gathered: bool, given: Literal["nothing", "reference"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, with layers joined and without the attention's scores, as on a GPU."""
    settings = Settings(
        dtype=torch.float32, checkpointing=checkpointing, gathered=gathered, given=given, clips=2, seconds=10.0
    )
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(attention, "scaled_dot_product", lambda q, k, v, mask: fused(q, k, v, attn_mask=mask))
    config = sized(6, context=256)
    expected = plan(config, settings, cuda=False)
    assert (expected.gathered > 0) == (gathered or not checkpointing) == settings.gathers
    weights, adapter, step = measure(config, settings)
    assert weights + adapter == pytest.approx(expected.weights + expected.adapter, rel=0.02)
    assert step == pytest.approx(expected.step - expected.held, rel=0.15)
    if not checkpointing:
        # It takes no more than activations do that are gone by then.
        assert expected.gathered < expected.saved + expected.workspace


def test_gradients_are_gathered_where_there_is_room() -> None:
    again = Settings(clips=4, checkpointing=True)
    room, less = (plan(LTX_2_3, replace(again, gathered=gathered)).peak / SHARE for gathered in (True, False))
    assert less < 0.8 * room
    for memory, gathered in ((1.01 * room, True), (0.99 * room, False)):
        found, fits = fitting(LTX_2_3, Settings(clips=4), round(memory), checkpointing=True)
        assert (fits, found.settings.clips, found.settings.gathers) == (True, 4, gathered)
    kept = plan(LTX_2_3, Settings())
    assert kept.settings.gathers
    assert 0 < kept.gathered < kept.saved + kept.workspace
    assert not Settings(quantize="bf16").gathers


@pytest.mark.parametrize("checkpointing", [False, True])
def test_kept_keys_and_values_are_counted_beside_a_step_that_takes_no_more(checkpointing: bool) -> None:
    config = sized(2)
    config = replace(config, transformer=replace(config.transformer, ff_bias=False, prompt_adaln=False))
    settings = replace(CPU_SETTINGS, captions=1, checkpointing=checkpointing)
    expected = plan(config, settings, cuda=False)
    assert expected.text == 4 * 2 * 1024 * 2 * 512  # fp32 numbers of (blocks, S, 2C)
    weights, held, step = measure(config, settings)
    assert weights == pytest.approx(expected.weights, rel=0.01)
    assert held == pytest.approx(expected.adapter + expected.text, rel=0.03)
    assert step == pytest.approx(expected.saved + expected.workspace, rel=0.15)
    assert expected.step - plan(config, replace(settings, captions=0), cuda=False).step == expected.text


def test_keys_and_values_are_kept_where_there_is_room_and_given_up_before_activations_are() -> None:
    settings = Settings(captions=8)
    one = 2 * 48 * 1024 * 2 * 2048
    assert plan(LTX_2_5, settings).text == 9 * one  # a recorded step has a copy of its own
    for gib, captions, checkpointing in ((24, 8, False), (12, 0, False), (10.3, 0, True)):
        found, fits = fitting(LTX_2_5, settings, round(gib * GIB))
        assert fits
        assert (found.settings.captions, found.settings.checkpointing) == (captions, checkpointing), gib
    for offload in (4, None):  # a number of blocks, or as many as need be
        found, fits = fitting(LTX_2_5, settings, round(8.5 * GIB), offload=offload)
        assert (found.settings.captions, found.settings.offload > 0, found.text) == (0, True, 0)
    # One caption still fits where many don't.
    assert fitting(LTX_2_5, Settings(captions=1), round(12 * GIB))[0].settings.captions == 1


def test_the_full_size_fits_where_it_was_promised_to() -> None:
    assert plan(LTX_2_3, Settings(), GEMMA_3_12B).peak <= 11 * GIB
    assert plan(LTX_2_3, Settings(quantize="int8"), GEMMA_3_12B).peak <= 7.5 * GIB
    # By the specification's own count of the transformer's weights.
    assert plan(LTX_2_3, Settings()).weights == 2 * 3_286_408_320


def test_offloaded_blocks_leave_room_for_two_of_them() -> None:
    whole = plan(LTX_2_3, Settings(checkpointing=True))
    block = plan(LTX_2_3, Settings(checkpointing=True, offload=1)).host
    assert block == pytest.approx(whole.weights / 48, rel=0.05)
    for count in (1, 2, 20, 48, 99):
        away = min(count, 48)
        found = plan(LTX_2_3, Settings(checkpointing=True, offload=count))
        assert found.host == away * block
        assert found.weights == whole.weights - max(0, away - 2) * block
        assert found.copied == 2 * max(0, away - 2) * block


def test_an_offloaded_step_is_not_recorded_and_gives_its_memory_back() -> None:
    base = Plan(
        Settings(offload=4),
        weights=10, adapter=1, saved=5, workspace=2, evaluation=4, previews=1, preparation=1, runtime=1,
    )  # fmt: skip
    assert base.peak == 19
    assert replace(base, settings=Settings()).peak == 23


def test_as_few_blocks_as_need_be_are_offloaded() -> None:
    found, fits = fitting(LTX_2_3, Settings(), 7 * GIB, GEMMA_3_12B, offload=None)
    assert fits
    fewer = plan(LTX_2_3, replace(found.settings, offload=found.settings.offload - 1), GEMMA_3_12B)
    assert found.peak <= SHARE * 7 * GIB < fewer.peak
    # Every group of clips takes all copies, so a whole batch goes through at once where there is room.
    found, fits = fitting(LTX_2_3, Settings(clips=4), 8 * GIB, GEMMA_3_12B, offload=None)
    assert (fits, found.settings.clips) == (True, 4)
    found, fits = fitting(LTX_2_3, Settings(rank=128, seconds=20.0), 4 * GIB, GEMMA_3_12B, offload=None)
    assert (fits, found.settings.offload) == (False, 48)


def test_each_of_the_moments_of_a_run_can_be_the_peak() -> None:
    base = Plan(
        Settings(), weights=10, adapter=1, saved=5, workspace=2, evaluation=0, previews=1, preparation=1, runtime=1
    )
    assert base.peak == base.step == 19
    assert replace(base, previews=20).peak == 32
    assert replace(base, preparation=50).peak == 51
    # On a GPU the recorded step's memory stays; elsewhere activations are gone before anything is evaluated.
    assert replace(base, evaluation=4).peak == 23
    assert replace(base, evaluation=4, runtime=0).peak == 18
    assert replace(base, evaluation=9, runtime=0).peak == 20


def test_a_large_gpu_takes_the_whole_batch_at_once() -> None:
    found, fits = fitting(LTX_2_3, Settings(clips=8), 80 * GIB)
    assert fits
    assert (found.settings.clips, found.settings.checkpointing) == (8, False)


def test_a_smaller_gpu_takes_fewer_clips_at_once_before_it_computes_twice() -> None:
    found, fits = fitting(LTX_2_3, Settings(clips=8), 14 * GIB)
    assert fits
    assert (found.settings.clips, found.settings.checkpointing) == (2, False)
    found, fits = fitting(LTX_2_3, Settings(clips=8, seconds=20.0), round(11.1 * GIB))
    assert fits
    assert (found.settings.clips, found.settings.checkpointing) == (8, True)


@pytest.mark.parametrize("wanted", [True, False])
def test_what_was_asked_for_is_not_changed(wanted: bool) -> None:
    for memory in (6 * GIB, 80 * GIB):
        assert fitting(LTX_2_3, Settings(), memory, checkpointing=wanted)[0].settings.checkpointing is wanted


def test_a_gpu_that_is_too_small_is_said_to_be() -> None:
    found, fits = fitting(LTX_2_3, Settings(), 6 * GIB)
    assert not fits
    assert found.settings.checkpointing


def test_more_of_anything_takes_more() -> None:
    peak = plan(LTX_2_3, Settings()).peak
    for more in (Settings(rank=64), Settings(seconds=10.0), Settings(clips=2), Settings(dtype=torch.float32)):
        assert plan(LTX_2_3, more).peak > peak
    for less in (Settings(rank=8), Settings(targets="self-ff"), Settings(checkpointing=True), Settings(quantize="fp8")):
        assert plan(LTX_2_3, less).peak < peak


@pytest.mark.parametrize(("rank", "targets"), [(32, "all"), (3, "all"), (16, "self-ff")])
@pytest.mark.parametrize("quantization", [None, "int8"])
def test_the_copies_of_joined_layers_are_counted_to_the_number(
    rank: int, targets: str, quantization: str | None
) -> None:
    config = sized(2)
    model = AudioTransformer(config.transformer).requires_grad_(False)
    if quantization:
        quantize(model, quantization)
    adapter = Adapter.create(model, rank, targets=targets)
    weights = {name: model.get_parameter(f"{name}.base.weight").numel() for name in target_names(model, targets)}
    adapter.join(kernels=Mock(spec=Kernels))
    on_gpu = Settings(rank=rank, targets=targets, dtype=torch.float32, quantize=quantization)
    alone = replace(on_gpu, fused_attention=False)
    copies = plan(config, on_gpu).adapter - plan(config, alone).adapter
    with_gates = [joints.of[0] for joints in adapter.joints if joints.of[0].parts.beside]
    gates = sum(config.transformer.heads * joint.inputs for joint in with_gates) * config.transformer.layers
    moved = 0 if quantization else sum(weights.values()) + gates
    assert copies == 4 * (sum(joints.matrices.numel() for joints in adapter.joints) - moved)


def test_takes_that_are_sampled_together_take_what_is_planned() -> None:
    config = sized(2)
    c, settings = config.transformer, Settings(seconds=5.0, dtype=torch.float32, fused_attention=False)
    peaks, planned = [], []
    for takes in (1, 8):
        with TensorMemory() as memory, torch.inference_mode():
            model = AudioTransformer(c)
            context = torch.zeros(config.text.context_length, c.context_dim)
            memory.peak = held = memory.live
            guidance = Guidance(3.0, 1.0, [1])
            sample_takes(
                model, config.audio, context, context, seconds=5.0, seeds=range(takes), steps=1, guidance=guidance
            )
            peaks.append(memory.peak - held)
        planned.append(takes * 3 * _forward(config, settings, 125))
    assert peaks[1] > 4 * peaks[0]
    assert all(peak <= 1.15 * room for peak, room in zip(peaks, planned, strict=True))
    # At full size the decoder takes more than eight takes of 5 s do on their way through the transformer.
    one, eight, many = (of_generation(LTX_2_3, 5.0, takes=takes) for takes in (1, 8, 64))
    assert one == eight < many < one + 8 * GIB
