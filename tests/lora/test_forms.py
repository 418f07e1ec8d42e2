"""Adapters of every form: fresh ones, those of files, and what is said of files that don't fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from parity.cases import checkpoint
from parity.runners import fresh_transformer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter
from soundlora.lora.file import read_lora
from soundlora.lora.forms import FILE_FORMS, FORMS, FileForm, Form, fresh_layer, size_of
from soundlora.lora.likeness import compare
from soundlora.lora.plain import plain_of
from soundlora.lora.products import KEPT
from soundlora.lora.rank import begun_with
from soundlora.model.latents import positions
from soundlora.model.transformer import AudioTransformer

RANK = 4
MODULE = "transformer_blocks.0.audio_attn1.to_q"


@torch.no_grad()
def velocity(model: AudioTransformer) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    c = model.config
    x = torch.randn(1, 7, c.in_channels, generator=generator)
    context = torch.randn(1, 5, c.context_dim, generator=generator)
    sigma = torch.tensor([0.6])
    result: Tensor = model(x, sigma[:, None], sigma, context, model.rope(positions(7, checkpoint().config.audio)))
    return result


def trained(form: Form, rank: int = RANK, seed: int = 1) -> Adapter:
    """As it might be after training, with alpha = 2 · rank."""
    adapter = Adapter.create(fresh_transformer(), rank, form=form, alpha=2 * rank, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return adapter


def written(form: FileForm, path: Path) -> AudioTransformer:
    """Write the file of a form, and return the model with what it holds."""
    if form != "dora":
        adapter = trained(form)
        adapter.save(path, {})
        return adapter.model
    adapter = trained("lora")
    adapter.save(path, {})
    generator = torch.Generator().manual_seed(2)
    tensors, model = load_file(path), fresh_transformer()
    for name, layer in adapter.layers.items():
        w, a, b = layer.frozen.weight, *(tensors[f"diffusion_model.{name}.lora_{half}.weight"].float() for half in "AB")
        lengths = w.norm(dim=1, keepdim=True) * (1 + 0.05 * torch.randn(len(w), 1, generator=generator))
        tensors[f"diffusion_model.{name}.dora_scale"] = lengths
        changed = w + b @ a
        model.get_parameter(f"{name}.weight").data = changed * lengths / changed.norm(dim=1, keepdim=True)
    save_file(tensors, path)
    return model


@pytest.mark.parametrize("form", FORMS)
def test_a_fresh_adapter_changes_nothing_and_only_it_learns(form: Form) -> None:
    model = fresh_transformer()
    before = velocity(model)
    adapter = Adapter.create(model, RANK, form=form)
    torch.testing.assert_close(velocity(model), before, atol=1e-6, rtol=1e-5)
    assert sum(p.requires_grad for p in model.parameters()) == len(adapter.parameters())
    assert not torch.allclose(velocity(trained(form).model), before, atol=1e-3)


@pytest.mark.parametrize("form", FILE_FORMS)
def test_a_file_does_what_was_trained_and_off_it_is_the_base(form: FileForm, tmp_path: Path) -> None:
    wanted = velocity(written(form, tmp_path / "own.safetensors"))
    lora = read_lora(tmp_path / "own.safetensors", as_they_are=FILE_FORMS)
    assert {size_of(update) for update in lora.matrices.values()} == (
        set() if form == "lora" else {(32, 32), (128, 32), (32, 128)}
    )
    model = fresh_transformer()
    base = velocity(model)
    loaded = Adapter.attach(model, lora.updates)
    assert loaded.form == form
    assert not torch.allclose(wanted, base, atol=0.1)
    torch.testing.assert_close(velocity(model), wanted, atol=2e-2, rtol=2e-2)  # bf16
    with loaded.switched_off():
        assert torch.equal(velocity(model), base)
    loaded.detach()
    assert torch.equal(velocity(model), base)


@pytest.mark.parametrize("form", FORMS)
def test_a_state_is_taken_up_to_the_bit(form: Form) -> None:
    source, target = trained(form), Adapter.create(fresh_transformer(), RANK, form=form, alpha=2 * RANK, seed=9)
    target.load_state_dict(source.state_dict())
    assert torch.equal(velocity(target.model), velocity(source.model))


@pytest.mark.parametrize("form", FORMS)
def test_within_a_block_an_adapter_is_what_it_began_with(form: Form, tmp_path: Path) -> None:
    first = trained(form)
    first.save(tmp_path / "first.safetensors", {})
    lora = read_lora(tmp_path / "first.safetensors", as_they_are=FORMS)
    adapter = trained(form, seed=4)
    before = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    with begun_with(adapter, lora):
        torch.testing.assert_close(velocity(adapter.model), velocity(first.model), atol=2e-2, rtol=2e-2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in adapter.state_dict().items())


def test_the_plain_lora_of_a_lokr_keeps_what_it_says(tmp_path: Path) -> None:
    adapter = trained("lokr")
    plain = plain_of(adapter)
    assert plain.kept >= KEPT
    assert plain.together >= plain.kept
    model = fresh_transformer()
    base = velocity(model)
    Adapter.attach(model, plain.pairs)
    wanted = velocity(adapter.model)
    assert float((velocity(model) - wanted).norm()) < 0.2 * float((wanted - base).norm())
    least, most = plain.ranks
    assert f"ranks {least} to {most} the X keeps all of each layer's energy" in plain.words("X")
    assert plain.larger == sum(len(a) * (a.shape[1] + len(b)) > a.shape[1] * len(b) for a, b in plain.pairs.values())
    assert ("more numbers than their own weights" in plain.words("X")) == (plain.larger > 0)


@pytest.mark.parametrize("form", ["dora", "lokr"])
def test_commands_that_take_pairs_make_them_of_the_file(form: FileForm, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    wanted = velocity(written(form, path))
    if form == "dora":
        with pytest.raises(InputError, match="is a DoRA, and what it changes depends on its base"):
            read_lora(path)
    base = fresh_transformer()
    lora = read_lora(path, lambda module: base.get_parameter(f"{module}.weight"))
    assert compare(lora, lora).together.angle == pytest.approx(0, abs=0.1)
    assert not lora.matrices
    plain = velocity(base)
    Adapter.attach(base, lora.pairs)
    assert float((velocity(base) - wanted).norm()) < 0.2 * float((wanted - plain).norm())


def test_what_can_t_be_taken_as_it_is_is_said(tmp_path: Path) -> None:
    written("dora", tmp_path / "dora.safetensors")
    tensors = load_file(tmp_path / "dora.safetensors")
    key = f"diffusion_model.{MODULE}.dora_scale"
    path = tmp_path / "other.safetensors"
    for lengths, said in (
        (torch.ones(1, 32), "is a DoRA with the lengths of columns, and what it changes depends on its base"),
        (torch.ones(7), r"has the shape \[7\], or numbers that are none, but it must be 32 lengths of rows"),
        (torch.full((32,), torch.nan), "numbers that are none"),
    ):
        save_file(tensors | {key: lengths}, path)
        with pytest.raises(InputError, match=said):
            read_lora(path, as_they_are=FILE_FORMS)
    trained("lokr").save(tmp_path / "lokr.safetensors", {})
    save_file(load_file(tmp_path / "lokr.safetensors") | {key: torch.ones(32, 1)}, path)
    with pytest.raises(InputError, match="is a DoRA whose update is a product"):
        read_lora(path, as_they_are=FILE_FORMS)
    lokr = read_lora(tmp_path / "lokr.safetensors", as_they_are=FORMS).matrices[MODULE]
    with pytest.raises(InputError, match="proj is 32×32, but this base has 128×32 there"):
        Adapter.attach(fresh_transformer(), {"transformer_blocks.0.audio_ff.net.0.proj": lokr})


class Calls(TorchDispatchMode):
    """Counts what computes, and which of it are products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.all = self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not func.is_view and name not in ("detach", "empty_like", "empty", "_unsafe_view", "alias"):
            self.all += 1
            self.products += name in ("mm", "addmm", "addmm_", "bmm")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("form", "calls"), [("lora", (14, 8)), ("lokr", (26, 11))])
def test_calls_of_a_layer_are_those_of_the_page(form: Form, calls: tuple[int, int]) -> None:
    base = nn.Linear(64, 64).bfloat16().requires_grad_(False)
    layer = fresh_layer(form, base, RANK, 1.0, torch.Generator().manual_seed(0), torch.device("cpu"))
    for parameter in layer.trained.values():
        parameter.grad = torch.zeros_like(parameter)
    x, gradient = torch.randn(5, 64).bfloat16().requires_grad_(), torch.ones(5, 64).bfloat16()
    with Calls() as counted:
        layer(x).backward(gradient)
    assert (counted.all, counted.products) == calls
