"""soundlora figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support import Cli, assert_refused

from soundlora.audio.wav import write_wav


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sounds")
    for name, level in (("clips", 0.1), ("quiet", 0.01)):
        (root / name).mkdir()
        for number in range(3):
            sound = level * np.random.default_rng(number).standard_normal((2, 48_000))
            write_wav(root / name / f"{number}.wav", torch.from_numpy(sound.astype(np.float32)), 48_000)
    return root / "clips", root / "quiet"


def test_a_table_has_a_column_a_folder(folders: tuple[Path, Path], soundlora: Cli) -> None:
    clips, quiet = folders
    outcome = soundlora("figures", clips, quiet)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["clips", "quiet"]
    (loudness,) = (line for line in lines if line.startswith("loudness, LUFS"))
    clip, lower = (float(text.split(" ±")[0]) for text in loudness.removeprefix("loudness, LUFS").split("  ") if text)
    assert clip - lower == pytest.approx(20, abs=0.2)
    assert all(len(line) <= 80 for line in lines[:-1])


def test_json_has_the_same(folders: tuple[Path, Path], soundlora: Cli) -> None:
    clips, quiet = folders
    found = {each["name"]: each for each in json.loads(soundlora("figures", clips, quiet, "--json").out)["figures"]}
    assert found["loudness"]["sets"]["quiet"]["value"] == pytest.approx(
        found["loudness"]["clips"]["value"] - 20, abs=0.1
    )


def test_a_folder_named_twice_is_told(folders: tuple[Path, Path], soundlora: Cli) -> None:
    clips, quiet = folders
    assert_refused(soundlora("figures", clips, quiet, quiet), "A folder of sounds is named twice.")
