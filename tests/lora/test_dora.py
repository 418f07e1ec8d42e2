"""DoRA files become pairs. PEFT, which makes them, says what the weight becomes; ComfyUI's rule is written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from soundlora.errors import InputError
from soundlora.lora.dora import DoRALinear, NoMagnitudeError, plain_pair
from soundlora.lora.file import Lora, read_lora
from soundlora.lora.layer import LoRALinear
from soundlora.lora.products import KEPT
from soundlora.model.quantize import QuantizedLinear, widened

MODULE = "transformer_blocks.0.audio_attn1.to_q"
FLAT = MODULE.replace(".", "_")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(48, 64)


def lost(lora: Lora, update: Tensor) -> float:
    a, b = lora.pairs[MODULE]
    return float((b @ a - update).square().sum() / update.square().sum())


def matrices(seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """A weight, A and B."""
    generator = torch.Generator().manual_seed(seed)
    w, a, b = (torch.randn(shape, generator=generator) for shape in ((64, 48), (4, 48), (64, 4)))
    return w, 0.1 * a, b


def test_what_peft_makes_is_kept(tmp_path: Path) -> None:
    import peft

    torch.manual_seed(3)
    model = peft.get_peft_model(Block(), peft.LoraConfig(r=4, lora_alpha=8, target_modules=["to_q"], use_dora=True))
    layer = model.base_model.model.to_q
    before = layer.base_layer.weight.detach().clone()
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_(std=0.1)
        layer.lora_magnitude_vector["default"].weight.mul_(1.05)
    model.save_pretrained(tmp_path / "peft")
    file = tmp_path / "peft" / "adapter_model.safetensors"
    saved = {key.replace("model.to_q", f"model.{MODULE}"): tensor for key, tensor in load_file(file).items()}
    assert any("lora_magnitude_vector" in key for key in saved)
    save_file(saved, file)
    lora = read_lora(tmp_path / "peft", lambda module: before)
    update = model.merge_and_unload().to_q.weight.detach() - before
    assert lost(lora, update) <= 1 - KEPT + 1e-6
    assert lora.naming == "peft"
    assert "is a DoRA; it is taken as a LoRA of rank" in lora.warnings[-1]


@pytest.mark.parametrize(("shape", "axis"), [((64,), 1), ((64, 1), 1), ((1, 48), 0)])
def test_lengths_of_rows_and_of_columns_are_understood(shape: tuple[int, ...], axis: int, tmp_path: Path) -> None:
    w, a, b = matrices()
    magnitude = (1.1 * w.norm(dim=axis)).view(shape)
    tensors = {"lora_down.weight": a, "lora_up.weight": b, "alpha": torch.tensor(2.0), "dora_scale": magnitude}
    save_file({f"lora_unet_{FLAT}.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "x.safetensors")
    changed = w + b @ a * (2 / 4)
    lengths = changed.norm(dim=axis, keepdim=True)
    update = changed * (magnitude.view(lengths.shape) / lengths) - w
    lora = read_lora(tmp_path / "x.safetensors", lambda module: w)
    assert lost(lora, update) <= 1 - KEPT + 1e-6
    assert (lora.naming, lora.dtype) == ("kohya", torch.float32)


@pytest.mark.parametrize("wide", [False, True])
def test_the_pair_is_no_larger_than_it_has_to_be(wide: bool) -> None:
    w, a, b = matrices()
    w, a, b = (w.T.contiguous(), b.T.contiguous(), a.T.contiguous()) if wide else (w, a, b)
    magnitude = (w + b @ a).norm(dim=1)  # so that it is B·A alone
    (down, up), kept = plain_pair(w, (a, b), magnitude)
    assert down.shape[0] <= 4
    assert kept >= KEPT
    (down, up), kept = plain_pair(w, (a, b), 1.2 * magnitude)
    update = (w + b @ a) * 1.2 - w
    values = torch.linalg.svdvals(update.double()).square()
    assert kept == pytest.approx(1 - float((up @ down - update).square().sum() / values.sum()), abs=1e-5)
    assert kept >= KEPT
    assert float(values[: down.shape[0] - 1].sum() / values.sum()) < KEPT


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    w, a, b = matrices()
    for magnitude in (torch.ones(48), torch.ones(64, 2), torch.full((64,), torch.nan)):
        with pytest.raises(NoMagnitudeError, match="none of its rows or columns"):
            plain_pair(w, (a, b), magnitude)
    tensors = {"lora_A.weight": a, "lora_B.weight": b, "dora_scale": torch.ones(64)}
    save_file(
        {f"diffusion_model.{MODULE}.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "x.safetensors"
    )
    with pytest.raises(InputError, match=r"to_q in .* is 64×48, but this base has 48×64 there; give the base"):
        read_lora(tmp_path / "x.safetensors", lambda module: w.T)
    save_file({f"diffusion_model.{MODULE}.dora_scale": torch.ones(64)}, tmp_path / "alone.safetensors")
    with pytest.raises(InputError, match="holds no lora_A and lora_B"):
        read_lora(tmp_path / "alone.safetensors", lambda module: w)


def test_a_dora_that_changes_nothing_adds_nothing() -> None:
    _, a, b = matrices()
    (down, up), kept = plain_pair(torch.zeros(64, 48), (a, 0 * b), torch.zeros(64))
    assert (float((up @ down).abs().sum()), kept, down.shape) == (0.0, 1.0, (1, 48))


# ----------------------------------------------------------------------------------------------------------------------
# The layer, which is that of a file


def of_peft(rank: int, alpha: float, rslora: bool = False) -> Any:
    """A layer of PEFT's DoRA with an A, B and lengths as they might be after some steps."""
    import peft

    torch.manual_seed(5)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["to_q"], use_dora=True, use_rslora=rslora)
    layer = peft.get_peft_model(Block(), config).base_model.model.to_q
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_(std=0.1)
        layer.lora_magnitude_vector["default"].weight.add_(0.05 * torch.randn(64))
    return layer


def ours_of(theirs: Any) -> DoRALinear:
    a, b = (getattr(theirs, f"lora_{half}")["default"].weight.detach().clone() for half in "AB")
    lengths = theirs.lora_magnitude_vector["default"].weight.detach().clone()
    return DoRALinear(theirs.base_layer, a, theirs.scaling["default"] * b, lengths)


@pytest.mark.parametrize("rslora", [False, True])
@torch.no_grad()
def test_a_layer_is_that_of_peft(rslora: bool) -> None:
    theirs = of_peft(4, 6.0, rslora)
    x = torch.randn(2, 5, 48)
    torch.testing.assert_close(ours_of(theirs)(x), theirs(x), atol=2e-5, rtol=2e-4)


@torch.no_grad()
def test_strength_scales_all_that_is_added_and_none_is_the_base() -> None:
    layer = ours_of(of_peft(4, 4.0))
    x = torch.randn(5, 48)
    plain, whole = layer.base(x), layer(x)
    layer.scale = 0.5
    torch.testing.assert_close(layer(x), plain + 0.5 * (whole - plain), atol=1e-5, rtol=1e-4)
    layer.scale = 0
    assert torch.equal(layer(x), plain)


@torch.no_grad()
def test_layers_add_up_in_any_order() -> None:
    base = nn.Linear(48, 64).requires_grad_(False)
    _, a, b = matrices()
    x = torch.randn(5, 48)
    lengths = 1.1 * base.weight.norm(dim=1)

    def made(names: str) -> nn.Module:
        layer: nn.Module = base
        for name in names:
            one = a.clone(), b.clone()
            layer = LoRALinear(layer, *one, 0.3) if name == "l" else DoRALinear(layer, *one, lengths)
        return layer

    added = [made(names)(x) - base(x) for names in ("l", "d", "ld", "dl", "dd")]
    for both in added[2:4]:
        torch.testing.assert_close(both, added[0] + added[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(added[4], 2 * added[1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_quantised_base_has_lengths_of_its_own() -> None:
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    base = nn.Linear(64, 64).requires_grad_(False)
    quantize_(base, Int8WeightOnlyConfig())
    narrow = QuantizedLinear(base)
    a, b, lengths = 0.1 * torch.randn(4, 64), torch.randn(64, 4), 1 + torch.rand(64)
    layer = DoRALinear(narrow, a, b, lengths)
    changed = widened(narrow.weight) + b @ a
    wanted = changed * (lengths / changed.norm(dim=1))[:, None]
    x = torch.randn(5, 64)
    torch.testing.assert_close(layer(x), x @ wanted.T + narrow.bias, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_the_energy_is_that_of_what_is_added() -> None:
    layer = ours_of(of_peft(4, 6.0))
    eye = torch.eye(48)
    update = layer(eye) - layer.base(eye)
    assert layer.energy() == pytest.approx(float(update.double().square().sum()), rel=1e-4)
    layer.scale = 0.5
    assert layer.energy() == pytest.approx(0.25 * float(update.double().square().sum()), rel=1e-4)
