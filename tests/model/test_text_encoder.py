from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from parity.runners import text_encoder
from support import CPU, PARITY_25, TINY_ENCODER, Metadata, Tensors, assert_matches, parity_cases, rewrite

from soundlora.errors import InputError
from soundlora.model.text_encoder import TextEncoder, check_encoder, fingerprint
from soundlora.wording import command_line_words, wording


@pytest.fixture(autouse=True)
def _on_the_command_line() -> Iterator[None]:
    """Whose words the sentences are in."""
    with wording(command_line_words):
        yield


@parity_cases("tokenize", "gemma_", "gemma4_")
def test_parity(case: str) -> None:
    assert_matches(case)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY_ENCODER, tmp_path / "gemma"))


@pytest.mark.parametrize("caption", ["rain", "a dog barks twice in the distance", ""])
def test_a_caption_has_as_many_states_as_tokens_and_no_padding(caption: str) -> None:
    encoder = text_encoder()
    hidden = encoder.hidden_states(caption)
    assert hidden.shape == (len(encoder.tokenize(caption)), encoder.gemma.config.width, encoder.states)


def test_an_empty_caption_is_the_first_token_alone() -> None:
    encoder = text_encoder()
    assert encoder.tokenize("") == [encoder.tokenizer.token_to_id("<bos>")]
    assert encoder.tokenize("  \n ") == encoder.tokenize("")


def test_space_around_a_caption_is_dropped() -> None:
    assert text_encoder().tokenize("  rain \n") == text_encoder().tokenize("rain")


@pytest.mark.parametrize("length", [8, 128])
def test_a_long_caption_is_cut_at_its_end(length: int) -> None:
    encoder = TextEncoder(TINY_ENCODER, CPU, torch.float32, length)
    words = "wind " * 400
    assert len(encoder.tokenize(words)) == length
    assert encoder.tokenize("rain " + words)[:2] == text_encoder().tokenize("rain")[:2]
    assert len(encoder.hidden_states(words)) == length


def test_a_later_word_does_not_change_an_earlier_state() -> None:
    encoder = text_encoder()
    short, long = encoder.tokenize("rain on"), encoder.tokenize("rain on a roof")
    assert long[: len(short)] == short
    torch.testing.assert_close(
        encoder.hidden_states("rain on a roof")[: len(short)], encoder.hidden_states("rain on"), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named_with_where_to_get_it(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(InputError, match=f"no {name} of a text encoder.*gemma-3-12b.*--text-encoder"):
        check_encoder(directory)


@pytest.mark.parametrize("form", ["gemma4_tiny", "text_encoder_flat.safetensors", "text_encoder_nested.safetensors"])
def test_gemma_4_begins_with_one_bos_and_ends_without_eos_from_every_form(form: str) -> None:
    encoder = TextEncoder(PARITY_25 / form, CPU, torch.float32, 8)
    bos, eos = (encoder.tokenizer.token_to_id(token) for token in ("<bos>", "<eos>"))
    rain = encoder.tokenize(" rain on a roof\n")
    assert rain[0] == bos
    assert rain.count(bos) == 1
    assert eos not in rain
    assert encoder.tokenize("<bos>rain on a roof") == rain
    assert encoder.tokenize("") == [bos]
    assert len(encoder.tokenize("wind " * 40)) == 8
    assert encoder.tokenize("wind " * 40)[:2] == encoder.tokenize("wind")[:2]
    assert encoder.hidden_states("rain").shape == (len(encoder.tokenize("rain")), 20, encoder.states)


def test_a_folder_and_both_packs_of_the_same_weights_have_one_fingerprint(tmp_path: Path) -> None:
    flat = PARITY_25 / "text_encoder_flat.safetensors"
    prints = {fingerprint(path) for path in (PARITY_25 / "gemma4_tiny", flat, flat.with_stem("text_encoder_nested"))}
    assert len(prints) == 1
    assert fingerprint(PARITY_25 / "gemma4_tiny_shared") not in prints

    def other_weight(tensors: Tensors, metadata: Metadata) -> None:
        tensors["model.layers.1.layer_scalar"] = tensors["model.layers.1.layer_scalar"] + 1

    assert fingerprint(rewrite(tmp_path / "other.safetensors", other_weight, flat)) not in prints


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda tensors, metadata: metadata.clear(), "carries no 'gemma_config' metadata"),
        (
            lambda tensors, metadata: metadata.update(gemma_config="{"),
            "'gemma_config' metadata of .* not a JSON object",
        ),
        (lambda tensors, metadata: tensors.pop("tokenizer_json"), "holds no tokenizer_json"),
        (lambda tensors, metadata: tensors.pop("model.layers.2.layer_scalar"), r"lacks 1 tensors .*layer_scalar"),
        (lambda tensors, metadata: tensors.pop("model.embed_tokens.weight"), r"no single embed_tokens\.weight"),
    ],
    ids=["no config", "a broken config", "no tokenizer", "no layer scalar", "no embeddings"],
)
def test_a_pack_that_lacks_something_is_refused(
    tmp_path: Path, change: Callable[[Tensors, Metadata], None], complaint: str
) -> None:
    path = rewrite(tmp_path / "pack.safetensors", change, PARITY_25 / "text_encoder_flat.safetensors")
    with pytest.raises(InputError, match=complaint):
        TextEncoder(path, CPU, torch.float32, 8)


def test_a_tokenizer_packed_as_signed_bytes_is_the_same(tmp_path: Path) -> None:
    def signed(tensors: Tensors, metadata: Metadata) -> None:
        tensors["tokenizer_json"] = tensors["tokenizer_json"].view(torch.int8)

    flat = PARITY_25 / "text_encoder_flat.safetensors"
    assert fingerprint(rewrite(tmp_path / "signed.safetensors", signed, flat)) == fingerprint(flat)


def test_another_model_is_refused_by_its_type(directory: Path) -> None:
    (directory / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(InputError, match="is of type 't5', not Gemma 3"):
        TextEncoder(directory, CPU, torch.float32, 128)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_config_that_is_no_object_is_refused(directory: Path, content: str) -> None:
    (directory / "config.json").write_text(content)
    with pytest.raises(InputError, match="not a JSON object"):
        check_encoder(directory)


def test_the_fingerprint_follows_weights_and_tokenizer(directory: Path) -> None:
    original = fingerprint(directory)
    assert fingerprint(TINY_ENCODER) == original
    for other in ("README.md", "tokenizer_config.json", "generation_config.json"):
        (directory / other).write_text("{}")
    assert fingerprint(directory) == original
    tokenizer = directory / "tokenizer.json"
    content = json.loads(tokenizer.read_text())
    tokenizer.write_text(json.dumps(content | {"version": "2.0"}))
    assert fingerprint(directory) != original
