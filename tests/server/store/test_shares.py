"""Whose turn it is, and what comes before."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from soundlora.server.store.shares import Line, Share, choose, count_before


def share(key_id: str, **more: Any) -> Share:
    given: dict[str, Any] = {"weight": 1.0, "running": 0, "most": 0, "seconds": 0.0, "usual": 10.0}
    number = ord(key_id)
    return Share(key_id=key_id, lines=[Line("train", True, (0, number))], **given | more)


def chosen(shares: list[Share], before: int = 0) -> str | None:
    found = choose(shares, before)
    return None if found is None else found.key_id


def test_the_key_that_has_used_the_least_for_its_weight_is_next() -> None:
    assert chosen([share("a", seconds=10.0), share("b", seconds=9.0)]) == "b"
    assert chosen([share("a", seconds=10.0, weight=2.0), share("b", seconds=9.0)]) == "a"


def test_among_equals_the_one_that_waits_longest_is_next() -> None:
    assert chosen([share("b"), share("a"), share("c")]) == "a"


def test_a_key_that_is_full_is_passed_over() -> None:
    assert chosen([share("a", running=2, most=2), share("b", seconds=99.0)]) == "b"
    assert chosen([share("a", running=2, most=2)]) is None
    assert chosen([], before=3) is None


def test_others_that_choose_now_have_their_turns_first() -> None:
    def made() -> list[Share]:
        return [share("a", weight=2.0), share("b"), share("c", most=1)]

    found = Counter(chosen(made(), before) for before in range(9))
    assert found == {"a": 5, "b": 3, "c": 1}


def test_who_chooses_last_is_not_sent_away_by_those_who_have_not_taken_yet() -> None:
    assert chosen([share("a", most=1)], before=5) == "a"


@pytest.mark.parametrize(
    ("mine", "other", "index", "before"),
    [
        ({}, {}, 0, 0),
        ({}, {}, 2, 4),
        ({}, {}, 9, 9 + 5),  # there are five of the other
        ({}, {"seconds": 1000.0}, 3, 3),
        ({"seconds": 1000.0}, {}, 0, 5),
        ({}, {"usual": 20.0}, 4, 4 + 2),
        ({}, {"weight": 2.0}, 2, 2 + 4),
    ],
)
def test_a_place_counts_what_begins_earlier(mine: Any, other: Any, index: int, before: int) -> None:
    assert count_before(share("a", **mine), index, [(share("b", **other), 5)]) == before
