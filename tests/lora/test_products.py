"""LoKr and LoHa files become pairs. PEFT, which makes both kinds, says what the update is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from soundlora.errors import InputError
from soundlora.lora.file import read_lora
from soundlora.lora.products import KEPT, fewest, pair_of

MODULE = "transformer_blocks.0.audio_attn1.to_q"
FLAT = MODULE.replace(".", "_")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(48, 64, bias=False)


def of_peft(kind: str, rank: int, alpha: float, **settings: object) -> tuple[dict[str, Tensor], Tensor]:
    """The matrices of a layer that PEFT has made, and the update that it adds to the weight."""
    import peft

    torch.manual_seed(3)
    config = getattr(peft, f"{kind}Config")(r=rank, alpha=alpha, target_modules=["to_q"], **settings)
    model = peft.get_peft_model(Block(), config)
    layer = model.base_model.model.to_q
    matrices = {}
    with torch.no_grad():
        for name, tensor in layer.named_parameters():
            part = name.partition(".")[0]
            if part.startswith(("lokr", "hada")):
                tensor.normal_(std=0.3)
                matrices[part] = tensor.detach().clone()
    return matrices, layer.get_delta_weight("default").detach()


@pytest.mark.parametrize("decompose_both", [False, True])
@pytest.mark.parametrize("rank", [2, 40])  # the larger one leaves w2 whole
def test_lokr_is_the_kronecker_product(rank: int, decompose_both: bool, tmp_path: Path) -> None:
    matrices, update = of_peft("LoKr", rank, 4.0, decompose_both=decompose_both)
    keys = {f"lycoris_{FLAT}.{part}": tensor for part, tensor in matrices.items()}
    save_file(keys | {f"lycoris_{FLAT}.alpha": torch.tensor(4.0)}, tmp_path / "lokr.safetensors")
    lora = read_lora(tmp_path / "lokr.safetensors")
    a, b = lora.pairs[MODULE]
    whole = "lokr_w1" in matrices and "lokr_w2" in matrices
    expected = update * (rank / 4.0) if whole else update  # PEFT scales by alpha where LyCORIS has none
    lost = (b @ a - expected).square().sum() / expected.square().sum()
    assert float(lost) <= 1 - KEPT + 1e-6
    assert lora.naming == "kohya"
    assert "is a LoKr or LoHa; it is taken as a LoRA of rank" in lora.warnings[-1]


def test_loha_is_the_product_number_by_number(tmp_path: Path) -> None:
    matrices, update = of_peft("LoHa", 3, 6.0)
    keys = {f"diffusion_model.{MODULE}.{part}": tensor for part, tensor in matrices.items()}
    save_file(keys | {f"diffusion_model.{MODULE}.alpha": torch.tensor(6.0)}, tmp_path / "loha.safetensors")
    lora = read_lora(tmp_path / "loha.safetensors")
    a, b = lora.pairs[MODULE]
    assert a.shape[0] == 9, "all of it: 3 times 3"
    torch.testing.assert_close(b @ a, update, rtol=1e-4, atol=1e-5)
    assert "of rank 9, which has all of each layer's energy" in lora.warnings[-1]


def test_a_pair_has_the_energy_that_was_promised_and_is_no_larger_than_that() -> None:
    generator = torch.Generator().manual_seed(1)
    w1, w2 = torch.randn(4, 4, generator=generator), torch.randn(16, 12, generator=generator)
    (a, b), rank, kept = pair_of({"lokr_w1": w1, "lokr_w2": w2})
    assert rank is None
    update = torch.kron(w1, w2)
    values = torch.linalg.svdvals(update.double()).square()
    share = 1 - float((update - b @ a).double().square().sum() / values.sum())
    assert kept == pytest.approx(share, abs=1e-5)
    assert kept >= KEPT
    if kept < 1:
        assert float(values[: a.shape[0] - 1].sum() / values.sum()) < KEPT


def test_the_fewest_values_are_counted() -> None:
    assert fewest(torch.tensor([3.0, 1.0, 0.0, 0.0])) == (2, 1.0)
    count, kept = fewest(torch.tensor([10.0, 0.1, 0.1, 0.1, 0.1]))
    assert count == 1
    assert kept == pytest.approx(100 / 100.04)
    assert fewest(torch.zeros(3)) == (1, 1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lokr_w2": None}, "no lokr_w2 or lokr_w2_a at"),
        ({"lokr_w2": torch.ones(2, 2, 1)}, r"lokr_w2 of the shape \[2, 2, 1\] at"),
        ({"lokr_w1": torch.full((2, 2), torch.nan)}, "numbers in lokr_w1 that are infinite or none at all"),
        ({"hada_w1_a": torch.ones(4, 2)}, "matrices of several kinds at"),
        ({"lokr_w1": None, "lokr_w1_a": torch.ones(2, 3), "lokr_w1_b": torch.ones(2, 2)}, "don't fit each other"),
        ({"dora_scale": torch.ones(4)}, "is a DoRA, and what it changes depends on its base"),
        ({"oft_blocks": torch.ones(4)}, "no plain LoRA"),
    ],
)
def test_a_damaged_product_is_refused(change: dict[str, Tensor | None], said: str, tmp_path: Path) -> None:
    good: dict[str, Tensor | None] = {"lokr_w1": torch.ones(2, 2), "lokr_w2": torch.ones(2, 2)}
    tensors = {f"lora_unet_{FLAT}.{part}": tensor for part, tensor in (good | change).items() if tensor is not None}
    save_file(tensors, tmp_path / "damaged.safetensors")
    with pytest.raises(InputError, match=said):
        read_lora(tmp_path / "damaged.safetensors")
