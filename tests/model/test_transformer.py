from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from parity.cases import checkpoint, manifest
from parity.runners import transformer
from parity.runners25 import fresh_transformer25, unmodulated_transformer
from support import assert_matches, parity_cases
from torch import Tensor

from soundlora.model.latents import positions
from soundlora.model.transformer import AudioTransformer, Bypass, bypass_blocks, denoised

TOKENS = 7


@parity_cases("tr_", "grads_", "t25_")
def test_parity(case: str) -> None:
    assert_matches(case)


@parity_cases("mode_")
@torch.no_grad()
def test_with_conditions_that_are_given_the_velocity_is_the_references(case: str) -> None:
    """What a condition makes of latents, timesteps and positions is taken from the case itself."""
    told = manifest()[case]
    e, model = told.expected, fresh_transformer25(told.root / told.params["checkpoint"])
    rope = model.rope(e["positions"])
    velocity = model(e["noisy"], e["timesteps"], told.inputs["sigma"], told.inputs["context"], rope)
    assert told.share_of_tolerance(velocity, e["velocity"]) <= 1


@torch.no_grad()
def test_without_biases_the_feed_forward_is_that_of_zero_biases(model: AudioTransformer) -> None:
    zeroed, without = (AudioTransformer(replace(model.config, ff_bias=bias)) for bias in (True, False))
    weights = {
        name: weight.zero_() if ".audio_ff." in name and name.endswith(".bias") else weight
        for name, weight in ((name, weight.clone()) for name, weight in model.state_dict().items())
    }
    zeroed.load_state_dict(weights)
    without.load_state_dict({name: weights[name] for name in without.state_dict()})
    assert len(weights) - len(without.state_dict()) == 2 * model.config.layers
    assert torch.equal(velocity(without, *inputs(model)), velocity(zeroed, *inputs(model)))
    assert not torch.allclose(velocity(without, *inputs(model)), velocity(model, *inputs(model)), atol=1e-2)


@torch.no_grad()
def test_without_prompt_modulation_a_blocks_table_alone_modulates_the_text(model: AudioTransformer) -> None:
    """With a modulation of zeros the reference's sum of both is the table."""
    zeroed, without = (AudioTransformer(replace(model.config, prompt_adaln=there)) for there in (True, False))
    weights = {
        name: weight.zero_() if name.startswith("audio_prompt_adaln_single.linear.") else weight
        for name, weight in ((name, weight.clone()) for name, weight in model.state_dict().items())
    }
    zeroed.load_state_dict(weights)
    without.load_state_dict({name: weights[name] for name in without.state_dict()})
    assert {name.split(".")[0] for name in weights.keys() - without.state_dict().keys()} == {
        "audio_prompt_adaln_single"
    }
    x, sigma, context = inputs(model)
    torch.testing.assert_close(velocity(without, x, sigma, context), velocity(zeroed, x, sigma, context))
    assert not torch.allclose(velocity(without, x, sigma, context), velocity(model, x, sigma, context), atol=1e-2)


@torch.no_grad()
def test_known_keys_and_values_give_the_same_at_every_noise_level() -> None:
    model = unmodulated_transformer()
    x, sigma, context = inputs(model, 2)
    rope = model.rope(positions(TOKENS, checkpoint().config.audio))
    projected = model.project_text(context, whole=True)
    assert projected.shape == (2, model.config.layers, context.shape[1], 2 * model.config.width)
    assert torch.equal(projected, model.project_text(context)), "without an adapter there is no other"
    for level in (sigma, sigma * 0.3):
        plain = model(x, level[:, None], level, context, rope)
        for whole in (True, False):
            known = model(x, level[:, None], level, context, rope, projected=projected, whole=whole)
            torch.testing.assert_close(known, plain)
    wrong = model(x, sigma[:, None], sigma, context, rope, projected=projected.flip(0), whole=True)
    assert not torch.allclose(wrong, plain, atol=1e-2)


@torch.no_grad()
def test_samples_share_known_keys_and_values_by_the_number_of_their_context() -> None:
    model = unmodulated_transformer()
    x, _, context = inputs(model, 3)
    sigma, of = torch.tensor([0.3, 0.3, 0.3]), torch.tensor([0, 1, 0])
    rope = model.rope(positions(TOKENS, checkpoint().config.audio))
    plain = model(x, sigma[:, None], sigma[:2], context[:2], rope, context_of=of)
    projected = model.project_text(context[:2], whole=True)
    known = model(x, sigma[:, None], sigma[:2], context[:2], rope, context_of=of, projected=projected, whole=True)
    torch.testing.assert_close(known, plain)


def test_where_the_noise_level_modulates_a_prompt_its_keys_do_not_stay(model: AudioTransformer) -> None:
    with pytest.raises(ValueError, match="don't stay"):
        model.project_text(inputs(model)[2])


@pytest.fixture
def model() -> AudioTransformer:
    return transformer()


def inputs(model: AudioTransformer, batch: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    c = model.config
    latents = torch.randn(batch, TOKENS, c.in_channels, generator=generator)
    return latents, torch.rand(batch, generator=generator), torch.randn(batch, 5, c.context_dim, generator=generator)


@torch.no_grad()
def velocity(
    model: AudioTransformer, x: Tensor, sigma: Tensor, context: Tensor, bypass: Bypass | None = None
) -> Tensor:
    rope = model.rope(positions(x.shape[1], checkpoint().config.audio))
    result: Tensor = model(x, sigma[:, None], sigma, context, rope, bypass=bypass)
    return result


def test_samples_of_a_batch_do_not_touch_each_other(model: AudioTransformer) -> None:
    x, sigma, context = inputs(model, batch=3)
    together = velocity(model, x, sigma, context)
    for i in range(3):
        alone = velocity(model, x[i : i + 1], sigma[i : i + 1], context[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changed", ["latents", "sigma", "context"])
def test_every_input_matters(model: AudioTransformer, changed: str) -> None:
    x, sigma, context = inputs(model)
    before = velocity(model, x, sigma, context)
    x, sigma, context = {
        "latents": (x + 0.1, sigma, context),
        "sigma": (x, sigma * 0.5, context),
        "context": (x, sigma, context.flip(-1)),
    }[changed]
    assert not torch.allclose(before, velocity(model, x, sigma, context), atol=1e-4)


def test_the_order_of_the_context_does_not_matter(model: AudioTransformer) -> None:
    x, sigma, context = inputs(model)
    shuffled = velocity(model, x, sigma, context.flip(1))
    torch.testing.assert_close(shuffled, velocity(model, x, sigma, context), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_samples_that_share_a_context_hear_what_each_would_of_its_own(model: AudioTransformer) -> None:
    x, _, context = inputs(model, 4)
    sigma, context = torch.tensor([0.3, 0.8]), context[:2]
    mask = torch.ones(2, context.shape[1], dtype=torch.int64)
    mask[1, 3:] = 0
    rope = model.rope(positions(TOKENS, checkpoint().config.audio))
    of = torch.tensor([0, 1, 0, 1])
    shared = model(x, sigma[of][:, None], sigma, context, rope, context_mask=mask, context_of=of)
    own = model(x, sigma[of][:, None], sigma[of], context[of], rope, context_mask=mask[of])
    torch.testing.assert_close(shared, own)
    other = model(x, sigma[of][:, None], sigma, context, rope, context_mask=mask, context_of=1 - of)
    assert not torch.allclose(other, own, atol=1e-3)


def test_the_order_of_the_latents_does(model: AudioTransformer) -> None:
    x, sigma, context = inputs(model)
    assert not torch.allclose(velocity(model, x.flip(1), sigma, context).flip(1), velocity(model, x, sigma, context))


def test_with_every_block_bypassed_no_latent_hears_another(model: AudioTransformer) -> None:
    x, sigma, context = inputs(model)
    everywhere = bypass_blocks(None, model.config.layers)
    before = velocity(model, x, sigma, context, everywhere)
    changed = x.clone()
    changed[:, 3] += 1
    after = velocity(model, changed, sigma, context, everywhere)
    untouched = [i for i in range(TOKENS) if i != 3]
    torch.testing.assert_close(after[:, untouched], before[:, untouched], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(after[:, 3], before[:, 3])
    assert not torch.allclose(
        velocity(model, changed, sigma, context)[:, untouched], velocity(model, x, sigma, context)[:, untouched]
    )


def test_bypass_blocks_names_blocks_or_all() -> None:
    assert bypass_blocks([1], 3) == {1: True}
    assert bypass_blocks(None, 3) == {0: True, 1: True, 2: True}
    assert bypass_blocks([], 3) == {}


def test_denoised_is_the_latents_less_the_noise_they_hold() -> None:
    clean, noise, sigma = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.tensor([[0.2], [0.9]])
    noisy = clean + sigma[..., None] * (noise - clean)
    torch.testing.assert_close(denoised(noisy, noise - clean, sigma), clean)


def test_bf16_weights_give_an_answer_in_the_type_of_the_latents() -> None:
    model = transformer(torch.bfloat16)
    x, sigma, context = inputs(model)
    assert velocity(model, x, sigma, context).dtype == torch.float32
    assert velocity(model, x.bfloat16(), sigma, context).dtype == torch.bfloat16


def test_tokens_that_are_given_are_those_of_timestep_0() -> None:
    model = transformer()
    x, context = torch.randn(2, 9, model.config.in_channels), torch.randn(2, 16, model.config.context_dim)
    sigma, given = torch.tensor([0.3, 0.8]), torch.rand(2, 9) < 0.5
    rope = model.rope(positions(9, checkpoint().config.audio))
    timesteps = torch.where(given, 0.0, sigma[:, None])
    expected = model(x, timesteps, sigma, context, rope)
    torch.testing.assert_close(model(x, sigma[:, None], sigma, context, rope, given=given), expected)
