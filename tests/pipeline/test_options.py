from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from pathlib import Path
from typing import Any

import pytest
import torch

import soundlora
from soundlora.contract.conditioned import ExtensionRequest
from soundlora.contract.training import DEFAULT_NEGATIVE_PROMPT, TrainingRequest
from soundlora.errors import InputError
from soundlora.lora.targets import PRESETS
from soundlora.model.quantize import QUANTIZATIONS
from soundlora.pipeline.endpoint_words import endpoint_words
from soundlora.pipeline.inputs import TRAINING_INPUTS
from soundlora.pipeline.options import (
    SETTINGS,
    TrainingOptions,
    default_of,
    kind_of,
)
from soundlora.pipeline.resuming import check_same
from soundlora.pipeline.taking import takes_options
from soundlora.training.logs import KINDS
from soundlora.training.optimizers import OPTIMIZERS
from soundlora.wording import command_line_words, wording

FILLED: dict[str, Any] = {"negative_prompt": "hum", "stg_scale": 0.4, "hold_out": 1}


def options(**given: Any) -> TrainingOptions:
    return TrainingOptions(**{"data": "clips.zip", "out": "run"} | given)


# ----------------------------------------------------------------------------------------------------------------------
# it checks itself


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"seed": "a"}, "seed is 'a', but it must be a whole number."),
        ({"seed": -1}, "seed is -1, but it must be from 0 to 9223372036854775807."),
        ({"rank": 0}, "rank is 0, but it must be positive."),
        ({"rank": True}, "rank is True, but it must be a whole number."),
        ({"steps": 2.5}, "steps is 2.5, but it must be a whole number."),
        ({"learning_rate": float("nan")}, "learning_rate is nan, but it must be positive."),
        ({"learning_rate": float("inf")}, "learning_rate is inf, but it must be a number."),
        ({"learning_rate": "fast"}, "learning_rate is 'fast', but it must be a number."),
        ({"caption_dropout": 1.5}, "caption_dropout is 1.5, but it must be from 0 to 1."),
        ({"alpha": 0}, "alpha is 0, but it must be positive, and at most 10000."),
        ({"rank": 0.5}, "rank is 0.5, but it must be a whole number."),
        ({"hold_out": -1}, "hold_out is -1, but it must be at least 0."),
        ({"validation_prompts": 7}, "validation_prompts is 7, but it must be a list of texts."),
        ({"data": 7}, "data is 7, but it must be a path."),
        ({"out": ""}, "out is missing: give a folder for the run."),
        ({"init_lora": ""}, "init_lora is empty; name a file or a folder."),
        ({"device": 7}, "device is 7, but it must be text."),
        ({"on_progress": "show"}, "on_progress is 'show', but it must be a function."),
        ({"validation_prompts": [1]}, "validation_prompts is [1], but it must be a list of texts."),
        ({"targets": "ff"}, "targets is 'ff', but it must be one of all, attention, self-ff."),
        ({"log": ["csv", "paper"]}, "log is 'paper', but it must be one of csv, tensorboard, wandb."),
        ({"normalize": "loud"}, "normalize is 'loud', but it must be true or false."),
        ({"trigger_phrase": 7}, "trigger_phrase is 7, but it must be text."),
    ],
)
def test_a_wrong_value_is_a_sentence_that_names_its_setting(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        options(**given)
    assert str(raised.value) == sentence
    assert raised.value.field == next(iter(given))


def test_each_surface_names_a_setting_in_its_own_words() -> None:
    with wording(command_line_words), pytest.raises(InputError, match=r"^--preview-every is 0, but"):
        options(preview_every=0)
    with wording(endpoint_words), pytest.raises(InputError, match=r"^audio_duration_seconds is 0, but"):
        options(duration=0)


def test_numbers_may_come_as_text_and_lists_in_any_kind_of_sequence() -> None:
    found = options(learning_rate="2e-4", rank="8", validation_prompts=["a", "b"])
    assert (found.learning_rate, found.rank, found.validation_prompts) == (2e-4, 8, ("a", "b"))


def test_one_text_is_a_list_of_one_and_not_of_its_letters() -> None:
    found = options(validation_prompts="rain", log="csv")
    assert (found.validation_prompts, found.log) == (("rain",), ("csv",))


def test_a_device_may_be_torchs_own() -> None:
    assert options(device=torch.device("cpu")).device == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "choices"),
    [("targets", PRESETS), ("optimizer", OPTIMIZERS), ("quantize", QUANTIZATIONS)],
)
def test_its_choices_are_those_that_there_are(name: str, choices: typing.Iterable[str]) -> None:
    assert set(typing.get_args(kind_of(name))) == set(choices)


def test_the_logs_it_knows_are_those_that_there_are() -> None:
    assert typing.get_args(typing.get_args(kind_of("log"))[0]) == KINDS


# ----------------------------------------------------------------------------------------------------------------------
# what base and clips decide


@pytest.mark.parametrize("steps", [100, 101, 102, 103, 150, 2000])
def test_four_previews_are_spread_evenly(steps: int) -> None:
    every = options(steps=steps).filled(captions=["rain", "wind"], **FILLED).preview_every
    assert every is not None
    made = [*range(every, steps, every), steps]
    assert len(made) == 4
    assert min(b - a for a, b in zip([0, *made], made, strict=False)) >= every - 3


def test_everything_open_is_filled_in() -> None:
    found = options(steps=10).filled(captions=["rain", "wind"], **FILLED)
    assert found.validation_prompts == ("rain",)
    assert (found.negative_prompt, found.stg_scale, found.hold_out) == ("hum", 0.4, 1)
    assert (found.preview_every, found.checkpoint_every, found.keep_checkpoints) == (3, 3, None)
    assert options().filled(captions=["a", "b"], **FILLED | {"negative_prompt": None}).negative_prompt == (
        DEFAULT_NEGATIVE_PROMPT
    )


def test_what_was_given_stays() -> None:
    given: dict[str, Any] = {
        "validation_prompts": [],
        "negative_prompt": "",
        "stg_scale": 0.0,
        "hold_out": 0,
        "preview_every": 7,
        "checkpoint_every": 3,
    }
    found = options(**given).filled(captions=["a", "b"], **FILLED)
    assert {name: getattr(found, name) for name in given} == given | {"validation_prompts": ()}


def test_of_the_clips_one_at_least_is_trained_on() -> None:
    with pytest.raises(InputError, match="hold_out is 2, but of 2 clips at least one has to be trained on") as raised:
        options(hold_out=2).filled(captions=["a", "b"], **FILLED)
    assert raised.value.field == "hold_out"


# ----------------------------------------------------------------------------------------------------------------------
# to a file and back


def test_they_go_into_the_runs_request_and_come_back() -> None:
    before = options(
        steps=200, duration=1.5, validation_prompts=["rain"], optimizer="adamw8bit", average=False, caption_dropout=0.1
    ).filled(captions=["rain", "wind"], **FILLED)
    stored = json.loads(json.dumps(before.to_request()))
    assert stored["number_of_steps"] == 200
    assert stored["audio_duration_seconds"] == 1.5
    assert stored["validation"] == [{"prompt": "rain"}]
    assert (stored["optimizer"], stored["average"], stored["caption_dropout"]) == ("adamw8bit", False, 0.1)
    assert TrainingOptions.from_request(stored, data="clips.zip", out="run") == before


def test_the_request_holds_every_setting_that_shapes_the_run_and_no_place() -> None:
    stored = options(init_lora="a.safetensors").to_request(init_lora={"name": "a.safetensors"}, base_hash="c0ffee")
    kept = {known.hosted or name for name, known in SETTINGS.items() if known.kept}
    assert stored.keys() == kept | {"base_hash"}
    assert stored["init_lora"] == {"name": "a.safetensors"}
    assert not {"out", "cache", "device", "resume"} & stored.keys()


def test_signatures_in_an_address_are_not_kept() -> None:
    stored = TrainingOptions("https://user:word@host/clips.zip?signature=1", "run").to_request()
    assert stored["training_data_url"] == "https://host/clips.zip"


def test_a_run_goes_on_with_the_same_settings_wherever_its_data_lies() -> None:
    wanted = options().to_request(clips={"a.wav": "1"})
    check_same(Path("run"), wanted | {"training_data_url": "/elsewhere/clips.zip"}, wanted)
    with pytest.raises(
        InputError, match=r"The run in run was started with rank = 32, not 16; .* same settings"
    ) as raised:
        check_same(Path("run"), wanted, options(rank=16).to_request(clips={"a.wav": "1"}))
    assert raised.value.field == "rank"
    with pytest.raises(InputError, match="clips"):
        check_same(Path("run"), wanted, wanted | {"clips": {"a.wav": "2"}})


def test_a_run_from_before_there_was_a_setting_had_its_default() -> None:
    wanted = options().to_request()
    before = {name: value for name, value in wanted.items() if name != "caption_dropout"}
    check_same(Path("run"), before | {"optimizer": None, "average": None}, wanted)
    with pytest.raises(InputError, match=r"caption_dropout = 0\.0, not 0\.5"):
        check_same(Path("run"), before, options(caption_dropout=0.5).to_request())


# ----------------------------------------------------------------------------------------------------------------------
# the surfaces that are made from them


def test_the_python_function_takes_them_by_name_and_default() -> None:
    parameters = inspect.signature(soundlora.train).parameters
    assert list(parameters) == list(SETTINGS)
    assert parameters["learning_rate"].default == 2e-4
    assert parameters["rank"].annotation is int
    assert parameters["data"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert parameters["base"].kind is inspect.Parameter.KEYWORD_ONLY
    assert all(f"\n{name}: {known.help}" in (soundlora.train.__doc__ or "") for name, known in SETTINGS.items())


def test_a_function_of_the_options_is_called_with_their_fields() -> None:
    @takes_options(TrainingOptions)
    def show(options: TrainingOptions) -> str:
        """Shows."""
        return f"{options.data} {options.rank}"

    assert show("a.zip", "run", rank=8) == "a.zip 8"
    with pytest.raises(TypeError, match="rang"):
        show("a.zip", "run", rang=8)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", [name for name, known in SETTINGS.items() if known.hosted])
def test_defaults_are_the_endpoints(name: str) -> None:
    field = (ExtensionRequest if "condition" in name else TrainingRequest).model_fields[SETTINGS[name].hosted]
    if name != "data" and not SETTINGS[name].unset:
        assert default_of(name) == field.default


def test_the_endpoints_request_becomes_them() -> None:
    request = TRAINING_INPUTS["t2a"](training_data_url="clips.zip", rank=8, stg_scale=2, caption_dropout=0.25)
    found = TrainingOptions.from_endpoint(request, "run", seed=7)
    assert (found.data, found.rank, found.stg_scale, found.seed) == ("clips.zip", 8, 2.0, 7)
    assert found.caption_dropout == 0.25
    assert (found.captions_from, found.caption_template) == ("files", "")
    asked = TRAINING_INPUTS["t2a"](training_data_url="clips.zip", captions_from="all", caption_template="{caption}")
    carried = TrainingOptions.from_endpoint(asked, "run")
    assert (carried.captions_from, carried.caption_template) == ("all", "{caption}")
    assert found.validation_prompts == ()
    assert found.negative_prompt is None, "a field that was not sent is the base's"


def test_extras_stand_after_the_endpoints_own_fields() -> None:
    extras = [name for name, known in SETTINGS.items() if known.extra]
    assert list(TRAINING_INPUTS["t2a"].model_fields) == [*TrainingRequest.model_fields, *extras]
    assert "caption_dropout" in extras
    assert all(not TRAINING_INPUTS["t2a"].model_fields[name].is_required() for name in extras)


def test_they_can_not_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        options().rank = 8  # type: ignore[misc]


def test_a_setting_touches_few_files_of_the_package() -> None:
    """One of them: here, where the run passes it on, where it does its work, and where others ask for it."""
    source = Path(soundlora.__file__).parent
    touched = {path.name for path in source.rglob("*.py") if "caption_dropout" in path.read_text()}
    assert touched == {"options.py", "train.py", "trainer.py", "preserving.py", "slider.py"}
