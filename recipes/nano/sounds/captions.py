"""Captions: paraphrases of each family and synonyms of each attribute value."""

from __future__ import annotations

import re

import numpy as np

# Adjectives go where a phrase has its "{}", tails go to the end.
Words = tuple[tuple[str, ...], tuple[str, ...]]

PHRASES: dict[str, tuple[str, ...]] = {
    "rain": (
        "{} rain",
        "{} rain falling",
        "sound of {} rain",
        "{} rainfall outside",
        "{} rain on the ground",
        "{} rain shower",
    ),
    "wind": (
        "{} wind",
        "{} wind blowing",
        "sound of {} wind",
        "{} wind howling",
        "{} gusts of wind",
        "{} windy weather",
    ),
    "thunder": (
        "{} thunder",
        "{} thunder rumbling",
        "sound of {} thunder",
        "{} thunderstorm",
        "{} thunder claps",
        "{} rolling thunder",
    ),
    "ocean waves": (
        "{} ocean waves",
        "{} waves breaking on a beach",
        "sound of {} sea waves",
        "{} surf on the shore",
        "{} waves of the sea",
    ),
    "stream": (
        "{} stream",
        "{} water stream",
        "{} stream of water flowing",
        "sound of a {} brook",
        "{} water flowing in a creek",
        "a {} stream",
    ),
    "fire crackling": (
        "{} fire crackling",
        "a {} crackling fire",
        "{} campfire",
        "sound of a {} wood fire",
        "{} fireplace crackle",
        "a {} fire burning",
    ),
    "birds chirping": (
        "{} birds chirping",
        "{} bird song",
        "sound of {} birds",
        "{} birds singing",
        "{} chirping of birds",
        "{} bird calls",
    ),
    "crickets": (
        "{} crickets",
        "{} crickets chirping",
        "sound of {} crickets",
        "{} cricket chirps at night",
        "{} insects chirping",
    ),
    "dog barking": (
        "{} dog barking",
        "a {} dog barking",
        "a {} dog bark",
        "sound of a {} dog",
        "{} barks of a dog",
        "{} barking dog",
    ),
    "bubbles": (
        "{} bubbles",
        "{} bubbles in water",
        "sound of {} bubbles",
        "{} water bubbling",
        "{} bubbling liquid",
        "{} bubbles popping",
    ),
    "car engine": (
        "{} car engine",
        "a {} car engine running",
        "sound of a {} car motor",
        "{} car motor",
        "a {} automobile engine",
    ),
    "motorbike": (
        "{} motorbike",
        "a {} motorcycle engine",
        "sound of a {} motorbike",
        "{} motorcycle",
        "a {} small engine",
        "{} motorbike running",
    ),
    "helicopter": (
        "{} helicopter",
        "a {} helicopter",
        "sound of a {} helicopter",
        "{} helicopter rotor",
        "{} chopper flying",
        "a {} helicopter hovering",
    ),
    "siren": (
        "{} siren",
        "a {} siren",
        "{} police siren",
        "sound of a {} siren",
        "{} siren wailing",
        "{} ambulance siren",
    ),
    "alarm beeps": (
        "{} alarm beeps",
        "{} alarm beeping",
        "{} beeping alarm",
        "sound of {} beeps",
        "a {} alarm",
        "{} electronic beeps",
    ),
    "electric hum": (
        "{} electric hum",
        "{} electrical hum",
        "sound of a {} hum",
        "{} mains hum",
        "{} transformer hum",
        "a {} hum of electricity",
    ),
    "telephone ring": (
        "{} telephone ring",
        "a {} telephone ringing",
        "{} phone ringing",
        "sound of a {} phone",
        "{} ringing telephone",
        "{} old phone bell",
    ),
    "clock ticking": (
        "{} clock ticking",
        "a {} ticking clock",
        "sound of a {} clock",
        "{} tick tock",
        "{} ticking of a clock",
        "{} clock ticks",
    ),
    "static noise": (
        "{} static noise",
        "{} static",
        "{} noise",
        "sound of {} static",
        "{} radio static",
        "{} hissing noise",
    ),
    "applause": (
        "{} applause",
        "{} clapping",
        "people clapping, {} applause",
        "sound of {} applause",
        "{} hand clapping",
        "an audience, {} applause",
    ),
    "footsteps": (
        "{} footsteps",
        "{} steps",
        "sound of {} footsteps",
        "a person with {} steps",
        "{} walking steps",
        "{} footfalls",
    ),
    "door knocks": (
        "{} door knocks",
        "{} knocking on a door",
        "sound of {} knocks",
        "{} knocks on wood",
        "somebody knocking, {} knocks",
    ),
    "glass clink": (
        "{} glass clink",
        "{} glasses clinking",
        "sound of {} clinking glass",
        "{} clinks of glass",
        "{} glass tapping",
    ),
    "heartbeat": (
        "{} heartbeat",
        "a {} heartbeat",
        "sound of a {} heart",
        "{} heart beating",
        "{} beating of a heart",
        "a {} pulse of a heart",
    ),
    "vocal ahh": (
        "{} vocal ahh",
        "a {} voice singing ahh",
        "{} voice ahh",
        "sound of a {} singing voice",
        "{} sung vowel",
        "{} choir voice ahh",
    ),
    "sine tone": ("{} sine tone", "a {} sine wave", "a {} pure tone", "sound of a {} test tone", "{} sine wave tone"),
    "organ": (
        "{} organ",
        "a {} organ",
        "{} organ chords",
        "sound of a {} organ",
        "{} pipe organ playing",
        "{} organ music",
    ),
    "kick drum": (
        "{} kick drum",
        "a {} kick drum beat",
        "{} bass drum",
        "sound of a {} kick drum",
        "{} kick pattern",
        "{} kick drum pattern",
    ),
    "snare drum": (
        "{} snare drum",
        "a {} snare drum",
        "{} snare hits",
        "sound of a {} snare",
        "{} snare pattern",
        "{} snare drum rhythm",
    ),
    "hi-hat": (
        "{} hi-hat",
        "a {} hi-hat",
        "{} hi-hat pattern",
        "sound of a {} hi-hat",
        "{} hi-hat cymbals",
        "{} hi-hat hits",
    ),
    "church bell": (
        "{} church bell",
        "a {} church bell",
        "{} bell tolling",
        "sound of a {} church bell",
        "{} church bell ringing",
        "{} tower bell",
    ),
    "wind chimes": (
        "{} wind chimes",
        "{} chimes",
        "{} small bells",
        "sound of {} chimes",
        "{} chimes ringing",
        "{} tinkling bells",
    ),
    "plucked string": (
        "{} plucked string",
        "a {} plucked string",
        "{} guitar plucking",
        "sound of {} plucked strings",
        "{} string plucks",
        "{} plucked notes",
    ),
    "string pad": (
        "{} string pad",
        "a {} string pad",
        "{} bowed strings",
        "sound of {} bowed strings",
        "{} string ensemble",
        "{} violins holding chords",
    ),
    "flute": ("{} flute", "a {} flute", "{} flute melody", "sound of a {} flute", "{} flute playing", "{} flute notes"),
    "piano": ("{} piano", "a {} piano", "{} piano notes", "sound of a {} piano", "{} piano playing", "{} piano melody"),
    "synth bass": (
        "{} synth bass",
        "a {} synth bass",
        "{} bass synthesizer",
        "sound of a {} bass synth",
        "{} bass line",
        "{} synth bass notes",
    ),
}

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
}

NAMED = 0.75
BARE = 0.06
MAX_WORDS = 12


def caption(family: str, attributes: dict[str, str], rng: np.random.Generator) -> str:
    """A random lower-case caption of up to 12 words; each attribute is named with a probability of about 0.75."""
    if rng.random() < BARE:
        return family
    adjectives: list[str] = []
    tails: list[str] = []
    for index in rng.permutation(len(attributes)):
        name, value = list(attributes.items())[int(index)]
        front, back = OVERRIDES.get((family, name, value), WORDS[name, value])
        if rng.random() >= NAMED:
            continue
        # Two tails or three adjectives in a row read badly, so the other place is taken where there is one.
        use_tail = bool(back) and not tails and (not front or len(adjectives) >= 2 or rng.random() < 0.4)
        if use_tail:
            tails.append(str(rng.choice(back)))
        elif front:
            adjectives.append(str(rng.choice(front)))
    phrase = str(rng.choice(PHRASES[family]))
    text = phrase.replace("{}", " ".join(adjectives))
    if tails:
        text += f" {tails[0]}"
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\ban? (?=[aeiou])", "an ", text)
    if len(text.split()) < 2 and text != family:
        text = f"sound of {text}"
    return text if len(text.split()) <= MAX_WORDS else family
