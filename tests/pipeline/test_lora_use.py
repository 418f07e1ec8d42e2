"""Where a LoRA works and how strongly: what it leaves alone is the base's, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from parity.runners import fresh_transformer
from support import BaseNames
from torch import Tensor

from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter
from soundlora.lora.targets import part_of
from soundlora.pipeline.generate import Generator
from soundlora.pipeline.lora_use import LoraFile, LoraUse, chosen_loras

SHORT: dict[str, Any] = {"duration": 0.4, "seed": 3, "steps": 4}
PARTS = ("self", "text", "ff")


@pytest.fixture(scope="module", params=["2.3", "2.5"])
def generator(request: pytest.FixtureRequest) -> Generator:
    """Only the second base's keys and values of a prompt last for all steps."""
    base: BaseNames = request.getfixturevalue("quick_base" if request.param == "2.3" else "quick_base_25")
    generator = Generator(base.checkpoint, text_encoder=base.encoder)
    assert generator.model.text_lasts == (request.param == "2.5")
    return generator


@pytest.fixture(scope="module")
def files(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, found = tmp_path_factory.mktemp("loras"), []
    for seed in (1, 2):
        adapter = Adapter.create(generator.model, 8, seed=seed)
        with torch.no_grad():
            for layer in adapter.layers.values():
                layer.lora_B.normal_(std=0.3)
        adapter.save(folder / f"{seed}.safetensors", {})
        adapter.detach()
        found.append(folder / f"{seed}.safetensors")
    return found


def heard(generator: Generator, *loras: LoraFile, **settings: Any) -> Tensor:
    generator.exchange(loras)
    return generator("rain", **(SHORT | settings)).waveform


def test_all_steps_are_the_sound_of_a_file_alone(generator: Generator, files: list[Path]) -> None:
    alone = heard(generator, (files[0], 0.7))
    assert torch.equal(heard(generator, LoraUse(files[0], 0.7, steps=(0, 1))), alone)
    assert torch.equal(heard(generator, LoraUse(files[0], 0.7, dict.fromkeys(PARTS, 1.0))), alone)
    assert not torch.equal(heard(generator), alone)


def test_where_it_does_not_work_the_base_is_heard(generator: Generator, files: list[Path]) -> None:
    base = heard(generator)
    assert torch.equal(heard(generator, LoraUse(files[0], 1.0, steps=(0.8, 1))), base)  # no step begins there
    assert torch.equal(heard(generator, LoraUse(files[0], 1.0, dict.fromkeys(PARTS, 0.0))), base)
    assert torch.equal(heard(generator, (files[0], 0.0), (files[1], 0.0)), base)


@pytest.mark.parametrize("cut", [0.25, 0.5, 0.6, 0.75])
def test_two_ranges_that_touch_are_the_whole(generator: Generator, files: list[Path], cut: float) -> None:
    whole = heard(generator, files[0])
    first, second = LoraUse(files[0], steps=(0, cut)), LoraUse(files[0], steps=(cut, 1))
    assert torch.equal(heard(generator, first, second), whole)
    assert torch.equal(heard(generator, second, first), whole)
    assert not torch.equal(heard(generator, first), whole)
    assert not torch.equal(heard(generator, second), heard(generator, first))


def test_each_lora_has_a_range_of_its_own(generator: Generator, files: list[Path]) -> None:
    early, late = LoraUse(files[0], steps=(0, 0.5)), LoraUse(files[1], steps=(0.5, 1))
    both = heard(generator, early, late)
    assert not any(torch.equal(both, heard(generator, *loras)) for loras in ((early,), (late,), files))
    assert torch.equal(heard(generator, early, late), both)
    # Whichever LoRA is outside, and however far the last sound came: each step sets the strengths anew.
    assert torch.equal(generator("rain", **SHORT).waveform, both)


def test_parts_that_are_all_the_same_are_a_strength(generator: Generator, files: list[Path]) -> None:
    assert torch.equal(
        heard(generator, LoraUse(files[0], 1.0, dict.fromkeys(PARTS, 0.4))), heard(generator, (files[0], 0.4))
    )
    assert torch.equal(
        heard(generator, LoraUse(files[0], 0.8, dict.fromkeys(PARTS, 0.5))), heard(generator, (files[0], 0.4))
    )


def test_a_part_alone_is_that_of_a_file_with_this_part_alone(
    generator: Generator, files: list[Path], tmp_path: Path
) -> None:
    for part in PARTS:
        generator.exchange([files[0]])
        adapter = generator._adapters[0].adapter
        layers = {name: layer for name, layer in adapter.layers.items() if part_of(name) == part}
        assert 0 < len(layers) < len(adapter.layers)
        Adapter(generator.model, layers).save(tmp_path / f"{part}.safetensors", {})
        others = {other: 0.0 for other in PARTS if other != part}
        assert torch.equal(
            heard(generator, LoraUse(files[0], 1.0, others)), heard(generator, tmp_path / f"{part}.safetensors")
        )


def test_a_name_of_targets_is_the_parts_that_it_trains(generator: Generator, files: list[Path]) -> None:
    assert torch.equal(heard(generator, LoraUse(files[0], 1.0, "all")), heard(generator, files[0]))
    assert torch.equal(
        heard(generator, LoraUse(files[0], 1.0, "self-ff")), heard(generator, LoraUse(files[0], 1.0, {"text": 0}))
    )
    assert not torch.equal(
        heard(generator, LoraUse(files[0], 1.0, "attention")), heard(generator, LoraUse(files[0], 1.0, "self-ff"))
    )


def test_a_use_without_a_strength_takes_the_argument() -> None:
    chosen = chosen_loras(None, 0.3, [LoraUse("a"), LoraUse("b", 0.7), "c", ("d", 0.1)])
    assert [use.strength for use in chosen] == [0.3, 0.7, 0.3, 0.1]


def test_a_label_says_the_use() -> None:
    assert LoraUse("runs/gate.safetensors").label == "gate"
    assert LoraUse("gate.safetensors", 0.7, {"text": 0.5}, (0, 0.5)).label == "gate:0.7,text=0.5@0-0.5"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"strength": float("nan")}, "The strength of a.safetensors is nan, but it must be a number."),
        ({"strength": "1"}, "The strength of a.safetensors is 1, but it must be a number."),
        ({"parts": "gates"}, "the parts are self, text, ff, and their sets all, attention, self-ff."),
        ({"parts": {"gates": 1}}, "is to have a strength in 'gates'"),
        ({"parts": {"ff": True}}, "The share of ff in a.safetensors is True"),
        ({"parts": 3}, "The parts of a.safetensors are 3, but they must be shares by their names"),
        ({"steps": (0.5, 0.5)}, "is to work from 0.5-0.5 of the sampling steps"),
        ({"steps": (-0.1, 0.5)}, "between 0 and 1"),
        ({"steps": 0.5}, "is to work from 0.5 of the sampling steps"),
        ({"steps": ("0", "1")}, "is to work from ('0', '1') of the sampling steps"),
    ],
)
def test_a_use_that_cannot_be_is_refused(wrong: Any, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        LoraUse("a.safetensors", **wrong)
    assert sentence in str(raised.value)


def test_a_layer_around_the_blocks_is_in_no_part() -> None:
    names = [name for name, _ in fresh_transformer().named_modules()]
    assert part_of("audio_patchify_proj") is None
    assert {part_of(name) for name in names if name.startswith("transformer_blocks.0.audio")} >= {*PARTS}


@pytest.mark.parametrize("path", [5, None, "", ["a.safetensors"]])
def test_the_path_of_a_lora_is_one(path: Any) -> None:
    with pytest.raises(InputError, match=r"The path of a LoRA is .*, but it must be that of a file"):
        LoraUse(path)
