from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import CPU, PARITY_25, BaseNames, Metadata, Tensors, rewrite

from soundlora.errors import InputError
from soundlora.weights.base import open_base
from soundlora.weights.components import find_files, hub_snapshot
from soundlora.weights.generations import LTX_25

TRANSFORMER, ENCODER, VAE, HEAD = (Path(file.path) for file in LTX_25.files)


@pytest.fixture
def folder(quick_base_25: BaseNames, tmp_path: Path) -> Path:
    return Path(shutil.copytree(quick_base_25.checkpoint, tmp_path / "models"))


@pytest.fixture(autouse=True)
def _no_other_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOUNDLORA_MODELS", str(tmp_path / "none"))


def unified(folder: Path, target: Path, *parts: Path) -> Path:
    """One file with the tensors and metadata of several."""
    tensors: Tensors = {}
    metadata: Metadata = {}
    for part in parts:
        with safe_open(folder / part, framework="pt") as file:
            tensors |= load_file(folder / part)
            said = dict(file.metadata() or {})
            config = json.loads(said.get("config", "{}")) | json.loads(metadata.get("config", "{}"))
            metadata = said | metadata | {"config": json.dumps(config)}
    save_file(tensors, target, metadata)
    return target


def test_a_folder_in_the_hubs_layout_is_a_base(folder: Path, quick_base_25: BaseNames) -> None:
    base = open_base(str(folder))
    assert base.checkpoint.paths == tuple(folder / part for part in (TRANSFORMER, ENCODER, VAE))
    assert (base.text_encoder_path, base.duration_head_path) == (folder / ENCODER, folder / HEAD)
    assert base.generation is LTX_25
    assert base.hash == quick_base_25.open().hash
    assert base.encoder_config.family == "Gemma 4"
    transformer = base.transformer(CPU)
    assert (transformer.config.ff_bias, transformer.config.prompt_adaln) == (False, False)
    assert [context.shape for context in base.contexts(["rain"], CPU)] == [(128, 32)]


def test_a_flat_folder_of_components_is_a_base_whatever_they_are_called(folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, part in enumerate((TRANSFORMER, ENCODER, VAE, HEAD)):
        shutil.copy(folder / part, flat / f"part{number}.safetensors")
    assert open_base(str(flat)).hash == open_base(str(folder)).hash


def test_a_file_finds_the_others_in_the_folders_beside_its_own(folder: Path) -> None:
    alone = open_base(str(folder / TRANSFORMER))
    assert alone.checkpoint.paths == tuple(folder / part for part in (TRANSFORMER, ENCODER, VAE))
    assert alone.hash == open_base(str(folder)).hash
    (folder / HEAD).unlink()
    assert open_base(str(folder / TRANSFORMER)).duration_head_path is None


def test_files_anywhere_are_named_with_commas_between_them(folder: Path, tmp_path: Path) -> None:
    moved = [shutil.move(folder / part, tmp_path / f"{part.parent}.safetensors") for part in (TRANSFORMER, VAE)]
    encoder = Path(shutil.move(folder / ENCODER, tmp_path / "encoder.safetensors"))
    with pytest.raises(InputError, match=rf"There is no text projection in .*{ENCODER.name} was found nowhere else"):
        open_base(f"{moved[0]}, {moved[1]}")
    with pytest.raises(InputError, match=rf"There is no audio VAE in .*, and LTX 2\.5's {VAE.name} was found nowhere"):
        open_base(f"{moved[0]},{encoder}")
    base = open_base(f"{moved[0]}, {moved[1]}", encoder)
    assert base.text_encoder_path == encoder
    assert base.hash == open_base(f"{moved[0]},{moved[1]},{encoder}").hash


def test_one_file_may_hold_all_of_it_or_all_but_the_text_encoder(folder: Path, tmp_path: Path) -> None:
    split = open_base(str(folder))
    whole = unified(folder, tmp_path / "whole.safetensors", TRANSFORMER, ENCODER, VAE, HEAD)
    base = open_base(str(whole))
    assert base.checkpoint.paths == (whole,)
    assert (base.text_encoder_path, base.duration_head_path) == (whole, whole)
    assert torch.equal(base.contexts(["rain"], CPU)[0], split.contexts(["rain"], CPU)[0])
    assert base.predicted_seconds(base.contexts(["rain"], CPU)[0], CPU) == pytest.approx(0.6, abs=0.01)

    def without_language_model(tensors: Tensors, metadata: Metadata) -> None:
        metadata.pop("gemma_config")
        for name in [name for name in tensors if name.startswith(("model.layers", "model.embed", "model.norm"))]:
            del tensors[name]

    path = rewrite(tmp_path / "no-encoder.safetensors", without_language_model, whole)
    base = open_base(str(path), PARITY_25 / "gemma4_tiny")
    assert base.checkpoint.paths == (path,)
    assert base.hash == split.hash


def test_two_files_with_the_same_part_are_refused_unless_one_has_the_official_name(folder: Path) -> None:
    other = shutil.copy(folder / VAE, folder / VAE.parent / "another.safetensors")
    assert open_base(str(folder)).checkpoint.paths[2] == folder / VAE
    (folder / VAE).rename(folder / VAE.parent / "third.safetensors")
    with pytest.raises(InputError, match=r"holds 2 \.safetensors files with the audio VAE \(another.*, third"):
        open_base(str(folder))
    Path(other).unlink()
    open_base(str(folder))


@pytest.mark.parametrize("place", ["comfyui", "hub"])
def test_parts_are_found_where_other_programs_keep_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    expected = open_base(str(folder)).hash
    alone = Path(shutil.move(folder / TRANSFORMER, tmp_path / "mine.safetensors"))
    if place == "comfyui":
        monkeypatch.setenv("SOUNDLORA_MODELS", str(folder))
    else:
        put_into_hub_cache(folder, tmp_path)
    base = open_base(str(alone))
    assert base.hash == expected
    assert base.checkpoint.paths[0] == alone


def put_into_hub_cache(folder: Path, tmp_path: Path) -> Path:
    home = tmp_path / "huggingface" / "hub" / "models--Lightricks--LTX-2.5"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("c0ffee")
    return Path(shutil.copytree(folder, home / "snapshots" / "c0ffee"))


def test_a_hub_name_takes_what_is_here_and_asks_no_server(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    snapshot = put_into_hub_cache(folder, tmp_path)
    assert hub_snapshot("Lightricks/LTX-2.5") == snapshot
    base = open_base("Lightricks/LTX-2.5")
    assert base.name == "Lightricks/LTX-2.5"
    assert base.checkpoint.path == snapshot / TRANSFORMER


def test_a_distilled_transformer_is_refused_with_the_right_one_named(folder: Path) -> None:
    distilled = folder / TRANSFORMER.parent / "ltx-2.5-22b-distilled-transformer-bf16.safetensors"
    (folder / TRANSFORMER).rename(distilled)
    with pytest.raises(InputError, match=rf"is a distilled checkpoint.*LTX 2\.5 base checkpoint, {TRANSFORMER.name}"):
        open_base(str(distilled))


def test_files_of_two_generations_are_refused(folder: Path) -> None:
    def older(tensors: Tensors, metadata: Metadata) -> None:
        metadata["model_version"] = "2.3.0"

    rewrite(folder / VAE, older, folder / VAE)
    with pytest.raises(InputError, match=rf"is LTX 2\.5, but .*{VAE.name} is LTX 2\.3; give files of one generation"):
        open_base(str(folder))


def test_a_folder_of_ltx_2_3_is_found_as_ever(tiny_base: BaseNames, tmp_path: Path) -> None:
    files = find_files([Path(tiny_base.checkpoint)])
    assert files.checkpoint == (Path(tiny_base.checkpoint),)
    assert (files.encoder, files.duration_head) == (None, None)
