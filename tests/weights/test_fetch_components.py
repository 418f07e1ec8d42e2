"""A base that is a file a component, as LTX 2.5 lies on the hub."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from file_server import FileServer
from safetensors.torch import load_file
from support import CPU, TINY_CHECKPOINT, BaseNames, Metadata, Tensors, rewrite

from soundlora.errors import InputError, Interrupted
from soundlora.weights import ranges
from soundlora.weights.base import open_base
from soundlora.weights.fetch import fetch_base
from soundlora.weights.fetched import fetched
from soundlora.weights.generations import LTX_25

REPOSITORY_25 = "Lightricks/LTX-2.5"
TRANSFORMER, ENCODER, VAE, HEAD = (file.path for file in LTX_25.files)


@pytest.fixture
def hub_25(file_server: FileServer, quick_base_25: BaseNames, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny LTX 2.5 on the hub; its folder, too. Nothing lies where other programs keep files."""
    folder = Path(quick_base_25.checkpoint)
    for file in LTX_25.files:
        file_server.files[f"/{REPOSITORY_25}/resolve/main/{file.path}"] = (folder / file.path).read_bytes()
    monkeypatch.setenv("SOUNDLORA_MODELS", str(folder / "none"))
    monkeypatch.setattr(ranges, "_GAP", 0)
    return folder


def test_every_component_comes_with_what_the_audio_half_needs_of_it(
    file_server: FileServer, hub_25: Path, quick_base_25: BaseNames
) -> None:
    told: list[tuple[int, int]] = []
    base = open_base(REPOSITORY_25, None, lambda done, size: told.append((done, size)))
    assert base.hash == quick_base_25.open().hash
    entry = fetched(REPOSITORY_25, "base")
    assert entry.files == [TRANSFORMER, ENCODER, VAE, HEAD]
    assert base.checkpoint.path == entry.folder / TRANSFORMER
    assert told[-1] == (entry.size, entry.size) == (entry.on_disk, entry.on_disk)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    for path in (TRANSFORMER, ENCODER, VAE):
        ours, theirs = load_file(entry.folder / path), load_file(hub_25 / path)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        left_out = [name for name in theirs.keys() - ours.keys()]
        assert not [
            name for name in left_out if ".audio_attn" in name or name.startswith(("audio_vae", "model.layers"))
        ]
    assert not any("video" in name or ".attn1." in name for name in load_file(entry.folder / ENCODER))
    assert "text_embedding_projection.video_aggregate_embed.weight" in load_file(hub_25 / ENCODER)
    assert (entry.folder / TRANSFORMER).stat().st_size < 0.7 * (hub_25 / TRANSFORMER).stat().st_size
    assert base.predicted_seconds(base.contexts(["rain"], CPU)[0], CPU) is not None


def test_once_it_is_here_nothing_is_asked_for(file_server: FileServer, hub_25: Path) -> None:
    path = fetch_base(REPOSITORY_25)
    file_server.asked.clear()
    assert fetch_base(REPOSITORY_25) == path
    assert file_server.asked == []
    assert open_base(REPOSITORY_25).checkpoint.path == path


def test_a_stopped_fetch_of_components_goes_on_where_it_was(file_server: FileServer, hub_25: Path) -> None:

    def stop(done: int, size: int) -> None:
        if done >= 0.6 * size:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"of Lightricks/LTX-2\.5 are kept in .* the same command goes on"):
        fetch_base(REPOSITORY_25, stop)
    entry = fetched(REPOSITORY_25, "base")
    kept = entry.on_disk
    assert not entry.complete
    assert kept >= 0.6 * entry.size
    told: list[int] = []
    fetch_base(REPOSITORY_25, lambda done, size: told.append(done))
    assert told[0] == kept
    assert told[-1] == entry.size
    assert fetched(REPOSITORY_25, "base").complete


def test_what_another_program_has_is_not_fetched(
    file_server: FileServer, hub_25: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_base_25: BaseNames
) -> None:
    models = tmp_path / "ComfyUI" / "models"
    for path in (ENCODER, VAE):
        (models / path).parent.mkdir(parents=True)
        shutil.copy(hub_25 / path, models / path)
    monkeypatch.setenv("SOUNDLORA_MODELS", str(models))
    base = open_base(REPOSITORY_25)
    assert base.text_encoder_path == models / ENCODER
    assert base.hash == quick_base_25.open().hash
    assert fetched(REPOSITORY_25, "base").files == [TRANSFORMER, HEAD]
    assert {asked.path.rpartition("/")[2] for asked in file_server.asked} == {Path(TRANSFORMER).name, Path(HEAD).name}


def test_a_repository_without_a_duration_head_is_a_base_all_the_same(file_server: FileServer, hub_25: Path) -> None:
    del file_server.files[f"/{REPOSITORY_25}/resolve/main/{HEAD}"]
    assert open_base(REPOSITORY_25).duration_head_path is None
    file_server.asked.clear()
    open_base(REPOSITORY_25)
    assert file_server.asked == []


def test_a_repository_without_its_vae_is_refused(file_server: FileServer, hub_25: Path) -> None:
    del file_server.files[f"/{REPOSITORY_25}/resolve/main/{VAE}"]
    with pytest.raises(InputError, match=rf"There is no http.*{VAE} \(404\)"):
        fetch_base(REPOSITORY_25)


def test_the_gate_names_the_page_and_the_token(file_server: FileServer, hub_25: Path) -> None:
    file_server.refused = dict.fromkeys(file_server.files, (401, {"X-Error-Code": "GatedRepo"}))
    page = f"{file_server.url}/{REPOSITORY_25}"
    with pytest.raises(InputError, match=rf"refuses {REPOSITORY_25} \(401; HF_TOKEN is not set\).*licence on {page},"):
        open_base(REPOSITORY_25)


def test_a_file_of_another_generation_is_refused_before_weights_are_fetched(
    file_server: FileServer, hub_25: Path, tmp_path: Path
) -> None:
    def older(tensors: Tensors, metadata: Metadata) -> None:
        metadata["model_version"] = "2.3.0"

    changed = rewrite(tmp_path / "vae.safetensors", older, hub_25 / VAE)
    file_server.files[f"/{REPOSITORY_25}/resolve/main/{VAE}"] = changed.read_bytes()
    with pytest.raises(InputError, match=r"is LTX 2\.5, but .* is LTX 2\.3; give files of one generation"):
        fetch_base(REPOSITORY_25)
    assert not list(fetched(REPOSITORY_25, "base").folder.rglob("*.partial"))


def test_a_checkpoint_of_ltx_2_3_that_comfyui_has_is_not_fetched(
    file_server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "models" / "checkpoints" / "ltx-2.3-22b-dev.safetensors"
    place.parent.mkdir(parents=True)
    shutil.copy(TINY_CHECKPOINT, place)
    monkeypatch.setenv("SOUNDLORA_MODELS", str(tmp_path / "models"))
    assert fetch_base("Lightricks/LTX-2.3") == place
    assert file_server.asked == []
