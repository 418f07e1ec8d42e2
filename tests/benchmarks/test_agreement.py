"""Ears agree with the laboratory where they rank levels alike, and the interval is that of other sounds."""

from __future__ import annotations

import pytest

pytest.importorskip("scipy")

from agreement import agreement, by_sound, said
from made_up_laboratory import EFFECTS, SOUNDS, made_up

LEVELS = [f"{factor}: {level}" for factor, levels in EFFECTS.items() for level in levels]


def test_a_difference_is_from_the_defaults_of_the_same_sound_and_seed() -> None:
    results = made_up(["score"], [1], noise=0)
    for key in results:
        results[key] = {"score": results[key]["score"] + (5 if key[2] == "zaps" else 0) + key[3]}
    table = by_sound(results, "score")
    assert list(table) == LEVELS
    assert table["rate: 1e-3"] == pytest.approx(dict.fromkeys(SOUNDS, -0.2))


def test_the_same_ranking_is_one_and_the_contrary_is_less_by_two() -> None:
    same = by_sound(made_up(["a"], [1], noise=0.001), "a")
    contrary = by_sound(made_up(["a"], [-3], noise=0.001), "a")
    alike, unlike = agreement(same, same), agreement(same, contrary)
    assert alike is not None
    assert unlike is not None
    assert (alike.value, alike.low, alike.high, alike.levels) == (1, 1, 1, len(LEVELS))
    assert unlike.value == pytest.approx(-1)


def test_noise_of_one_sound_shows_in_the_interval_alone() -> None:
    steady = by_sound(made_up(["a"], [1], noise=0.001), "a")
    wild = {level: row | {"zaps": -8 * row["zaps"]} for level, row in steady.items()}
    found = agreement(steady, wild)
    assert found is not None
    assert found.low < -0.9
    assert found.high == 1


def test_levels_without_all_sounds_are_left_out_and_two_levels_have_no_ranking() -> None:
    table = by_sound(made_up(["a"], [1]), "a")
    partial = table | {LEVELS[0]: {"zaps": 0.1}}
    found = agreement(table, partial)
    assert found is not None
    assert found.levels == len(LEVELS) - 1
    assert agreement(table, table, LEVELS[:2]) is None


def test_a_difference_within_its_interval_says_nothing() -> None:
    assert [said(*each) for each in ((-0.1, 0.05), (0.1, 0.05), (0.1, 0.1))] == ["nearer", "farther", "noise"]
