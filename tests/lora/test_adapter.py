from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from parity.cases import checkpoint
from parity.runners import fresh_transformer
from safetensors import safe_open
from safetensors.torch import load_file
from support import assert_matches, parity_cases
from torch import Tensor, nn

from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter, load_lora, scale_of
from soundlora.lora.file import read_lora
from soundlora.lora.layer import LoRALinear
from soundlora.lora.targets import PRESETS, TARGETS, target_names
from soundlora.model.latents import positions
from soundlora.model.transformer import AudioTransformer

RANK = 4


@parity_cases("lora_")
def test_parity(case: str) -> None:
    assert_matches(case)


@pytest.fixture
def model() -> AudioTransformer:
    return fresh_transformer()


@torch.no_grad()
def velocity(model: AudioTransformer) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    c = model.config
    x = torch.randn(1, 7, c.in_channels, generator=generator)
    context = torch.randn(1, 5, c.context_dim, generator=generator)
    sigma = torch.tensor([0.6])
    result: Tensor = model(x, sigma[:, None], sigma, context, model.rope(positions(7, checkpoint().config.audio)))
    return result


def trained(adapter: Adapter, size: float = 0.05) -> Adapter:
    """With a B as it might be after training."""
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=size)
    return adapter


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def save_trained(path: Path, seed: int = 0) -> Path:
    trained(Adapter.create(fresh_transformer(), RANK, seed=seed)).save(path, {})
    return path


def test_a_fresh_adapter_changes_nothing(model: AudioTransformer) -> None:
    before = velocity(model)
    adapter = Adapter.create(model, RANK)
    same(velocity(model), before)
    assert not torch.allclose(before, velocity(trained(adapter).model), atol=1e-3)


def test_the_adapter_sits_on_ten_modules_of_every_block(model: AudioTransformer) -> None:
    adapter = Adapter.create(model, RANK)
    assert len(TARGETS) == len(set(TARGETS)) == 10
    assert list(adapter.layers) == target_names(model)
    assert len(adapter.layers) == 10 * model.config.layers
    assert len(adapter.parameters()) == 20 * model.config.layers


@pytest.mark.parametrize(
    ("targets", "parts", "count"),
    [
        ("all", ("audio_attn1", "audio_attn2", "audio_ff"), 10),
        ("attention", ("audio_attn1", "audio_attn2"), 8),
        ("self-ff", ("audio_attn1", "audio_ff"), 6),
    ],
)
def test_presets_choose_the_modules(
    model: AudioTransformer, targets: str, parts: tuple[str, ...], count: int, tmp_path: Path
) -> None:
    adapter = Adapter.create(model, RANK, targets=targets)
    assert list(adapter.layers) == target_names(model, targets)
    assert {name.split(".")[2] for name in adapter.layers} == set(parts)
    assert len(adapter.layers) == count * model.config.layers
    adapter.save(tmp_path / "lora.safetensors", {})
    assert list(read_lora(tmp_path / "lora.safetensors").pairs) == sorted(adapter.layers)


def test_a_preset_that_there_is_not_is_refused(model: AudioTransformer) -> None:
    with pytest.raises(InputError, match="targets is 'video', but it must be one of all, attention, self-ff"):
        Adapter.create(model, RANK, targets="video")
    assert PRESETS["all"] == TARGETS


def test_only_the_adapter_learns(model: AudioTransformer) -> None:
    adapter = Adapter.create(model, RANK)
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(learning) == len(adapter.parameters())
    assert all(re.search(r"\.lora_[AB]$", name) for name in learning)


def test_a_fresh_a_is_kaiming_uniform_and_a_function_of_the_seed() -> None:
    one, two, other = (Adapter.create(fresh_transformer(), 64, seed=seed).state_dict() for seed in (1, 1, 2))
    for key, tensor in one.items():
        assert torch.equal(tensor, two[key])
        if key.endswith("lora_B.weight"):
            assert not tensor.any()
        else:
            bound = tensor.shape[1] ** -0.5
            assert tensor.abs().max() <= bound
            assert tensor.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
            assert not torch.equal(tensor, other[key])


def test_the_file_holds_pairs_in_bf16_for_every_target_and_no_alpha(model: AudioTransformer, tmp_path: Path) -> None:
    Adapter.create(model, RANK).save(tmp_path / "lora.safetensors", {"rank": "4"})
    tensors = load_file(tmp_path / "lora.safetensors")
    assert len(tensors) == 20 * model.config.layers
    assert not any("alpha" in key for key in tensors)
    base = fresh_transformer()
    for name in target_names(base):
        a, b = (tensors[f"diffusion_model.{name}.lora_{part}.weight"] for part in "AB")
        assert a.dtype == b.dtype == torch.bfloat16
        assert (a.shape[0], b.shape[1]) == (RANK, RANK)
        assert (b.shape[0], a.shape[1]) == base.get_submodule(name).weight.shape
    with safe_open(tmp_path / "lora.safetensors", framework="pt") as file:
        assert file.metadata() == {"rank": "4"}


def test_the_same_adapter_makes_the_same_bytes(tmp_path: Path) -> None:
    metadata = {letter: 'ünïcode "quoted"' for letter in "hgfedcba"}
    adapter = trained(Adapter.create(fresh_transformer(), RANK))
    for number in range(3):
        adapter.save(tmp_path / f"{number}.safetensors", metadata)
    files = [(tmp_path / f"{number}.safetensors").read_bytes() for number in range(3)]
    assert files[0] == files[1] == files[2]
    header = json.loads(files[0][8 : 8 + int.from_bytes(files[0][:8], "little")])
    assert list(header["__metadata__"]) == list("abcdefgh")
    assert read_lora(tmp_path / "0.safetensors").metadata == metadata


@pytest.mark.parametrize(("alpha", "factor"), [(None, 1.0), (4, 1.0), (8, 2.0), (1, 0.25)])
def test_alpha_is_folded_into_b(alpha: float | None, factor: float, tmp_path: Path) -> None:
    adapter = trained(Adapter.create(fresh_transformer(), RANK, alpha=alpha))
    adapter.save(tmp_path / "lora.safetensors", {})
    pairs = read_lora(tmp_path / "lora.safetensors").pairs
    for name, layer in adapter.layers.items():
        assert torch.equal(pairs[name][0], layer.lora_A.bfloat16())
        assert torch.equal(pairs[name][1], (layer.lora_B * factor).bfloat16())


@pytest.mark.parametrize("alpha", [RANK, 2 * RANK])
def test_a_loaded_lora_sounds_as_the_trained_one(alpha: float, tmp_path: Path) -> None:
    adapter = trained(Adapter.create(fresh_transformer(), RANK, alpha=alpha))
    adapter.save(tmp_path / "lora.safetensors", {})
    model = fresh_transformer()
    load_lora(model, tmp_path / "lora.safetensors")
    torch.testing.assert_close(velocity(model), velocity(adapter.model), atol=2e-2, rtol=2e-2)  # bf16
    assert not torch.allclose(velocity(model), velocity(fresh_transformer()), atol=5e-2)


def test_two_loras_add_up_in_any_order(tmp_path: Path) -> None:
    one, two = (save_trained(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    outputs = []
    for order in ((one, two), (two, one)):
        model = fresh_transformer()
        for path in order:
            load_lora(model, path)
        outputs.append(velocity(model))
    same(outputs[0], outputs[1])
    pairs = [read_lora(path).pairs for path in (one, two)]
    both = {
        name: (torch.cat([p[name][0] for p in pairs]), torch.cat([p[name][1] for p in pairs], dim=1))
        for name in pairs[0]
    }
    model = fresh_transformer()
    Adapter.attach(model, both)
    same(outputs[0], velocity(model))


def test_strength_scales_the_change_and_zero_is_the_base(tmp_path: Path) -> None:
    path = save_trained(tmp_path / "lora.safetensors")
    outputs = {}
    for strength in (0.0, 0.5, 1.0):
        model = fresh_transformer()
        load_lora(model, path, strength)
        outputs[strength] = velocity(model)
    base = velocity(fresh_transformer())
    same(outputs[0.0], base)
    assert 0 < (outputs[0.5] - base).abs().mean() < (outputs[1.0] - base).abs().mean()
    linear = nn.Linear(3, 2)
    a, b, x = torch.randn(1, 3), torch.randn(2, 1), torch.randn(5, 3)
    expected = linear(x) + 0.5 * x @ a.T @ b.T
    same(LoRALinear(linear, a, b, 0.5)(x), expected)


def test_detaching_gives_the_base_back(model: AudioTransformer) -> None:
    before, names = velocity(model), list(model.state_dict())
    adapter = trained(Adapter.create(model, RANK))
    adapter.detach()
    assert list(model.state_dict()) == names
    assert torch.equal(velocity(model), before)


def test_a_change_too_small_for_a_bf16_weight_is_still_heard() -> None:
    linear = nn.Linear(2, 1, bias=True, dtype=torch.bfloat16).requires_grad_(False)
    linear.weight.copy_(torch.tensor([[1.0, -1.0]]))
    linear.bias.zero_()
    delta = 2.0**-12
    x = torch.ones(1, 2, dtype=torch.bfloat16)
    assert linear.weight[0, 0] + torch.tensor(delta, dtype=torch.bfloat16) == 1, "merged, it would be lost"
    layer = LoRALinear(linear, torch.tensor([[1.0, 0.0]]), torch.tensor([[delta]]), 1.0)
    assert layer(x).item() == delta
    assert linear.weight.tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_the_written_out_formula(scale: float, bias: bool) -> None:
    linear = nn.Linear(5, 4, bias=bias).requires_grad_(False)
    a, b, x = torch.randn(3, 5), torch.randn(4, 3), torch.randn(2, 6, 5, requires_grad=True)
    layer = LoRALinear(linear, a.clone(), b.clone(), scale)
    weight = torch.randn(2, 6, 4)
    ours = torch.autograd.grad((layer(x) * weight).sum(), (x, layer.lora_A, layer.lora_B))
    a.requires_grad_()
    b.requires_grad_()
    written_out = linear(x) + scale * F.linear(F.linear(x, a), b)
    for mine, theirs in zip(ours, torch.autograd.grad((written_out * weight).sum(), (x, a, b)), strict=True):
        same(mine, theirs)


def test_state_dict_and_its_loading_are_inverse() -> None:
    source = trained(Adapter.create(fresh_transformer(), RANK, seed=1))
    target = Adapter.create(fresh_transformer(), RANK, seed=2)
    target.load_state_dict(source.state_dict())
    for key, tensor in source.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(target.state_dict()[key], tensor)


def test_a_lora_of_a_wider_base_is_refused(model: AudioTransformer) -> None:
    name = "transformer_blocks.0.audio_attn1.to_q"
    with pytest.raises(InputError, match=r"to_q is 32×64, but this base has 32×32.*another base"):
        Adapter.attach(model, {name: (torch.zeros(RANK, 64), torch.zeros(32, RANK))})


def test_a_lora_of_a_deeper_base_is_refused(model: AudioTransformer) -> None:
    name = f"transformer_blocks.{model.config.layers}.audio_attn1.to_q"
    with pytest.raises(InputError, match=f"This base has no {name}"):
        Adapter.attach(model, {name: (torch.zeros(RANK, 32), torch.zeros(32, RANK))})


def test_a_pair_of_different_ranks_is_refused(model: AudioTransformer) -> None:
    with pytest.raises(InputError, match="another base"):
        Adapter.attach(model, {"transformer_blocks.0.audio_attn1.to_q": (torch.zeros(4, 32), torch.zeros(32, 8))})


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("transformer_blocks.0.audio_attn1", ((4, 32), (32, 4))),
        ("transformer_blocks.0.audio_attn1.q_norm", ((4, 32), (32, 4))),
        ("transformer_blocks.0.audio_attn1.to_q", ((32,), (32,))),
    ],
)
def test_what_is_no_pair_for_a_linear_layer_is_refused(
    model: AudioTransformer, name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    with pytest.raises(InputError, match=f"{name} is no pair of matrices"):
        Adapter.attach(model, {name: (torch.zeros(shapes[0]), torch.zeros(shapes[1]))})


def test_the_scale_is_alpha_by_the_rank_or_by_its_root() -> None:
    assert [scale_of(16), scale_of(16, 4), scale_of(16, None, True), scale_of(16, 4, True)] == [1, 0.25, 4, 1]
    layers = Adapter.create(fresh_transformer(), 4, alpha=8, rslora=True).layers.values()
    assert {layer.scale for layer in layers} == {4.0}
