from __future__ import annotations

import json

from support import Cli

from soundlora.system.gpu_memory import GIB


def test_the_plan_names_every_part_in_every_form_of_the_base(soundlora: Cli) -> None:
    outcome = soundlora("doctor", "--plan")
    assert outcome.code == 0
    title, _, _, header, *rows = outcome.out.splitlines()
    assert title == "GPU memory in GiB to train on full: rank 32, 5 s, one clip at once."
    assert header.replace(" again", "+").split() == ["fp32", "fp32+", "bf16", "bf16+", "int8", "int8+", "fp8", "fp8+"]
    figures = {row[:34].strip(): [float(cell) for cell in row[34:].split()] for row in rows}
    assert len(figures) == 10
    assert all(len(row) == 8 for row in figures.values())
    assert figures["the base's weights"][2] == 6.12  # bf16
    assert figures["peak"][2] <= 11
    assert figures["peak"][4] <= 7.5  # int8


def test_its_flags_and_the_base_count(soundlora: Cli) -> None:
    def peak(*flags: str) -> int:
        outcome = soundlora("doctor", "--plan", "--json", *flags)
        assert outcome.code == 0
        return int(json.loads(outcome.out)["bf16"]["peak"])

    plain = peak()
    for flags in (("--rank", "128"), ("--duration", "20"), ("--batch-size", "4")):
        assert peak(*flags) > plain
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
