from __future__ import annotations

from pathlib import Path

import pytest
from parity.runners import fresh_transformer
from support import BaseNames, Cli, assert_refused

from soundlora.cli.lora_use import lora_of
from soundlora.errors import InputError
from soundlora.lora.adapter import Adapter
from soundlora.pipeline.lora_use import LoraUse

QUICK = ["--prompt", "rain", "--duration", "0.4", "--steps", "2", "--cfg", "1", "--stg", "0"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.safetensors", LoraUse("a.safetensors")),
        ("a.safetensors:0.7", LoraUse("a.safetensors", 0.7)),
        ("a.safetensors:-1", LoraUse("a.safetensors", -1.0)),
        ("C:\\a.safetensors", LoraUse("C:\\a.safetensors")),
        ("C:\\a.safetensors:.5@0-.5", LoraUse("C:\\a.safetensors", 0.5, {}, (0, 0.5))),
        (":0.7", LoraUse(":0.7")),
        ("a@0.25-1", LoraUse("a", None, {}, (0.25, 1))),
        ("me@home-2/a.safetensors", LoraUse("me@home-2/a.safetensors")),
        ("a:1.0@0-0.7", LoraUse("a", 1.0, {}, (0, 0.7))),
        ("a:text=0.5,self=1,ff=0", LoraUse("a", None, {"text": 0.5, "self": 1, "ff": 0})),
        ("a:0.7,text=0@0.5-1", LoraUse("a", 0.7, {"text": 0}, (0.5, 1))),
        ("a:self-ff", LoraUse("a", None, "self-ff")),
        ("a:2,attention", LoraUse("a", 2, {"ff": 0})),
    ],
)
def test_the_use_of_a_lora_stands_behind_its_file(given: str, expected: LoraUse) -> None:
    assert lora_of(given) == expected


def test_a_file_whose_own_name_ends_like_a_use_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("kit:2", "kit@0-1"):
        Path(name).touch()
        assert lora_of(name) == LoraUse(name)
    assert lora_of("kit:2@0-0.5") == LoraUse("kit:2", None, {}, (0, 0.5))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("kit:nan", "The strength of kit is nan, but it must be a number"),
        ("kit:1,txt=0", "kit is to have a strength in 'txt', but the parts are self, text, ff, and their sets all"),
        ("kit:1,loud", "--lora has 'loud' behind kit, but there a strength may stand, one of all, attention, self-ff"),
        ("kit:1,2", "--lora has '2' behind kit"),
        ("kit:text=much", "--lora has 'much' in kit:text=much, but a number must stand there"),
        ("kit@0.7-0.2", "kit is to work from 0.7-0.2 of the sampling steps, but that must go from a lower to a higher"),
        ("kit@0-70", "kit is to work from 0-70 of the sampling steps"),
        ("kit@0.0.1-1", "--lora has '0.0.1' in kit@0.0.1-1"),
    ],
)
def test_a_use_that_cannot_be_is_refused_in_a_sentence(soundlora: Cli, given: str, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        lora_of(given)
    assert sentence in str(raised.value)
    assert_refused(soundlora("generate", *QUICK, "--base", "no-such-base", "--lora", given), sentence)


def test_a_lora_that_works_in_no_step_is_told_of(soundlora: Cli, quick_base: BaseNames, tmp_path: Path) -> None:
    file = tmp_path / "kit.safetensors"
    Adapter.create(fresh_transformer(), 8).save(file, {})
    outcome = soundlora("generate", *QUICK, "--lora", f"{file}@0.6-0.9", "--out", tmp_path / "a.wav", *quick_base.flags)
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.out.split())
    assert "kit.safetensors works in none of the 2 steps, since none begins between 0.6 and 0.9 of them" in said
