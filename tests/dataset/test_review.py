"""What is said about a set as a whole."""

from typing import Any

import pytest

from soundlora.dataset.captions import style
from soundlora.dataset.report import ClipReport, DatasetReport
from soundlora.dataset.review import length, review


def reviewed(
    texts: list[str], *, loudness: list[float] | None = None, normalize: bool = True, **settings: Any
) -> list[str]:
    """Review a set of clips with these captions; their peaks are at -1 dBFS."""
    clips = [
        ClipReport(
            f"{number:02}.wav",
            "kept",
            text,
            seconds=5.0,
            peak_dbfs=-1.0,
            rms_dbfs=-23.0,
            loudness_lufs=loudness[number] if loudness else -20.0,
        )
        for number, text in enumerate(texts)
    ]
    report = DatasetReport("set", 5.0, clips)
    return review(report, {clip.name: clip.caption for clip in clips}, normalize=normalize, **settings)


PHRASES = [f"rain on a roof {number}" for number in range(10)]


def test_nothing_is_said_about_a_good_set() -> None:
    assert reviewed(PHRASES) == []


def test_loudness_is_compared_as_it_will_be_trained_on() -> None:
    spread = [-20.0] * 9 + [-33.0]
    (warning,) = reviewed(PHRASES, loudness=spread)
    assert warning == (
        "The clips differ by 13 dB in loudness, from 09.wav to 00.wav, although their peaks are even; compress those "
        "with lonely peaks."
    )
    assert "normalising evens their peaks" in reviewed(PHRASES, loudness=spread, normalize=False)[0]
    assert reviewed(PHRASES, loudness=[-20.0] * 9 + [-31.0]) == []


@pytest.mark.parametrize(
    ("caption", "kind"),
    [
        ("rain, wind, night", "list of tags"),
        ("heavy rain, soft wind, at night, distant thunder", "list of tags"),
        ("Rain falls on a roof.", "sentence"),
        ('A voice says: "Stop!"', "sentence"),
        ("rain on a roof", "phrase"),
        ("rain on a tin roof in autumn, with some wind", "phrase"),
        ("", "phrase"),
    ],
)
def test_styles_of_captions(caption: str, kind: str) -> None:
    assert style(caption) == kind


def test_mixed_styles_are_named_with_examples_and_single_exceptions_are_not() -> None:
    tags = [f"rain, roof, {number}" for number in range(4)]
    (warning,) = reviewed([*PHRASES[:6], *tags])
    assert warning == (
        "Captions are written in different ways: 6 as a phrase (such as 00.wav), 4 as a list of tags (such as 06.wav); "
        "write all in the way you will write prompts."
    )
    assert reviewed([*PHRASES[:9], tags[0]]) == []


def test_missing_captions_among_others_are_named() -> None:
    (warning,) = reviewed([*PHRASES[:9], ""])
    assert warning == "1 of 10 clips have no caption, the others do: 09.wav."


def test_validation_prompts_need_the_trigger_phrase() -> None:
    prompts = ["ZVK a dog", "a dog", "a dog and a zvk"]
    (warning,) = reviewed(PHRASES, trigger_phrase=" zvk ", validation_prompts=prompts)
    assert warning == (
        "The validation prompt 'a dog' lacks the trigger phrase 'zvk'; its preview will not show what was learned."
    )
    assert reviewed(PHRASES, validation_prompts=prompts) == []


def lengths(*seconds: float, windows: Any = "first") -> list[str]:
    """What is said of clips of these lengths beside their number and their captions."""
    clips = [
        ClipReport(f"{number:02}.wav", "kept", PHRASES[number], seconds=length, used_seconds=min(length, 5.0))
        for number, length in enumerate(seconds)
    ]
    report = DatasetReport("set", 5.0, clips, windows=windows)
    return review(report, {clip.name: clip.caption for clip in clips}, normalize=True)


def test_much_that_is_not_used_is_said_with_what_to_do() -> None:
    assert lengths(1200, *[5.0] * 9) == [
        "50 s of 20 min 45 s are used: of a longer clip the first 5 s. windows='all' takes all that fits, up to 249 "
        "clips; soundlora prepare cuts them along silence and onsets."
    ]


def test_a_little_that_is_not_used_is_no_news() -> None:
    assert lengths(*[9.0] * 10) == []
    assert lengths(11.0, *[5.0] * 9) == []
    assert lengths(1200, *[5.0] * 9, windows="all") == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "0.5 s"), (10, "10 s"), (60, "1 min"), (1200, "20 min"), (3599.7, "1 h"), (5430, "1 h 30 min")],
)
def test_lengths_in_words(seconds: float, words: str) -> None:
    assert length(seconds) == words


def spoken(caption: str, seconds: float, used: float = 5.0) -> list[str]:
    """Review one clip of this length, of which so much is used."""
    clip = ClipReport("a.wav", "kept", caption, seconds=seconds, used_seconds=used)
    warnings = review(DatasetReport("set", 5.0, [clip]), {"a.wav": caption}, normalize=True)
    return [warning for warning in warnings if "after the cut" in warning]


@pytest.mark.parametrize(
    ("caption", "seconds"),
    [
        ("word " * 30, 12.0),
        ("A woman says “" + "word " * 30 + "” in a hall", 12.0),
        ("雨" * 60, 12.0),
    ],
)
def test_words_that_are_spoken_after_the_cut_are_warned_about(caption: str, seconds: float) -> None:
    assert spoken(caption, seconds) == [
        "The caption of 1 trimmed clip takes much longer to say than the clip lasts, such as a.wav (10 s); if these "
        "words are spoken in it, those after the cut are not heard: take a longer bucket, or cut the caption, too."
    ]


@pytest.mark.parametrize(
    ("caption", "seconds", "used"),
    [
        ("word " * 30, 5.2, 5.0),  # not trimmed
        ("word " * 30, 12.0, 12.0),
        ("word " * 20, 12.0, 5.0),  # 6.7 s are not by far more than 5 s
        ("word " * 30, 600.0, 5.0),  # a description
        ("A man says “stop right there” " + "word " * 30, 12.0, 5.0),  # short speech in a long description
    ],
)
def test_other_long_captions_are_not(caption: str, seconds: float, used: float) -> None:
    assert spoken(caption, seconds, used) == []


@pytest.mark.parametrize(
    ("used", "filled"), [(1.0, False), (0.96, False), (0.959875, False), (0.9595, True), (0.4, True)]
)
def test_a_clip_that_lacks_no_more_than_a_latent_is_not_filled_with_silence(used: float, filled: bool) -> None:
    """1 - 0.96 is more than 0.04 in floats, and one sample more may lack."""
    clip = ClipReport("a.wav", "kept", "rain", seconds=used, used_seconds=used, bucket=1.0, sample_rate=8000)
    said = review(DatasetReport("set", 1.0, [clip]), {"a.wav": "rain"}, normalize=True)
    assert any("filled with silence" in warning for warning in said) == filled
