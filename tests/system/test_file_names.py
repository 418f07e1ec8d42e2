from __future__ import annotations

import pytest

from soundlora.system.file_names import lora_file_name, portable_name, short_stem, steps_of


@pytest.mark.parametrize(
    ("name", "portable"),
    [
        ("Größe 音.wav", "Größe 音.wav"),
        ("console.wav", "console.wav"),
        ("nul", "_nul"),
        ("Con.tar.gz", "_Con.tar.gz"),
        ("COM1 .txt", "_COM1 .txt"),
        ("what?.wav", "what_.wav"),
        ("C:\\x", "C__x"),
        ("../a", ".._a"),
        ("rain. .", "rain"),
        ("...", "_"),
        ("a\x00b", "a_b"),
    ],
)
def test_every_system_takes_the_name(name: str, portable: str) -> None:
    assert portable_name(name) == portable
    assert portable_name(portable) == portable


@pytest.mark.parametrize(
    ("words", "stem"),
    [
        ("pearlkit", "pearlkit"),
        ("Rusty  gate!", "Rusty-gate"),
        ("größe 音", "größe-音"),
        ("हिन्दी", "हिन्दी"),
        ("../../etc/passwd", "etc-passwd"),
        ("a$(rm -rf) `b` 'c' \"d\"", "a-rm--rf-b-c-d".replace("--", "-")),
        ("-o.txt.", "o.txt"),
        ("v1.5_x", "v1.5_x"),
        ("con", "_con"),
        ("left\u202eright\udcff", "left-right"),
        ("?!", ""),
        ("", ""),
        ("x" * 300, "x" * 48),
        ("音" * 300, "音" * 40),
    ],
)
def test_a_stem_of_words_needs_no_quotes_anywhere(words: str, stem: str) -> None:
    assert short_stem(words) == stem
    assert portable_name(stem or "_") == (stem or "_")


def test_a_loras_file_has_the_steps_in_its_name_and_is_read_by_them() -> None:
    assert lora_file_name("rusty gate", 2000) == "rusty-gate-2000.safetensors"
    assert steps_of("rusty-gate-2000.safetensors") == 2000
    assert steps_of("step_000500.safetensors") == 500, "as earlier versions called it"
    assert steps_of("lora.safetensors") is None
    assert steps_of("rusty-gate-2000.md") is None
