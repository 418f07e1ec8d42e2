from __future__ import annotations

import pytest

from soundlora.weights.generations import (
    GENERATIONS,
    LTX_23,
    LTX_25,
    Version,
    generation_of,
    of_repository,
    parse_version,
)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.5.0", (2, 5, 0)),
        ('"2.3.0"', (2, 3, 0)),
        (" 2.10 ", (2, 10)),
        ("2.5.0-rc1", (2, 5)),
        ("2", None),
        ("v2.5", None),
        ("", None),
    ],
)
def test_a_version_is_dotted_numbers(text: str, version: Version | None) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("version", "names", "name"),
    [
        ((2, 0, 0), [], "2.0"),
        ((2, 3, 0), [], "2.3"),
        ((2, 3), [], "2.3"),
        ((2, 4, 0), [], "2.5"),
        ((2, 5, 0), [], "2.5"),
        ((2, 5, 9), [], "2.5"),
        ((2, 6, 0), [], None),
        ((2, 10, 0), [], None),
        ((3, 0), [], None),
        (None, [], "2.3"),
        (None, ["model.diffusion_model.duration_head.mlp_out.weight"], "2.5"),
        (None, ["model.diffusion_model.audio_caption_projection.linear_1.weight"], "2.0"),
    ],
)
def test_a_generation_is_told_by_its_version_else_by_its_tensors(
    version: Version | None, names: list[str], name: str | None
) -> None:
    found = generation_of(version, names)
    assert (None if found is None else found.name) == name


def test_the_table_is_in_the_order_of_versions() -> None:
    befores = [generation.before for generation in GENERATIONS]
    assert befores == sorted(befores)
    assert [generation.name for generation in GENERATIONS if not generation.supported] == ["2.0"]


def test_a_repository_on_the_hub_is_that_of_one_generation() -> None:
    assert of_repository("Lightricks/LTX-2.3") is LTX_23
    assert of_repository("Lightricks/LTX-2.5") is LTX_25
    assert of_repository("Lightricks/LTX-2") is None


def test_both_are_sampled_alike_and_only_one_declares_its_text_encoder() -> None:
    assert LTX_23.sampling == LTX_25.sampling
    assert (LTX_25.sampling.steps, LTX_25.sampling.cfg, LTX_25.sampling.stg) == (30, 7.0, 1.0)
    assert (LTX_25.sampling.stg_blocks, LTX_25.sampling.rescale) == ((28,), 0.7)
    assert (LTX_23.declares_encoder, LTX_25.declares_encoder) == (False, True)


def test_the_advice_on_a_text_encoder_names_the_right_one() -> None:
    assert "google/gemma-3-12b-it-qat-q4_0-unquantized" in LTX_23.encoder_advice()
    assert "gemma4-12b-with-proj-ltx-2.5-bf16.safetensors, of Lightricks/LTX-2.5" in LTX_25.encoder_advice()
    assert "no other Gemma 4 will do" in LTX_25.encoder_advice()
