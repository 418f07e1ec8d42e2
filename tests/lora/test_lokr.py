"""LoKr layers beside those of PEFT's LoKrModel, and the rule for the shapes of their matrices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from soundlora.lora.layer import LoRALinear
from soundlora.lora.lokr import FACTOR, LoKrLinear, fresh, shapes_of
from soundlora.lora.products import KEPT


class Block(nn.Module):
    def __init__(self, inputs: int = 48, outputs: int = 64) -> None:
        super().__init__()
        self.to_q = nn.Linear(inputs, outputs)


def of_peft(rank: int, alpha: float, inputs: int = 48, outputs: int = 64) -> Any:
    import peft

    torch.manual_seed(7)
    config = peft.LoKrConfig(r=rank, alpha=alpha, target_modules=["to_q"], decompose_factor=FACTOR)
    layer = peft.LoKrModel(Block(inputs, outputs), config, "default").model.to_q
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("lokr"):
                parameter.normal_(std=0.3)
    return layer


def matrices_of(theirs: Any) -> dict[str, nn.Parameter]:
    return {
        name.partition(".")[0]: parameter for name, parameter in theirs.named_parameters() if name.startswith("lokr")
    }


@pytest.mark.parametrize("rank", [2, 5, 40])  # the largest leaves w2 whole
@pytest.mark.parametrize(("inputs", "outputs"), [(48, 64), (64, 256)])
def test_a_layer_and_its_gradients_are_those_of_peft(rank: int, inputs: int, outputs: int) -> None:
    theirs = of_peft(rank, 6.0, inputs, outputs)
    theirs.base_layer.requires_grad_(False)
    others = matrices_of(theirs)
    assert {name: tuple(p.shape) for name, p in others.items()} == shapes_of(outputs, inputs, rank)
    ours = LoKrLinear(theirs.base_layer, {name: p.detach().clone() for name, p in others.items()}, 6.0 / rank)
    x, weight = torch.randn(2, 5, inputs), torch.randn(2, 5, outputs)
    found = []
    for layer, learnt in ((ours, list(ours.trained.values())), (theirs, list(others.values()))):
        given = x.clone().requires_grad_()
        out = layer(given)
        found.append([out.detach(), *torch.autograd.grad((out * weight).sum(), [given, *learnt])])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_the_rule_for_shapes() -> None:
    assert shapes_of(2048, 2048, 32) == {"lokr_w1": (4, 4), "lokr_w2_a": (512, 32), "lokr_w2_b": (32, 512)}
    assert shapes_of(8192, 2048, 32) == {"lokr_w1": (4, 4), "lokr_w2_a": (2048, 32), "lokr_w2_b": (32, 512)}
    assert shapes_of(64, 32, 8) == {"lokr_w1": (4, 4), "lokr_w2": (16, 8)}, "half of the longer side"
    assert shapes_of(64, 32, 7) == {"lokr_w1": (4, 4), "lokr_w2_a": (16, 7), "lokr_w2_b": (7, 8)}
    assert shapes_of(9, 10, 8) == {"lokr_w1": (3, 2), "lokr_w2": (3, 5)}


@pytest.mark.parametrize("rank", [2, 40])
def test_a_fresh_layer_adds_nothing_and_can_learn(rank: int) -> None:
    base = nn.Linear(48, 64).requires_grad_(False)
    layer = LoKrLinear(base, fresh(64, 48, rank, torch.Generator().manual_seed(1)), 1.0)
    x = torch.randn(5, 48)
    assert torch.equal(layer(x), base(x))
    layer(x).square().sum().backward()
    learning = {
        name for name, parameter in layer.trained.items() if parameter.grad is not None and parameter.grad.any()
    }
    assert learning == ({"lokr_w2"} if rank == 40 else {"lokr_w2_b"})


@pytest.mark.parametrize("rank", [2, 40])
def test_pair_energy_and_file_are_those_of_the_kronecker_product(rank: int) -> None:
    theirs = of_peft(rank, 6.0)
    layer = LoKrLinear(theirs.base_layer, {name: p.detach() for name, p in matrices_of(theirs).items()}, 6.0 / rank)
    update = theirs.get_delta_weight("default").detach()
    size = float(update.double().square().sum())
    assert layer.energy() == pytest.approx(size, rel=1e-5)
    (a, b), kept = layer.plain()
    assert kept >= KEPT
    assert kept == pytest.approx(1 - float((b @ a - update).square().sum()) / size, abs=1e-5)
    if rank == 2:
        assert (len(a), kept) == (FACTOR * rank, 1.0), "all of it"
    written = layer.written()
    second = written["lokr_w2"] if rank == 40 else written["lokr_w2_a"] @ written["lokr_w2_b"]
    torch.testing.assert_close(torch.kron(written["lokr_w1"], second), update, atol=1e-5, rtol=1e-4)
    assert float(written["alpha"]) == (1 if rank == 40 else rank), "so that alpha/rank is 1"


def test_it_adds_up_with_others_and_is_off_at_no_strength() -> None:
    theirs = of_peft(2, 2.0)
    base, x = theirs.base_layer, torch.randn(5, 48)
    matrices = {name: p.detach() for name, p in matrices_of(theirs).items()}
    a, b = torch.randn(3, 48), torch.randn(64, 3)
    with torch.no_grad():
        one, other = LoKrLinear(base, matrices, 1.0), LoRALinear(base, a, b, 0.5)
        wanted = one(x) + other(x) - base(x)
        stacks = LoRALinear(LoKrLinear(base, matrices, 1.0), a, b, 0.5), LoKrLinear(other, matrices, 1.0)
        for both in stacks:
            torch.testing.assert_close(both(x), wanted, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(both.on_top(x, base(x)), wanted, atol=1e-4, rtol=1e-4)
        one.scale = 0
        assert torch.equal(one(x), base(x))
