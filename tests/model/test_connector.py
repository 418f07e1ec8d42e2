from __future__ import annotations

import pytest
import torch
from parity.runners import connector, projection
from support import assert_matches, parity_cases


@parity_cases("text_", "text25_")
def test_parity(case: str) -> None:
    assert_matches(case)


def features(count: int) -> torch.Tensor:
    return torch.randn(count, connector().config.width, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("count", [0, 1, 30, 128])
def test_tokens_come_first_and_registers_fill_up_by_absolute_position(count: int) -> None:
    tokens, registers = features(count), connector().learnable_registers
    filled = connector().with_registers(tokens, 256)
    assert torch.equal(filled[:count], tokens)
    assert torch.equal(filled[count:128], registers[count:])
    assert torch.equal(filled[128:], registers)


def test_without_a_length_the_context_is_the_configs() -> None:
    assert connector().with_registers(features(3)).shape == (1024, connector().config.width)


def test_more_tokens_than_the_context_are_cut() -> None:
    tokens = features(200)
    assert torch.equal(connector().with_registers(tokens, 128), tokens[:128])


def test_a_context_that_is_no_whole_round_of_registers_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 128"):
        connector().with_registers(features(3), 100)


@torch.no_grad()
def test_every_position_is_normalised_and_attended_to() -> None:
    model, filled = connector(), connector().with_registers(features(4), 128)[None]
    before = model.run(filled)
    torch.testing.assert_close(before.square().mean(-1), torch.ones(1, 128), atol=1e-4, rtol=1e-4)
    changed = filled.clone()
    changed[:, 127] += 1
    assert (model.run(changed) - before)[:, :127].abs().amax(-1).min() > 0


@torch.no_grad()
def test_the_projection_hears_every_layer_at_its_own_place_and_not_its_level() -> None:
    model = projection()
    c = connector().config
    layers = model.audio_aggregate_embed.in_features // c.encoder_dim
    hidden = torch.randn(2, c.encoder_dim, layers)
    before = model(hidden)
    torch.testing.assert_close(model(hidden * torch.rand(layers).add(1)), before, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(model(hidden.flip(-1)), before, atol=1e-3)


@torch.no_grad()
def test_a_masked_token_is_projected_as_nothing() -> None:
    model = projection()
    hidden = torch.randn(1, 2, connector().config.encoder_dim, 5)
    masked = model(hidden, torch.tensor([[0, 1]]))
    torch.testing.assert_close(masked[0, 0], model.audio_aggregate_embed.bias)
    assert torch.equal(masked[0, 1], model(hidden)[0, 1])
