"""A caption is a paraphrase of the family with synonyms of its attribute values."""

from __future__ import annotations

import re

import numpy as np

from .phrases import PHRASES

# Adjectives go where a phrase has its "{}", tails go to the end.
Words = tuple[tuple[str, ...], tuple[str, ...]]

WORDS: dict[tuple[str, str], Words] = {
    ("speed", "slow"): (("slow", "unhurried"), ("at a slow pace",)),
    ("speed", "fast"): (("fast", "quick", "rapid"), ("at a fast pace",)),
    ("pitch", "low"): (("low", "low pitched", "deep"), ("at a low pitch",)),
    ("pitch", "high"): (("high", "high pitched"), ("at a high pitch",)),
    ("intensity", "light"): (("light", "gentle", "soft"), ()),
    ("intensity", "heavy"): (("heavy", "strong", "intense"), ()),
    ("space", "dry"): (("dry", "close"), ("in a dry room", "without echo")),
    ("space", "reverberant"): (("reverberant", "echoing"), ("in a large hall", "with reverb", "with echo")),
    ("distance", "near"): (("close", "nearby"), ("up close", "close by")),
    ("distance", "far"): (("distant", "far away"), ("in the distance", "from far away")),
    ("brightness", "dark"): (("dark", "muffled", "dull"), ()),
    ("brightness", "bright"): (("bright", "sharp"), ()),
    ("texture", "steady"): (("steady", "constant"), ()),
    ("texture", "crackling"): (("crackling", "crackly"), ("with crackles",)),
    ("motion", "steady"): (("steady", "constant"), ()),
    ("motion", "wavering"): (("wavering", "vibrating"), ("with vibrato",)),
    ("length", "closed"): (("closed", "short"), ()),
    ("length", "open"): (("open", "long ringing"), ()),
    ("surface", "hard floor"): ((), ("on a hard floor", "on a wooden floor", "on tiles")),
    ("surface", "gravel"): ((), ("on gravel", "on a gravel path")),
}

OVERRIDES: dict[tuple[str, str, str], Words] = {
    ("rain", "intensity", "light"): (("light", "gentle", "drizzling"), ()),
    ("rain", "intensity", "heavy"): (("heavy", "pouring", "torrential"), ()),
    ("wind", "intensity", "heavy"): (("heavy", "strong", "stormy"), ()),
    ("wind", "intensity", "light"): (("light", "gentle", "soft"), ()),
    ("stream", "intensity", "light"): (("light", "trickling", "gentle"), ()),
    ("stream", "intensity", "heavy"): (("heavy", "rushing", "strong"), ()),
    ("fire crackling", "intensity", "heavy"): (("heavy", "big", "roaring"), ()),
    ("fire crackling", "intensity", "light"): (("light", "small", "gentle"), ()),
    ("dog barking", "pitch", "low"): (("low", "big", "deep"), ("with a deep voice",)),
    ("dog barking", "pitch", "high"): (("high pitched", "small"), ("with a high voice",)),
    ("car engine", "speed", "slow"): (("slow", "idling"), ("at low revs",)),
    ("car engine", "speed", "fast"): (("fast", "revving"), ("at high revs",)),
    ("motorbike", "speed", "slow"): (("slow", "idling"), ("at low revs",)),
    ("motorbike", "speed", "fast"): (("fast", "revving"), ("at high revs",)),
    ("electric hum", "intensity", "light"): (("light", "soft", "clean"), ()),
    ("electric hum", "intensity", "heavy"): (("heavy", "strong", "buzzing"), ()),
    ("applause", "intensity", "light"): (("light", "sparse"), ("from a few people",)),
    ("applause", "intensity", "heavy"): (("heavy", "loud", "thunderous"), ("from a big crowd",)),
    ("heartbeat", "intensity", "light"): (("light", "faint", "soft"), ()),
    ("heartbeat", "intensity", "heavy"): (("heavy", "pounding", "strong"), ()),
    ("kick drum", "intensity", "heavy"): (("heavy", "hard", "punchy"), ()),
    ("door knocks", "intensity", "heavy"): (("heavy", "hard", "loud"), ()),
    ("vocal ahh", "pitch", "low"): (("low", "male", "deep"), ()),
    ("vocal ahh", "pitch", "high"): (("high", "female"), ()),
    ("cat meow", "pitch", "low"): (("low", "deep", "big"), ("with a deep voice",)),
    ("cat meow", "pitch", "high"): (("high pitched", "small"), ("with a high voice",)),
    ("cow mooing", "pitch", "low"): (("low", "deep", "big"), ("with a deep voice",)),
    ("cow mooing", "pitch", "high"): (("high pitched", "young"), ("with a high voice",)),
    ("vacuum cleaner", "intensity", "light"): (("light", "weak", "quiet"), ()),
    ("vacuum cleaner", "intensity", "heavy"): (("heavy", "powerful", "strong"), ()),
    ("airplane", "pitch", "low"): (("low", "rumbling", "deep"), ()),
    ("airplane", "pitch", "high"): (("high pitched", "whining"), ()),
    ("pouring water", "pitch", "low"): (("low", "deep"), ("into a bucket", "into a big jug")),
    ("pouring water", "pitch", "high"): (("high",), ("into a glass", "into a small cup")),
    ("crowd murmur", "intensity", "light"): (("light", "quiet", "small"), ()),
    ("crowd murmur", "intensity", "heavy"): (("heavy", "loud", "big"), ()),
    ("crowd murmur", "pitch", "low"): (("low", "deep"), ("with low voices", "with deep voices")),
    ("crowd murmur", "pitch", "high"): (("high",), ("with high voices", "with children's voices")),
}

NAMED = 0.75
BARE = 0.06
MAX_WORDS = 12


def caption(family: str, attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Return a random lower-case caption of up to 12 words, which names each attribute in about three of four cases."""
    if rng.random() < BARE:
        return family
    adjectives: list[str] = []
    tails: list[str] = []
    for index in rng.permutation(len(attributes)):
        front, back = _words(family, *list(attributes.items())[int(index)])
        if rng.random() >= NAMED:
            continue
        # Two tails or three adjectives in a row read badly. The other place is used where there is one.
        use_tail = bool(back) and not tails and (not front or len(adjectives) >= 2 or rng.random() < 0.4)
        if use_tail:
            tails.append(str(rng.choice(back)))
        elif front:
            adjectives.append(str(rng.choice(front)))
    text = _fill(str(rng.choice(PHRASES[family])), adjectives, tails)
    if len(text.split()) < 2 and text != family:
        text = f"sound of {text}"
    return text if len(text.split()) <= MAX_WORDS else family


def short_caption(family: str, attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Return a caption to be part of a longer one: at most one attribute, in one piece and without "sound of"."""
    phrases = [phrase for phrase in PHRASES[family] if "," not in phrase and not phrase.startswith("sound of")]
    adjectives: list[str] = []
    tails: list[str] = []
    # Rooms and distances are left out: the sentence says how the parts stand to each other.
    named = [item for item in attributes.items() if item[0] not in ("space", "distance")]
    if named and rng.random() < NAMED:
        front, back = _words(family, *named[int(rng.integers(len(named)))])
        # A tail such as "at a fast pace" would seem to describe both parts.
        if front:
            adjectives.append(str(rng.choice(front)))
        else:
            tails.append(str(rng.choice(back)))
    return _fill(str(rng.choice([family, *phrases])), adjectives, tails)


def _words(family: str, name: str, value: str) -> Words:
    return OVERRIDES.get((family, name, value), WORDS[name, value])


def _fill(phrase: str, adjectives: list[str], tails: list[str]) -> str:
    text = " ".join([phrase.replace("{}", " ".join(adjectives)), *tails[:1]])
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"\ban? (?=[aeiou])", "an ", text)
