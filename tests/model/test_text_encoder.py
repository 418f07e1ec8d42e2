from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from parity.runners import text_encoder
from support import CPU, TINY_ENCODER, assert_matches, parity_cases

from soundlora.errors import InputError
from soundlora.model.text_encoder import TextEncoder, check_directory, fingerprint
from soundlora.wording import command_line_words, wording


@pytest.fixture(autouse=True)
def _on_the_command_line() -> Iterator[None]:
    """Whose words the sentences are in."""
    with wording(command_line_words):
        yield


@parity_cases("tokenize", "gemma_")
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
        check_directory(directory)


def test_another_model_is_refused_by_its_type(directory: Path) -> None:
    (directory / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(InputError, match="is of type 't5', not Gemma 3"):
        TextEncoder(directory, CPU, torch.float32, 128)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_config_that_is_no_object_is_refused(directory: Path, content: str) -> None:
    (directory / "config.json").write_text(content)
    with pytest.raises(InputError, match="not a JSON object"):
        check_directory(directory)


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
