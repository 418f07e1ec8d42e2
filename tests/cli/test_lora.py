from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from parity.runners import fresh_transformer
from safetensors.torch import load_file, save_file
from support import TINY_CHECKPOINT, Cli, assert_refused

from soundlora.lora.adapter import Adapter
from soundlora.lora.file import read_lora
from soundlora.lora.merge import weights_of
from soundlora.lora.rank import percent, resize_all
from soundlora.weights.checkpoint import Checkpoint

METADATA = {"trigger_phrase": "rusty gate", "rank": "4", "base": "tiny"}


@pytest.fixture
def soundlora_lora(soundlora: Cli) -> Cli:
    """`soundlora lora`."""
    return partial(soundlora, "lora")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    adapter = Adapter.create(fresh_transformer(), 4)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=0.1)
    adapter.save(tmp_path / "lora.safetensors", METADATA)
    return tmp_path / "lora.safetensors"


@pytest.fixture
def with_video(file: Path) -> Path:
    extra = {f"diffusion_model.transformer_blocks.0.attn1.to_q.lora_{part}.weight": torch.zeros(2, 2) for part in "AB"}
    path = file.with_name("with_video.safetensors")
    save_file(load_file(file) | extra, path)
    return path


def test_info_names_the_generation_of_the_base(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    assert "base      the file doesn't say which generation of LTX" in soundlora_lora("info", file).out
    other = tmp_path / "other.safetensors"
    save_file(load_file(file), other, METADATA | {"generation": "2.5"})
    assert "base      LTX 2.5 (tiny)\n" in soundlora_lora("info", other).out
    assert json.loads(soundlora_lora("info", other, "--json").out)["generation"] == "2.5"


def test_merge_refuses_the_base_of_another_generation(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other.safetensors", tmp_path / "merged.safetensors"
    save_file(load_file(file), other, METADATA | {"generation": "2.5"})
    outcome = soundlora_lora("merge", other, out, "--base", TINY_CHECKPOINT)
    assert outcome.code == 2
    assert "was trained on LTX 2.5, but the base is LTX 2.3" in outcome.err
    assert not out.exists()


def test_info_tells_what_is_in_a_file(soundlora_lora: Cli, file: Path, with_video: Path) -> None:
    outcome = soundlora_lora("info", file, "--base", TINY_CHECKPOINT)
    assert (outcome.code, outcome.err) == (0, "")
    assert "names     official\n" in outcome.out
    assert "pairs     20 in 2 blocks, rank 4\n" in outcome.out
    assert "  trigger_phrase: rusty gate\n" in outcome.out
    assert re.search(r"^update    norm \d\S+, \d+\.\d\d % of the base's weights$", outcome.out, re.MULTILINE)
    assert "Note" not in outcome.out
    assert "title" not in outcome.out, "a file that doesn't say it has none"

    outcome = soundlora_lora("info", with_video)
    assert re.search(r"^update    norm \d\S+$", outcome.out, re.MULTILINE)
    assert "Note: " in outcome.out
    assert "transformer_blocks.0.attn1.to_q" in outcome.out


def test_info_says_title_trigger_and_licence_first(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    said = {"title": "Rusty gate", "trigger_phrase": "rusty gate", "license": "Apache-2.0"}
    other = tmp_path / "other.safetensors"
    save_file(load_file(file), other, {f"modelspec.{key}": value for key, value in said.items()})
    assert soundlora_lora("info", other).out.splitlines()[1:5] == [
        "title     Rusty gate",
        "trigger   rusty gate",
        "licence   Apache-2.0",
        "names     official",
    ]


@pytest.mark.parametrize("base", ["nano", "tiny"])
def test_of_a_lora_on_nano_alone_it_is_said_that_no_other_program_can_use_it(
    soundlora_lora: Cli, file: Path, tmp_path: Path, base: str
) -> None:
    other = tmp_path / "other.safetensors"
    save_file(load_file(file), other, METADATA | {"base": base})
    for outcome in (
        soundlora_lora("info", other),
        soundlora_lora("convert", other, tmp_path / "out.safetensors", "--to", "comfyui"),
    ):
        assert outcome.code == 0
        assert ("Note: This file belongs to nano" in outcome.out) is (base == "nano")


def test_info_in_json_has_the_same_facts(soundlora_lora: Cli, file: Path) -> None:
    outcome = soundlora_lora("info", file, "--json", "--base", TINY_CHECKPOINT)
    facts = json.loads(outcome.out)
    pairs = read_lora(file).pairs
    squares = sum((b.double() @ a.double()).square().sum().item() for a, b in pairs.values())
    assert facts.pop("update_norm") == pytest.approx(squares**0.5, rel=1e-9)
    assert 0 < facts.pop("relative_norm") < 1
    assert facts == {
        "file": str(file),
        "bytes": file.stat().st_size,
        "dtype": "bfloat16",
        "naming": "official",
        "generation": None,
        "pairs": 20,
        "ranks": [4],
        "blocks": 2,
        "modules": sorted(pairs),
        "metadata": METADATA,
        "warnings": [],
    }
    assert json.loads(soundlora_lora("info", file, "--json").out)["relative_norm"] is None


def test_convert_there_and_back_gives_the_same_bytes(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    current = file
    for number, naming in enumerate(("kohya", "diffusers", "comfyui", "official")):
        out = tmp_path / f"{number}.safetensors"
        outcome = soundlora_lora("convert", current, out, "--to", naming)
        assert outcome.code == 0, outcome.err
        assert f"20 pairs, {read_lora(current).naming} → {naming}, " in outcome.out
        assert read_lora(out).naming == naming
        current = out
    assert current.read_bytes() == file.read_bytes()


def test_convert_keeps_the_type_of_the_numbers(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_file({key: tensor.float() / 3 for key, tensor in load_file(file).items()}, whole)
    soundlora_lora("convert", whole, tmp_path / "kohya.safetensors", "--to", "kohya")
    for name, (a, b) in read_lora(whole).pairs.items():
        theirs = read_lora(tmp_path / "kohya.safetensors").pairs[name]
        assert torch.equal(theirs[0], a)
        assert torch.equal(theirs[1], b)


def test_convert_makes_a_plain_lora_of_a_dora(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    dora, plain = tmp_path / "dora.safetensors", tmp_path / "plain.safetensors"
    weight_of, pairs = weights_of(Checkpoint(TINY_CHECKPOINT)), read_lora(file).pairs
    lengths = {name: 1.1 * weight_of(name).float().norm(dim=1) for name in pairs}
    extra = {f"diffusion_model.{name}.dora_scale": length for name, length in lengths.items()}
    save_file(load_file(file) | extra, dora)
    refused = soundlora_lora("convert", dora, plain, "--to", "official")
    assert refused.code == 2
    assert "is a DoRA" in refused.err
    outcome = soundlora_lora("convert", dora, plain, "--to", "official", "--base", TINY_CHECKPOINT)
    assert outcome.code == 0, outcome.err
    assert "is a DoRA; it is taken as a LoRA of rank" in outcome.out + outcome.err
    for name, (a, b) in read_lora(plain).pairs.items():
        weight, (down, up) = weight_of(name).float(), pairs[name]
        changed = weight + up.float() @ down.float()
        update = changed * (lengths[name] / changed.norm(dim=1))[:, None] - weight
        assert (b.float() @ a.float() - update).square().sum() <= 0.006 * update.square().sum()


def test_resize_says_what_is_kept(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    outcome = soundlora_lora("resize", file, out, "--rank", 2)
    expected, kept = resize_all(read_lora(file).pairs, 2)
    assert outcome.code == 0, outcome.err
    assert f"rank 4 → 2, {percent(kept)} of the update's energy kept" in outcome.out
    small = read_lora(out)
    assert (small.ranks, small.metadata, small.naming) == ([2], METADATA | {"rank": "2"}, "official")
    for name, (a, b) in expected.items():
        torch.testing.assert_close(
            small.pairs[name][1].float() @ small.pairs[name][0].float(), b @ a, atol=2e-2, rtol=0
        )
    assert "rank 4 → 8, 100 % of" in soundlora_lora("resize", file, tmp_path / "large.safetensors", "--rank", 8).out


def test_resize_keeps_the_names(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    kohya, small = tmp_path / "kohya.safetensors", tmp_path / "small.safetensors"
    soundlora_lora("convert", file, kohya, "--to", "kohya")
    soundlora_lora("resize", kohya, small, "--rank", 2)
    assert (read_lora(small).naming, read_lora(small).ranks) == ("kohya", [2])


def test_merge_makes_a_base(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged.safetensors"
    outcome = soundlora_lora("merge", file, out, "--base", TINY_CHECKPOINT, "--strength", 0.5)
    assert outcome.code == 0, outcome.err
    assert "20 weights changed at strength 0.5" in outcome.out
    assert re.search(r"rounding kept 9\d(\.\d+)? % of the update's energy", outcome.out)
    merged = Checkpoint(out)
    assert set(merged.tensors) == set(merged.layout.audio)
    assert merged.fingerprint != Checkpoint(TINY_CHECKPOINT).fingerprint


def test_a_lora_without_its_own_base_is_refused(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    for arguments in (("merge", file, tmp_path / "out.safetensors"), ("info", file, "--base", "nano")):
        outcome = soundlora_lora(*arguments)
        assert outcome.code == 2
        assert re.fullmatch(r"soundlora: The LoRA's [^\n]+ it was trained on another base\.\n", outcome.err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert", "FILE", "OUT", "--to", "onnx"], "must be one of official, comfyui, diffusers, kohya"),
        (["convert", "FILE", "FILE", "--to", "kohya"], "is the file that is read"),
        (["convert", "FILE", "FOLDER", "--to", "kohya"], "is a folder; give the name of a file"),
        (["convert", "FILE", "FOLDER/no/out", "--to", "kohya"], "there is no folder"),
        (["convert", "FOLDER", "OUT", "--to", "kohya"], "There is no LoRA at"),
        (["info", "FOLDER/missing"], "There is no LoRA at"),
        (["resize", "FILE", "OUT", "--rank", "0"], "must be 1 or more"),
        (["merge", "FILE", "OUT", "--base", "BASE", "--strength", "nan"], "--strength is nan"),
        (["merge", "FILE", "BASE", "--base", "BASE"], "is the file that is read"),
        (["merge", "FILE", "OUT", "--base", "missing"], "There is no base called 'missing'"),
    ],
)
def test_what_can_t_be_done_gets_one_sentence(
    soundlora_lora: Cli, file: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    base = tmp_path / "base.safetensors"
    shutil.copy(TINY_CHECKPOINT, base)
    values = {"FILE": file, "OUT": tmp_path / "out.safetensors", "FOLDER": tmp_path, "BASE": base}
    before = sorted(tmp_path.iterdir())
    outcome = soundlora_lora(*(re.sub("FILE|OUT|FOLDER|BASE", lambda m: str(values[m[0]]), a) for a in arguments))
    assert outcome.code == 2
    assert re.fullmatch(r"soundlora: [^\n]+\.\n", outcome.err), outcome.err
    assert words in outcome.err
    assert sorted(tmp_path.iterdir()) == before


# ----------------------------------------------------------------------------------------------------------------------
# mix, compare, slice


@pytest.fixture
def another(tmp_path: Path) -> Path:
    adapter = Adapter.create(fresh_transformer(), 2, seed=9)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=0.1)
    adapter.save(tmp_path / "another.safetensors", METADATA | {"trigger_phrase": "rain"})
    return tmp_path / "another.safetensors"


def test_mix_adds_loras_up(soundlora_lora: Cli, file: Path, another: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.safetensors"
    done = soundlora_lora("mix", f"{file}:0.5", f"{another}:2,text=0", "--out", out)
    assert re.search(r"both.safetensors: 2 LoRAs, 20 pairs, rank 6, the exact sum, 0\.\d MB", done.out), done.out
    one, other, both = (read_lora(path) for path in (file, another, out))
    for name, (a, b) in both.pairs.items():
        expected = 0.5 * one.pairs[name][1].float() @ one.pairs[name][0].float()
        if "audio_attn2" not in name:
            expected += 2 * other.pairs[name][1].float() @ other.pairs[name][0].float()
        torch.testing.assert_close(b.float() @ a.float(), expected)
    assert both.metadata["trigger_phrase"] == "rusty gate, rain"
    rounded = soundlora_lora("mix", f"{file}:0.7", another, "--out", out, "--overwrite")
    assert re.search(r"99\.99 % of the sum's energy kept", rounded.out), rounded.out
    smaller = soundlora_lora("mix", file, another, "--out", out, "--rank", "2", "--overwrite")
    assert re.search(r"rank 2, \d\d\.\d+ % of the sum's energy kept", smaller.out), smaller.out
    assert read_lora(out).ranks == [2]


def test_mix_refuses_what_makes_no_file(soundlora_lora: Cli, file: Path, another: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.safetensors"
    for arguments, said in (
        ([file, "--out", out], "One file alone is no mixture"),
        ([f"{file}:1@0-0.5", another, "--out", out], "names sampling steps, which no file can say"),
        ([file, another, "--out", out, "--rank", "0"], "--rank is 0, but it must be 1 or more"),
        ([file, another, "--out", another], "is the file that is read"),
        ([f"{file}:0", f"{another}:0", "--out", out], "Nothing is left of these LoRAs"),
    ):
        outcome = soundlora_lora("mix", *arguments)
        assert outcome.code == 2
        assert said in " ".join(outcome.err.split()), outcome.err
        assert not out.exists()


def test_compare_says_the_angles(soundlora_lora: Cli, file: Path, another: Path) -> None:
    same = soundlora_lora("compare", file, file).out
    assert re.search(r"^together +0\.0° ", same, re.MULTILINE), same
    assert [line.split()[0] for line in same.splitlines()[1:5]] == ["together", "self", "text", "ff"]
    found = json.loads(soundlora_lora("compare", file, another, "--json").out)
    assert 60 < found["together"]["angle"] < 120
    assert len(found["layers"]) == 20


def test_slice_keeps_parts_and_blocks(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.safetensors"
    done = soundlora_lora("slice", file, out, "--parts", "self,ff", "--blocks", "1")
    assert re.search(r"part.safetensors: 6 of 20 pairs", done.out), done.out
    whole, part = read_lora(file), read_lora(out)
    assert all(torch.equal(part.pairs[name][1], whole.pairs[name][1]) for name in part.pairs)
    assert all(name.startswith("transformer_blocks.1.") and "audio_attn2" not in name for name in part.pairs)
    for arguments, said in (
        (["--parts", "hands"], "--parts has 'hands', but the parts are self, text, ff"),
        (["--blocks", "3-1"], "--blocks has '3-1', but it must be numbers and rising ranges"),
        (["--blocks", "40"], "changes nothing there"),
    ):
        outcome = soundlora_lora("slice", file, tmp_path / "none.safetensors", *arguments)
        assert outcome.code == 2
        assert said in " ".join(outcome.err.split())


@pytest.mark.parametrize(
    "command",
    [
        ("convert", "{file}", "{out}", "--to", "kohya"),
        ("resize", "{file}", "{out}", "--rank", "2"),
        ("merge", "{file}", "{out}", "--base", str(TINY_CHECKPOINT)),
        ("slice", "{file}", "{out}", "--parts", "self"),
        ("mix", "{file}", "{file}", "--out", "{out}"),
    ],
    ids=lambda command: command[0],
)
def test_a_file_that_is_there_is_only_replaced_when_it_is_said(
    soundlora_lora: Cli, file: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The file in the wrong place may be a recording: `soundlora lora slice lora.safetensors clips/rain.wav`."""
    out = tmp_path / "rain.wav"
    out.write_bytes(b"a recording")
    words = [word.format(file=file, out=out) for word in command]
    assert_refused(soundlora_lora(*words), f"{out} exists already; replace what is there with --overwrite, or give")
    assert out.read_bytes() == b"a recording"
    assert soundlora_lora(*words, "--overwrite").code == 0
    assert out.read_bytes() != b"a recording"


def test_a_slice_names_the_modules_that_it_has(soundlora_lora: Cli, file: Path, tmp_path: Path) -> None:
    named, out = tmp_path / "named.safetensors", tmp_path / "self.safetensors"
    modules = ["audio_attn1.to_q", "audio_attn1.to_out.0", "audio_attn2.to_q", "audio_ff.net.2"]
    save_file(load_file(file), named, METADATA | {"target_modules": json.dumps(modules)})
    assert soundlora_lora("slice", named, out, "--parts", "self").code == 0
    assert read_lora(out).metadata == METADATA | {"target_modules": json.dumps(modules[:2])}
