"""soundlora base fetch | list | verify: the bases and text encoders in the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from soundlora.errors import InputError

app = typer.Typer(help="Fetch base models, and see what is here of them.", no_args_is_help=True, rich_markup_mode=None)

EncoderName = Annotated[
    str | None, typer.Option("--text-encoder", help="owner/name of the Gemma 3 on the hub to fetch too.")
]


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="owner/name on the hub, or the URL of a .safetensors file.")],
    text_encoder: EncoderName = None,
) -> None:
    """Fetch the audio half of an LTX checkpoint into the cache. What is on this machine is not fetched again."""
    from soundlora.cli.console import FetchDisplay
    from soundlora.net.addresses import is_url
    from soundlora.weights.fetch import fetch_base, fetch_text_encoder
    from soundlora.weights.fetched import fetched, gigabytes, is_hub_name

    # Both names are checked before gigabytes are fetched.
    if not (is_hub_name(name) or is_url(name)):
        raise InputError(f"{name!r} can't be fetched; give owner/name on the hub such as Lightricks/LTX-2.5, or a URL.")
    if text_encoder is not None and not is_hub_name(text_encoder):
        raise InputError(f"{text_encoder!r} can't be fetched; give owner/name of a Gemma 3 on the hub.")
    with FetchDisplay(name) as display:
        path = fetch_base(name, display)
    entry = fetched(name, "base")
    if len(entry.files) > 1:
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
