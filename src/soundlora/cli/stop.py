"""soundlora stop: end a training and keep what it has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def stop(run: Annotated[Path, typer.Argument(help="The run folder of the training.")]) -> None:
    """End a training after its present step, with the LoRA of the steps done, its previews and its verdict.

    Ctrl-C keeps the state alone. A training that was ended so has its LoRA called by run and steps.
    """
    from soundlora.pipeline.stopping import ask_to_stop, kept_of

    if ask_to_stop(run):
        print(f"The training in {run} ends after its present step, and writes its LoRA, previews and verdict.")
        return
    lora, step = kept_of(run)
    print(f"No process trains in {run}. What it had learnt after step {step} is the LoRA {lora}.")
    print("The command that began it goes on from there with --resume.")
