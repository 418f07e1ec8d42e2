"""The commands of docs/tutorial.md do what the page says, with fewer steps."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from documentation import ROOT, blocks, page
from typer.testing import CliRunner

from soundlora.cli.app import app

# What needs LTX comes after this heading.
HERE = page("tutorial.md").partition("\n## Go to LTX\n")[0]
COMMANDS = [line for block in blocks(HERE) for line in block.splitlines() if line.startswith("soundlora ")]
# They measure the machine, or serve until they are stopped.
_ELSEWHERE = ("doctor", "serve")
STEPS, FEWER = "500", "100"
# Shorter sounds and fewer previews: what is tested here are the commands.
_QUICKER = {
    "train": ("--duration", "1", "--preview-every", FEWER),
    "generate": ("--duration", "1", "--steps", "4"),
    "grid": ("--duration", "1", "--steps", "4"),
}


def fewer(line: str) -> str:
    """The same with fewer steps and takes, in commands and in names of files."""
    return re.sub(rf"\b{STEPS}\b", FEWER, line).replace("--count 4", "--count 2")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """The folder in which the commands were run one after the other, and what each of them said."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name in ("examples", "docs"):
        (folder / name).symlink_to(ROOT / name)
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SOUNDLORA_CACHE", str(folder / "cache"))
        patch.setenv("COLUMNS", "200")
        for line in COMMANDS:
            words = shlex.split(fewer(line))[1:]
            if words[0] not in _ELSEWHERE:
                done = CliRunner().invoke(app, [*words, *_QUICKER.get(words[0], ())])
                assert done.exit_code == 0, (line, done.output)
                said[line] = done.output
        yield folder, said


def shown(line: str) -> list[str]:
    """The lines that the page shows of what a command says: those of the block after it."""
    after = HERE.partition(f"{line}\n```\n```\n")[2]
    return after.partition("\n```")[0].splitlines()


def test_the_page_goes_the_whole_way() -> None:
    assert [line.split()[1] for line in COMMANDS] == [
        "doctor",
        "prepare",
        "caption",
        "inspect",
        "train",
        *["generate"] * 3,
        "grid",
        "lora",
    ]


def test_what_the_page_shows_is_what_is_said(outputs: tuple[Path, dict[str, str]]) -> None:
    said = outputs[1]
    fixed = [line for line in said if line.split()[1] in ("prepare", "caption", "inspect")]

    assert len(fixed) == 3
    for line in fixed:
        squeezed = " ".join(said[line].split())
        assert shown(line) != []
        assert [each for each in shown(line) if " ".join(each.split()) not in squeezed] == [], line


def test_the_files_that_the_page_names_are_there(outputs: tuple[Path, dict[str, str]]) -> None:
    folder, said = outputs
    named = [
        f"zap-run/zapgun-{FEWER}.safetensors",
        f"zap-run/zapgun-{FEWER}.md",
        "hall-1.wav",
        "hall-base.wav",
        "softer.wav",
    ]

    assert [name for name in named if not (folder / name).is_file()] == []
    (train,) = (text for line, text in said.items() if line.startswith("soundlora train"))
    assert f"LoRA    zap-run/zapgun-{FEWER}.safetensors" in train
    assert "the loss on clips kept out fell by" in train
    (info,) = (text for line, text in said.items() if line.startswith("soundlora lora info"))
    assert "pairs     40 in 4 blocks, rank 32" in info
