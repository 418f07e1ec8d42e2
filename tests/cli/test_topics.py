from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from support import Cli

from soundlora.cli.app import app

PROGRAM = "#!/usr/bin/env python\nfrom soundlora.cli.app import main\nmain()\n"


def sections(text: str) -> dict[str, str]:
    """Each heading of a help text, with what stands below it."""
    parts = re.split(r"^(\w[^\n]*):\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(
    ("command", "heading", "flags"),
    [
        ("train", "The run", ["--out", "--name", "--request", "--continue", "--resume", "--sync", "--seed"]),
        ("train", "Memory and speed", ["--quantize", "--optimizer", "--checkpoint-activations", "--offload"]),
        ("train", "Other", ["--help"]),
        ("serve", "What it keeps", ["--data-dir", "--database", "--storage"]),
        ("generate", "LoRAs", ["--lora", "--strength", "--force"]),
        ("generate", "Takes and files", ["--seed", "--count", "--out", "--overwrite"]),
        ("generate", "Other", ["--help"]),
    ],
)
def test_help_groups_flags_by_topic(soundlora: Cli, command: str, heading: str, flags: list[str]) -> None:
    found = sections(soundlora(command, "--help").out)
    assert re.findall(r"^  (--[\w-]+)", found[heading], re.MULTILINE) == flags
    assert list(found)[-1] == "Other"


@pytest.mark.parametrize("command", ["train", "generate", "serve"])
def test_no_flag_is_left_out_of_the_help(soundlora: Cli, command: str) -> None:
    commands: Any = typer.main.get_command(app)
    every = {flag for each in commands.commands[command].params for flag in each.opts if flag.startswith("--")}
    found = sections(soundlora(command, "--help").out)
    assert every <= set(re.findall(r"--[\w-]+", "".join(found.values())))
    assert re.findall(r"--[\w-]+", found["Other"]) == ["--help"], "every other flag has its topic"


@pytest.mark.parametrize("command", ["train", "generate", "serve"])
def test_help_fits_into_80_columns_and_breaks_no_word(soundlora: Cli, command: str) -> None:
    text = soundlora(command, "--help").out
    assert max(map(len, text.splitlines())) <= 80
    assert "uninterrupted run's" in " ".join(text.split()) or command != "train"


@pytest.mark.parametrize(
    ("typed", "found"),
    [("tr", ["train"]), ("lora in", ["info"]), ("generate --ov", ["--overwrite"])],
)
def test_a_shell_completes_commands_and_flags(tmp_path: Path, typed: str, found: list[str]) -> None:
    program = tmp_path / "soundlora"
    program.write_text(PROGRAM)
    words = ["soundlora", *typed.split()]
    environment = os.environ | {
        "_SOUNDLORA_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, env=environment, check=False, timeout=60
    )
    assert done.stdout.split() == found


def test_completion_can_be_shown_and_installed(soundlora: Cli) -> None:
    text = soundlora("--help").out
    assert "--install-completion" in text
    assert "--show-completion" in text
