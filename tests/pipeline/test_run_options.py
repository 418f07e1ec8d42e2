"""Runs that begin with a LoRA, train other layers, keep the best and tell other programs."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from file_server import FileServer
from safetensors.torch import save_file
from support import BaseNames, tone, write_clip
from torch import Tensor

from soundlora.errors import InputError, Interrupted, MachineError
from soundlora.lora.file import read_lora, write_lora
from soundlora.lora.targets import PRESETS
from soundlora.pipeline.train import TrainingResult, train
from soundlora.progress import Progress

Train = Callable[..., TrainingResult]


@pytest.fixture(scope="session")
def first(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA to begin with, of a run that kept a clip out."""
    return train(out=tmp_path_factory.mktemp("first") / "run", hold_out=1, **settings).lora


def updates(path: Path) -> dict[str, Tensor]:
    """B·A by module."""
    return {name: b.float() @ a.float() for name, (a, b) in read_lora(path).pairs.items()}


def losses(result: TrainingResult) -> list[tuple[int, float]]:
    lines = (result.folder / "held_out.jsonl").read_text().splitlines()
    return [(line["step"], line["loss"]) for line in map(json.loads, lines)]


def stop_at(step: int) -> Callable[[Progress], None]:
    def on_progress(news: Progress) -> None:
        if news.stage == "training" and news.step == step:
            raise KeyboardInterrupt

    return on_progress


# ----------------------------------------------------------------------------------------------------------------------
# the weights' mean


def state(result: TrainingResult, step: int) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(result.folder / "checkpoints" / f"step_{step:06d}.pt", weights_only=True)
    return loaded


def averaged(state: dict[str, Any]) -> dict[str, Tensor]:
    """The adapter's tensors, as the mean has them."""
    adapter = state["adapter"]
    parts = state["optimizer"]["average"].split([tensor.numel() for tensor in adapter.values()])
    return {name: part.view_as(adapter[name]) for name, part in zip(adapter, parts, strict=True)}


def assert_holds(path: Path, adapter: dict[str, Tensor]) -> None:
    """The LoRA file has the adapter's values."""
    for name, (a, b) in read_lora(path).pairs.items():
        assert torch.equal(a, adapter[f"diffusion_model.{name}.lora_A.weight"].bfloat16()), name
        assert torch.equal(b, adapter[f"diffusion_model.{name}.lora_B.weight"].bfloat16()), name


def test_the_lora_is_the_mean_of_its_weights_and_on_demand_those_of_the_last_step(quick_train: Train) -> None:
    mean, last = quick_train("mean"), quick_train("last", average=False)
    ends = [state(result, 6) for result in (mean, last)]
    for name, tensor in ends[0]["adapter"].items():
        assert torch.equal(tensor, ends[1]["adapter"][name]), "it is trained the same"
    assert "average" not in ends[1]["optimizer"]
    assert_holds(mean.lora, averaged(ends[0]))
    assert_holds(last.lora, ends[1]["adapter"])
    assert mean.lora.read_bytes() != last.lora.read_bytes()
    assert [json.loads(result.config.read_text())["average"] for result in (mean, last)] == [True, False]


def test_what_is_heard_and_measured_is_the_mean(quick_train: Train) -> None:
    options: dict[str, Any] = {"validation_prompts": ["rain"], "hold_out": 1}
    mean, last = quick_train("mean", **options), quick_train("last", average=False, **options)
    # After no steps and after one there is no difference.
    assert [a == b for a, b in zip(losses(mean), losses(last), strict=True)] == [True, True, *[False] * 5]
    first, end = (
        [result.folder / "previews" / f"step_{n:06d}_prompt_0.wav" for result in (mean, last)] for n in (0, 6)
    )
    assert first[0].read_bytes() == first[1].read_bytes()
    assert end[0].read_bytes() != end[1].read_bytes()


@pytest.mark.parametrize("average", [True, False])
def test_a_run_stopped_while_a_preview_is_made_is_resumed_to_the_bit(quick_train: Train, average: bool) -> None:
    options: dict[str, Any] = {"validation_prompts": ["rain"], "preview_every": 2, "average": average}

    def stop(news: Progress) -> None:
        if news.stage == "previews" and news.step == 4:
            raise KeyboardInterrupt

    whole = quick_train("whole", **options)
    with pytest.raises(Interrupted, match="Stopped at step 4"):
        quick_train("stopped", on_progress=stop, **options)
    resumed = quick_train("stopped", resume=True, **options)
    for name in ("lora.safetensors", "metrics.jsonl", "config.json", "preview.wav"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_a_run_that_drops_captions_is_another_one_and_is_resumed_to_the_bit(quick_train: Train) -> None:
    plain = quick_train("plain", validation_prompts=[])
    options: dict[str, Any] = {"validation_prompts": [], "caption_dropout": 0.5}
    whole = quick_train("whole", **options)
    with pytest.raises(Interrupted, match="Stopped at step 3"):
        quick_train("stopped", on_progress=stop_at(3), **options)
    resumed = quick_train("stopped", resume=True, **options)
    assert resumed.lora.read_bytes() == whole.lora.read_bytes()
    assert whole.lora.read_bytes() != plain.lora.read_bytes()


def test_a_run_on_all_windows_is_resumed_to_the_bit_and_with_no_other_windows(
    quick_train: Train, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    sweep = np.concatenate([tone(0.5, frequency) for frequency in (220.0, 440.0, 880.0)])
    write_clip(tmp_path / "data" / "long.wav", sweep, "a tone")
    options: dict[str, Any] = {"data": tmp_path / "data", "windows": "all", "debug_dataset": True, "hold_out": 0}
    whole = quick_train("whole", **options)
    with pytest.raises(Interrupted, match="Stopped at step 3"):
        quick_train("stopped", on_progress=stop_at(3), **options)
    with pytest.raises(InputError, match="windows = 'all', not 'first'") as refused:
        quick_train("stopped", resume=True, **(options | {"windows": "first"}))
    assert refused.value.field == "windows"
    resumed = quick_train("stopped", resume=True, **options)
    assert resumed.lora.read_bytes() == whole.lora.read_bytes()
    request = json.loads((whole.folder / "request.json").read_text())
    assert list(request["clips"]) == ["long.wav", "long.wav @ 0.5 s", "long.wav @ 1 s"]
    assert whole.debug_dataset is not None
    with zipfile.ZipFile(whole.debug_dataset) as archive:
        assert sum(name.startswith("heard/") for name in archive.namelist()) == 3


@pytest.mark.parametrize("mode", ["inpaint", "a2a"])
def test_all_windows_of_clips_with_partners_are_refused(quick_train: Train, mode: str) -> None:
    with pytest.raises(InputError, match="windows='all' makes many clips of a long one") as refused:
        quick_train(mode=mode, windows="all")
    assert refused.value.field == "windows"


# ----------------------------------------------------------------------------------------------------------------------
# a LoRA to begin with


def as_peft(path: Path, first: Path) -> None:
    pairs = read_lora(first).pairs
    tensors = {
        f"base_model.model.{name}.lora_{part}.weight": tensor
        for name, (a, b) in pairs.items()
        for part, tensor in (("A", a), ("B", b))
    }
    save_file(tensors, path)
    path.with_name("adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": 8}))


@pytest.mark.parametrize("naming", ["official", "comfyui", "kohya", "diffusers", "peft"])
def test_a_run_begins_with_a_lora_whatever_its_names(
    quick_train: Train, first: Path, tmp_path: Path, naming: Any
) -> None:
    path = tmp_path / "begin.safetensors"
    lora = read_lora(first)
    as_peft(path, first) if naming == "peft" else write_lora(path, lora.pairs, lora.metadata, naming=naming)
    result = quick_train(init_lora=path, steps=1, learning_rate=1e-9)
    assert result.warnings == ()
    for name, update in updates(result.lora).items():
        torch.testing.assert_close(update, updates(first)[name], atol=1e-4, rtol=1e-2)
    assert json.loads((result.folder / "config.json").read_text())["init_lora"]["name"] == "begin.safetensors"


@pytest.mark.parametrize("rank", [4, 16])
def test_a_lora_of_another_rank_is_resized_and_a_loss_is_told(quick_train: Train, first: Path, rank: int) -> None:
    news: list[Progress] = []
    result = quick_train(init_lora=first, rank=rank, steps=1, learning_rate=1e-9, on_progress=news.append)
    assert read_lora(result.lora).ranks == [rank]
    told = [item.message for item in news if item.note and item.message in result.warnings]
    if rank == 4:
        assert len(told) == len(result.warnings) == 1
        assert "of rank 8 was cut to rank 4, which keeps" in told[0]
    else:
        assert told == []
        for name, update in updates(result.lora).items():
            torch.testing.assert_close(update, updates(first)[name], atol=1e-4, rtol=1e-2)


def test_the_base_is_measured_without_the_lora_that_a_run_begins_with(quick_train: Train, first: Path) -> None:
    result = quick_train(init_lora=first, hold_out=1)
    cold = quick_train("cold", hold_out=1)
    (base_step, base), (start_step, start), *rest = losses(result)
    assert (base_step, start_step) == (0, 0)
    assert base == losses(cold)[0][1]
    assert start != base
    assert [step for step, _ in rest] == [1, 2, 3, 4, 5, 6]
    assert (result.fit.base_loss, result.fit.start_loss) == (base, start)
    assert f"{start:.3f}" in result.fit.sentences[0], "it is compared with that LoRA and not with the base"
    assert f"{base:.3f}" not in result.fit.sentences[0]
    assert cold.fit.start_loss is None


def test_a_run_that_began_with_a_lora_is_resumed_to_the_bit_and_with_no_other(
    quick_train: Train, first: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"init_lora": first, "hold_out": 1, "checkpoint_every": 2}
    whole = quick_train("whole", **options)
    with pytest.raises(Interrupted):
        quick_train("stopped", on_progress=stop_at(3), **options)
    other = tmp_path / first.name
    other.write_bytes(whole.lora.read_bytes())
    with pytest.raises(InputError, match=r"was started with init_lora = .*clips-6\.safetensors.*, not"):
        quick_train("stopped", resume=True, **(options | {"init_lora": other}))
    with pytest.raises(InputError, match=r"was started with init_lora = .*, not None"):
        quick_train("stopped", resume=True, **(options | {"init_lora": None}))
    resumed = quick_train("stopped", resume=True, **options)
    for name in ("lora.safetensors", "metrics.jsonl", "held_out.jsonl", "config.json"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_a_lora_of_another_base_is_told_of(quick_train: Train, first: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_lora(path, read_lora(first).pairs, {"base": "mega", "base_hash": "0" * 64})
    result = quick_train(init_lora=path, steps=1)
    (warning,) = result.warnings
    assert "was trained on another base (mega)" in warning


def test_a_lora_that_does_not_fit_leaves_no_folder(quick_train: Train, tmp_path: Path) -> None:
    path = tmp_path / "strange.safetensors"
    write_lora(path, {"transformer_blocks.0.audio_attn1.to_q": (torch.ones(4, 7), torch.ones(9, 4))}, {})
    with pytest.raises(InputError, match="9×7, but this base has"):
        quick_train(init_lora=path)
    with pytest.raises(InputError, match=r"There is no LoRA at .*nowhere\.safetensors"):
        quick_train(init_lora=tmp_path / "nowhere.safetensors")
    assert not (tmp_path / "run").exists()


# ----------------------------------------------------------------------------------------------------------------------
# targets


@pytest.mark.parametrize(("targets", "modules"), [("all", 10), ("attention", 8), ("self-ff", 6)])
def test_the_named_layers_are_trained_and_written_down(quick_train: Train, targets: str, modules: int) -> None:
    result = quick_train(targets=targets, steps=2)
    lora = read_lora(result.lora)
    assert {name.split(".", 2)[2] for name in lora.pairs} == set(PRESETS[targets])
    assert len(lora.pairs) == 2 * modules
    assert json.loads(lora.metadata["target_modules"]) == list(PRESETS[targets])
    assert json.loads((result.folder / "config.json").read_text())["target_modules"] == list(PRESETS[targets])
    assert json.loads((result.folder / "request.json").read_text())["targets"] == targets


def test_a_batch_takes_several_clips_a_step(quick_train: Train) -> None:
    result = quick_train(batch_size=3, steps=2)
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert [sorted(line["clip"].split(", ")) for line in lines] == [["high.wav", "low.wav", "middle.wav"]] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"targets": "video"}, "targets is 'video', but it must be one of all, attention, self-ff"),
        ({"log": ["csv", "paper"]}, "log is 'paper', but it must be one of csv, tensorboard, wandb"),
        ({"keep_checkpoints": 0}, "keep_checkpoints is 0, but it must be positive"),
        ({"batch_size": 0}, "batch_size is 0, but it must be positive"),
    ],
)
def test_what_there_is_not_is_refused_before_any_work(
    quick_train: Train, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        quick_train(data=tmp_path / "not even there", **options)
    assert not (tmp_path / "run").exists()


# ----------------------------------------------------------------------------------------------------------------------
# checkpoints


def test_a_checkpoints_lora_is_what_the_run_would_have_ended_with(quick_train: Train) -> None:
    result = quick_train(checkpoint_every=2)
    last = read_lora(result.folder / "checkpoints" / "clips-6.safetensors")
    lora = read_lora(result.lora)
    assert last.metadata == lora.metadata | {"step": "6"}
    for name, (a, b) in lora.pairs.items():
        assert torch.equal(last.pairs[name][0], a)
        assert torch.equal(last.pairs[name][1], b)
    assert_holds(result.folder / "checkpoints" / "clips-2.safetensors", averaged(state(result, 2)))


def test_a_time_keeps_states_to_go_on_from_and_changes_nothing_else(quick_train: Train, tmp_path: Path) -> None:
    usual = quick_train("usual", hold_out=1, steps=24)

    def stop(news: Progress) -> None:
        if news.stage == "training" and news.step == 5:
            raise OSError("killed")

    with pytest.raises(MachineError):
        quick_train("timed", hold_out=1, steps=24, checkpoint_every="0.000001s", on_progress=stop)
    states = sorted(path.name for path in (tmp_path / "timed" / "checkpoints").glob("*.pt"))
    assert states == [f"step_{step:06d}.pt" for step in (3, 4, 5)], "the two newest, and that of the stop"
    timed = quick_train("timed", hold_out=1, steps=24, checkpoint_every="1h", resume=True)
    left = {path.name for path in (timed.folder / "checkpoints").glob("*.pt")}
    assert left == {f"step_{step:06d}.pt" for step in (5, 6, 12, 18, 24)}, "only those with a LoRA are left"

    def files(folder: Path) -> dict[str, bytes]:
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in found.items() if path.suffix != ".pt"}

    (timed.folder / "checkpoints" / "clips-5.safetensors").unlink()  # of the stop
    assert files(timed.folder) == files(usual.folder)


def test_every_checkpoint_is_measured_and_the_best_ones_are_kept(quick_train: Train) -> None:
    options: dict[str, Any] = {"hold_out": 1, "steps": 50, "checkpoint_every": 7}
    everything = quick_train("all", **options)
    measured = dict(losses(everything))
    steps = [7, 14, 21, 28, 35, 42, 49, 50]
    assert set(steps) <= set(measured)
    best = sorted(sorted(steps, key=lambda step: measured[step])[:3])
    result = quick_train("best", keep_checkpoints=3, **options)
    assert {path.name for path in (result.folder / "checkpoints").iterdir()} == {
        name for step in best for name in (f"step_{step:06d}.pt", f"clips-{step}.safetensors")
    }
    assert result.lora.read_bytes() == everything.lora.read_bytes()


# ----------------------------------------------------------------------------------------------------------------------
# other programs' logs


def test_a_resumed_run_has_every_line_once_in_its_csv(quick_train: Train) -> None:
    options: dict[str, Any] = {"log": ["csv"], "hold_out": 1, "checkpoint_every": 4}
    with pytest.raises(Interrupted):
        quick_train(on_progress=stop_at(3), **options)
    result = quick_train(resume=True, **options)
    with (result.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{key: str(value) for key, value in line.items()} for line in lines]
    with (result.folder / "held_out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["step"]), float(row["loss"])) for row in rows] == losses(result)


# ----------------------------------------------------------------------------------------------------------------------
# a base that is fetched


def test_a_bases_signature_is_not_kept_and_its_fetch_is_told_of(
    quick_train: Train, file_server: FileServer, quick_base: BaseNames, tmp_path: Path
) -> None:
    file_server.files["/base.safetensors"] = Path(quick_base.checkpoint).read_bytes()
    url = f"{file_server.url}/base.safetensors"
    news: list[Progress] = []
    result = quick_train(base=f"{url}?signature=s3cret", steps=1, cache=tmp_path / "own", on_progress=news.append)
    fetching = [(item.step, item.steps) for item in news if item.stage == "base" and "fetching" in item.message]
    assert fetching[-1][0] == fetching[-1][1]
    assert all(early <= late for early, late in pairwise(fetching))
    for path in result.folder.rglob("*"):
        assert path.is_dir() or b"s3cret" not in path.read_bytes(), path
    assert not any("s3cret" in item.message for item in news)
    for name in ("request.json", "config.json"):
        assert json.loads((result.folder / name).read_text())["base"] == url


def test_offloading_and_kept_activations_contradict_each_other(quick_train: Train, tmp_path: Path) -> None:
    said = r"^offload=4 and checkpoint_activations=False contradict each other"
    with pytest.raises(InputError, match=said) as raised:
        quick_train(offload=4, checkpoint_activations=False)
    assert raised.value.field == "offload"
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_here_is_refused_before_anything_is_done(quick_train: Train, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device is 'gpu', but it must be one of cuda, xpu, mps, cpu") as raised:
        quick_train(device="gpu")
    assert raised.value.field == "device"
    with pytest.raises(InputError, match="device is 'mps', but this machine has cpu only"):
        quick_train(device="mps")
    assert not (tmp_path / "run").exists()


def test_on_a_cpu_offloading_changes_nothing_and_says_so(quick_train: Train) -> None:
    notes: list[str] = []
    plain = quick_train("plain", device="cpu")
    away = quick_train("away", offload=2, on_progress=lambda news: notes.append(news.message) if news.note else None)
    assert away.lora.read_bytes() == plain.lora.read_bytes()
    assert any("no block is offloaded, as cpu computes in the host's own memory" in note for note in notes)
    assert not any(note.startswith("device:") for note in notes)
