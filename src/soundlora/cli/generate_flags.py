"""The flags that `soundlora generate` and `soundlora grid` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundlora.pipeline.options import SETTINGS

_LORA_HELP = (
    "A LoRA file, or FILE:0.7 with its strength. FILE:0.7,text=0.5,ff=0 has shares of it for self (self-attention), "
    "text (attention to the text) and ff (feed-forward); FILE@0-0.5 works in the first half of the sampling steps. "
    "Several add up."
)
DurationOption = Annotated[
    float | None, typer.Option(help="Seconds. [default: what the base predicts from the prompt, or 5]")
]
NegativePromptOption = Annotated[str | None, typer.Option(help="What to move away from.")]
LoraOption = Annotated[list[str] | None, typer.Option(metavar="FILE[:STRENGTH]", help=_LORA_HELP)]
ForceOption = Annotated[bool, typer.Option("--force", help="Take a LoRA of another generation of LTX all the same.")]
StepsOption = Annotated[int | None, typer.Option(help="Sampling steps. [default: the base's]")]
CfgOption = Annotated[float | None, typer.Option(help="Classifier-free guidance. [default: the base's]")]
StgOption = Annotated[float | None, typer.Option(help="Spatio-temporal guidance. [default: the base's]")]
ContinueOption = Annotated[Path | None, typer.Option("--continue", help="Go on from the end of this sound.")]
LeadIntoOption = Annotated[Path | None, typer.Option(help="Lead into the start of this sound.")]
MendOption = Annotated[Path | None, typer.Option(help="Make --spans of this sound anew.")]
FromOption = Annotated[Path | None, typer.Option("--from", help="Make another sound of this one.")]
SpansOption = Annotated[str | None, typer.Option(help="Seconds to make anew, such as 1.0-2.0,3.5-4.")]
HeardOption = Annotated[
    float | None, typer.Option(help="Seconds of the sound that are heard, to go on or to lead in. [default: 1]")
]
AddedOption = Annotated[
    float | None, typer.Option("--for", help="Seconds to add in all, window after window. [default: one window]")
]
DecodedOption = Annotated[
    bool, typer.Option("--decoded", help="Kept parts come back as the model holds them, not as they were.")
]
BaseOption = Annotated[str, typer.Option(help=SETTINGS["base"].help)]
EncoderOption = Annotated[
    Path | None,
    typer.Option(help=f"{SETTINGS['text_encoder'].help} [default: {SETTINGS['text_encoder'].unset}]"),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(help=f"{SETTINGS['device'].help} [default: {SETTINGS['device'].unset}]"),
]
