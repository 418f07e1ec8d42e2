"""Words in the names of files and folders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundlora.dataset.file_words import file_category, file_words, folder_words, is_meaningless, words


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("HeavyRainOnConcrete_02.wav", "heavy rain on concrete"),
        ("rain-on-roof 3.wav", "rain on roof"),
        ("door_slam_take2.flac", "door slam"),
        ("Kick808.wav", "kick"),
        ("AK47 burst.wav", "AK47 burst"),
        ("thunder_48kHz_24bit_stereo.wav", "thunder stereo"),
        ("dog_barking_2023-05-01.wav", "dog barking"),
        ("123456__some_body__rain-on-a-roof.wav", "rain on a roof"),
        ("雨の音_01.wav", "雨の音"),
        ("Türknarren.wav", "türknarren"),
        ("01 - Bell.wav", "bell"),
        ("a/b/creak.v2.wav", "creak"),
    ],
)
def test_a_name_is_split_and_numbers_of_takes_go(name: str, said: str) -> None:
    assert file_words(name) == said


@pytest.mark.parametrize(
    "name",
    [
        "01.wav", "ZOOM0001.WAV", "REC_003.wav", "Audio Track-2.aif", "STE-000.wav", "DR0000_0123.wav", "R09_0001.wav",
        "210312_001.wav", "MONO-001.wav", "Untitled 3.wav", "3f9a2b4c8d.wav", "take 2.wav", "a.wav", "_.wav", ".wav",
        "New Recording 12.m4a", "T01.wav", "Sound 5.mp3",
    ],
)  # fmt: skip
def test_names_that_say_nothing_give_nothing(name: str) -> None:
    assert file_words(name) == ""


@pytest.mark.parametrize(
    ("name", "said", "category"),
    [
        ("RAINConc_Heavy Rain On Concrete_XYZ.wav", "heavy rain on concrete", "rain"),
        ("RAINConc_Heavy Rain_XYZ_LIB_Close.wav", "heavy rain, close", "rain"),
        ("DOORWood-INT_Creak 01_JD_HOUSE.wav", "creak", "door"),
        ("UIClick_001_JD_APP.wav", "user interface", "user interface"),
        ("WIND_Howling Gust_JD_LIB.wav", "howling gust", "wind"),
        ("SWSHMisc_Fast_JD_LIB_01.wav", "fast", "swish"),
    ],
)
def test_of_a_ucs_name_the_maker_and_the_library_are_left_out(name: str, said: str, category: str) -> None:
    assert (file_words(name), file_category(name)) == (said, category)


@pytest.mark.parametrize("name", ["RAIN_roof.wav", "NASAMisc_rocket_x.wav", "Rain_roof_x_y.wav", "RAINConc.wav"])
def test_other_names_have_no_category_and_keep_all_words(name: str) -> None:
    assert file_category(name) == ""
    assert file_words(name).startswith(("rain", "nasa", "RAIN", "NASA"))


def test_the_nearest_folder_that_says_something_counts() -> None:
    assert folder_words("Door Slams/01/take.wav") == "door slams"
    assert folder_words("pack_of_bells.zip/01.wav") == "pack of bells"
    assert folder_words("01.wav") == folder_words("data/wavs/01.wav") == ""


@pytest.mark.parametrize(
    "text",
    ["Track 01", "http://example.org/rain", "Lavf58.29.100", "Recorded with Zoom H4n", "untitled", "", "ZOOM H6"],
)
def test_tags_that_programs_write_say_nothing(text: str) -> None:
    assert is_meaningless(text)


@pytest.mark.parametrize("text", ["Rain on a tin roof", "雨", "Recorded in a church at night", "Zooming past"])
def test_tags_that_people_write_say_something(text: str) -> None:
    assert not is_meaningless(text)


@given(st.text(max_size=80))
def test_words_of_any_name_are_one_line_of_its_own_letters(name: str) -> None:
    found = words(name)
    assert found == " ".join(found.split())
    assert set(found.casefold()) - {" "} <= set(name.lower().casefold()) | set(name.casefold())
    file_words(name)
    folder_words(name)


@pytest.mark.parametrize(
    "name", ["1__" + "a" * 65_000, "1__" + "a_" * 30_000, "0" * 65_000, "A" * 65_000, "aB" * 30_000]
)
def test_names_of_zips_may_be_endless(name: str) -> None:
    assert len(file_words(name)) < 600
    file_category(name)
    folder_words(f"{name}/{name}")
    is_meaningless(name)
