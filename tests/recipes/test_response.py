"""The transformer written with larger values and smaller weights: the same base, on which LoRAs learn faster."""

from __future__ import annotations

import torch
from response import FACTOR, TEXT_FACTOR, strengthen
from sizes import AUDIO, MODEL
from torch import Tensor, nn

from soundlora.lora.adapter import Adapter
from soundlora.lora.targets import target_names
from soundlora.model.latents import positions
from soundlora.model.transformer import AudioTransformer


def new_model() -> AudioTransformer:
    torch.manual_seed(0)
    model = AudioTransformer(MODEL.transformer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model


def velocity(model: AudioTransformer) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x, context = (torch.randn(2, n, w, generator=generator) for n, w in ((20, 128), (30, model.config.context_dim)))
    sigma = torch.tensor([0.3, 0.9])
    result: Tensor = model(x, sigma[:, None], sigma, context, model.rope(positions(20, AUDIO)))
    return result


def test_the_base_computes_what_it_did_and_can_be_taken_back() -> None:
    model = new_model()
    with torch.no_grad():
        before = velocity(model)
        strengthen(model)
        assert torch.allclose(velocity(model), before, atol=1e-4 * float(before.abs().max()))
        strengthen(model, 1 / FACTOR, 1 / TEXT_FACTOR)
    for one, other in zip(model.parameters(), new_model().parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_lora_does_what_one_larger_by_its_layers_factor_did() -> None:
    def effect(name: str, size: float, *factors: float) -> Tensor:
        model = new_model()
        strengthen(model, *factors)
        plain = velocity(model)
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        generator = torch.Generator().manual_seed(2)
        a, b = (torch.randn(s, generator=generator) for s in ((4, linear.in_features), (linear.out_features, 4)))
        Adapter.attach(model, {name: (a, size * b)})
        return velocity(model) - plain

    names = [name for name in target_names(new_model()) if name.startswith("transformer_blocks.1.")]
    assert len(names) == 10
    with torch.no_grad():
        for name in names:
            factor = TEXT_FACTOR if "attn2" in name else FACTOR
            larger, now = effect(name, 1e-3 * factor, 1.0, 1.0), effect(name, 1e-3, FACTOR, TEXT_FACTOR)
            assert float(larger.norm()) > 1e-3, name
            assert float((now - larger).norm()) < 0.02 * float(larger.norm()), name
