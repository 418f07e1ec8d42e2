from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import soundlora
from soundlora.errors import InputError
from soundlora.pipeline.arguments import checked_arguments

PUBLIC: Any = soundlora  # what the types of its functions forbid is called here


@checked_arguments
def sing(
    text: str,
    *,
    path: str | os.PathLike[str] | None = None,
    loud: bool = False,
    takes: int = 1,
    seconds: float = 1.0,
    words: Sequence[str] = (),
    tell: Callable[[str], None] | None = None,
) -> list[Any]:
    """Sings."""
    return [text, path, loud, takes, seconds, words]


def test_arguments_come_in_their_own_types() -> None:
    assert sing("a", path=Path("b"), takes=2, seconds=3, words="one text") == [
        "a",
        Path("b"),
        False,
        2,
        3,
        ("one text",),
    ]
    assert sing(text="a", words=["b", "c"])[-1] == ("b", "c")
    assert sing.__doc__ == "Sings."


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"text": ["a"]}, "text is ['a'], but it must be text."),
        ({"text": "a", "path": 3}, "path is 3, but it must be a path."),
        ({"text": "a", "loud": "very"}, "loud is 'very', but it must be true or false."),
        ({"text": "a", "takes": 1.5}, "takes is 1.5, but it must be a whole number."),
        ({"text": "a", "seconds": "long"}, "seconds is 'long', but it must be a number."),
        ({"text": "a", "words": [1]}, "words is [1], but it must be a list of texts."),
        ({"text": "a", "tell": "me"}, "tell is 'me', but it must be a function."),
    ],
)
def test_a_wrong_type_is_a_sentence_that_names_the_argument(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        sing(**given)
    assert str(raised.value) == sentence
    assert raised.value.field == list(given)[-1]


def test_an_argument_that_is_not_taken_is_named_and_the_nearest_one_proposed() -> None:
    call: Any = sing
    with pytest.raises(InputError, match=r"sing takes no argument 'second'; did you mean seconds\?") as raised:
        call("a", second=1)
    assert isinstance(raised.value, TypeError), "as Python itself would raise"
    assert raised.value.field == "second"
    with pytest.raises(InputError, match="'zzz'; it takes text, path, loud, takes, seconds, words, tell"):
        call("a", zzz=1)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: PUBLIC.train("clips", "run", ranks=8), "ranks"),
        (lambda: PUBLIC.train("clips", "run", steps=1.5), "steps"),
        (lambda: PUBLIC.train(7, "run"), "data"),
        (lambda: PUBLIC.train("clips", "run", device=7), "device"),
        (lambda: PUBLIC.train("clips", "run", on_progress="show"), "on_progress"),
        (lambda: PUBLIC.train_request(None, "run", ranks=8), "ranks"),
        (lambda: PUBLIC.generate(["rain"]), "prompt"),
        (lambda: PUBLIC.generate("rain", seed="a"), "seed"),
        (lambda: PUBLIC.generate("rain", seed=-1), "seed"),
        (lambda: PUBLIC.generate("rain", lora=["a.safetensors"]), "lora"),
        (lambda: PUBLIC.generate("rain", source="a.wav"), "source"),
        (lambda: PUBLIC.generate("rain", length=3), "length"),
        (lambda: PUBLIC.Generator(7), "base"),
        (lambda: PUBLIC.Generator(lora="a", loras=["b"]), "loras"),
        (lambda: PUBLIC.Generator(loras=[7]), "loras"),
        (lambda: PUBLIC.Generator(loras=[("a", "loud")]), "loras"),
        (lambda: PUBLIC.Generator(lora="a", strength=float("nan")), "strength"),
        (lambda: PUBLIC.inspect_dataset("clips", durations=3), "durations"),
        (lambda: PUBLIC.inspect_dataset("clips", duration="long"), "duration"),
        (lambda: PUBLIC.inspect_dataset("clips", partner="wife"), "partner"),
        (lambda: PUBLIC.prepare_recordings("card", "clips", format="mp3"), "format"),
    ],
)
def test_every_public_function_names_the_argument_at_fault(call: Callable[[], Any], field: str) -> None:
    with pytest.raises(InputError) as raised:
        call()
    assert raised.value.field == field


@pytest.mark.parametrize(
    "function",
    [soundlora.train, soundlora.generate, soundlora.Generator, soundlora.inspect_dataset, soundlora.prepare_recordings],
)
def test_help_shows_types_and_not_their_names_as_text(function: Callable[..., Any]) -> None:
    signature = inspect.signature(function)
    assert [name for name, each in signature.parameters.items() if isinstance(each.annotation, str)] == []
    assert not isinstance(signature.return_annotation, str)


def test_the_device_is_called_by_the_class_of_torch_without_loading_it() -> None:
    code = (
        "import inspect, sys; from soundlora.pipeline.options import TrainingOptions, kind_of;"
        "print(kind_of('device'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "torch.device | str False\n"


def test_the_package_lists_its_public_names_and_does_not_load_torch_for_it() -> None:
    code = "import sys, soundlora; print(dir(soundlora) == sorted(soundlora.__all__), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"
