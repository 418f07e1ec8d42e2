from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import BaseNames, Cli, assert_refused

from soundlora.cli.grid import axis_of
from soundlora.errors import InputError
from soundlora.pipeline.lora_use import LoraUse

QUICK = ["--duration", "0.4"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("strength=0,0.5,1", {"strength": [0.0, 0.5, 1.0]}),
        ("seed=1-3,7", {"seed": [1, 2, 3, 7]}),
        ("steps=8", {"steps": [8]}),
        ("prompt=rain, a lot|wind=1", {"prompt": ["rain, a lot", "wind=1"]}),
        ("lora=none|a:0.5,ff=0", {"lora": [None, LoraUse("a", 0.5, {"ff": 0})]}),
        ("checkpoint=a@0-0.5", {"checkpoint": [LoraUse("a", None, {}, (0, 0.5))]}),
        ("cfg=", {"cfg": []}),
    ],
)
def test_an_axis_is_a_setting_with_its_values(given: str | None, expected: object) -> None:
    assert axis_of("rows", given) == expected


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("strength", "--rows is 'strength', but it must be a setting with its values, as in strength=0,0.5,1"),
        ("cfg=much", "--rows has 'much' for cfg, but its values must be numbers"),
        ("steps=1.5", "--rows has '1.5' for steps, but its values must be whole numbers"),
        ("seed=3-1", "--rows has the seeds 3-1, but a range must rise"),
    ],
)
def test_an_axis_that_is_none_is_refused(given: str, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        axis_of("rows", given)
    assert sentence in str(raised.value)


def test_a_grid_is_made_and_goes_on(soundlora: Cli, quick_base: BaseNames, tmp_path: Path) -> None:
    out = tmp_path / "grid"
    command = ["grid", "--rows", "prompt=rain|wind", "--columns", "steps=1,2", *QUICK, "--out", out, *quick_base.flags]
    outcome = soundlora(*command)
    assert outcome.code == 0, outcome.err
    assert "Saving 4/4  r02-wind_c02-2.wav" in outcome.out
    assert outcome.out.splitlines()[-1].endswith(str(out / "index.html"))
    assert [cell["steps"] for cell in json.loads((out / "grid.json").read_text())["cells"]] == [1, 2, 1, 2]
    again = soundlora(*command)
    assert again.code == 0, again.err
    assert "Saving" not in again.out
    assert_refused(soundlora(*command, "--cfg", "2"), "holds another grid; what differs is cfg")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--rows", "speed=1"], "--rows is 'speed', but what can vary is prompt, seed"),
        (["--rows", "seed=1-2", "--seed", "3"], "--seed is given, and the seed varies in the grid, too"),
        (["--rows", "cfg=1", "--columns", "cfg=2"], "The cfg varies in the rows and in the columns"),
        (["--rows", "cfg="], "--rows has no values of cfg"),
        (["--rows", "strength=0,1"], "but there is no LoRA; name one without a strength with --lora"),
        ([], "Nothing varies; name rows or columns with --rows or --columns"),
    ],
)
def test_what_cannot_vary_is_told_by_its_flag(soundlora: Cli, tmp_path: Path, flags: list[str], sentence: str) -> None:
    command = ["grid", "--prompt", "rain", *flags, "--base", "no-such-base", "--out", tmp_path / "grid"]
    assert_refused(soundlora(*command), sentence)
