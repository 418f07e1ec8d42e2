"""soundlora base fetch | list | verify | check: the bases and text encoders that are here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from soundlora.errors import InputError

app = typer.Typer(help="Fetch base models, and see what is here of them.", no_args_is_help=True, rich_markup_mode=None)

EncoderName = Annotated[
    str | None, typer.Option("--text-encoder", help="owner/name of the Gemma 3 on the hub to fetch too.")
]


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="owner/name on the hub, s3://bucket/folder, or a .safetensors file's URL.")
    ],
    text_encoder: EncoderName = None,
) -> None:
    """Fetch the audio half of an LTX checkpoint into the cache. What is on this machine is not fetched again."""
    from soundlora.cli.console import FetchDisplay
    from soundlora.net.addresses import is_bucket, is_url
    from soundlora.weights.fetch import fetch_base, fetch_text_encoder
    from soundlora.weights.fetched import fetched, gigabytes, is_hub_name

    # Both names are checked before gigabytes are fetched.
    if not (is_hub_name(name) or is_url(name) or is_bucket(name)):
        raise InputError(
            f"{name!r} can't be fetched; give owner/name on the hub such as Lightricks/LTX-2.5, s3://bucket/folder, or "
            "a URL."
        )
    if text_encoder is not None and not is_hub_name(text_encoder):
        raise InputError(f"{text_encoder!r} can't be fetched; give owner/name of a Gemma 3 on the hub.")
    with FetchDisplay(name) as display:
        path = fetch_base(name, display)
    entry = fetched(name, "base")
    if len(entry.files) > 1 or path.is_dir():
        print(f"{entry.folder}: {gigabytes(entry.on_disk)}")
    else:
        print(f"{path}: {gigabytes(path.stat().st_size)}")
    if text_encoder is not None:
        with FetchDisplay(text_encoder) as display:
            folder = fetch_text_encoder(text_encoder, display)
        print(f"{folder}: {gigabytes(fetched(text_encoder, 'text encoder').on_disk)}")


@app.command("list")
def list_() -> None:
    """Say what the cache holds, whole or in part, and which files of a base other programs have."""
    from soundlora.system.cache_root import default_root
    from soundlora.weights.components import elsewhere
    from soundlora.weights.fetched import all_fetched, gigabytes
    from soundlora.weights.generations import SUPPORTED

    entries = list(all_fetched())
    if not entries:
        print(f"Nothing has been fetched into {default_root()}; nano comes with soundlora.")
    for entry in entries:
        state = f"complete, {gigabytes(entry.size)}"
        if not entry.complete:
            state = f"partial, {gigabytes(entry.on_disk)} of {gigabytes(entry.size) if entry.size else 'unknown size'}"
        print(f"{entry.name}  {entry.kind}  {state}\n    {entry.folder}")
    for generation in SUPPORTED:
        for path in elsewhere(generation):
            print(f"{generation.repository}  base  {gigabytes(path.stat().st_size)} that another program keeps")
            print(f"    {path}")


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help="What --base or --text-encoder takes, and is on this machine.")],
    full: Annotated[bool, typer.Option("--full", help="Read every weight, not a sample of each tensor.")] = False,
) -> None:
    """Check that every tensor is there and holds numbers, and print the hash that tells bases apart."""
    from soundlora.weights import verify as checks

    found = checks.verify(name, full)
    share = "all weights" if full else "the first 4 KiB of each"
    print(f"{found.path}: all {found.tensors} tensors are there; {share} were read, no NaN or infinity in them")
    print(f"SHA-256 {found.fingerprint}")


@app.command()
def check(
    base: Annotated[str, typer.Argument(help="What --base of train takes.")],
    text_encoder: Annotated[
        Path | None, typer.Option("--text-encoder", help="What --text-encoder of train takes.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cuda, xpu, mps or cpu; the best one by default.")
    ] = None,
    quantize: Annotated[str | None, typer.Option("--quantize", help="int8, fp8 or bf16, as train takes it.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A file for the report, JSON without paths or names.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Listen whether a base sounds as it should; exits with 1 when something looks wrong. It takes a few minutes."""
    from soundlora.cli.output import print_json
    from soundlora.pipeline.base_check import check_base
    from soundlora.pipeline.base_measures import Line
    from soundlora.system.devices import device_of
    from soundlora.system.gpu_memory import shortage_told
    from soundlora.system.whole_files import write_whole
    from soundlora.weights.base import open_base

    def show(line: Line) -> None:
        word = {True: "fine", False: "WRONG", None: "not measured"}[line.fine]
        value = "" if line.value is None else f"{line.value:.3g}"
        print(f"{word:12}  {line.measure:20}  {value:>9}  {line.bound:28}  {line.sentence}", flush=True)

    # What is wrong with the flags is said before minutes have passed.
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise InputError(f"{out} can't be written to; name a file in a folder that is there with --out.")
    with shortage_told("A check takes about the memory of a training without its gradients."):
        used = device_of(device)
        opened = open_base(base, text_encoder)
        report = check_base(opened, used, quantization=quantize, on_line=None if as_json else show)
    if as_json:
        print_json(report.as_json())
    if out is not None:
        write_whole(out, (json.dumps(report.as_json(), indent=2) + "\n").encode())
    if not report.fine:
        wrong = ", ".join(line.measure for line in report.lines if line.fine is False)
        if not as_json:
            print(f"Something looks wrong with this base: {wrong}.")
        raise typer.Exit(1)
    if not as_json:
        print("This base sounds as it should.")
