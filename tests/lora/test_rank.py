from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity.runners import fresh_transformer
from torch import Tensor

from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter, load_lora
from soundlora.lora.file import Lora, read_lora, write_lora
from soundlora.lora.pair import Pair, energy
from soundlora.lora.rank import load_into_adapter, percent, resize, resize_all

MODULE = "transformer_blocks.0.audio_ff.net.2"


def pair(rank: int, outputs: int = 40, inputs: int = 24, seed: int = 0) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, inputs, generator=generator), torch.randn(outputs, rank, generator=generator)


def update(pair: Pair) -> Tensor:
    return pair[1].double() @ pair[0].double()


@pytest.mark.parametrize("rank", [1, 5, 30])  # 30: more than the weight has rows
def test_energy_is_the_square_of_the_update_s_norm(rank: int) -> None:
    assert energy(pair(rank)) == pytest.approx(update(pair(rank)).square().sum().item(), rel=1e-9)


@pytest.mark.parametrize(("old", "new"), [(12, 5), (12, 11), (12, 1), (40, 8), (40, 30)])
def test_resizing_gives_the_nearest_matrix_of_that_rank(old: int, new: int) -> None:
    resized, kept = resize(pair(old), new)
    assert [tensor.shape for tensor in resized] == [(new, 24), (40, new)]
    u, values, vh = torch.linalg.svd(update(pair(old)), full_matrices=False)
    best = (u[:, :new] * values[:new]) @ vh[:new]
    torch.testing.assert_close(update(resized), best, atol=1e-4, rtol=1e-4)
    assert kept == pytest.approx((values[:new].square().sum() / values.square().sum()).item(), rel=1e-6)


@pytest.mark.parametrize("new", [4, 5, 9])
def test_a_rank_that_is_not_smaller_keeps_the_update_to_the_bit(new: int) -> None:
    resized, kept = resize(pair(4), new)
    assert kept == 1
    assert [tensor.shape for tensor in resized] == [(new, 24), (40, new)]
    assert torch.equal(update(resized), update(pair(4)))


def test_an_update_of_nothing_is_kept_whole() -> None:
    a, b = pair(4)
    (_, small), kept = resize((a, torch.zeros_like(b)), 2)
    assert not small.any()
    assert kept == 1


def test_the_share_of_several_modules_is_weighted_by_their_energy() -> None:
    loud, quiet = pair(8), pair(8, seed=1)
    quiet = quiet[0], quiet[1] * 1e-3
    _, kept = resize_all({"loud": loud, "quiet": quiet}, 4)
    assert kept == pytest.approx(resize(loud, 4)[1], abs=1e-5)
    assert resize_all({"quiet": quiet, "whole": pair(2)}, 4)[1] == pytest.approx(1, abs=1e-5)


def test_less_than_all_is_never_called_all() -> None:
    assert [percent(share) for share in (1.0, 0.999999, 0.5, 0.12345)] == ["100 %", "99.99 %", "50 %", "12.34 %"]


# ----------------------------------------------------------------------------------------------------------------------
# beginning where a LoRA ended


def trained(path: Path, rank: int, targets: str = "all") -> Lora:
    adapter = Adapter.create(fresh_transformer(), rank, targets=targets, seed=5)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=0.05)
    pairs = {name: (layer.lora_A, layer.lora_B) for name, layer in adapter.layers.items()}
    write_lora(path, pairs, {}, naming="kohya", dtype=torch.float32)
    return read_lora(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lora.safetensors"


@pytest.mark.parametrize("alpha", [None, 2.0])
@pytest.mark.parametrize("rank", [4, 6])
def test_an_adapter_of_at_least_the_rank_begins_with_the_same_update(
    rank: int, alpha: float | None, path: Path
) -> None:
    lora = trained(path, 4)
    fresh = Adapter.create(fresh_transformer(), rank, alpha=alpha)
    adapter = Adapter.create(fresh_transformer(), rank, alpha=alpha)
    assert load_into_adapter(adapter, lora) == []
    for name, layer in adapter.layers.items():
        a, b = lora.pairs[name]
        assert torch.equal(layer.lora_A[:4], a)
        assert torch.equal(layer.lora_A[4:], fresh.layers[name].lora_A[4:]), "free rows keep the adapter's own A"
        assert not layer.lora_B[:, 4:].any()
        torch.testing.assert_close(layer.scale * layer.lora_B @ layer.lora_A, b @ a)


def test_free_rows_can_learn(path: Path) -> None:
    adapter = Adapter.create(fresh_transformer(), 6)
    load_into_adapter(adapter, trained(path, 4))
    layer = adapter.layers[MODULE]
    layer(torch.randn(3, 128)).square().sum().backward()
    assert layer.lora_B.grad is not None
    assert layer.lora_B.grad[:, 4:].abs().min() > 0


def test_an_adapter_of_a_smaller_rank_begins_with_the_nearest_update(path: Path) -> None:
    lora, adapter = trained(path, 8), Adapter.create(fresh_transformer(), 3)
    expected, share = resize_all(lora.pairs, 3)
    assert 0.3 < share < 0.9
    notes = load_into_adapter(adapter, lora)
    assert notes == [f"{path} of rank 8 was cut to rank 3, which keeps {percent(share)} of its energy."]
    for name, layer in adapter.layers.items():
        torch.testing.assert_close(layer.lora_B @ layer.lora_A, expected[name][1] @ expected[name][0])


def test_an_adapter_with_a_lora_in_it_sounds_as_the_lora(path: Path) -> None:
    lora = trained(path, 4)
    adapter = Adapter.create(fresh_transformer(), 8)
    load_into_adapter(adapter, lora)
    attached, _ = load_lora(fresh_transformer(), path)
    x = torch.randn(3, 128)
    with torch.no_grad():
        torch.testing.assert_close(adapter.layers[MODULE](x), attached.layers[MODULE](x), atol=1e-5, rtol=1e-5)


def test_other_targets_are_told_of(path: Path) -> None:
    adapter = Adapter.create(fresh_transformer(), 4, targets="self-ff")
    notes = load_into_adapter(adapter, trained(path, 4))
    assert notes == [
        f"{path} also changes 8 modules that are not trained here (transformer_blocks.0.audio_attn2.to_k, …); "
        "training begins without those."
    ]
    wider = Adapter.create(fresh_transformer(), 4)
    assert load_into_adapter(wider, trained(path, 4, "self-ff")) == []
    touched = {name for name, layer in wider.layers.items() if layer.lora_B.any()}
    assert touched == set(adapter.layers)


def test_what_does_not_fit_is_refused_before_anything_is_filled(path: Path) -> None:
    adapter = Adapter.create(fresh_transformer(), 4)
    lora = trained(path, 4)
    lora.pairs[MODULE] = pair(4)
    with pytest.raises(InputError, match=r"net\.2 is 40×24, but this base has 32×128 there; .* another base"):
        load_into_adapter(adapter, lora)
    assert not any(layer.lora_B.any() for layer in adapter.layers.values())
    deeper = {name.replace("blocks.", "blocks.9"): pair for name, pair in lora.pairs.items()}
    write_lora(path, deeper, {})
    with pytest.raises(InputError, match="changes none of the modules that are trained"):
        load_into_adapter(adapter, read_lora(path))
