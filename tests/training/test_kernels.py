"""The kernels against the plain products, by Triton's interpreter on the CPU, or on a GPU where one is named."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from parity.cases import checkpoint, manifest
from parity.check import shares
from parity.runners import fresh_transformer
from parity.runners25 import unmodulated_transformer
from torch import Tensor

from soundlora.lora.adapter import Adapter
from soundlora.lora.joint import Both, Parts
from soundlora.lora.pair import Pair
from soundlora.model.latents import positions
from soundlora.model.quantize import EightBits, quantize
from soundlora.model.transformer import AudioTransformer
from soundlora.training.kernels.tiles import Tiles

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)

import triton
from kernel_parts import DEVICE, GPU, KERNELS, TABLE, given_to, made, never, parts_of
from triton.runtime import interpreter

from soundlora.training.kernels import launch
from soundlora.training.kernels.launch import Fused

CONFIG = checkpoint().config


@pytest.fixture(autouse=True)
def _bf16_in_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it compute with numbers in bf16. It computes with the integers that hold their bits."""
    if GPU:
        return
    builder = interpreter.InterpreterBuilder
    multiply, convert, cast = builder.create_dot, builder.create_si_to_fp, builder.cast_impl

    def wide(factor: Any) -> Any:
        if factor.dtype.scalar != triton.language.bfloat16:
            return factor
        data = (factor.data.astype("uint32") << 16).view("float32")
        return interpreter.TensorHandle(data, triton.language.float32)

    def create_dot(self: Any, a: Any, b: Any, *others: Any) -> Any:
        return multiply(self, wide(a), wide(b), *others)

    def create_si_to_fp(self: Any, integers: Any, to: Any) -> Any:
        if to.scalar != triton.language.bfloat16:
            return convert(self, integers, to)
        return self.cast_impl(convert(self, integers, triton.language.float32), to)

    def cast_impl(self: Any, source: Any, to: Any) -> Any:
        if (source.dtype.scalar, to.scalar) != (triton.language.float32, triton.language.bfloat16):
            return cast(self, source, to)
        bits = source.data.view("uint32")  # it would cut off what GPUs round
        return interpreter.TensorHandle(((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("uint16"), to.scalar)

    monkeypatch.setattr(builder, "create_dot", create_dot)
    monkeypatch.setattr(builder, "create_si_to_fp", create_si_to_fp)
    for name in ("cast_impl", "create_fp_trunc"):
        monkeypatch.setattr(builder, name, cast_impl)


def assert_equal(fused: Fused, parts: Parts, rows: int, names: tuple[str, ...] = KERNELS) -> None:
    """Each kernel gives what the formula gives in fp64."""
    wide = torch.float64
    weight = parts.weight.qdata.to(wide) * parts.weight.scale if isinstance(parts.weight, EightBits) else parts.weight
    exact = Parts(weight.to(wide), parts.a.to(wide), parts.b.to(wide), parts.bias.to(wide), parts.layers, parts.rank)
    for name in names:
        given = given_to(name, parts, rows)
        results: Both = getattr(fused, name)(parts, *given, never)
        expected: Both = getattr(exact, name)(*(tensor.to(wide) for tensor in given))
        for result, right in zip(results, expected, strict=True):
            assert result.dtype == parts.a.dtype
            assert result.shape == right.shape
            error = (result - right).norm() / right.norm()
            assert error < (1e-5 if result.dtype == torch.float32 else 5e-3), name


@pytest.mark.parametrize(
    ("rows", "kind"),
    [(1, "fp32"), (7, "bf16"), (32, "bf16"), (126, "fp32"), (256, "bf16"), (1024, "fp32"), (1600, "bf16")],
)
def test_any_number_of_rows(rows: int, kind: str) -> None:
    assert_equal(made(), parts_of(kind=kind), rows)


@pytest.mark.parametrize("kind", ["fp32", "fp32 int8", "fp32 fp8", "bf16", "bf16 int8", "bf16 fp8"])
@pytest.mark.parametrize("biased", [True, False])
def test_every_kind_of_weight_in_odd_sizes_with_and_without_bias(kind: str, biased: bool) -> None:
    assert_equal(made(), parts_of(inputs=83, outputs=70, layers=2, kind=kind, biased=biased), rows=9)


@pytest.mark.parametrize("rank", [4, 8, 24, 32, 128])
@pytest.mark.parametrize("layers", [1, 3])
def test_any_rank_and_several_layers(rank: int, layers: int) -> None:
    assert_equal(made(), parts_of(inputs=64, outputs=48, layers=layers, rank=rank), rows=9)


@pytest.mark.parametrize(("kind", "layers", "rank"), [("fp32", 3, 4), ("bf16", 1, 8), ("bf16 int8", 2, 4)])
def test_programs_share_a_sum_and_leave_the_counters_at_zero(
    kind: str, layers: int, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles = (Tiles(16, 256, 64, 4, 2),)
    fused = made(64, tiles)
    parts = parts_of(inputs=540, outputs=540 // layers, layers=layers, rank=rank, kind=kind)
    shared: list[int] = []
    sizes = fused._sizes

    def noted(*arguments: Any) -> Any:
        found = sizes(*arguments)
        shared.append(found[0])
        return found

    monkeypatch.setattr(fused, "_sizes", noted)
    assert_equal(fused, parts, 5, ("outputs", "input_gradients"))
    assert min(shared) > 1
    assert not fused._done.any()
    (x,), again = given_to("outputs", parts, 5), made(64, tiles)
    for one, other in zip(fused.outputs(parts, x, never), again.outputs(parts, x, never), strict=True):
        assert torch.equal(one, other)
    assert not fused._done.any()


PRODUCTS = ("outputs", "input_gradients")


@pytest.mark.parametrize(("beside", "layers", "units"), [(8, 1, 1), (24, 3, 64)])
def test_outputs_without_an_adapter_lie_beside_the_layers(beside: int, layers: int, units: int) -> None:
    """With a tile of their own, and with several programs that share a sum."""
    fused = made(units, (Tiles(16, 16, 16, 4, 2),))
    assert_equal(fused, parts_of(inputs=130, outputs=40, layers=layers, beside=beside), 5, PRODUCTS)
    assert not fused._done.any()


@pytest.mark.parametrize(("rows", "kind"), [(9, "bf16"), (140, "fp32")])
def test_outputs_beside_layers_of_other_sizes(rows: int, kind: str) -> None:
    assert_equal(made(), parts_of(inputs=83, outputs=70, layers=2, kind=kind, beside=32), rows, PRODUCTS)


def test_all_numbers_of_e4m3_are_widened_exactly() -> None:
    bits = torch.arange(256, dtype=torch.uint8)
    values = bits[(bits & 0x7F) != 0x7F].view(torch.float8_e4m3fn)[:, None].to(DEVICE)  # without the two NaN
    scale = torch.ones(len(values), 1, device=DEVICE)
    parts = Parts(
        EightBits(values, scale), torch.zeros(8, 1, device=DEVICE), torch.zeros(len(values), 8, device=DEVICE),
        torch.zeros(len(values), device=DEVICE), 1, 8,
    )  # fmt: skip
    fused = made()
    fused._chosen[launch._shape("outputs", parts, torch.ones(1, 1))] = TABLE[0]  # all else is zero here
    out, _ = fused.outputs(parts, torch.ones(1, 1, device=DEVICE), never)
    assert torch.equal(out[0], values[:, 0].float())


def test_rows_that_are_not_whole_are_taken() -> None:
    parts = parts_of()
    x, gradient = torch.randn(40, 9, device=DEVICE).T, torch.ones(9, 1, device=DEVICE).expand(9, 24)
    torch.testing.assert_close(made().outputs(parts, x, never), parts.outputs(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        made().input_gradients(parts, gradient, never), parts.input_gradients(gradient), atol=1e-5, rtol=1e-5
    )


# ---------------------------------------------------------------------------------------------------------------------
# whole models


def adapter(quantization: str | None = None, model: AudioTransformer | None = None, alpha: float | None = 6) -> Adapter:
    model = model or fresh_transformer()
    if quantization:
        quantize(model, quantization)
        model.to(DEVICE)
    created = Adapter.create(model.to(DEVICE), 4, alpha=alpha, seed=1)
    generator = torch.Generator().manual_seed(2)
    for layer in created.layers.values():
        layer.lora_B.data = (torch.randn(layer.lora_B.shape, generator=generator) / 10).to(DEVICE)
    return created


def trained(adapter: Adapter, projected: bool = False) -> tuple[Tensor, list[Tensor]]:
    """The velocity, and the gradients of A and B."""
    generator, c = torch.Generator().manual_seed(3), CONFIG.transformer
    x = torch.randn(2, 6, c.in_channels, generator=generator).to(DEVICE)
    context = torch.randn(2, CONFIG.text.context_length, c.context_dim, generator=generator).to(DEVICE)
    sigma = torch.tensor([0.3, 0.8], device=DEVICE)
    rope = adapter.model.rope(positions(6, CONFIG.audio).to(DEVICE))
    adapter.refresh()
    known = adapter.model.project_text(context) if projected else None
    out: Tensor = adapter.model(x, sigma[:, None], sigma, context, rope, projected=known)
    out.square().sum().backward()
    adapter.settle()
    return out.detach(), [p.grad for p in adapter.parameters() if p.grad is not None]


def assert_same(one: tuple[Tensor, list[Tensor]], other: tuple[Tensor, list[Tensor]]) -> None:
    torch.testing.assert_close(other[0], one[0], atol=1e-5, rtol=1e-4)
    assert len(one[1]) == len(other[1]) > 0
    for a, b in zip(one[1], other[1], strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(b, a, atol=1e-4 * float(a.abs().max()), rtol=1e-3)


@pytest.mark.parametrize("quantization", [None, "int8", "fp8"])
def test_a_models_step_is_the_plain_step(quantization: str | None) -> None:
    """Those of a quantised base are joined, too."""
    plain, joined = adapter(quantization), adapter(quantization)
    fused = made()
    joined.join(kernels=fused)
    assert len(joined.joints) == 7
    gates = [joints.of[0].parts.beside for joints in joined.joints]
    # Two heads are rounded up to eight rows. A matrix in eight bits holds no gates.
    assert gates == ([0] * 7 if quantization else [8, 0, 8, 0, 0, 0, 0])
    assert_same(trained(plain), trained(joined))
    assert not fused.failed
    assert {shape.kernel for shape in fused._chosen} == set(PRODUCTS)


def test_a_models_step_on_top_of_known_keys_and_values() -> None:
    plain, joined = (adapter(model=unmodulated_transformer()) for _ in range(2))
    fused = made()
    joined.join(kernels=fused)
    assert_same(trained(plain), trained(joined, projected=True))
    assert {shape.kernel for shape in fused._chosen} == set(KERNELS)


@pytest.mark.parametrize("quantization", ["int8", "fp8"])
def test_a_quantised_base_that_is_joined_goes_on_without_kernels(quantization: str) -> None:
    plain, joined = adapter(quantization), adapter(quantization)
    fused = made()
    joined.join(kernels=fused)
    fused.failed = True
    assert_same(trained(plain), trained(joined))


def test_the_weights_of_a_quantised_base_are_moved_and_not_changed() -> None:
    plain, joined = adapter("int8"), adapter("int8")
    joined.join(kernels=made())
    for name, layer in joined.layers.items():
        weight: Any = layer.base.get_parameter("weight")
        before: Any = plain.layers[name].base.get_parameter("weight")
        assert torch.equal(weight.qdata, before.qdata)
        assert torch.equal(weight.scale, before.scale)
    query: Any = joined.layers["transformer_blocks.0.audio_attn1.to_q"].base.get_parameter("weight")
    value: Any = joined.layers["transformer_blocks.0.audio_attn1.to_v"].base.get_parameter("weight")
    assert query.qdata.untyped_storage().data_ptr() == value.qdata.untyped_storage().data_ptr()


@pytest.mark.skipif(GPU, reason="the reference cases are computed on the CPU")
def test_the_official_training_steps_by_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = made()
    attach = Adapter.attach

    def attached(*arguments: Any, **settings: Any) -> Adapter:
        found = attach(*arguments, **settings)
        found.join(gathers=False, kernels=fused)
        found.model.register_forward_pre_hook(lambda *_: found.refresh())
        return found

    monkeypatch.setattr(Adapter, "attach", attached)
    measured = shares(manifest()["train_4_steps"])
    assert max(measured.values()) <= 1
    assert fused._chosen
    assert not fused.failed


def test_layers_of_other_ranks_or_sizes_in_a_group_are_joined_without_kernels() -> None:
    pairs: dict[str, Pair] = {name: (layer.lora_A, layer.lora_B) for name, layer in adapter().layers.items()}
    for block in range(CONFIG.transformer.layers):
        a, b = pairs[f"transformer_blocks.{block}.audio_attn1.to_k"]
        pairs[f"transformer_blocks.{block}.audio_attn1.to_k"] = a[:2], b[:, :2]
    plain, joined = (Adapter.attach(fresh_transformer().to(DEVICE), dict(pairs)) for _ in range(2))
    joined.join(kernels=made())
    assert [joints.of[0].kernels is None for joints in joined.joints] == [True] + [False] * 6
    assert_same(trained(plain), trained(joined))
