from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from parity.runners import fresh_transformer
from support import SENTENCE, BaseNames, Cli, Outcome, assert_refused, tone, write_clip, zip_of

from soundlora import __version__
from soundlora.lora.adapter import Adapter
from soundlora.pipeline.train import train
from soundlora.progress import Progress

# ----------------------------------------------------------------------------------------------------------------------
# train


def test_the_version_is_the_packages(soundlora: Cli) -> None:
    outcome = soundlora("--version")
    assert (outcome.code, outcome.out) == (0, f"soundlora {__version__}\n")


def test_of_processes_that_share_a_run_only_the_first_speaks(
    soundlora: Cli, clips_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soundlora.pipeline import train as run
    from soundlora.training.workers import Workers

    listeners: list[object] = []
    monkeypatch.setattr(run, "run_training", lambda options: listeners.append(options.on_progress))
    monkeypatch.setattr(Workers, "from_environment", lambda _: Workers(1, 2))
    outcome = soundlora("train", clips_zip, "--out", tmp_path / "run")
    assert (outcome.code, outcome.out, listeners) == (0, "", [None])


def test_train_makes_a_lora_and_tells_of_it_in_plain_lines(
    soundlora: Cli, train_flags: list[str], quick_base: BaseNames, clips_zip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    outcome = soundlora("train", clips_zip, "--out", out, "--trigger-phrase", "TRG", *train_flags)
    assert outcome.code == 0, outcome.err
    config = json.loads((out / "config.json").read_text())
    assert (config["rank"], config["number_of_steps"], config["trigger_phrase"]) == (8, 100, "TRG")
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 100
    assert json.loads((out / "request.json").read_text())["validation"] == [{"prompt": "TRG a high tone"}]

    assert outcome.err == ""
    assert "\x1b" not in outcome.out
    assert "\r" not in outcome.out
    lines = outcome.out.splitlines()
    assert len(lines) == len(set(lines))
    assert "Clips 3/3  3 clips kept, 0 skipped" in lines
    assert "Previews 100/100  previews at step 100" in lines
    assert any(re.fullmatch(r"Training 100/100  loss \d+\.\d{3}  [\d.]+ steps/s  0:00 left", line) for line in lines)
    for name in ("lora.safetensors", "config.json", "preview.wav"):
        assert (out / name).is_file()
        assert any(line.endswith(f" {out / name}") for line in lines), "whole, so that it can be copied"
    lora = out / "TRG-100.safetensors"
    assert f"LoRA    {lora}" in lines
    assert f"card    {out / 'TRG-100.md'}" in lines
    assert any(re.fullmatch(r"took    (\d+ min )?\d+ s", line) for line in lines)
    base, encoder = quick_base.flags[1::2]
    next_ = f"  soundlora generate --prompt TRG --lora {lora} --base {base} --text-encoder {encoder} --out TRG-100.wav"
    assert next_ in lines, "what to type next, with the run's own base"
    assert lines[-1].startswith("In ComfyUI, put the file into models/loras and load it behind LTX 2.3")


def test_every_flag_reaches_the_run(soundlora: Cli, train_flags: list[str], clips: Path, tmp_path: Path) -> None:
    out, lora = tmp_path / "run", tmp_path / "first.safetensors"
    Adapter.create(fresh_transformer(), 8).save(lora, {})
    outcome = soundlora(
        "train", clips, "--out", out, *train_flags,
        "--learning-rate", "1e-3", "--no-normalize", "--no-preserve-pitch", "--validation-prompt", "rain",
        "--validation-prompt", "wind", "--negative-prompt", "noise", "--frame-rate", "30", "--stg-scale", "0.5",
        "--seed", "7", "--debug-dataset", "--preview-every", "60", "--checkpoint-every", "70",
        "--batch-size", "2", "--targets", "self-ff", "--init-lora", lora, "--keep-checkpoints", "1", "--log", "csv",
        "--quantize", "bf16", "--optimizer", "adamw8bit", "--no-average", "--checkpoint-activations",
        "--caption-dropout", "0.25", "--captions-from", "all", "--short", "pad", "--caption-template", "{caption}",
        "--preserve", "0.5", "--noise-levels", "0.2:1", "--adapter", "lora", "--alpha", "4",
        "--rslora", "--preset", "foley",
        "--b-rate", "16", "--trigger-phrase", "TRG",
        "--windows", "all", "--name", "My kit", "--schedule", "constant", "--sync", tmp_path / "kept",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    request = json.loads((out / "request.json").read_text())
    assert {key: request[key] for key in request if key not in ("training_data_url", "base", "base_hash", "clips")} == {
        "name": "My kit",
        "mode": "t2a",
        "conditioning_seconds": None,
        "condition_probability": 1.0,
        "slide_from": "",
        "slide_to": "",
        "slide_prompt": "",
        "validation_spans": None,
        "rank": 8,
        "number_of_steps": 100,
        "learning_rate": 1e-3,
        "schedule": "constant",
        "windows": "all",
        "trigger_phrase": "TRG",
        "audio_duration_seconds": 0.5,
        "audio_normalize": False,
        "audio_preserve_pitch": False,
        "validation": [{"prompt": "rain"}, {"prompt": "wind"}],
        "validation_negative_prompt": "noise",
        "validation_frame_rate": 30,
        "stg_scale": 0.5,
        "debug_dataset": True,
        "seed": 7,
        "preview_every": 60,
        "checkpoint_every": 70,
        "keep_checkpoints": 1,
        "targets": "self-ff",
        "init_lora": {"name": "first.safetensors", "sha256": hashlib.sha256(lora.read_bytes()).hexdigest()},
        "batch_size": 2,
        "caption_dropout": 0.25,
        "preserve": 0.5,
        "adapter": "lora",
        "alpha": 4.0,
        "rslora": True,
        "b_rate": 16.0,
        "noise_levels": "0.2:1",
        "shorter_durations": [],
        "short": "pad",
        "captions_from": "all",
        "caption_template": "{caption}",
        "hold_out": 0,
        "quantize": "bf16",
        "optimizer": "adamw8bit",
        "average": False,
    }
    assert (out / "My-kit-100.safetensors").samefile(out / "lora.safetensors")
    assert (out / "debug_dataset.zip").is_file()
    assert list((tmp_path / "kept" / "states").iterdir())
    kept = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert kept == ["My-kit-100.safetensors", "step_000100.pt"]
    assert len((out / "metrics.csv").read_text().splitlines()) == 101
    assert "also changes 8 modules that are not trained here" in outcome.out
    assert "activations are computed again block by block" in outcome.out


def test_the_adapter_reaches_the_run_and_its_own_file_is_named(
    soundlora: Cli, train_flags: list[str], clips_zip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    outcome = soundlora("train", clips_zip, "--out", out, *train_flags, "--adapter", "lokr", "--name", "kit")
    assert outcome.code == 0, outcome.err
    assert json.loads((out / "request.json").read_text())["adapter"] == "lokr"
    own = out / "kit-100-lokr.safetensors"
    assert own.is_file()
    assert [line.split() for line in outcome.out.splitlines() if line.startswith("LoKr ")] == [["LoKr", str(own)]]


def test_a_request_file_takes_the_endpoints_json_with_a_path_from_where_it_lies(
    soundlora: Cli, quick_base: BaseNames, clips_zip: Path, tmp_path: Path
) -> None:
    shutil.copy(clips_zip, tmp_path / "clips.zip")
    request = {
        "training_data_url": "clips.zip",
        "rank": "8",
        "number_of_steps": 100,
        "audio_duration_seconds": 0.5,
        "trigger_phrase": "TRG",
        "validation": [{"prompt": "TRG a tone"}],
        "resolution": "medium",
        "learning_rate": None,
        "caption_dropout": 0.25,
        "shorter_durations": [0.3],
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    out = tmp_path / "run"
    outcome = soundlora("train", "--request", tmp_path / "request.json", "--out", out, *quick_base.flags)
    assert outcome.code == 0, outcome.err
    kept = json.loads((out / "request.json").read_text())
    assert kept["rank"] == 8
    assert kept["learning_rate"] == 2e-4
    assert (kept["caption_dropout"], kept["shorter_durations"]) == (0.25, [0.3])
    assert kept["validation"] == [{"prompt": "TRG a tone"}]


def test_resume_goes_on_and_a_stop_exits_with_1(
    soundlora: Cli, train_flags: list[str], clips_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soundlora.cli import console

    out, show = tmp_path / "run", console.Display.__call__

    def press_ctrl_c(self: console.Display, news: Progress) -> None:
        show(self, news)
        if news.stage == "training" and news.step == 30:
            raise KeyboardInterrupt

    monkeypatch.setattr(console.Display, "__call__", press_ctrl_c)
    outcome = soundlora("train", clips_zip, "--out", out, *train_flags)
    assert outcome.code == 1
    assert SENTENCE.search(outcome.err)
    assert "Stopped at step 30" in outcome.err
    monkeypatch.setattr(console.Display, "__call__", show)
    outcome = soundlora("train", clips_zip, "--out", out, *train_flags, "--resume")
    assert outcome.code == 0, outcome.err
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 100


# ----------------------------------------------------------------------------------------------------------------------
# bad input


def empty_zip(path: Path) -> Path:
    zipfile.ZipFile(path, "w").close()
    return path


def zip_of_short_clips(path: Path) -> Path:
    return zip_of(path, a_wav=write_clip(path.with_name("a.wav"), tone(0.3)).read_bytes())


def no_zip(path: Path) -> Path:
    path.write_bytes(b"\x00\x01 not a zip")
    return path


BAD_DATA = [
    pytest.param(empty_zip, ["data.zip holds no audio file"], id="empty zip"),
    pytest.param(no_zip, ["data.zip", "zip"], id="not a zip"),
    pytest.param(lambda path: zip_of(path, notes_txt=b"hello"), ["holds no audio file"], id="no audio"),
    pytest.param(zip_of_short_clips, ["No clip of data.zip fills the bucket", "0.30 s"], id="all too short"),
    pytest.param(
        lambda path: zip_of(path, a_wav=b"noise", b_mp3=b"noise"),
        ["None of the 2 audio files in data.zip can be decoded"],
        id="none decodable",
    ),
    pytest.param(lambda path: path, ["data.zip"], id="not there"),
]


@pytest.mark.parametrize(("make", "words"), BAD_DATA)
def test_bad_data_is_one_sentence_and_exit_code_2(
    soundlora: Cli, train_flags: list[str], tmp_path: Path, make: Callable[[Path], Path], words: list[str]
) -> None:
    outcome = soundlora("train", make(tmp_path / "data.zip"), "--out", tmp_path / "deep" / "run", *train_flags)
    assert_refused(outcome, *words)
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--rank", "7"], ["--rank is 7, but it must be one of 8, 16, 32, 64 or 128"]),
        (["--steps", "5"], ["--steps is 5, but it must be a whole number from 100 to 20000"]),
        (["--duration", "600"], ["--duration is 600, but it must be a number from 0.5 to 60"]),
        (["--learning-rate", "2"], ["--learning-rate is 2.0"]),
        (["--learning-rate", "nan"], ["--learning-rate is nan"]),
        (["--frame-rate", "7"], ["--frame-rate is 7"]),
        (["--stg-scale", "4"], ["--stg-scale is 4.0"]),
        (["--validation-prompt", "a"] * 3, ["--validation-prompt has 3 entries, but at most 2"]),
    ],
)
def test_a_parameter_out_of_range_is_named_as_it_was_typed(
    soundlora: Cli, clips_zip: Path, tmp_path: Path, flags: list[str], words: list[str]
) -> None:
    assert_refused(soundlora("train", clips_zip, "--out", tmp_path / "run", *flags), *words)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_left_alone(
    soundlora: Cli, train_flags: list[str], clips_zip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "request.json").write_text("{}")
    assert_refused(soundlora("train", clips_zip, "--out", out, *train_flags), "already holds a run", "--resume")
    assert [path.name for path in out.iterdir()] == ["request.json"]


def test_a_base_that_is_no_checkpoint_is_refused(soundlora: Cli, clips_zip: Path, tmp_path: Path) -> None:
    base, out = tmp_path / "base.safetensors", tmp_path / "run"
    base.write_text("not a model")
    assert_refused(soundlora("train", clips_zip, "--out", out, "--base", base), "is not a safetensors file")
    assert_refused(soundlora("train", clips_zip, "--out", out, "--base", "mega"), "no base called 'mega'")
    assert not out.exists()


def test_what_is_missing_is_named(soundlora: Cli, clips_zip: Path, tmp_path: Path) -> None:
    assert_refused(soundlora("train", "--out", tmp_path / "run"), "DATA is missing")
    assert_refused(soundlora("train", clips_zip), "--out is missing")


@pytest.mark.parametrize("command", ["train", "inspect"])
def test_a_url_that_cannot_be_fetched_is_refused(
    soundlora: Cli, command: str, quick_base: BaseNames, tmp_path: Path
) -> None:
    out = ["--out", tmp_path / "run", *quick_base.flags] if command == "train" else []
    outcome = soundlora(command, "data:application/zip;base64,?", *out)
    assert_refused(outcome, "The data: URI is not Base64")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[1]", "must be a JSON object"),
        ("{}", "training_data_url is missing"),
        ('{"training_data_url": "a.zip", "rank": 7}', "rank is 7"),
        (None, "can't be read"),
    ],
)
def test_a_bad_request_file_is_one_sentence(soundlora: Cli, tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "request.json"
    if content is not None:
        path.write_text(content)
    assert_refused(soundlora("train", "--request", path, "--out", tmp_path / "run"), words)


def test_a_request_file_leaves_no_room_for_flags(soundlora: Cli, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text('{"training_data_url": "a.zip"}')
    outcome = soundlora("train", "--request", path, "--out", tmp_path / "run", "--rank", "8")
    assert_refused(outcome, "--request already says everything", "--rank")


@pytest.mark.parametrize(
    "arguments", [["train", "--rank", "many"], ["train", "--seed", str(2**70)], ["generate"], ["sing"]]
)
def test_a_misspelt_command_is_exit_code_2_without_a_traceback(soundlora: Cli, arguments: list[str]) -> None:
    outcome = soundlora(*arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert "Usage" in outcome.err


def test_steps_that_are_no_number_are_refused_in_a_sentence(soundlora: Cli, clips: Path, tmp_path: Path) -> None:
    """They are a text, since some may be added to those of a finished run."""
    outcome = soundlora("train", clips, "--out", tmp_path / "run", "--steps", "many")
    assert_refused(outcome, "--steps is 'many', but it must be a whole number from 100 to 20000.")
    assert not (tmp_path / "run").exists()


def test_as_a_process_it_exits_with_2_and_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from soundlora.cli.app import main; main()"]
    done = subprocess.run(
        [*command, "train", str(no_zip(tmp_path / "data.zip")), "--out", str(tmp_path / "run"), "--rank", "7"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert_refused(Outcome(done.returncode, done.stdout, done.stderr), "--rank is 7")
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_that_comes_when_all_is_said_leaves_the_exit_code(tmp_path: Path, number: str) -> None:
    code = (
        "import atexit, os, signal, sys; from soundlora.cli.app import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        f"atexit.register(os.kill, os.getpid(), signal.{number}); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(tmp_path / "nothing")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert_refused(Outcome(done.returncode, done.stdout, done.stderr), "nothing")


# ----------------------------------------------------------------------------------------------------------------------
# the other commands


def test_generate_writes_a_wav_and_says_so(soundlora: Cli, quick_base: BaseNames, tmp_path: Path) -> None:
    out = tmp_path / "rain.wav"
    flags = ["--prompt", "rain", "--duration", "0.4", "--seed", "5", "--steps", "2", "--cfg", "2", "--stg", "0"]
    outcome = soundlora("generate", *flags, "--out", out, *quick_base.flags)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == f"{out}: 0.37 s, 48000 Hz stereo, seed 5"
    with wave.open(str(out)) as file:
        assert file.getparams()[:4] == (2, 2, 48_000, 17_760)


def test_generate_says_when_the_base_chose_the_length(soundlora: Cli, quick_base_25: BaseNames, tmp_path: Path) -> None:
    out = tmp_path / "rain.wav"
    outcome = soundlora("generate", "--prompt", "rain", "--out", out, "--base", quick_base_25.checkpoint)
    assert outcome.code == 0, outcome.err
    assert f"{out}: 0.57 s (predicted by the base's duration head), 48000 Hz stereo, seed 42" in outcome.out


def test_generate_with_a_lora_gives_another_sound_and_advice(
    soundlora: Cli, quick_base: BaseNames, shared_cache: Path, clips: Path, tmp_path: Path
) -> None:
    lora = train(
        clips, tmp_path / "run", rank=8, steps=10, duration=0.5, learning_rate=1e-2, trigger_phrase="TRG",
        validation_prompts=[], cache=shared_cache, **quick_base.arguments,
    ).lora  # fmt: skip
    flags = ["--prompt", "rain", "--duration", "0.4", *quick_base.flags]
    plain = soundlora("generate", *flags, "--out", tmp_path / "plain.wav")
    changed = soundlora("generate", *flags, "--lora", lora, "--out", tmp_path / "changed.wav")
    assert plain.code == changed.code == 0
    assert "trigger phrase 'TRG' is not in the prompt" in changed.out
    assert "trigger phrase" not in plain.out
    assert (tmp_path / "plain.wav").read_bytes() != (tmp_path / "changed.wav").read_bytes()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--duration", "600"], "duration is 600"),
        (["--steps", "0"], "steps is 0"),
        (["--lora", "none.safetensors"], "There is no LoRA at none.safetensors"),
        (["--out", "no/such/folder/a.wav"], "there is no folder no/such/folder"),
        (["--out", "."], ". is a folder; give the name of a file"),
    ],
)
def test_generate_refuses_in_a_sentence(
    soundlora: Cli, quick_base: BaseNames, tmp_path: Path, flags: list[str], words: str
) -> None:
    out = [] if "--out" in flags else ["--out", tmp_path / "a.wav"]
    assert_refused(soundlora("generate", "--prompt", "rain", *flags, *out, *quick_base.flags), words)
    assert not (tmp_path / "a.wav").exists()


def test_inspect_prints_the_report_as_json(soundlora: Cli, clips_zip: Path) -> None:
    outcome = soundlora("inspect", clips_zip, "--duration", "0.5", "--trigger-phrase", "TRG", "--json")
    assert outcome.code == 0
    report = json.loads(outcome.out)
    assert (report["kept"], report["skipped"], report["duration"]) == (3, 0, 0.5)
    assert [clip["caption"] for clip in report["clips"]] == ["TRG a high tone", "TRG a low tone", "TRG a middle tone"]


def test_inspect_shows_every_clip_to_people(soundlora: Cli, clips: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(clips, tmp_path / "data"))
    write_clip(data / "short[1].wav", tone(0.2))
    outcome = soundlora("inspect", data, "--duration", "0.5")
    assert outcome.code == 0
    for words in ("low.wav", "a low tone", "short[1].wav", "shorter than the bucket", "3 kept, 1 skipped"):
        assert words in outcome.out
    for words in ("LUFS", "bucket   0.5 s     3 clips", "this one", "most clips"):
        assert words in outcome.out


def test_inspect_takes_the_settings_of_training(soundlora: Cli, tmp_path: Path) -> None:
    # Half a latent frame is missing: padded or stretched it fills the bucket; only stretched it is loud to its end.
    write_clip(tmp_path / "a.wav", 2 * tone(0.48), "a tone")
    flags = ["--duration", "0.5", "--trigger-phrase", "TRG", "--validation-prompt", "a tone", "--json"]
    outcome = soundlora("inspect", tmp_path, *flags, "--no-normalize", "--no-preserve-pitch")
    report = json.loads(outcome.out)
    assert report["clips"][0]["silence_end_seconds"] == pytest.approx(0.02, abs=0.01)
    assert any("lacks the trigger phrase 'TRG'" in warning for warning in report["warnings"])
    stretched = json.loads(soundlora("inspect", tmp_path, *flags, "--preserve-pitch").out)
    assert stretched["clips"][0]["silence_end_seconds"] == 0


@pytest.mark.parametrize("duration", ["0.4", "60.5", "nan"])
def test_inspect_refuses_a_bucket_that_train_refuses(soundlora: Cli, clips: Path, duration: str) -> None:
    assert soundlora("inspect", clips, "--duration", duration).code == 2


def test_inspect_does_not_load_torch(clips: Path) -> None:
    code = "import sys; from soundlora.cli.app import app; app(sys.argv[1:], standalone_mode=False);"
    code += "sys.exit(bool({'torch', 'httpx2'} & set(sys.modules)))"
    command = [sys.executable, "-c", code, "inspect", str(clips), "--duration", "0.5"]
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_inspect_refuses_what_train_would_refuse_after_the_report(soundlora: Cli, tmp_path: Path) -> None:
    outcome = soundlora("inspect", zip_of_short_clips(tmp_path / "data.zip"), "--duration", "0.5", "--json")
    assert_refused(outcome, "No clip of data.zip fills the bucket")
    assert json.loads(outcome.out)["skipped"] == 1


def test_doctor_says_what_it_found(soundlora: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, object] = {"soundlora": "1", "bases": []}
    asked: list[str | None] = []

    def examine(device: str | None) -> dict[str, object]:
        asked.append(device)
        return found

    monkeypatch.setattr("soundlora.cli.doctor.examine", examine)
    outcome = soundlora("doctor", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out) == found
    assert soundlora("doctor", "--device", "cpu", "--json").code == 0
    assert asked == [None, "cpu"]


def test_a_device_that_is_not_here_is_refused_by_every_command(soundlora: Cli, clips_zip: Path, tmp_path: Path) -> None:
    calls = (
        ("generate", "--prompt", "rain", "--out", tmp_path / "rain.wav"),
        ("train", clips_zip, "--out", tmp_path / "run"),
        ("doctor",),
    )
    for call in calls:
        outcome = soundlora(*call, "--device", "mps")
        assert outcome.code == 2
        assert outcome.err.startswith("soundlora: --device is 'mps', but this machine has cpu only")
    outcome = soundlora("serve", "--data-dir", tmp_path / "data", "--device", "gpu")
    assert outcome.code == 2
    assert outcome.err.startswith("soundlora: SOUNDLORA_DEVICE is 'gpu', but it must be cuda, xpu, mps or cpu")


@pytest.mark.parametrize("command", ["train", "generate", "inspect", "doctor"])
def test_every_command_has_help(soundlora: Cli, command: str) -> None:
    outcome = soundlora(command, "--help")
    assert outcome.code == 0
    assert "Usage" in outcome.out


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from soundlora.cli import app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
