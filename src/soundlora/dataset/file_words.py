"""Words that are in the names of files and folders: what the maker called a sound, without numbers and codes."""

from __future__ import annotations

import posixpath
import re

from soundlora.dataset.names import suffix

# The categories of the Universal Category System by the capitals that a name in it begins with.
_CATEGORIES = {
    "AERO": "aircraft", "AIR": "air", "ALRM": "alarm", "AMB": "ambience", "ANML": "animal", "BEEP": "beep",
    "BELL": "bell", "BIRD": "bird", "BLLT": "bullet", "BOAT": "boat", "CERM": "ceramics", "CHAIN": "chain",
    "CHEM": "chemicals", "CLOCK": "clock", "CLOTH": "cloth", "CMPT": "computer", "COM": "communications",
    "CREA": "creature", "CRWD": "crowd", "DESTR": "destruction", "DIRT": "dirt and sand", "DOOR": "door",
    "DRWR": "drawer", "DSGN": "designed", "ELEC": "electricity", "EQUIP": "equipment", "EXPL": "explosion",
    "FART": "fart", "FEET": "footsteps", "FGHT": "fight", "FIRE": "fire", "FOLY": "foley", "FOOD": "food and drink",
    "FRWK": "fireworks", "GAME": "game", "GEO": "geothermal", "GLAS": "glass", "GORE": "gore", "GUN": "gun",
    "HAIL": "hail", "HMN": "human", "HORN": "horn", "ICE": "ice", "LASR": "laser", "LETHR": "leather",
    "LIQ": "liquid and mud", "MACH": "machine", "MAG": "magic", "MECH": "mechanical", "METL": "metal", "MOTR": "motor",
    "MOVE": "movement", "MUSC": "musical", "NATD": "natural disaster", "OBJ": "object", "PAPR": "paper",
    "PLAS": "plastic", "RAIN": "rain", "ROBT": "robot", "ROCK": "rock", "ROPE": "rope", "RUBR": "rubber",
    "SCI": "science fiction", "SNOW": "snow", "SPRT": "sports", "STORM": "storm", "SWSH": "swish", "THUN": "thunder",
    "TOOL": "tool", "TOON": "cartoon", "TOY": "toy", "TRN": "train", "UI": "user interface", "VEGE": "vegetation",
    "VEH": "vehicle", "VOX": "voice", "WATR": "water", "WEAP": "weapon", "WHSH": "whoosh", "WHST": "whistle",
    "WIND": "wind", "WING": "wings", "WNDW": "window", "WOOD": "wood", "WTHR": "weather",
}  # fmt: skip
# A category, a subcategory of one capital and small letters, and perhaps the user's own after a dash.
_CATEGORY = re.compile(r"([A-Z]+?)([A-Z][a-z]{1,5})?(?:-[^_]*)?")
_BLOCKS = 4
"""Of a whole name: category, name, maker, library. A category alone, such as WIND, is only known before all of them."""
# Sounds of freesound.org: the number of the sound, its owner, and the name.
_FREESOUND = re.compile(r"\d+__[^_]+(?:_[^_]+)*?__(.+)")
# Between words: what is neither letter nor digit, and where small letters end before a capital.
_BREAK = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_TECHNICAL = re.compile(r"(?<![^\W_])\d+(?:[.,]\d+)?[ -]?(?:k|hz|khz|bits?|kbps)(?![^\W_])", re.I)
_TAKE_NUMBER = re.compile(r"(?<=[^\W\d])(?:0\d*|\d{1,4})$")
_PADDED_NUMBER = re.compile(r"(?<=[^\W\d])0\d+$")
_HEXADECIMAL = re.compile(r"(?=.*\d)[0-9a-f]{6,}", re.I)
# No name of a file is longer, but those in zips may be.
_MOST_CHARACTERS = 255
# Words that recorders, editors and people write into names of files and that say nothing about the sound.
_MEANINGLESS = frozenset({
    "audio", "aufnahme", "b", "bounce", "bwf", "ch", "channel", "chunk", "clip", "clips", "copy", "data", "dataset",
    "dcim", "default", "dji", "dr", "edit", "edited", "export", "exported", "file", "final", "fixed", "genre",
    "gopro", "h1n", "h2n", "h4n", "id", "image", "img", "item", "kopie", "l", "left", "master", "memo", "memos",
    "misc", "mix", "mixdown", "mono", "mvi", "neu", "neue", "new", "no", "none", "nr", "number", "old", "other",
    "out", "output", "part", "piece", "pt", "r", "raw", "rec", "record", "recorded", "recorder", "recording",
    "recordings", "region", "right", "sample", "samples", "segment", "sound", "sounds", "st", "ste", "stem",
    "stereo", "take", "takes", "tascam", "temp", "test", "the", "tk", "tmp", "tr", "track", "tracks", "train",
    "training", "trk", "unbekannt", "unbenannt", "unknown", "unnamed", "untitled", "v", "ver", "version", "vid",
    "voice", "vn", "wav", "wave", "wavs", "zoom",
})  # fmt: skip
# What programs and recorders write into tags about themselves.
_OF_PROGRAMS = re.compile(
    r"\s*(?:https?:|www\.|lav[fc]\d|zoom\s|tascam|sound devices|adobe|audacity|reaper|logic pro|ableton|"
    r"processed by|encoded (?:by|with)|exported (?:by|from)|created (?:by|with)|"
    r"(?:recorded|made|edited) (?:with|on|using|by) )",
    re.I,
)


def file_words(name: str) -> str:
    """Return the words of a file's name without its folders and extension, "" where they say nothing.

    `RAINConc_Heavy Rain On Concrete_XYZ_LIB_Close.wav` gives "heavy rain on concrete, close": of a name in the
    Universal Category System the maker and the library are left out. Its category stands alone where nothing else is
    said.
    """
    stem = posixpath.splitext(posixpath.basename(name))[0][:_MOST_CHARACTERS]
    if (match := _FREESOUND.fullmatch(stem)) is not None:
        stem = match[1]
    if not (category := file_category(name)):
        return words(stem)
    blocks = stem.split("_")
    said = [words(block) for block in (blocks[1], *blocks[4:])]
    return ", ".join(text for text in said if text) or category


def file_category(name: str) -> str:
    """Return the category in words of a name in the Universal Category System, "" for any other name."""
    blocks = posixpath.splitext(posixpath.basename(name))[0].split("_")
    match = _CATEGORY.fullmatch(blocks[0]) if len(blocks) > 1 else None
    return _CATEGORIES.get(match[1], "") if match and (match[2] or len(blocks) >= _BLOCKS) else ""


def folder_words(name: str) -> str:
    """Return the words of the nearest folder around a file whose name says something, or ""."""
    for folder in reversed(posixpath.dirname(name).split("/")):
        found = words(posixpath.splitext(folder)[0] if suffix(folder) == ".zip" else folder)
        if found:
            return found
    return ""


def words(text: str) -> str:
    """Return a name as words in small letters, "" where none of them says anything.

    It is split at signs, underscores and capitals. Numbers of takes, rates and the like are left out.
    """
    text = text[:_MOST_CHARACTERS]
    parts = [part for part in _BREAK.split(_TECHNICAL.sub(" ", text)) if part and not part.isdecimal()]
    parts = [_PADDED_NUMBER.sub("", part) for part in parts]
    if parts:
        parts[-1] = _TAKE_NUMBER.sub("", parts[-1])
    if all(_says_nothing(part) for part in parts):
        return ""
    # Names of things such as AK47 and USA keep their capitals.
    said = [part if part.isupper() and len(part) > 1 and not text.isupper() else part.lower() for part in parts]
    while said and said[-1].lower() in ("take", "tk", "copy", "final", "edit", "v", "ver", "version"):
        said.pop()
    return " ".join(said)


def is_meaningless(text: str) -> bool:
    """Return whether a tag says nothing about a sound: `Track 01`, `ZOOM0001`, an address, a program's own name."""
    return not words(text) or _OF_PROGRAMS.match(text) is not None


def _says_nothing(part: str) -> bool:
    letters = sum(character.isalpha() for character in part)
    if letters == 0 or _HEXADECIMAL.fullmatch(part):
        return True
    # A single letter is a name of a channel or a take. A single sign of other scripts may be a word.
    return part.lower() in _MEANINGLESS or (len(part) == 1 and part.isascii())
