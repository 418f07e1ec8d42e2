"""Settings for kinds of sound, by name: the same on every surface, and less than what is given beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from soundlora.cli.train import _options
from soundlora.errors import InputError
from soundlora.pipeline.inputs import TRAINING_INPUTS
from soundlora.pipeline.lengthen import longer_options
from soundlora.pipeline.options import SETTINGS, TrainingOptions, default_of, kind_of
from soundlora.pipeline.presets import PRESETS
from soundlora.pipeline.taking import takes_options

URL = {"training_data_url": "https://clips.example/a.zip"}


def from_http(**fields: Any) -> TrainingOptions:
    return TrainingOptions.from_endpoint(TRAINING_INPUTS["t2a"].model_validate(URL | fields), "out")


def from_python(**given: Any) -> TrainingOptions:
    @takes_options(TrainingOptions)
    def kept(options: TrainingOptions) -> TrainingOptions:
        return options

    return kept("clips.zip", "out", **given)


def from_flags(**given: Any) -> TrainingOptions:
    return _options({"data": "clips.zip", "out": Path("out"), **given})


def test_the_choices_are_the_presets() -> None:
    assert get_args(kind_of("preset")) == tuple(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_changes_what_it_names_and_nothing_else(name: str) -> None:
    assert PRESETS[name]
    for made in (from_http(preset=name), from_python(preset=name), from_flags(preset=name)):
        for setting in SETTINGS.keys() - {"data", "out", "preset", "validation_prompts", "stg_scale"}:
            usual = getattr(from_flags(), setting)
            wanted = PRESETS[name].get(setting, usual)
            assert getattr(made, setting) == wanted, setting
            if setting in PRESETS[name]:
                assert wanted != default_of(setting), f"{setting} of {name} is the default"


@pytest.mark.parametrize("surface", [from_http, from_python, from_flags])
def test_what_is_given_beside_a_preset_counts_even_where_it_is_the_default(surface: Any) -> None:
    name = "audio_duration_seconds" if surface is from_http else "duration"
    made = surface(preset="one-shots", **{name: 5.0})
    assert (made.duration, made.short) == (5.0, PRESETS["one-shots"]["short"])
    assert surface(preset="one-shots", short="skip").short == "skip"


def test_the_run_keeps_the_settings_and_not_the_name() -> None:
    stored = from_http(preset="one-shots").to_request()
    assert "preset" not in stored
    assert (stored["audio_duration_seconds"], stored["short"]) == (1.0, "pad")
    again = TrainingOptions.from_request(stored, out="out")
    assert (again.duration, again.short) == (1.0, "pad")


def test_the_schema_says_what_each_preset_sets() -> None:
    field = TRAINING_INPUTS["t2a"].model_json_schema()["properties"]["preset"]
    assert field["x-settings"]["one-shots"] == {"rank": 128, "audio_duration_seconds": 1.0, "short": "pad"}
    assert field["x-settings"].keys() == PRESETS.keys()


def test_an_unknown_preset_is_refused_with_those_that_there_are() -> None:
    sentence = "preset is 'drums', but it must be one of voice, foley, ambience, instrument, one-shots."
    with pytest.raises(InputError, match=sentence):
        from_python(preset="drums")


def test_a_run_that_is_trained_on_keeps_its_settings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="preset is for new runs"):
        longer_options(tmp_path, "+100", None, None, {"preset": "voice"})
