"""What every stage of nano's recipe shares."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import runs
import torch
from local_http import free_port
from runs import Stage, rounded
from torch import nn

STEPS = 5
SHARED = """
import sys
from pathlib import Path
import runs
sys.path.insert(0, sys.argv[2])
from test_stage import learn
runs.WORK = Path(sys.argv[1])
learn([int(sys.argv[3])], STEPS)
""".replace("STEPS", str(STEPS))


def learn(ranks: list[int], steps: int) -> Stage:
    """A layer that learns from the batches of some processes; the bias of some of them has no gradient."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    stage = Stage("layer", {"layer": layer}, steps, rate=1e-2, warmup=1)
    while not stage.done:
        losses = []
        for rank in ranks:
            generator = torch.Generator().manual_seed(100 * rank + stage.step)
            x = torch.randn(4, 3, generator=generator)
            losses.append((layer(x) if rank == 0 else x @ layer.weight.T).square().mean())
        loss = torch.stack(losses).mean()
        stage.update(loss, {"loss": loss.item()}, log_every=1, save_every=2)
    return stage


@pytest.mark.slow
def test_processes_that_share_a_stage_learn_what_one_does_from_all_their_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(runs, "WORK", tmp_path / "one")
    one = learn([0, 1], STEPS).modules["layer"].state_dict()
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    paths = os.pathsep.join(path for path in sys.path if path)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SHARED, str(tmp_path / "two"), str(Path(__file__).parent), str(rank)],
            env=os.environ | address | {"RANK": str(rank), "PYTHONPATH": paths},
        )
        for rank in (0, 1)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    monkeypatch.setattr(runs, "WORK", tmp_path / "two")
    two = runs.load_modules("layer")["layer"]
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor)
    # The first process alone writes.
    assert len((tmp_path / "two" / "layer.jsonl").read_text().splitlines()) == STEPS


def test_a_stage_that_was_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "WORK", tmp_path)
    whole = learn([0], STEPS).modules["layer"].state_dict()
    (tmp_path / "layer.pt").unlink()

    def stopped(self: Stage) -> bool:
        return self.step == 3

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "done", property(stopped))
        learn([0], STEPS).save()
    again = learn([0], STEPS).modules["layer"].state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


def test_a_stage_goes_on_from_weights_alone_as_a_restored_nano_leaves_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "WORK", tmp_path)
    weights = {"weight": torch.full((2, 3), 0.5), "bias": torch.zeros(2)}
    torch.save({"modules": {"layer": weights}}, tmp_path / "layer.pt")
    stage = learn([0], 1)
    assert stage.step == 1
    # A first step of Adam moves each weight by the rate, and the decay by a ten-thousandth of it.
    moved = (stage.modules["layer"].state_dict()["weight"] - 0.5).abs()
    assert 0 < float(moved.max()) < 1.1e-2


def test_weights_are_rounded_for_a_loss_alone_and_its_gradient_reaches_the_exact_ones() -> None:
    layer = nn.Linear(3, 2)
    exact = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}
    with rounded(layer.parameters()):
        for name, parameter in layer.named_parameters():
            assert torch.equal(parameter, exact[name].bfloat16().float())
        layer(torch.ones(1, 3)).sum().backward()
    assert all(torch.equal(parameter, exact[name]) for name, parameter in layer.named_parameters())
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, torch.ones(2, 3))
