from __future__ import annotations

import threading

import pytest

from soundlora.pipeline.endpoint_words import endpoint_words
from soundlora.pipeline.options import SETTINGS
from soundlora.wording import Namer, command_line_words, python_words, setting, using, wording


@pytest.mark.parametrize(
    ("namer", "words"),
    [
        (python_words, ["rank", "out=", "rank=8", "resume=True", "optimizer='adamw8bit'", "average=False"]),
        (
            command_line_words,
            ["--rank", "--out", "--rank 8", "--resume", "--optimizer adamw8bit", "--no-average"],
        ),
        (endpoint_words, ["rank", "out", "rank 8", "resume", "optimizer adamw8bit", "average False"]),
    ],
)
def test_each_surface_has_its_words(namer: Namer, words: list[str]) -> None:
    with wording(namer):
        assert [
            setting("rank"),
            using("out"),
            using("rank", 8),
            using("resume", True),
            using("optimizer", "adamw8bit"),
            using("average", False),
        ] == words


def test_the_endpoint_has_names_of_its_own() -> None:
    with wording(endpoint_words):
        assert [setting(name) for name in ("data", "steps", "duration", "validation_prompts")] == [
            "training_data_url",
            "number_of_steps",
            "audio_duration_seconds",
            "validation",
        ]
        assert using("duration", 1.5) == "audio_duration_seconds 1.5"


def test_the_command_line_calls_the_data_by_its_place() -> None:
    with wording(command_line_words):
        assert (setting("data"), setting("validation_prompts")) == ("DATA", "--validation-prompt")


def test_words_go_back_after_a_block_that_failed_and_are_a_threads_own() -> None:
    found: list[str] = []

    def fail() -> None:
        with wording(command_line_words):
            thread = threading.Thread(target=lambda: found.append(setting("rank")))
            thread.start()
            thread.join()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (found, setting("rank")) == (["rank"], "rank")


def test_python_is_spoken_where_nobody_says_otherwise() -> None:
    assert {setting(name) for name in SETTINGS} == set(SETTINGS)
