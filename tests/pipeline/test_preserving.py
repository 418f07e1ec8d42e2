from __future__ import annotations

from typing import Any

import pytest

from soundlora.errors import InputError
from soundlora.pipeline.options import TrainingOptions
from soundlora.pipeline.preserving import preserved_prompts
from soundlora.wording import command_line_words, wording


def prompts(captions: list[str], **given: Any) -> dict[str, tuple[str, ...]]:
    settings: dict[str, Any] = {"preserve": 0.2, "trigger_phrase": "kit"} | given
    return preserved_prompts(TrainingOptions("clips.zip", "run", **settings), captions)


def test_they_are_the_words_without_the_trigger_and_none_at_all() -> None:
    assert prompts(["kit rain", "kit wind"]) == {"kit rain": ("rain", ""), "kit wind": ("wind", "")}


def test_without_the_setting_there_are_none() -> None:
    assert prompts(["kit rain"], preserve=0.0) == {}


def test_what_is_trained_on_is_not_preserved() -> None:
    assert prompts(["kit rain", "rain"]) == {"kit rain": ("",), "rain": ("",)}
    assert prompts(["kit rain", ""]) == {"kit rain": ("rain",), "": ("rain",)}, "it takes the others'"
    assert prompts(["kit rain"], caption_dropout=0.1) == {"kit rain": ("rain",)}


def test_the_trigger_alone_leaves_the_empty_prompt() -> None:
    assert prompts(["kit"]) == {"kit": ("",)}


def test_without_a_trigger_the_empty_prompt_is_left() -> None:
    assert prompts(["rain", "wind"], trigger_phrase="") == {"rain": ("",), "wind": ("",)}


@pytest.mark.parametrize(
    ("captions", "given", "mend"),
    [
        (["rain"], {"caption_dropout": 0.5}, "or leave out --caption-dropout 0.5."),
        (["rain", ""], {}, "or give every clip a caption."),
    ],
)
def test_where_there_is_nothing_to_preserve_a_sentence_says_so(
    captions: list[str], given: dict[str, Any], mend: str
) -> None:
    with wording(command_line_words), pytest.raises(InputError) as refused:
        prompts(captions, trigger_phrase="", **given)
    assert str(refused.value).startswith("--preserve has no prompt to preserve: ")
    assert str(refused.value).endswith(f"with --trigger-phrase, {mend}")
    assert refused.value.field == "preserve"
