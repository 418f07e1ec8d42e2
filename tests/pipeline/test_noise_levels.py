from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from soundlora.errors import InputError
from soundlora.pipeline.inputs import TRAINING_INPUTS
from soundlora.pipeline.noise_levels import band_of
from soundlora.pipeline.options import TrainingOptions
from soundlora.wording import command_line_words, wording


@pytest.mark.parametrize(
    ("given", "kept", "band"),
    [
        ("reference", "reference", None),
        ("uniform", "uniform", (0.0, 1.0)),
        ("0.3:0.9", "0.3:0.9", (0.3, 0.9)),
        (" 0.50 : 1 ", "0.5:1", (0.5, 1.0)),
        ("0:.25", "0:0.25", (0.0, 0.25)),
        ("0.5:0.5000001", "0.5:0.5000001", (0.5, 0.5000001)),
        ("0.000000001:1.000", "0.000000001:1", (1e-9, 1.0)),
    ],
)
def test_what_is_kept_and_what_it_means(given: str, kept: str, band: tuple[float, float] | None) -> None:
    assert TrainingOptions("clips", "run", noise_levels=given).noise_levels == kept
    assert band_of(kept) == band
    assert TrainingOptions("clips", "run", noise_levels=kept).noise_levels == kept  # a run's settings are read again


WRONG = ["", "high", "0.3", "0.9:0.3", "0.5:0.5", "0:1.1", "-0.1:0.5", "nan:1", "0:1:2", "0.3:\u0661", "9" * 99]


@pytest.mark.parametrize("given", [*WRONG, 0.5, None, (0.3, 0.9)])
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="must be reference, uniform, or a range of levels from 0 to 1") as refused:
        TrainingOptions("clips", "run", noise_levels=given)
    assert refused.value.field == "noise_levels"


@pytest.mark.parametrize("given", WRONG)
def test_it_is_refused_when_it_is_sent(given: str) -> None:
    # `soundlora serve` is a command, and its clients have no flags all the same.
    with (
        wording(command_line_words),
        pytest.raises(ValidationError, match=r"\n  noise_levels is .*, but it must be reference"),
    ):
        TRAINING_INPUTS["t2a"](training_data_url="clips.zip", noise_levels=given)
