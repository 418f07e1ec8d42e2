"""DoRA files become pairs. PEFT, which makes them, says what the weight becomes; ComfyUI's rule is written out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from soundlora.errors import InputError
from soundlora.lora.dora import NoMagnitudeError, plain_pair
from soundlora.lora.file import Lora, read_lora
from soundlora.lora.products import KEPT

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
