from __future__ import annotations

import json
import shutil
import signal
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support import RATE, BaseNames, tone, write_clip

import soundlora
from soundlora.audio.wav import read_wav
from soundlora.contract.training import parse_request
from soundlora.dataset import ClipsTooShortError, NoAudioError
from soundlora.errors import DivergedError, InputError, Interrupted, MachineError
from soundlora.lora.file import read_lora
from soundlora.pipeline.train import TrainingResult, train, train_request
from soundlora.progress import Progress
from soundlora.training.optimizer import Optimizer
from soundlora.training.trainer import Trainer
from soundlora.weights.base import Base, Codec
from soundlora.weights.checkpoint import Checkpoint

STEPS = 12

Train = Callable[..., TrainingResult]


@dataclass(frozen=True)
class Run:
    result: TrainingResult
    news: list[Progress]

    @property
    def folder(self) -> Path:
        return self.result.folder

    def json(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return value

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def defaults(quick_base: BaseNames, shared_cache: Path, clips_zip: Path) -> dict[str, Any]:
    return {
        "data": clips_zip,
        **quick_base.arguments,
        "rank": 8,
        "steps": STEPS,
        "duration": 0.5,
        "learning_rate": 1e-2,
        "cache": shared_cache,
    }


@pytest.fixture(scope="session")
def finished(defaults: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run: two prompts, a clip that is too short, every output that there is."""
    data = tmp_path_factory.mktemp("finished")
    with zipfile.ZipFile(defaults["data"]) as archive:
        archive.extractall(data / "clips")
    write_clip(data / "clips" / "short.wav", tone(0.2), "a click")
    news: list[Progress] = []
    result = train(
        out=data / "run",
        trigger_phrase="SNDX",
        validation_prompts=["SNDX a low tone", "rain"],
        debug_dataset=True,
        on_progress=news.append,
        **(defaults | {"data": data / "clips"}),
    )
    return Run(result, news)


@pytest.fixture
def quick_train(defaults: dict[str, Any], tmp_path: Path) -> Train:
    """Train without previews unless told otherwise."""

    def run(out: str = "run", **options: Any) -> TrainingResult:
        return train(**(defaults | {"out": tmp_path / out, "validation_prompts": []} | options))

    return run


def stop_at(step: int, error: BaseException) -> Callable[[Progress], None]:
    def on_progress(news: Progress) -> None:
        if news.stage == "training" and news.step == step:
            raise error

    return on_progress


# ----------------------------------------------------------------------------------------------------------------------
# what a run leaves


def test_the_run_folder_holds_every_documented_file_and_no_other(finished: Run) -> None:
    files = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*") if path.is_file()}
    steps = (0, 3, 6, 9, 12)
    assert files == {
        "request.json",
        "report.json",
        "metrics.jsonl",
        "lora.safetensors",
        "SNDX-12.safetensors",
        "SNDX-12.md",
        "config.json",
        "preview.wav",
        "debug_dataset.zip",
        *(f"checkpoints/step_{step:06d}.pt" for step in steps[1:]),
        *(f"checkpoints/SNDX-{step}.safetensors" for step in steps[1:]),
        *(f"previews/step_{step:06d}_prompt_{prompt}.wav" for step in steps for prompt in (0, 1)),
    }


def test_the_result_names_the_files(finished: Run) -> None:
    result, folder = finished.result, finished.folder
    assert result.lora == folder / "SNDX-12.safetensors"
    assert result.lora.samefile(folder / "lora.safetensors"), "a second name, and no second file"
    assert result.card == folder / "SNDX-12.md"
    assert result.config == folder / "config.json"
    assert result.preview == folder / "preview.wav"
    assert result.debug_dataset == folder / "debug_dataset.zip"
    assert result.final_loss == pytest.approx(finished.metrics[-1]["loss"])


def test_previews_are_48_khz_stereo_and_change_as_the_adapter_learns(finished: Run) -> None:
    sounds = {}
    for path in sorted((finished.folder / "previews").iterdir()):
        waveform, rate = read_wav(path)
        # 9 frames at 24 a second are 0.375 s, 9 latents.
        assert (rate, waveform.shape) == (48_000, (2, (4 * 9 - 3) * 480))
        sounds[path.name] = waveform
    assert not torch.equal(sounds["step_000000_prompt_0.wav"], sounds["step_000012_prompt_0.wav"])
    assert not torch.equal(sounds["step_000012_prompt_0.wav"], sounds["step_000012_prompt_1.wav"])


def test_the_combined_preview_is_the_last_ones_in_order(finished: Run) -> None:
    combined, rate = read_wav(finished.folder / "preview.wav")
    first, second = (read_wav(finished.folder / f"previews/step_000012_prompt_{i}.wav")[0] for i in (0, 1))
    assert rate == 48_000
    assert torch.equal(combined, torch.cat((first, torch.zeros(2, 24_000), second), dim=1))


def test_the_config_says_what_the_lora_needs_to_be_used(finished: Run, quick_base: BaseNames) -> None:
    config = finished.json("config.json")
    assert config == {
        "name": "SNDX",
        "lora_file": "SNDX-12.safetensors",
        "training_type": "t2a",
        "trigger_phrase": "SNDX",
        "base": quick_base.checkpoint,
        "base_hash": quick_base.open().hash,
        "generation": "2.3",
        "rank": 8,
        "alpha": 8,
        "target_modules": config["target_modules"],
        "init_lora": None,
        "number_of_steps": STEPS,
        "learning_rate": 1e-2,
        "schedule": "linear",
        "batch_size": 1,
        "average": True,
        "audio_duration_seconds": 0.5,
        "clips": 3,
        "seed": 42,
        "sampling": {"steps": 2, "cfg": 3.0, "stg": 1.0, "stg_blocks": [1], "rescale": 0.7, "negative_prompt": ""},
        "soundlora_version": soundlora.__version__,
    }
    assert len(config["target_modules"]) == 10


def test_the_lora_is_a_file_that_explains_itself(finished: Run, quick_base: BaseNames) -> None:
    tensors = load_file(finished.result.lora)
    assert len(tensors) == 2 * 10 * 2
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert all(tensor.any() for tensor in tensors.values())
    assert all(min(tensor.shape) == 8 for tensor in tensors.values())
    with safe_open(finished.result.lora, framework="pt") as file:
        metadata = file.metadata()
    assert metadata == {
        "training_type": "t2a",
        "trigger_phrase": "SNDX",
        "base": quick_base.checkpoint,
        "base_hash": quick_base.open().hash,
        "generation": "2.3",
        "rank": "8",
        "number_of_steps": "12",
        "learning_rate": "0.01",
        "target_modules": metadata["target_modules"],
        "soundlora_version": soundlora.__version__,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "ltx-2.3-audio/lora",
        "modelspec.implementation": "soundlora",
        "modelspec.title": "SNDX",
        "modelspec.description": "A LoRA for sound on quick.safetensors, trained on 3 clips of 0.5 s for 12 steps.",
        "modelspec.trigger_phrase": "SNDX",
        "modelspec.usage_hint": "Write SNDX into the prompt.",
        "modelspec.license": "LTX-2 Community License Agreement",
        "modelspec.tags": "audio, text-to-audio, lora",
    }
    assert len(json.loads(metadata["target_modules"])) == 10


def test_the_report_gives_every_clip_its_fate(finished: Run) -> None:
    report = finished.json("report.json")
    assert (report["kept"], report["skipped"]) == (3, 1)
    fates = {clip["name"]: clip for clip in report["clips"]}
    assert fates["low.wav"]["caption"] == "SNDX a low tone"
    assert fates["short.wav"]["status"] == "skipped"
    assert "shorter than the bucket" in fates["short.wav"]["reason"]
    assert finished.result.report.to_json() | {"fit": finished.result.fit.to_json()} == report


def test_metrics_are_a_line_a_step(finished: Run) -> None:
    lines = finished.metrics
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert set(lines[0]) == {"step", "loss", "sigma", "gradient_norm", "learning_rate", "clip", "preserving"}
    rates = [line["learning_rate"] for line in lines]
    assert rates == pytest.approx([1e-2 * (1 - 0.9 * step / STEPS) for step in range(STEPS)])
    assert {line["clip"] for line in lines} == {"low.wav", "middle.wav", "high.wav"}


def test_the_request_is_kept_with_every_default_filled_in(finished: Run) -> None:
    request = finished.json("request.json")
    assert request["rank"] == 8
    assert request["validation"] == [{"prompt": "SNDX a low tone"}, {"prompt": "rain"}]
    assert request["validation_negative_prompt"] == ""
    assert request["stg_scale"] == 1.0
    assert (request["preview_every"], request["checkpoint_every"]) == (3, 3)
    assert set(request["clips"]) == {"low.wav", "middle.wav", "high.wav"}
    parse_request(request | {"number_of_steps": 100})


def test_progress_goes_through_the_stages_and_counts_every_step(finished: Run) -> None:
    stages = list(dict.fromkeys(news.stage for news in finished.news))
    assert stages == ["base", "clips", "contexts", "previews", "training", "saving", "done"]
    training = [news for news in finished.news if news.stage == "training"]
    assert [news.step for news in training] == list(range(1, STEPS + 1))
    assert all(news.steps == STEPS and news.loss and news.steps_per_second for news in training)
    assert training[-1].seconds_left == 0


def test_the_debug_archive_holds_the_kept_clips(finished: Run) -> None:
    with zipfile.ZipFile(finished.folder / "debug_dataset.zip") as archive:
        names = {f"{number:04d}_{stem}" for number, stem in enumerate(("high", "low", "middle"))}
        assert {Path(name).stem for name in archive.namelist()} == names | {"report", "index"}
        assert archive.read("original/0001_low.txt").decode() == "SNDX a low tone"
        assert json.loads(archive.read("report.json")) == finished.result.report.to_json()


# ----------------------------------------------------------------------------------------------------------------------
# choices


def test_without_prompts_the_first_clips_caption_is_previewed(quick_train: Train) -> None:
    result = quick_train(validation_prompts=None, steps=2, preview_every=2)
    assert json.loads((result.folder / "request.json").read_text())["validation"] == [{"prompt": "a high tone"}]
    assert result.preview is not None


def test_with_no_prompts_there_is_no_preview(quick_train: Train) -> None:
    result = quick_train(steps=2)
    assert result.preview is None
    assert not list((result.folder / "previews").iterdir())
    assert not (result.folder / "preview.wav").exists()


def test_intervals_are_the_named_ones_and_the_last_step_is_always_kept(quick_train: Train) -> None:
    folder = quick_train(steps=5, validation_prompts=["rain"], preview_every=4, checkpoint_every=2).folder
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        name for step in (2, 4, 5) for name in (f"step_{step:06d}.pt", f"clips-{step}.safetensors")
    }
    assert sorted(path.name for path in (folder / "previews").iterdir()) == [
        f"step_{step:06d}_prompt_0.wav" for step in (0, 4, 5)
    ]


def test_a_folder_trains_the_same_lora_as_its_zip(quick_train: Train, clips: Path) -> None:
    zipped, plain = quick_train("zipped").lora, quick_train("plain", data=clips).lora
    assert zipped.read_bytes() == plain.read_bytes()


def test_the_seed_decides_the_lora(quick_train: Train) -> None:
    one, two, other = (quick_train(name, seed=seed).lora.read_bytes() for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert one == two != other


def test_previews_do_not_change_what_is_trained(quick_train: Train) -> None:
    silent = quick_train("silent", steps=4).lora
    heard = quick_train("heard", steps=4, validation_prompts=["rain"], preview_every=1).lora
    assert silent.read_bytes() == heard.read_bytes()


def test_a_cold_and_a_warm_cache_train_the_same_lora(quick_train: Train, tmp_path: Path) -> None:
    cold = quick_train("cold", cache=tmp_path / "own").lora
    warm = quick_train("warm", cache=tmp_path / "own").lora
    assert cold.read_bytes() == warm.read_bytes()


def test_a_request_trains_as_its_fields_say(defaults: dict[str, Any], tmp_path: Path) -> None:
    request = parse_request(
        {
            "training_data_url": str(defaults["data"]),
            "rank": "16",
            "number_of_steps": 100,
            "audio_duration_seconds": 0.5,
            "trigger_phrase": "TRG",
            "stg_scale": 0.5,
        }
    )
    options = {key: defaults[key] for key in ("base", "text_encoder", "cache")}
    folder = train_request(request, tmp_path / "run", **options).folder
    config = json.loads((folder / "config.json").read_text())
    assert (config["rank"], config["number_of_steps"], config["trigger_phrase"]) == (16, 100, "TRG")
    assert config["sampling"]["stg"] == 0.5
    assert config["sampling"]["negative_prompt"] == "", "the base's own, as the request names none"
    assert not (folder / "preview.wav").exists()


def test_the_public_names_are_those_of_the_package() -> None:
    assert soundlora.train is train
    assert soundlora.train_request is train_request
    for name in soundlora.__all__:
        assert getattr(soundlora, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        soundlora.tarin  # noqa: B018


# ----------------------------------------------------------------------------------------------------------------------
# the cache


def test_a_warm_cache_needs_neither_vae_nor_text_encoder(
    quick_train: Train, finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("computed twice")

    load_vae = Checkpoint.load_vae

    def decoder_only(self: Checkpoint, device: torch.device, *, encoder: bool, decoder: bool) -> object:
        assert not encoder
        return load_vae(self, device, encoder=encoder, decoder=decoder)

    monkeypatch.setattr(Base, "contexts", never)
    monkeypatch.setattr(Codec, "encode", never)
    monkeypatch.setattr(Checkpoint, "load_vae", decoder_only)
    prompts = ["SNDX a low tone", "rain"]
    result = quick_train(trigger_phrase="SNDX", validation_prompts=prompts, debug_dataset=True)
    assert result.lora.read_bytes() == finished.result.lora.read_bytes()


def test_a_changed_caption_is_encoded_anew_and_a_changed_clip_too(
    quick_train: Train, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(clips, tmp_path / "data"))
    quick_train("before", data=data, steps=1)
    seen: dict[str, list[Any]] = {"captions": [], "clips": []}
    contexts, encode = Base.contexts, Codec.encode

    def see_contexts(self: Base, captions: list[str], *rest: Any) -> Any:
        seen["captions"] += captions
        return contexts(self, captions, *rest)

    def see_clips(self: Codec, waveform: torch.Tensor, rate: int) -> torch.Tensor:
        seen["clips"].append(waveform.shape)
        return encode(self, waveform, rate)

    monkeypatch.setattr(Base, "contexts", see_contexts)
    monkeypatch.setattr(Codec, "encode", see_clips)
    (data / "low.txt").write_text("a deep tone")
    write_clip(data / "high.wav", tone(0.6, 1000.0))
    quick_train("after", data=data, steps=1)
    assert seen["captions"] == ["a deep tone"]
    assert len(seen["clips"]) == 1


# ----------------------------------------------------------------------------------------------------------------------
# what was learnt


def test_clips_kept_out_are_followed_along_the_run_and_judged(quick_train: Train) -> None:
    result = quick_train(hold_out=1, validation_prompts=["rain"])
    lines = [json.loads(line) for line in (result.folder / "held_out.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(STEPS + 1))
    report = json.loads((result.folder / "report.json").read_text())
    assert report["fit"] == result.fit.to_json()
    assert result.fit.base_loss == lines[0]["loss"]
    assert result.fit.final_loss == lines[-1]["loss"]
    assert result.fit.verdict in ("learnt", "learnt in part", "barely learnt", "overfitting")
    assert result.fit.distance is not None
    assert result.fit.level_dbfs is not None
    trained = {json.loads(line)["clip"] for line in (result.folder / "metrics.jsonl").read_text().splitlines()}
    kept = {clip.name for clip in result.report.kept}
    assert len(kept - trained) == 1


def test_a_run_of_few_clips_trains_on_all_of_them(finished: Run) -> None:
    assert {line["clip"] for line in finished.metrics} == {clip.name for clip in finished.result.report.kept}
    assert finished.result.fit.verdict == "unknown"
    assert finished.json("report.json")["fit"]["verdict"] == "unknown"


@pytest.mark.parametrize(
    ("count", "must"), [(-1, "it must be at least 0"), (3, "of 3 clips at least one"), (50, "of 3 clips")]
)
def test_keeping_out_every_clip_is_refused(quick_train: Train, tmp_path: Path, count: int, must: str) -> None:
    with pytest.raises(InputError, match=f"hold_out is {count}, but {must}"):
        quick_train(hold_out=count)
    assert not (tmp_path / "run").exists()


# ----------------------------------------------------------------------------------------------------------------------
# what the LoRA is called


def test_a_lora_is_called_by_the_name_that_is_given_before_its_trigger(quick_train: Train) -> None:
    result = quick_train(name="Rusty gate, v2.safetensors", trigger_phrase="SNDX")
    assert result.lora.name == "Rusty-gate-v2-12.safetensors"
    assert read_lora(result.lora).metadata["modelspec.title"] == "Rusty gate, v2"


def test_a_name_of_which_nothing_is_left_is_refused_before_anything_is_written(
    quick_train: Train, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"name is '\?!', but it must have a letter or a digit") as raised:
        quick_train(name="?!")
    assert raised.value.field == "name"
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_keeps_its_name_wherever_its_data_lies_and_takes_no_other(
    quick_train: Train, defaults: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        quick_train(on_progress=stop_at(5, KeyboardInterrupt()))
    moved = tmp_path / "elsewhere.zip"
    moved.write_bytes(Path(defaults["data"]).read_bytes())
    with pytest.raises(InputError, match="was started with name = 'clips', not 'other'"):
        quick_train(name="other", data=moved, resume=True)
    assert quick_train(data=moved, resume=True).lora.name == "clips-12.safetensors"


def test_a_run_that_an_older_version_began_without_a_name_goes_on(quick_train: Train, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        quick_train(on_progress=stop_at(5, KeyboardInterrupt()))
    path = tmp_path / "run" / "request.json"
    stored = json.loads(path.read_text())
    del stored["name"]
    path.write_text(json.dumps(stored))
    assert quick_train(name="gate", resume=True).lora.name == "gate-12.safetensors"


def test_a_run_killed_between_the_two_names_writes_both_again(
    quick_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*paths: Path) -> None:
        raise SystemError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("soundlora.training.run_folder.second_name", killed)
        with pytest.raises(SystemError):
            quick_train()
    folder = tmp_path / "run"
    assert [path.name for path in folder.glob("*.safetensors")] == ["lora.safetensors"]
    result = quick_train(resume=True)
    assert result.lora.samefile(folder / "lora.safetensors")
    assert [path.name for path in folder.glob("*.partial")] == []


# ----------------------------------------------------------------------------------------------------------------------
# interruption


@pytest.fixture(scope="session")
def uninterrupted(defaults: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    return train(out=out, validation_prompts=["rain"], **defaults).folder


def assert_same_run(folder: Path, other: Path) -> None:
    for name in ("lora.safetensors", "metrics.jsonl", "request.json", "config.json", "preview.wav"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    for kind in ("previews", "checkpoints"):
        assert {path.name for path in (other / kind).iterdir()} <= {path.name for path in (folder / kind).iterdir()}
    for path in (*(other / "previews").iterdir(), *(other / "checkpoints").glob("*.safetensors")):
        assert path.read_bytes() == (folder / path.relative_to(other)).read_bytes(), path.name


@pytest.mark.parametrize("step", [1, 5, 6, 12])
def test_a_run_resumed_after_ctrl_c_equals_an_uninterrupted_one_to_the_bit(
    quick_train: Train, uninterrupted: Path, step: int
) -> None:
    with pytest.raises(Interrupted, match=rf"Stopped at step {step}; .*step_{step:06d}\.pt.*resume=True"):
        quick_train(validation_prompts=["rain"], on_progress=stop_at(step, KeyboardInterrupt()))
    result = quick_train(validation_prompts=["rain"], resume=True)
    assert_same_run(result.folder, uninterrupted)


@pytest.mark.parametrize("step", [2, 8])
def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(
    quick_train: Train, uninterrupted: Path, step: int
) -> None:
    with pytest.raises(SystemError):
        quick_train(validation_prompts=["rain"], on_progress=stop_at(step, SystemError("killed")))
    assert_same_run(quick_train(validation_prompts=["rain"], resume=True).folder, uninterrupted)


def test_a_resumed_run_with_moments_in_eight_bits_is_the_same_to_the_bit(
    quick_train: Train, uninterrupted: Path
) -> None:
    options = {"validation_prompts": ["rain"], "optimizer": "adamw8bit"}
    whole = quick_train("whole", **options)
    with pytest.raises(Interrupted):
        quick_train(on_progress=stop_at(5, KeyboardInterrupt()), **options)
    assert_same_run(quick_train(resume=True, **options).folder, whole.folder)
    assert whole.lora.read_bytes() != (uninterrupted / "lora.safetensors").read_bytes()


def test_a_run_can_be_stopped_twice(quick_train: Train, uninterrupted: Path) -> None:
    for step in (4, 7):
        with pytest.raises(Interrupted):
            quick_train(validation_prompts=["rain"], on_progress=stop_at(step, KeyboardInterrupt()), resume=step == 7)
    assert_same_run(quick_train(validation_prompts=["rain"], resume=True).folder, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["before the update", "after the update"])
def test_a_signal_in_the_middle_of_a_step_does_not_spoil_the_run(
    quick_train: Train, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch, moment: str, number: signal.Signals
) -> None:
    step = Optimizer.step

    def interrupted(self: Optimizer) -> tuple[float, float]:
        if self.step_number != 4:
            return step(self)
        if moment == "before the update":
            signal.raise_signal(number)
        result = step(self)
        signal.raise_signal(number)
        return result

    monkeypatch.setattr(Optimizer, "step", interrupted)
    with pytest.raises(Interrupted, match="resume=True"):
        quick_train(validation_prompts=["rain"])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    monkeypatch.setattr(Optimizer, "step", step)
    assert_same_run(quick_train(validation_prompts=["rain"], resume=True).folder, uninterrupted)


@pytest.fixture(scope="session")
def interrupted(defaults: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(Interrupted):
        train(out=out, validation_prompts=[], on_progress=stop_at(2, KeyboardInterrupt()), **defaults)
    return out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank": 16}, "rank = 8, not 16"),
        ({"steps": 13}, "steps = 12, not 13"),
        ({"learning_rate": 1e-3}, "learning_rate = 0.01, not 0.001"),
        ({"seed": 1}, "seed = 42, not 1"),
        ({"trigger_phrase": "TRG"}, "trigger_phrase = '', not 'TRG'"),
        ({"checkpoint_every": 1}, "checkpoint_every = 3, not 1"),
        ({"targets": "self-ff"}, "targets = 'all', not 'self-ff'"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(
    quick_train: Train, interrupted: Path, change: dict[str, Any], words: str
) -> None:
    before = sorted(path.name for path in interrupted.rglob("*"))
    with pytest.raises(InputError, match=f"was started with {words}"):
        quick_train(out=str(interrupted), resume=True, **change)
    assert sorted(path.name for path in interrupted.rglob("*")) == before


def test_a_run_is_not_resumed_with_other_clips(quick_train: Train, clips: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(clips, tmp_path / "data"))
    with pytest.raises(Interrupted):
        quick_train(data=data, on_progress=stop_at(2, KeyboardInterrupt()))
    write_clip(data / "high.wav", tone(0.6, 1000.0))
    with pytest.raises(InputError, match="clips"):
        quick_train(data=data, resume=True)


def test_a_finished_run_is_neither_resumed_nor_overwritten(quick_train: Train) -> None:
    lora = quick_train(steps=2).lora
    before = lora.read_bytes()
    with pytest.raises(InputError, match="is finished; its LoRA is"):
        quick_train(steps=2, resume=True)
    with pytest.raises(InputError, match="already holds a run"):
        quick_train(steps=2, seed=7)
    assert lora.read_bytes() == before


def test_there_must_be_a_run_to_resume(quick_train: Train, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run to resume"):
        quick_train(resume=True)
    assert not (tmp_path / "run").exists()


def test_where_memory_runs_out_the_state_is_kept_and_what_to_lower_is_said(
    defaults: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(**defaults, out=tmp_path / "whole", validation_prompts=[])
    step = Trainer.step

    def lack(self: Trainer, number: int) -> Any:
        if number == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return step(self, number)

    monkeypatch.setattr(Trainer, "step", lack)
    with pytest.raises(MachineError) as raised:
        train(**defaults, out=tmp_path / "run", validation_prompts=[])
    said = str(raised.value)
    assert said.startswith("The memory ran out, though 0.")
    assert "take" in said
    assert "by the plan" in said
    assert "checkpoint_activations=True" in said
    assert "Stopped at step 4; " in said
    assert said.endswith("step_000004.pt holds the state. Go on with the same settings and resume=True.")
    monkeypatch.setattr(Trainer, "step", step)
    options = {"validation_prompts": [], "resume": True, "checkpoint_activations": True}
    resumed = train(**defaults | options, out=tmp_path / "run")
    assert resumed.lora.read_bytes() == whole.lora.read_bytes()


def test_divergence_stops_the_run_at_the_last_good_checkpoint(
    quick_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def spoiled(self: Trainer, number: int) -> object:
        if number == 8:
            self.examples[self.clip_index(8)].latents[0, 0] = float("nan")
        return step(self, number)

    monkeypatch.setattr(Trainer, "step", spoiled)
    with pytest.raises(DivergedError, match=r"diverged: the loss became nan .*at step 9 .*step_000006\.pt"):
        quick_train()


# ----------------------------------------------------------------------------------------------------------------------
# bad input leaves nothing


def short_clips(folder: Path) -> Path:
    folder.mkdir()
    write_clip(folder / "a.wav", tone(0.3), "short")
    return folder


def no_clips(folder: Path) -> Path:
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing here")
    return folder


@pytest.mark.parametrize(("make", "error"), [(short_clips, ClipsTooShortError), (no_clips, NoAudioError)])
def test_unusable_data_leaves_no_folder_behind(
    quick_train: Train, tmp_path: Path, make: Callable[[Path], Path], error: type[InputError]
) -> None:
    with pytest.raises(error):
        quick_train("deep/run", data=make(tmp_path / "data"))
    assert not (tmp_path / "deep").exists()


def test_a_base_that_is_none_leaves_no_folder_behind(quick_train: Train, tmp_path: Path) -> None:
    (tmp_path / "base.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="is not a safetensors file"):
        quick_train(base=str(tmp_path / "base.safetensors"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["rank", "steps", "learning_rate", "duration"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_numbers_must_be_positive(quick_train: Train, tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} is {value}, but it must be positive"):
        quick_train(**{name: value})
    assert not (tmp_path / "run").exists()


def test_an_occupied_folder_is_refused_before_any_work(quick_train: Train, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        quick_train(data=tmp_path / "not even there")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_clip_of_another_rate_trains_as_well(quick_train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    write_clip(folder / "a.wav", tone(0.6, rate=RATE), "low rate")
    write_clip(folder / "b.wav", tone(0.6, rate=48_000), "high rate", rate=48_000)
    assert len(quick_train(data=folder, steps=2).report.kept) == 2


def test_a_run_says_what_memory_it_will_take_and_obeys_what_was_asked_for(
    defaults: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activations that are computed again train the same LoRA; a quantised base another one."""
    again: list[bool] = []
    step = Trainer.step

    def watch(self: Trainer, number: int) -> Any:
        again.append(self.adapter.model.checkpointing)
        return step(self, number)

    monkeypatch.setattr(Trainer, "step", watch)
    loras = {}
    runs: dict[str, dict[str, Any]] = {
        "plain": {},
        "again": {"checkpoint_activations": True},
        "int8": {"quantize": "int8"},
    }
    for name, options in runs.items():
        news: list[Progress] = []
        result = train(**defaults | options, out=tmp_path / name, validation_prompts=[], on_progress=news.append)
        loras[name] = load_file(result.lora)
        (said,) = [item.message for item in news if item.message.startswith("memory: ")]
        assert "GiB at the peak; activations are " in said
        assert ("computed again" in said) is (name == "again")
        assert again == [name == "again"] * STEPS
        again.clear()
        assert json.loads(result.folder.joinpath("request.json").read_text())["quantize"] == options.get("quantize")
    assert all(torch.equal(tensor, loras["again"][key]) for key, tensor in loras["plain"].items())
    assert any(not torch.equal(tensor, loras["int8"][key]) for key, tensor in loras["plain"].items())


def test_an_optimizer_that_there_is_not_is_refused_at_once(defaults: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="optimizer is 'sgd', but it must be one of adamw, adamw8bit"):
        train(**defaults, out=tmp_path / "run", optimizer="sgd")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_quantisation_that_there_is_not_is_refused_at_once(defaults: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="quantize is 'int4', but it must be one of int8, fp8, bf16"):
        train(**defaults, out=tmp_path / "run", quantize="int4")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
