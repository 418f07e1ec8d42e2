from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity.cases import checkpoint
from parity.runners import fresh_transformer
from safetensors import safe_open
from safetensors.torch import load_file
from support import CPU, TINY_CHECKPOINT, TINY_ENCODER, rewrite
from torch import Tensor

from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter, load_lora
from soundlora.lora.file import Lora, read_lora
from soundlora.lora.merge import merge, relative_norm
from soundlora.lora.targets import target_names
from soundlora.model.latents import positions
from soundlora.model.transformer import AudioTransformer
from soundlora.weights.base import open_base
from soundlora.weights.checkpoint import Checkpoint

PREFIX = "model.diffusion_model."


@pytest.fixture
def lora(tmp_path: Path) -> Lora:
    adapter = Adapter.create(fresh_transformer(), 4, seed=3)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=0.3)
    adapter.save(tmp_path / "lora.safetensors", {})
    return read_lora(tmp_path / "lora.safetensors")


def in_fp32(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    for name, tensor in tensors.items():
        tensors[name] = tensor.float()


@torch.no_grad()
def velocity(model: AudioTransformer) -> Tensor:
    c = model.config
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, 7, c.in_channels, generator=generator)
    context = torch.randn(1, 5, c.context_dim, generator=generator)
    sigma = torch.tensor([0.6])
    result: Tensor = model(x, sigma[:, None], sigma, context, model.rope(positions(7, checkpoint().config.audio)))
    return result


@pytest.mark.parametrize("strength", [1.0, -0.5])
def test_merged_weights_are_the_base_s_plus_the_update_and_all_else_is_the_base_s(
    strength: float, lora: Lora, tmp_path: Path
) -> None:
    out = tmp_path / "merged.safetensors"
    merged = merge(checkpoint(), lora, strength, out)
    assert merged.size == out.stat().st_size
    before, after = load_file(TINY_CHECKPOINT), load_file(out)
    assert set(after) == set(checkpoint().layout.audio) < set(before)
    changed = {f"{PREFIX}{name}.weight": pair for name, pair in lora.pairs.items()}
    error = total = 0.0
    for name, tensor in after.items():
        assert tensor.dtype == before[name].dtype
        if name not in changed:
            assert torch.equal(tensor, before[name])
            continue
        a, b = changed[name]
        exact = before[name].float() + strength * (b.float() @ a.float())
        assert torch.equal(tensor, exact.to(tensor.dtype)), "summed in fp32, and rounded once"
        assert not torch.equal(tensor, before[name])
        error += (tensor.double() - exact.double()).square().sum().item()
        total += (exact.double() - before[name].double()).square().sum().item()
    assert merged.lost == pytest.approx(error / total, rel=1e-3)
    assert 0 < merged.lost < 0.01


def test_the_merged_file_is_a_base_with_the_same_metadata(lora: Lora, tmp_path: Path) -> None:
    out = tmp_path / "merged.safetensors"
    merge(checkpoint(), lora, 1.0, out)
    with safe_open(out, framework="pt") as new, safe_open(TINY_CHECKPOINT, framework="pt") as old:
        assert new.metadata() == old.metadata()
    base = open_base(str(out), TINY_ENCODER)
    assert base.hash != open_base(str(TINY_CHECKPOINT), TINY_ENCODER).hash
    with_lora = fresh_transformer()
    load_lora(with_lora, lora.path)
    merged, unmerged, plain = (velocity(m) for m in (base.transformer(CPU), with_lora, fresh_transformer()))
    assert (merged - unmerged).norm() < 0.02 * (unmerged - plain).norm()


def test_in_fp32_merged_and_unmerged_sound_the_same(lora: Lora, tmp_path: Path) -> None:
    whole = Checkpoint(rewrite(tmp_path / "fp32.safetensors", in_fp32))
    merged = merge(whole, lora, 1.0, tmp_path / "merged.safetensors")
    assert merged.lost < 1e-9
    model = Checkpoint(tmp_path / "merged.safetensors").load_transformer(CPU, torch.float32)
    with_lora = fresh_transformer()
    load_lora(with_lora, lora.path)
    torch.testing.assert_close(velocity(model), velocity(with_lora), atol=1e-5, rtol=1e-4)


def test_what_rounding_takes_away_is_told(lora: Lora, tmp_path: Path) -> None:
    tiny = 1e-6
    lost = merge(checkpoint(), lora, tiny, tmp_path / "merged.safetensors").lost
    assert lost > 0.5
    assert merge(checkpoint(), lora, 0.0, tmp_path / "merged.safetensors").lost == 0


def test_the_norm_is_relative_to_the_weights_that_are_changed(lora: Lora) -> None:
    before = load_file(TINY_CHECKPOINT)
    updates = weights = 0.0
    for name in target_names(fresh_transformer()):
        a, b = lora.pairs[name]
        updates += (b.double() @ a.double()).square().sum().item()
        weights += before[f"{PREFIX}{name}.weight"].double().square().sum().item()
    assert relative_norm(checkpoint(), lora) == pytest.approx((updates / weights) ** 0.5, rel=1e-6)


def test_what_does_not_fit_is_refused_and_leaves_no_file(lora: Lora, tmp_path: Path) -> None:
    out = tmp_path / "merged.safetensors"
    name = "transformer_blocks.0.audio_attn1.to_q"
    a, b = lora.pairs[name]
    lora.pairs[name] = (torch.ones(4, 64), b)
    with pytest.raises(InputError, match="to_q is 32×64, but this base has 32×32 there"):
        merge(checkpoint(), lora, 1.0, out)
    lora.pairs[name] = (a.float() * 1e30, b.float() * 1e30)
    with pytest.raises(InputError, match="becomes too large for its type"):
        merge(checkpoint(), lora, 1.0, out)
    del lora.pairs[name]
    lora.pairs["transformer_blocks.2.audio_attn1.to_q"] = (a, b)
    with pytest.raises(InputError, match=r"has no transformer_blocks\.2\.audio_attn1\.to_q"):
        merge(checkpoint(), lora, 1.0, out)
    assert {path.name for path in tmp_path.iterdir()} <= {"lora.safetensors", "cache"}
