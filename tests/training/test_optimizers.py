from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from parity.cases import checkpoint
from parity.runners import fresh_transformer
from support import examples
from torch import nn

from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter
from soundlora.training import optimizers
from soundlora.training.memory_plan import Settings, plan
from soundlora.training.optimizer import Optimizer
from soundlora.training.optimizers import OPTIMIZERS, bytes_held, check_optimizer, check_use
from soundlora.training.trainer import Trainer
from soundlora.wording import command_line_words, wording

CONFIG = checkpoint().config
PACKAGES = {"prodigy": "prodigyopt", "schedulefree": "schedulefree"}
KINDS = [
    pytest.param(
        kind,
        marks=pytest.mark.skipif(
            kind in PACKAGES and importlib.util.find_spec(PACKAGES[kind]) is None, reason="its package is not installed"
        ),
    )
    for kind in OPTIMIZERS
]
RATES = {"prodigy": 1.0}


def trainer(kind: str, steps: int = 12, **settings: Any) -> Trainer:
    return Trainer(
        Adapter.create(fresh_transformer(), 4, seed=1), examples(1), CONFIG.audio, steps=steps, seed=1,
        learning_rate=RATES.get(kind, 1e-2), optimizer=kind, **settings,
    )  # fmt: skip


def flat(made: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in made.adapter.parameters()])


@pytest.mark.parametrize("kind", KINDS)
def test_it_lowers_the_loss(kind: str) -> None:
    made = trainer(kind, 80)
    samples = made._draw(0)[0]
    losses = []
    for _ in range(80):
        losses.append(made._gradient.add(samples).item())
        made.optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("average", [True, False])
def test_it_goes_on_to_the_bit_whether_or_not_its_mean_was_heard(kind: str, average: bool) -> None:
    straight = trainer(kind, average=average)
    for step in range(12):
        straight.step(step)
        with straight.optimizer.averaged():
            pass
    first = trainer(kind, average=average)
    for step in range(5):
        first.step(step)
    second = trainer(kind, average=average)
    second.adapter.load_state_dict({key: tensor.clone() for key, tensor in first.adapter.state_dict().items()})
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    for step in range(5, 12):
        second.step(step)
    assert torch.equal(flat(second), flat(straight))
    with straight.optimizer.averaged(), second.optimizer.averaged():
        assert torch.equal(flat(second), flat(straight))


@pytest.mark.parametrize("kind", KINDS)
def test_its_state_takes_the_memory_that_is_planned(kind: str) -> None:
    made = trainer(kind)
    made.step(0)
    tensors = [value for state in made.optimizer.adamw.state.values() for value in state.values()]
    held = sum(value.nbytes for value in tensors if isinstance(value, torch.Tensor) and value.ndim)
    matrices = made.adapter.parameters()
    numbers, sides = sum(p.numel() for p in matrices), sum(sum(p.shape) for p in matrices)
    assert held == pytest.approx(bytes_held(kind, numbers, sides), rel=0.01)
    settings = Settings(rank=4, dtype=torch.float32, fused_attention=False, average=False, optimizer=kind)
    assert plan(CONFIG, settings, cuda=False).adapter == pytest.approx(8 * numbers + held, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_the_step_before_which_nothing_is_known_has_a_mean(kind: str) -> None:
    made = trainer(kind, average=True)
    before = flat(made)
    with made.optimizer.averaged():
        assert torch.equal(flat(made), before)


@pytest.mark.parametrize("kind", KINDS[2:3])
def test_adafactor_goes_as_far_as_the_rate_says_from_zeros_too(kind: str) -> None:
    weights = [nn.Parameter(torch.zeros(6, 4)), nn.Parameter(torch.ones(3, 5))]
    optimizer = Optimizer(weights, 1e-2, 10, kind, schedule="constant")
    before = [p.detach().clone() for p in weights]
    sum(((i + 1) * p * torch.arange(1.0, p.numel() + 1).view_as(p)).sum() for i, p in enumerate(weights)).backward()  # type: ignore[union-attr]
    optimizer.step()
    for p, was in zip(weights, before, strict=True):
        assert (p - was).square().mean().sqrt().item() == pytest.approx(1e-2, rel=0.1)


@pytest.mark.parametrize("kind", KINDS[3:4])
def test_the_rate_that_prodigy_finds_is_told(kind: str) -> None:
    made = trainer(kind, 40)
    samples = made._draw(0)[0]
    rates = []
    for _ in range(40):
        made._gradient.add(samples)
        rates.append(made.optimizer.step()[0])
    assert rates[0] == pytest.approx(1e-6)
    assert max(rates) > 100 * rates[0]


@pytest.mark.parametrize("kind", KINDS[4:])
def test_what_schedule_free_has_learnt_is_the_mean_of_all_steps(kind: str) -> None:
    made = trainer(kind, average=True)
    for step in range(6):
        made.step(step)
    here = flat(made)
    reference: Any = made.optimizer.adamw
    with made.optimizer.averaged():
        mean = flat(made)
    assert torch.equal(flat(made), here)
    assert not torch.equal(mean, here)
    reference.eval()  # the library's own way there
    torch.testing.assert_close(flat(made), mean)
    assert "average" not in made.optimizer.state_dict()


@pytest.mark.parametrize(
    ("kind", "given", "sentence"),
    [
        ("prodigy", {"learning_rate": 2e-4}, "--learning-rate is 0.0002, but prodigy finds the rate itself and takes a "
         "factor of it; use --learning-rate 1."),
        ("prodigy", {"b_rate": 16.0}, "--b-rate is 16, but prodigy finds one rate for all"),
        ("schedulefree", {"average": False}, "--no-average and --optimizer schedulefree contradict each other"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str, given: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda name: name)  # type: ignore[attr-defined]
    settings: dict[str, Any] = {"learning_rate": 1.0, "b_rate": 1.0, "average": True} | given
    with wording(command_line_words), pytest.raises(InputError) as refused:
        check_use(kind, **settings)
    assert str(refused.value).startswith(sentence)
    assert refused.value.field == next(iter(given))
    check_use("adamw", **settings)


@pytest.mark.parametrize(("kind", "package"), PACKAGES.items())
def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, kind: str, package: str) -> None:
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=rf"needs the package {package}; .*soundlora\[optimizers\]") as refused:
        check_use(kind, 1.0, 1.0, True)
    assert refused.value.field == "optimizer"


def test_an_optimizer_that_there_is_not_is_named() -> None:
    with pytest.raises(InputError, match="'sgd', but it must be one of adamw, adamw8bit, adafactor, prodigy"):
        check_optimizer("sgd")
