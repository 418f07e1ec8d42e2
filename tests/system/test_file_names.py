from __future__ import annotations

import pytest

from soundlora.system.file_names import portable_name


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
