from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from file_server import FileServer
from safetensors import safe_open
from safetensors.torch import save_file
from support import CPU, TINY_CHECKPOINT, TINY_ENCODER, BaseNames, Cli, Outcome, rewrite

from soundlora.cli.console import FetchDisplay
from soundlora.model.gemma import Gemma
from soundlora.model.text_encoder import fingerprint
from soundlora.weights.base import open_base
from soundlora.weights.checkpoint import Checkpoint
from soundlora.weights.fetched import fetched
from soundlora.weights.generations import LTX_25

NAME = "Lightricks/LTX-2.3"
ENCODER = "google/gemma-tiny"
TO_Q = "model.diffusion_model.transformer_blocks.1.audio_attn1.to_q.weight"


@pytest.fixture
def base(soundlora: Cli) -> Cli:
    """`soundlora base`."""
    return partial(soundlora, "base")


@pytest.fixture
def hub(file_server: FileServer) -> FileServer:
    """With a base and a text encoder."""
    file_server.files[f"/{NAME}/resolve/main/ltx-2.3-22b-dev.safetensors"] = TINY_CHECKPOINT.read_bytes()
    for path in TINY_ENCODER.iterdir():
        file_server.files[f"/{ENCODER}/resolve/main/{path.name}"] = path.read_bytes()
    return file_server


def assert_refused(outcome: Outcome, *words: str) -> None:
    """Exit code 2 and one sentence."""
    assert outcome.code == 2
    assert re.fullmatch(r"soundlora: [^\n]+\.\n", outcome.err), outcome.err
    for word in words:
        assert word in outcome.err


def interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of every fetch from now on."""
    show = FetchDisplay.__call__

    def press(self: FetchDisplay, done: int, size: int) -> None:
        show(self, done, size)
        if done > size / 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(FetchDisplay, "__call__", press)


def test_fetch_says_in_plain_lines_how_far_it_is_and_where_it_put_it(base: Cli, hub: FileServer) -> None:
    outcome = base("fetch", NAME, "--text-encoder", ENCODER)
    assert (outcome.code, outcome.err) == (0, "")
    path = fetched(NAME, "base").paths[0]
    lines = outcome.out.splitlines()
    assert f"{path}: 2.3 MB" in lines
    assert f"Fetching {NAME}: 2.3 MB of 2.3 MB" in lines
    assert f"{fetched(ENCODER, 'text encoder').folder}: 0.1 MB" in lines
    assert "\x1b" not in outcome.out
    assert open_base(NAME, Path(ENCODER)).hash == open_base(str(TINY_CHECKPOINT), TINY_ENCODER).hash


def test_ctrl_c_exits_with_1_and_says_how_to_go_on(base: Cli, hub: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch)
        outcome = base("fetch", NAME)
    assert outcome.code == 1
    words = r"soundlora: Stopped; 1\.\d MB of 2\.3 MB of .* and the same command goes on from there\.\n"
    assert re.fullmatch(words, outcome.err)
    assert base("fetch", NAME).code == 0


def test_list_tells_complete_from_partial(base: Cli, hub: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert base("list").out.startswith("Nothing has been fetched into ")
    with monkeypatch.context() as patch:
        interrupt(patch)
        base("fetch", NAME)
    partial = base("list").out.splitlines()
    assert re.fullmatch(r"Lightricks/LTX-2\.3  base  partial, 1\.\d MB of 2\.3 MB", partial[0])
    assert partial[1].strip() == str(fetched(NAME, "base").folder)
    base("fetch", NAME, "--text-encoder", ENCODER)
    complete = base("list").out.splitlines()
    assert complete[0] == "Lightricks/LTX-2.3  base  complete, 2.3 MB"
    assert complete[2] == "google/gemma-tiny  text encoder  complete, 0.1 MB"


def test_verify_prints_the_hash_of_what_was_fetched(base: Cli, hub: FileServer) -> None:
    base("fetch", NAME, "--text-encoder", ENCODER)
    asked = len(hub.asked)
    for flags in ([], ["--full"]):
        outcome = base("verify", NAME, *flags)
        assert (outcome.code, outcome.err) == (0, "")
        assert f"all {len(Checkpoint(TINY_CHECKPOINT).layout.audio)} tensors are there" in outcome.out
        assert f"SHA-256 {Checkpoint(TINY_CHECKPOINT).fingerprint}" in outcome.out
    assert f"SHA-256 {fingerprint(TINY_ENCODER)}" in base("verify", ENCODER).out
    assert len(hub.asked) == asked


@pytest.fixture
def hub_25(file_server: FileServer, quick_base_25: BaseNames) -> Path:
    """The tiny LTX 2.5 on the hub, and its folder."""
    folder = Path(quick_base_25.checkpoint)
    for file in LTX_25.files:
        file_server.files[f"/{LTX_25.repository}/resolve/main/{file.path}"] = (folder / file.path).read_bytes()
    return folder


def test_a_base_of_several_files_is_fetched_listed_and_verified(base: Cli, hub_25: Path) -> None:
    entry = fetched(LTX_25.repository, "base")
    outcome = base("fetch", LTX_25.repository)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"{entry.folder}: 1.8 MB" in outcome.out.splitlines()
    assert base("list").out.splitlines()[0] == "Lightricks/LTX-2.5  base  complete, 1.8 MB"
    opened = open_base(LTX_25.repository)
    outcome = base("verify", LTX_25.repository)
    tensors = len(opened.checkpoint.layout.audio) + len(Gemma(opened.text_encoder_path, CPU, torch.float32).names)
    assert f"all {tensors} tensors are there" in outcome.out
    assert f"SHA-256 {opened.checkpoint.fingerprint}" in outcome.out


def test_what_another_program_keeps_is_listed_and_verified(
    base: Cli, quick_base_25: BaseNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_refused(base("verify", LTX_25.repository), "is not on this machine; fetch it with `soundlora base fetch")
    monkeypatch.setenv("SOUNDLORA_MODELS", quick_base_25.checkpoint)
    lines = base("list").out.splitlines()
    assert "Lightricks/LTX-2.5  base  0.1 MB that another program keeps" in lines
    assert f"    {Path(quick_base_25.checkpoint) / LTX_25.files[1].path}" in lines
    assert f"SHA-256 {quick_base_25.open().checkpoint.fingerprint}" in base("verify", LTX_25.repository).out


def test_verify_reads_the_text_model_of_a_pack_too(base: Cli, quick_base_25: BaseNames, tmp_path: Path) -> None:
    def spoil(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        tensors["model.layers.1.mlp.up_proj.weight"].view(-1)[0] = torch.nan

    assert f"SHA-256 {fingerprint(quick_base_25.encoder)}" in base("verify", quick_base_25.encoder).out
    path = rewrite(tmp_path / "spoilt.safetensors", spoil, quick_base_25.encoder)
    assert_refused(base("verify", path), "model.layers.1.mlp.up_proj.weight", "holds NaN or infinity")


def test_verify_takes_files_and_folders_too(base: Cli) -> None:
    assert f"SHA-256 {Checkpoint(TINY_CHECKPOINT).fingerprint}" in base("verify", TINY_CHECKPOINT).out
    assert f"SHA-256 {fingerprint(TINY_ENCODER)}" in base("verify", TINY_ENCODER).out
    assert f"SHA-256 {open_base('nano').checkpoint.fingerprint}" in base("verify", "nano").out


@pytest.mark.parametrize(("position", "flags"), [(0, []), (-1, ["--full"])])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_verify_finds_what_is_no_number(
    base: Cli, tmp_path: Path, position: int, flags: list[str], value: float
) -> None:
    """Without --full only where it looks."""

    def spoil(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        tensors["vocoder.vocoder.conv_pre.weight"].view(-1)[position] = value

    path = rewrite(tmp_path / "spoilt.safetensors", spoil)
    assert_refused(base("verify", path, *flags), "vocoder.vocoder.conv_pre.weight", "holds NaN or infinity")
    assert base("verify", path).code == (2 if position == 0 else 0)


def test_verify_finds_what_is_no_number_in_a_text_encoder(base: Cli, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY_ENCODER, tmp_path / "encoder"))
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    first = min(tensors)
    tensors[first].view(-1)[0] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert_refused(base("verify", folder), first, "holds NaN or infinity")


def test_verify_finds_a_missing_tensor(base: Cli, tmp_path: Path) -> None:
    path = rewrite(tmp_path / "short.safetensors", lambda tensors, metadata: tensors.__delitem__(TO_Q))
    assert_refused(base("verify", path), "lacks 1 of the", TO_Q)


def test_verify_needs_all_of_it_and_fetches_nothing(
    base: Cli, hub: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_refused(base("verify", NAME), f"{NAME} is not on this machine", f"`soundlora base fetch {NAME}`")
    assert hub.asked == []
    interrupt(monkeypatch)
    base("fetch", NAME)
    assert_refused(base("verify", NAME), f"of 2.3 MB of {NAME} are here", "soundlora base fetch")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fetch", "mega"], ["'mega' can't be fetched", "owner/name", "or a URL"]),
        (["fetch", NAME, "--text-encoder", "mega"], ["'mega' can't be fetched", "owner/name"]),
        (["verify", "mega"], ["no base called 'mega'"]),
        (["fetch", "ftp://host/a.safetensors"], ["can't be fetched"]),
    ],
)
def test_what_can_not_be_is_refused_in_a_sentence(
    base: Cli, hub: FileServer, arguments: list[str], words: list[str]
) -> None:
    assert_refused(base(*arguments), *words)
    assert hub.asked == []


@pytest.mark.parametrize("command", ["fetch", "list", "verify"])
def test_every_command_has_help(base: Cli, command: str) -> None:
    outcome = base(command, "--help")
    assert outcome.code == 0
    assert "Usage" in outcome.out
