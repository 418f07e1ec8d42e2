from __future__ import annotations

import json

import pytest
import torch
from support import CPU, Cli, Gpu

from soundlora.cli import plan_table
from soundlora.cli.plan_table import flags
from soundlora.system.gpu_memory import GIB
from soundlora.training.memory_choice import choose
from soundlora.training.memory_plan import SHARE, Settings
from soundlora.training.step_time import CARDS, least_seconds
from soundlora.weights.full_size import GEMMA_3_12B, LTX_2_3


def test_the_plan_names_every_part_in_every_form_of_the_base(soundlora: Cli) -> None:
    outcome = soundlora("doctor", "--plan")
    assert outcome.code == 0
    table, _, _ = outcome.out.partition("\n\nWhat fits")
    title, _, _, header, *rows = table.splitlines()
    assert title == "GPU memory in GiB to train on full: rank 32, 5 s, one clip at once."
    assert header.replace(" again", "+").split() == ["fp32", "fp32+", "bf16", "bf16+", "int8", "int8+", "fp8", "fp8+"]
    figures = {row[:34].strip(): [float(cell) for cell in row[34:].split()] for row in rows}
    assert len(figures) == 10
    assert all(len(row) == 8 for row in figures.values())
    assert figures["the base's weights"][2] == 6.12  # bf16
    assert figures["peak"][2] <= 11
    assert figures["peak"][4] <= 7.5  # int8


def test_for_every_card_it_names_the_settings_that_fit(soundlora: Cli) -> None:
    lines = soundlora("doctor", "--plan").out.partition("\n\nWhat fits")[2].partition("\n\n")[0].splitlines()[1:]
    by_card = [(line[:7].strip(), line[10:68].strip(), float(line[68:74])) for line in lines]
    assert [(card, said) for card, said, _ in by_card] == [
        ("8 GiB", "--checkpoint-activations --offload 16"),
        ("8 GiB", "--quantize int8"),
        ("12 GiB", "as it is"),
        ("16 GiB", "as it is"),
        ("24 GiB", "as it is"),
    ]
    assert all(peak <= SHARE * int(card.split()[0]) for card, _, peak in by_card)
    assert lines[0].endswith(" GiB, 3.51 copied a step")


def test_it_says_how_long_a_step_takes_at_best_on_each_card(soundlora: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads(soundlora("doctor", "--plan", "--json").out)["steps"]
    assert found.keys() == CARDS.keys()
    least = 1000 * least_seconds(LTX_2_3, Settings(checkpointing=True), CARDS["H200"])
    assert found["H200"]["bf16 again"] == pytest.approx(least)
    monkeypatch.setattr(plan_table, "here", lambda: [torch.device("cuda", 0), torch.device("cuda", 1), CPU])
    monkeypatch.setattr(plan_table, "name_of", lambda device: ("NVIDIA H200", "NVIDIA A10G")[device.index])
    said = soundlora("doctor", "--plan").out
    _, _, header, *rows = said.partition("\n\nMillisec")[2].splitlines()
    assert header.replace(" again", "+").split() == ["bf16", "bf16+", "int8", "int8+", "fp8", "fp8+"]
    times = {row[:34].strip(): row[34:].split() for row in rows}
    assert times["H200"] == [f"{milliseconds:.1f}" for milliseconds in found["H200"].values()]
    assert f"This machine's NVIDIA H200: about {found['H200']['bf16']:.1f} ms a step at best on this card" in said
    assert said.endswith("This machine's NVIDIA A10G: how fast it is at best is not known.\n")


def test_a_card_that_nothing_fits_on_is_said_to_be_too_small(soundlora: Cli) -> None:
    outcome = soundlora("doctor", "--plan", "--rank", "128", "--duration", "60", "--json")
    found = json.loads(outcome.out)["cards"]
    assert found["8"] == []
    assert found["12"][0]["flags"].startswith("--checkpoint-activations --offload")
    said = soundlora("doctor", "--plan", "--rank", "128", "--duration", "60").out
    assert "  8 GiB   nothing; a lower rank or shorter clips take less\n" in said


def test_what_it_says_of_a_card_is_what_training_chooses_there(soundlora: Cli, gpu: Gpu) -> None:
    found = json.loads(soundlora("doctor", "--plan", "--json").out)["cards"]
    for size, (first, *_) in found.items():
        chosen, _ = choose(LTX_2_3, Settings(), gpu(int(size)), None, GEMMA_3_12B, offload=None)
        assert (flags(chosen), chosen.peak) == (first["flags"], first["peak"])


def test_its_flags_and_the_base_count(soundlora: Cli) -> None:
    def peak(*flags: str) -> int:
        outcome = soundlora("doctor", "--plan", "--json", *flags)
        assert outcome.code == 0
        return int(json.loads(outcome.out)["bf16"]["peak"])

    plain = peak()
    for more in (("--rank", "128"), ("--duration", "20"), ("--batch-size", "4")):
        assert peak(*more) > plain
    assert peak("--optimizer", "adamw8bit") < plain
    assert peak("--base", "nano") < GIB


def test_each_generations_published_sizes_are_planned_without_its_files(soundlora: Cli) -> None:
    def weights(base: str) -> int:
        outcome = soundlora("doctor", "--plan", "--json", "--base", base)
        assert outcome.code == 0, outcome.err
        return int(json.loads(outcome.out)["bf16"]["weights"])

    assert weights("full-2.3") == weights("full") == weights("Lightricks/LTX-2.3") == 2 * 3_286_408_320
    # Biases of 48 feed-forwards and what modulated the prompt are gone.
    gone = 48 * 5 * 2048 + 2048 * 256 + 2048 + 2048 * 2048 + 2048 + 4096 * 2048 + 4096
    assert weights("full-2.5") == weights("Lightricks/LTX-2.5") == 2 * (3_286_408_320 - gone)


def test_a_base_that_there_is_not_is_refused(soundlora: Cli) -> None:
    outcome = soundlora("doctor", "--plan", "--base", "none")
    assert outcome.code == 2
    assert "no base called 'none'" in outcome.err


def test_an_optimizer_that_there_is_not_is_refused(soundlora: Cli) -> None:
    outcome = soundlora("doctor", "--plan", "--optimizer", "sgd")
    assert outcome.code == 2
    assert "optimizer is 'sgd', but it must be one of adamw, adamw8bit" in outcome.err
