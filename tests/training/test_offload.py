from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from parity.cases import checkpoint
from parity.runners25 import unmodulated_transformer
from support import examples, gradient_of

from soundlora.lora.adapter import Adapter
from soundlora.model.latents import initial_noise, positions
from soundlora.model.quantize import quantize
from soundlora.model.transformer import AudioTransformer
from soundlora.sampling.guidance import Guidance, denoise
from soundlora.sampling.schedule import sigmas
from soundlora.training.offload import chosen_blocks, offload
from soundlora.training.trainer import Trainer

CPU = torch.device("cpu")
CONFIG = checkpoint().config
LAYERS = 5


def transformer(quantization: str | None = None) -> AudioTransformer:
    """A frozen model of five blocks, with the same weights every time."""
    torch.manual_seed(7)
    model = AudioTransformer(replace(CONFIG.transformer, layers=LAYERS)).requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model if quantization is None else quantize(model.bfloat16(), quantization).float()


def trained(model: AudioTransformer, steps: int = 4) -> tuple[list[float], list[torch.Tensor], list[torch.Tensor]]:
    """The losses of some steps, the LoRA they end in, and the last gradients of its A and B."""
    adapter = Adapter.create(model, 4, seed=1)
    trainer = Trainer(adapter, examples(3), CONFIG.audio, steps=20, learning_rate=1e-2, seed=1, batch_size=2, at_once=1)
    losses = [trainer.step(step).loss for step in range(steps)]
    trainer._gradient.add(trainer._draw(steps)[0])
    weights = [parameter.detach().clone() for parameter in adapter.parameters()]
    return losses, weights, [gradient_of(parameter).clone() for parameter in adapter.parameters()]


@pytest.mark.parametrize("count", [1, 2, 3, LAYERS, 99])
@pytest.mark.parametrize("quantization", [None, "int8", "bf16"])
def test_the_numbers_are_those_of_a_model_that_is_there_as_a_whole(count: int, quantization: str | None) -> None:
    whole, away = transformer(quantization), transformer(quantization)
    offload(away, count, CPU)
    losses, weights, gradients = trained(whole)
    losses_away, weights_away, gradients_away = trained(away)
    assert losses_away == losses
    assert all(map(torch.equal, weights_away, weights))
    assert all(map(torch.equal, gradients_away, gradients))
    assert any(gradient.any() for gradient in gradients)


def test_a_pass_without_gradients_is_the_same_too_again_and_again() -> None:
    whole, away = transformer(), transformer()
    offload(away, 3, CPU)
    x, sigma = torch.randn(2, 6, CONFIG.transformer.in_channels), torch.tensor([0.3, 0.8])
    context, rope = torch.randn(2, 8, CONFIG.transformer.context_dim), whole.rope(positions(6, CONFIG.audio))
    with torch.no_grad():
        expected = whole(x, sigma[:, None], sigma, context, rope)
        for _ in range(3):
            assert torch.equal(away(x, sigma[:, None], sigma, context, rope), expected)


def test_keys_and_values_that_would_stay_are_made_anew_where_blocks_come_and_go() -> None:
    """What makes them may not be on the device when they are asked for."""
    whole, away = unmodulated_transformer(), unmodulated_transformer()
    offload(away, 2, CPU)
    assert (whole.text_lasts, away.text_lasts) == (True, False)
    noise, rope = initial_noise(6, CONFIG.transformer.in_channels, 0), whole.rope(positions(6, CONFIG.audio))
    context, negative = torch.randn(2, 1, 8, CONFIG.transformer.context_dim)
    guidance = Guidance(stg_blocks=(1,))
    kept, anew = (denoise(model, noise, sigmas(3), rope, context, negative, guidance) for model in (whole, away))
    torch.testing.assert_close(anew, kept)
    with pytest.raises(ValueError, match="don't stay"):
        away.project_text(context)


def test_whoever_looks_at_the_weights_finds_the_right_ones() -> None:
    whole, away = transformer(), transformer()
    offload(away, LAYERS, CPU)
    trained(away)
    expected = whole.state_dict()
    found = {name.replace(".base.", "."): tensor for name, tensor in away.state_dict().items() if "lora_" not in name}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_blocks_are_spread_evenly() -> None:
    assert chosen_blocks(4, 48) == [0, 12, 24, 36]
    assert chosen_blocks(2, 5) == [0, 2]
    assert chosen_blocks(99, 3) == [0, 1, 2]


def test_layers_of_an_offloaded_model_are_not_joined() -> None:
    model = transformer()
    offload(model, 2, CPU)
    adapter = Adapter.create(model, 4)
    adapter.join()
    assert adapter.joints == []
    assert model.checkpointing


def test_weights_that_were_written_over_are_never_taken_for_others() -> None:
    """Whoever keeps activations for the backward pass is told so, and gets no wrong gradient."""
    model = transformer()
    offload(model, LAYERS, CPU)
    model.checkpointing = False
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        trained(model, steps=1)
