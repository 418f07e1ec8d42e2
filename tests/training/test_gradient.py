from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from parity.cases import checkpoint
from parity.runners import fresh_transformer
from support import examples, needs_gpu

from soundlora.lora.adapter import Adapter
from soundlora.model.latents import positions
from soundlora.training import gradient as gradient_module
from soundlora.training.gradient import Gradient, Samples, compile_blocks, compiles
from soundlora.training.trainer import StepFigures, Trainer

CONFIG = checkpoint().config
LENGTH = 6


def adapter() -> Adapter:
    return Adapter.create(fresh_transformer(), 4, seed=1)


def samples(count: int, seed: int = 0) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    c = CONFIG.transformer
    clean, noise = (torch.randn(count, LENGTH, c.in_channels, generator=generator) for _ in range(2))
    context = torch.randn(count, CONFIG.text.context_length, c.context_dim, generator=generator)
    return Samples(clean, noise, torch.rand(count, generator=generator), context)


def alone(samples: Samples, n: int) -> Samples:
    clean, noise, sigma, context = (tensor[n : n + 1] for tensor in samples[:4])
    return Samples(clean, noise, sigma, context)


def gradients(adapter: Adapter) -> list[torch.Tensor]:
    return [p.grad.clone() for p in adapter.parameters() if p.grad is not None]


def test_shares_of_a_batch_add_up() -> None:
    whole, parts = adapter(), adapter()
    both = samples(2)
    losses = Gradient(whole, CONFIG.audio, batch_size=2).add(both)
    gradient = Gradient(parts, CONFIG.audio, batch_size=2)
    one_by_one = [gradient.add(alone(both, n)) for n in range(2)]
    torch.testing.assert_close(torch.cat(one_by_one), losses)
    assert any(g.abs().sum() > 0 for g in gradients(whole))
    for a, b in zip(gradients(parts), gradients(whole), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_nothing_is_read_back_from_the_device() -> None:
    # Tensors on "meta" have shapes and no values: whatever asks for one of theirs fails.
    other = adapter()
    other.model.to("meta")
    for p in other.parameters():
        p.grad = torch.zeros_like(p)
    gradient = Gradient(other, CONFIG.audio, batch_size=2)
    losses = gradient.add(samples(2))
    assert losses.device.type == "meta"
    assert losses.shape == (2,)
    with pytest.raises(RuntimeError):
        losses.tolist()


def test_where_recording_fails_the_calls_are_made_one_by_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    plain, refused = adapter(), adapter()
    monkeypatch.setattr(gradient_module, "_Recording", refuse)
    gradient = Gradient(refused, CONFIG.audio, batch_size=1)
    gradient._records = True
    expected = Gradient(plain, CONFIG.audio, batch_size=1)
    for seed in range(6):
        assert torch.equal(gradient.add(samples(1, seed)), expected.add(samples(1, seed)))
    for a, b in zip(gradients(refused), gradients(plain), strict=True):
        assert torch.equal(a, b)
    assert capsys.readouterr().err.count("could not be recorded") == 1


def test_recorded_once_for_each_shape_after_three_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[tuple[int, object]] = []

    class Recording:
        graph = SimpleNamespace(pool=lambda: (0, 1))

        def __init__(self, function: object, samples: Samples, pool: object) -> None:
            recorded.append((len(samples.clean), pool))

        def replay(self, samples: Samples) -> torch.Tensor:
            return samples.sigma

    monkeypatch.setattr(gradient_module, "_Recording", Recording)
    gradient = Gradient(adapter(), CONFIG.audio, batch_size=1)
    gradient._records = True
    for count in (1, 2, 1, 1, 2, 2):
        gradient.add(samples(count))
    assert recorded == []
    last = samples(1, seed=9)
    assert torch.equal(gradient.add(last), last.sigma)
    gradient.add(samples(1))
    gradient.add(samples(2))
    assert recorded == [(1, None), (2, (0, 1))]
    gradient.forget()
    gradient.add(samples(2))
    assert recorded[2:] == [(2, None)]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_blocks_do_the_same_and_only_where_gradients_are_recorded(
    checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They leave their last sum to the next block, unless each block's output is all that is kept."""
    compiled: list[object] = []

    def compile_(part: Callable[..., object], dynamic: bool) -> Callable[..., object]:
        def run(*inputs: object) -> object:
            compiled.append(part)
            return part(*inputs)

        return run

    monkeypatch.setattr(torch, "compile", compile_)
    plain, other = adapter(), adapter()
    other.model.checkpointing = checkpointing
    other.join()
    compile_blocks(other)
    blocks = list(other.model.transformer_blocks)
    expected = Gradient(plain, CONFIG.audio, batch_size=1).add(samples(1))
    torch.testing.assert_close(Gradient(other, CONFIG.audio, batch_size=1).add(samples(1)), expected)
    assert compiled == ([*blocks, *blocks[::-1]] if checkpointing else [block.unsummed for block in blocks])
    compiled.clear()
    for a, b in zip(gradients(other), gradients(plain), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    clean, _, sigma, context, *_ = samples(1)
    rope = other.model.rope(positions(LENGTH, CONFIG.audio))
    with torch.no_grad():
        other.model(clean, sigma[:, None], sigma, context, rope)
    assert compiled == []
    other.detach()
    assert other.model.compiled == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_a_compiler_is_given_computes_the_same(checkpointing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda part, dynamic: compile_(part, backend="aot_eager", dynamic=dynamic))
    plain, other = adapter(), adapter()
    other.model.checkpointing = checkpointing
    other.join()
    compile_blocks(other)
    expected = Gradient(plain, CONFIG.audio, batch_size=1).add(samples(1))
    torch.testing.assert_close(Gradient(other, CONFIG.audio, batch_size=1).add(samples(1)), expected)
    for a, b in zip(gradients(other), gradients(plain), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_where_nothing_compiles_a_sentence_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nA long story.")

    monkeypatch.setattr(torch, "compile", refuse)
    assert not compiles(torch.device("cpu"))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.endswith("Failed to find C compiler.\n")


@needs_gpu
@pytest.mark.parametrize(("batch_size", "at_once"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("preserve", [0.0, 0.4])
def test_a_recorded_step_is_the_step(
    batch_size: int, at_once: int, checkpointing: bool, compiled: bool, preserve: float
) -> None:
    clips = [replace(clip, preserved=(clip.context.flip(0),)) for clip in examples(5)]

    def run(records: bool) -> tuple[list[StepFigures], Trainer]:
        on_gpu = Adapter.create(fresh_transformer().to("cuda"), 4, seed=1)
        on_gpu.model.checkpointing = checkpointing
        trainer = Trainer(
            on_gpu, clips, CONFIG.audio, steps=20, learning_rate=1e-3, seed=1, batch_size=batch_size,
            at_once=at_once, preserve=preserve,
        )  # fmt: skip
        assert len(on_gpu.joints) == 7
        if records and compiled:
            compile_blocks(on_gpu)
        trainer._gradient._records = records
        figures = []
        for step in range(18):
            if step == 14:
                trainer.make_room()  # as before previews
            figures.append(trainer.step(step))
        return figures, trainer

    (plain, one), (replayed, other) = run(records=False), run(records=True)
    assert other._gradient._recordings
    for a, b in zip(plain, replayed, strict=True):
        assert (a.clip, a.sigma) == (b.clip, b.sigma)
        assert a.preserving == b.preserving
        assert b.loss == pytest.approx(a.loss, rel=1e-4, abs=1e-6)
    for key, tensor in one.adapter.state_dict().items():
        torch.testing.assert_close(other.adapter.state_dict()[key], tensor, atol=1e-4, rtol=1e-2)


@needs_gpu
def test_joined_layers_do_the_same_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, joined = (Adapter.create(fresh_transformer().to("cuda", torch.bfloat16), 4, seed=1) for _ in range(2))
    for made in (plain, joined):
        generator = torch.Generator("cuda").manual_seed(2)
        for layer in made.layers.values():
            torch.nn.init.normal_(layer.lora_B, std=0.1, generator=generator)
    losses = Gradient(joined, CONFIG.audio, batch_size=1).add(samples(2))
    assert joined.joints
    monkeypatch.setattr(Adapter, "join", lambda _: None)
    torch.testing.assert_close(Gradient(plain, CONFIG.audio, batch_size=1).add(samples(2)), losses, atol=0, rtol=0.02)
    for a, b in zip(gradients(plain), gradients(joined), strict=True):
        assert (a - b).norm() < 0.05 * a.norm()


@needs_gpu
def test_what_recordings_held_is_given_back() -> None:
    on_gpu = Adapter.create(fresh_transformer().to("cuda"), 4, seed=1)
    trainer = Trainer(on_gpu, examples(5), CONFIG.audio, steps=20, learning_rate=1e-3, seed=1)
    trainer._gradient._records = False
    trainer.step(0)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    trainer._gradient._records = True
    for step in range(1, 8):
        trainer.step(step)
    assert trainer._gradient._recordings
    assert torch.cuda.memory_reserved() > before
    trainer.make_room()
    assert torch.cuda.memory_reserved() <= before
