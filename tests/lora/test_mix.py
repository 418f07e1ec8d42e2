"""LoRAs that are added up, cut apart and compared, beside the large matrices that they stand for."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from soundlora.errors import InputError
from soundlora.lora.file import Lora
from soundlora.lora.likeness import compare
from soundlora.lora.mix import Ingredient, lost_to_rounding, mix, slice_of
from soundlora.lora.pair import Pair

SELF, TEXT, FF = (
    f"transformer_blocks.{n}.audio_{layer}" for n, layer in ((0, "attn1.to_q"), (0, "attn2.to_k"), (1, "ff.net.2"))
)


def pair(rank: int, seed: int, outputs: int = 6, inputs: int = 5) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, inputs, generator=generator), torch.randn(outputs, rank, generator=generator)


def lora(pairs: dict[str, Pair], name: str = "one", **metadata: str) -> Lora:
    return Lora(Path(f"{name}.safetensors"), pairs, metadata, "official", torch.float32, "float32")


def update(pair: Pair) -> Tensor:
    return pair[1] @ pair[0]


def test_a_mixture_does_what_its_loras_do_together() -> None:
    one = lora({SELF: pair(2, 1), FF: pair(2, 2)}, trigger_phrase="gate", base="nano", base_hash="x")
    other = lora({SELF: pair(3, 3), TEXT: pair(3, 4)}, "two", trigger_phrase="rain", base="nano", base_hash="x")
    found = mix([Ingredient(one, 0.7), Ingredient(other, -0.3, {"text": 0.5})])
    assert list(found.pairs) == [SELF, FF, TEXT]
    torch.testing.assert_close(
        update(found.pairs[SELF]), 0.7 * update(one.pairs[SELF]) - 0.3 * update(other.pairs[SELF])
    )
    torch.testing.assert_close(update(found.pairs[FF]), 0.7 * update(one.pairs[FF]))
    torch.testing.assert_close(update(found.pairs[TEXT]), -0.15 * update(other.pairs[TEXT]))
    assert found.pairs[SELF][0].shape[0] == 5
    assert found.kept == 1
    assert {key: found.metadata[key] for key in ("base", "base_hash", "trigger_phrase", "rank")} == {
        "base": "nano",
        "base_hash": "x",
        "trigger_phrase": "gate, rain",
        "rank": "5",
    }
    assert json.loads(found.metadata["mixed_from"]) == [
        {"file": "one.safetensors", "strength": 0.7},
        {"file": "two.safetensors", "strength": -0.3, "text": 0.5},
    ]


def test_a_rank_gives_the_nearest_mixture_and_says_what_it_keeps() -> None:
    one, other = lora({SELF: pair(2, 1)}), lora({SELF: pair(2, 2)}, "two")
    whole = update(mix([Ingredient(one), Ingredient(other)]).pairs[SELF])
    found = mix([Ingredient(one), Ingredient(other)], rank=2)
    values = torch.linalg.svdvals(whole.double())
    assert found.pairs[SELF][0].shape[0] == 2
    assert found.kept == pytest.approx(float(values[:2].square().sum() / values.square().sum()), rel=1e-6)
    left = (whole - update(found.pairs[SELF])).double().square().sum()
    assert float(left) == pytest.approx(float(values[2:].square().sum()), rel=1e-4)


def test_what_works_nowhere_takes_no_room() -> None:
    one, other = lora({SELF: pair(2, 1), TEXT: pair(2, 5)}), lora({SELF: pair(3, 3)}, "two")
    found = mix([Ingredient(one, 1.0, {"text": 0}), Ingredient(other, 0.0)])
    assert {name: a.shape[0] for name, (a, _) in found.pairs.items()} == {SELF: 2}
    with pytest.raises(InputError, match="Nothing is left"):
        mix([Ingredient(one, 0.0), Ingredient(other, 0.0)])


@pytest.mark.parametrize(
    ("mine", "others", "said"),
    [
        (
            {"generation": "2.3"},
            {"generation": "2.5"},
            r"another generation of LTX \(2.3\) than two.safetensors \(2.5\)",
        ),
        ({"base_hash": "a", "base": "nano"}, {"base_hash": "b", "base": "x"}, r"another base \(nano\) than .* \(x\)"),
    ],
)
def test_loras_of_different_bases_are_not_mixed(mine: dict[str, str], others: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        mix([Ingredient(lora({SELF: pair(2, 1)}, **mine)), Ingredient(lora({SELF: pair(2, 2)}, "two", **others))])


def test_loras_of_different_shapes_are_neither_mixed_nor_compared() -> None:
    one, other = lora({SELF: pair(2, 1)}), lora({SELF: pair(2, 2, outputs=7)}, "two")
    with pytest.raises(InputError, match=r"audio_attn1\.to_q has other shapes"):
        mix([Ingredient(one), Ingredient(other)])
    with pytest.raises(InputError, match=r"audio_attn1\.to_q has other shapes"):
        compare(one, other)


def test_what_rounding_loses_is_the_energy_of_the_difference() -> None:
    a, b = pair(2, 1)
    pairs = {SELF: (a.bfloat16().float(), b.bfloat16().float())}
    assert lost_to_rounding(pairs, torch.bfloat16) == 0
    scaled = {SELF: (a, b)}
    rounded = b.bfloat16().float() @ a.bfloat16().float()
    expected = float((rounded - b @ a).square().sum() / (b @ a).square().sum())
    assert 0 < expected < 1e-4
    assert lost_to_rounding(scaled, torch.bfloat16) == pytest.approx(expected, rel=0.05)


def test_a_slice_has_the_named_parts_and_blocks() -> None:
    whole = lora({SELF: pair(2, 1), TEXT: pair(2, 2), FF: pair(2, 3), "audio_proj_out": pair(2, 4)})
    assert set(slice_of(whole)) == set(whole.pairs)
    assert set(slice_of(whole, ["self", "ff"])) == {SELF, FF}
    assert set(slice_of(whole, blocks=[0])) == {SELF, TEXT}
    assert set(slice_of(whole, ["ff"], [1, 2])) == {FF}
    with pytest.raises(InputError, match="changes nothing there"):
        slice_of(whole, ["ff"], [0])


def test_the_angle_is_that_of_the_updates() -> None:
    one, other = lora({SELF: pair(2, 1), FF: pair(2, 2)}), lora({SELF: pair(3, 3), TEXT: pair(3, 4)}, "two")
    found = compare(one, other)
    x, y = update(one.pairs[SELF]).double(), update(other.pairs[SELF]).double()
    expected = math.degrees(math.acos(float((x * y).sum() / (x.norm() * y.norm()))))
    assert found.layers[SELF].angle == pytest.approx(expected, abs=1e-3)
    assert found.layers[SELF].norms == pytest.approx((float(x.norm()), float(y.norm())), rel=1e-5)
    assert (found.layers[FF].angle, found.layers[FF].norms[1]) == (None, 0)
    assert found.parts["text"].angle is None
    assert sorted(found.blocks) == [0, 1]
    energies = [sum(float(update(each).double().square().sum()) for each in of.pairs.values()) for of in (one, other)]
    sizes = [math.sqrt(each) for each in energies]
    assert found.together.norms == pytest.approx(tuple(sizes), rel=1e-5)
    cosine = float((x * y).sum()) / (sizes[0] * sizes[1])
    assert found.together.angle == pytest.approx(math.degrees(math.acos(cosine)), abs=1e-3)


@pytest.mark.parametrize(("scale", "angle"), [(3.0, 0.0), (-1.0, 180.0)])
def test_a_lora_has_the_direction_of_itself(scale: float, angle: float) -> None:
    a, b = pair(2, 1)
    found = compare(lora({SELF: (a, b)}), lora({SELF: (a, scale * b)}))
    assert found.together.angle == pytest.approx(angle, abs=1e-3)
