"""The model card of a LoRA: what it is, what it was trained on, how well, and where it can be used.

It is Markdown with the front matter that the Hugging Face hub reads. It names neither folders nor clips.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from soundlora.contract.modes import MODES
from soundlora.dataset import ClipReport, DatasetReport
from soundlora.lora.forms import TITLES
from soundlora.pipeline.lora_config import NANO, licence_of, public_base
from soundlora.pipeline.options import TrainingOptions
from soundlora.training.distances import Estimate
from soundlora.training.verdict import Fit, Heard
from soundlora.weights.fetched import is_hub_name

_TABLES = (".csv", ".tsv", ".jsonl", ".json")
_MARKS = re.compile(r"([\\`*_\[\]<>#|&~$])")


def model_card(config: Mapping[str, Any], report: DatasetReport, fit: Fit, options: TrainingOptions) -> str:
    """Return the card of a finished run. config: as `run_config` makes it. options: with every default filled in."""
    trigger = str(config["trigger_phrase"])
    parts = [
        _front_matter(config, trigger),
        f"# {_plain(config['name'])}",
        f"A LoRA for the sound of {_base_title(config)}, made with soundlora {config['soundlora_version']}. "
        + (f"Its trigger phrase is {_code(trigger)}." if trigger else "It has no trigger phrase."),
        f"## Use it\n\n{where_it_loads(config)}" + (f"\n\n{_own_form(config)}" if "plain" in config else ""),
        f"```\nsoundlora generate --prompt {shlex.quote(_one_line(trigger or 'your sound'))} "
        f"--lora {config['lora_file']}{_base_flag(config)} --out sound.wav\n```",
        *([_slider(config)] if "slider" in config else []),
        f"## Licence\n\n{_licence(config)}",
        f"## What it was trained on\n\n{_data(report)}",
        f"## Settings\n\n{_settings(config)}",
        f"## What was learnt\n\n{_verdict(fit)}",
    ]
    if options.validation_prompts:
        parts.append(f"## Previews\n\n{_previews(config, options)}")
    return "\n\n".join(parts) + "\n"


def where_it_loads(config: Mapping[str, Any]) -> str:
    """Return a sentence on the programs that can use the LoRA, which depends on its base."""
    if config["base"] == NANO:
        return (
            "This file belongs to nano, soundlora's own small base. It does not fit LTX, so ComfyUI and diffusers "
            "can't use it: generate with soundlora, or train the same clips on LTX."
        )
    return (
        f"In ComfyUI, put the file into models/loras and load it behind LTX {config['generation']} with the node Load "
        "LoRA (Model only)."
    )


def _own_form(config: Mapping[str, Any]) -> str:
    """Return sentences on the file in the adapter's own form, and on what the plain LoRA has of it."""
    title = TITLES[config["adapter"]]
    return f"{title}: {_code(config['own_file'])} is what was trained. {config['plain']['words']}"


def _front_matter(config: Mapping[str, Any], trigger: str) -> str:
    """Return the lines between two rows of dashes. Texts stand there as JSON has them, which YAML reads too."""
    base, nano = public_base(config), config["base"] == NANO
    fields: dict[str, Any] = {
        "license": "apache-2.0" if nano else "other",
        **({} if nano else {"license_name": "ltx-2-community-license-agreement"}),
        **({"base_model": base, "base_model_relation": "adapter"} if is_hub_name(base) else {}),
        "pipeline_tag": "text-to-audio",
        "tags": ["lora", "audio", "soundlora", "nano" if nano else f"ltx-{config['generation']}"],
        **({"instance_prompt": trigger} if trigger else {}),
    }
    lines = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
    return "\n".join(["---", *lines, "---"])


def _base_title(config: Mapping[str, Any]) -> str:
    base = public_base(config)
    return "nano" if base == NANO else f"LTX {config['generation']} ({_plain(base)})"


def _base_flag(config: Mapping[str, Any]) -> str:
    return "" if config["base"] == NANO else f" --base {shlex.quote(public_base(config))}"


def _slider(config: Mapping[str, Any]) -> str:
    low, high = (_plain(config["slider"][end]) for end in ("from", "to"))
    return (
        f"It is a slider. A strength of -1, as in {_code('--lora ' + config['lora_file'] + ':-1')}, leads to *{low}*, "
        f"1 to *{high}*, and 0 is the base alone. Each preview has -1 first, then 1."
    )


def _licence(config: Mapping[str, Any]) -> str:
    if config["base"] == NANO:
        return "nano is under Apache-2.0, and so is this LoRA, unless whoever made it says otherwise."
    return (
        f"A LoRA is a derivative of its base, and this one is under the {licence_of(config)}. The copy that came with "
        "the base's weights is the one that counts; it goes along with this file when it is shared."
    )


def _data(report: DatasetReport) -> str:
    captions = Counter(_source(clip) for clip in report.kept)
    said = ", ".join(f"{_plain(source)} ({count})" for source, count in sorted(captions.items()))
    clips = len(report.kept)
    if clips and not report.source:
        prompt = _plain(report.kept[0].caption) or "the empty prompt"
        return f"No recordings: {clips} sounds that the base made of *{prompt}*, {report.duration:g} s of each."
    return (
        f"{clips} {'clip' if clips == 1 else 'clips'}, {report.total_seconds:.1f} s of sound in all, "
        f"{report.duration:g} s of each at most. Captions came from: {said}."
    )


def _source(clip: ClipReport) -> str:
    """Say what kind of thing a caption comes from, without the name of a file."""
    source = clip.caption_source
    if not source:
        return "nothing but the trigger phrase" if clip.caption else "nothing"
    ending = PurePath(source).suffix.lower()
    return "text files" if ending in (".txt", ".lab") else "a table" if ending in _TABLES else source


def _settings(config: Mapping[str, Any]) -> str:
    rows = {
        "mode": next(name for name, mode in MODES.items() if config["training_type"] in mode.endpoints),
        **({"adapter": TITLES[config["adapter"]]} if "adapter" in config else {}),
        "rank": config["rank"],
        "steps": _steps(config),
        "learning rate": f"{config['learning_rate']:g}",
        "clips a step": config["batch_size"],
        "seconds of a clip": f"{config['audio_duration_seconds']:g}",
        "modules": ", ".join(config["target_modules"]),
        "seed": config["seed"],
        **({"began with": config["init_lora"]["name"]} if config["init_lora"] else {}),
    }
    return "\n".join(["| setting | value |", "|---|---|", *(f"| {name} | {_plain(rows[name])} |" for name in rows)])


def _steps(config: Mapping[str, Any]) -> str:
    """Return the number of steps, with those that a shorter run was left after, or that were asked for and not done."""
    stretches = [f"{stretch['step']} steps" for stretch in config.get("lengthened", ())]
    said = ", then ".join([*stretches, str(config["number_of_steps"])])
    return f"{said}, of {config['asked_steps']} that were asked for" if "asked_steps" in config else said


def _verdict(fit: Fit) -> str:
    if fit.base_loss is None or fit.final_loss is None:
        return "No clip was kept out of the training, so there is no telling how well it fits other sound of the kind."
    said = (
        f"{fit.verdict.capitalize()}: the loss on clips kept out of the training is {fit.final_loss:.3f} with the LoRA "
        f"and {fit.base_loss:.3f} without it."
    )
    if fit.distance is not None and fit.start_distance is not None:
        said += (
            f" Generated sound lies {fit.distance:.2f} from the clips in latent statistics; before the "
            f"first step it was {fit.start_distance:.2f}."
        )
    return f"{said}\n\n{_heard(fit)}" if fit.heard else said


def _heard(fit: Fit) -> str:
    def shown(estimate: Estimate | None) -> str:
        if estimate is None:
            return "–"
        return f"{estimate.value:.3g}" + ("" if estimate.interval is None else f" ± {estimate.interval:.2g}")

    def cells(row: Heard) -> str:
        name = f"{row.name}, {row.unit}" if row.unit else row.name
        return f"| {name} | {shown(row.clips)} | {shown(row.start)} | {shown(row.lora)} |"

    return "\n".join(
        ["| heard | clips | before | LoRA |", "|---|---|---|---|", *map(cells, fit.heard), "", fit.heard_of]
    )


def _previews(config: Mapping[str, Any], options: TrainingOptions) -> str:
    steps = config["number_of_steps"]
    return "\n".join(
        f"- [{_plain(prompt) or 'the empty prompt'}](previews/step_{steps:06d}_prompt_{number}.wav)"
        for number, prompt in enumerate(options.validation_prompts or ())
    )


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _plain(text: object) -> str:
    """Return a text as Markdown shows it, whatever it holds."""
    return _MARKS.sub(r"\\\1", _one_line(text))


def _code(text: str) -> str:
    text = _one_line(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"
