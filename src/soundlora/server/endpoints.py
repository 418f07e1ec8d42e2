"""The server offers these endpoints, with their inputs, outputs and prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, Field, create_model

from soundlora.contract.fields import WholeNumber
from soundlora.contract.generation import GenerationRequest, GenerationResult
from soundlora.contract.modes import MODES, Mode
from soundlora.contract.training import TrainingResult, billable_units
from soundlora.errors import InputError
from soundlora.net.addresses import is_bucket
from soundlora.pipeline.inputs import TRAINING_INPUTS
from soundlora.server.settings import Settings
from soundlora.system.cache_root import expanded

TRAINERS = "fal-ai/ltx23-trainer-v2"
TRAINING = f"{TRAINERS}/t2a"
GENERATION = "fal-ai/ltx-2.3-quality/text-to-audio"
GENERATION_WITH_LORA = "fal-ai/ltx-2.3-quality/text-to-audio/lora"

_SUMMARY_CHARACTERS = 1000


@dataclass(frozen=True)
class Endpoint:
    """One endpoint. `units(request, succeeded)` are billed at `unit_price` dollars each.

    `work` names what a worker does for its requests. `summary` makes the text that a search through the history looks
    at, from the input as it was sent. `mode` is what a training learns.
    """

    id: str
    title: str
    category: str
    work: Literal["training", "generation"]
    input: type[BaseModel]
    output: type[BaseModel]
    unit: str
    unit_price: float
    units: Callable[[Any, bool], int]
    summary: Callable[[Any], str]
    mode: str = "t2a"

    @property
    def app(self) -> str:
        """The owner and the alias, by which alone both official clients ask for requests."""
        return "/".join(self.id.split("/")[:2])


def base_of(settings: Settings, payload: Any) -> tuple[str, str | None]:
    """Return the base that a request is done on, and its text encoder; None lets the base find its own."""
    named = payload.get("base") if isinstance(payload, dict) else None
    if named in settings.allowed_bases and named != settings.base:
        return str(named), None
    return settings.base, settings.text_encoder or None


def _with_base(input_: type[BaseModel], settings: Settings) -> type[BaseModel]:
    """Return the input with a field of our own for the base, where the operator allows more than one."""
    if not settings.allowed_bases:
        return input_
    # The server's own folders are not for clients, unless the operator names them.
    hidden = expanded(settings.base).is_absolute() or is_bucket(settings.base)
    own = () if hidden else (settings.base,)
    named = tuple(dict.fromkeys((*own, *settings.allowed_bases)))
    field = Field(None, description="The base model; null is the server's own.")
    choice: Any = Literal[*named] | None
    return create_model(input_.__name__, __base__=input_, __doc__=input_.__doc__, base=(choice, field))


def _with_gpus(input_: type[BaseModel], settings: Settings) -> type[BaseModel]:
    """Return the input of a training with a field of our own for its GPUs, where the operator allows several.

    The queue says how many they may be: other machines may do a request that was accepted, whatever they allow.
    """
    if settings.max_gpus == 1:
        return input_
    said = "GPUs of one machine that share the training. Each step takes as many clips. Our own field."
    field: Any = Field(1, ge=1, description=said)
    return create_model(input_.__name__, __base__=input_, __doc__=input_.__doc__, gpus=(WholeNumber, field))


def endpoints(settings: Settings) -> dict[str, Endpoint]:
    """Return all endpoints by id."""

    def generation(id: str, title: str) -> Endpoint:
        return Endpoint(
            id=id,
            title=title,
            category="text-to-audio",
            work="generation",
            input=_with_base(GenerationRequest, settings),
            output=GenerationResult,
            unit="sound",
            unit_price=0.0,
            units=lambda request, succeeded: 0,
            summary=_generation_summary,
        )

    def training(mode: Mode, name: str) -> Endpoint:
        given = settings.price_per_step
        return Endpoint(
            id=f"{TRAINERS}/{name}",
            title=f"LTX 2.3 {mode.title.replace(' ', '-')} LoRA trainer",
            category="training",
            work="training",
            input=_with_gpus(_with_base(TRAINING_INPUTS[mode.name], settings), settings),
            output=TrainingResult,
            unit="step",
            unit_price=mode.price_per_step if given is None else given,
            units=lambda request, succeeded: billable_units(request.number_of_steps, succeeded=succeeded),
            summary=_training_summary,
            mode=mode.name,
        )

    offered = (
        *(training(mode, name) for mode in MODES.values() for name in mode.endpoints),
        generation(GENERATION, "LTX 2.3 text to audio"),
        generation(GENERATION_WITH_LORA, "LTX 2.3 text to audio with LoRAs"),
    )
    return {endpoint.id: endpoint for endpoint in offered}


def taken(settings: Settings) -> tuple[str, ...]:
    """Return the ids of the endpoints whose requests are done here, none where no endpoint is left out.

    Raises InputError for one that does not exist.
    """
    offered = endpoints(settings)
    found: list[str] = []
    for name in settings.endpoints:
        named = [id for id, endpoint in offered.items() if name in (id, endpoint.work)]
        if not named:
            raise InputError(
                f"There is no endpoint {name!r}; give training, generation, or one of {', '.join(offered)}."
            )
        found += named
    return tuple(dict.fromkeys(found))


def unit_prices(settings: Settings) -> dict[str, int]:
    """Return the price of a unit of each endpoint in billionths of a dollar, as the ledger counts."""
    return {endpoint.id: round(endpoint.unit_price * 1e9) for endpoint in endpoints(settings).values()}


def _training_summary(payload: Any) -> str:
    prompts = _texts(payload, "validation", "prompt")
    url = _text(payload, "training_data_url")
    # People look for a file by its name as it is shown.
    name = unquote(url).rpartition("/")[2]
    return _joined(_text(payload, "trigger_phrase"), *prompts, url, "" if name in url else name)


def _generation_summary(payload: Any) -> str:
    return _joined(_text(payload, "prompt"), *_texts(payload, "loras", "path"))


def _text(payload: Any, name: str) -> str:
    """Return a field if it is text, else "". A data: URI becomes "", too, because it says nothing to a reader."""
    value = payload.get(name) if isinstance(payload, dict) else None
    return value if isinstance(value, str) and not value.startswith("data:") else ""


def _texts(payload: Any, list_name: str, name: str) -> list[str]:
    entries = payload.get(list_name) if isinstance(payload, dict) else None
    return [_text(entry, name) for entry in entries[:10]] if isinstance(entries, list) else []


def _joined(*parts: str) -> str:
    """Join the parts to one line that every database takes: without NUL and lone surrogates."""
    text = " ".join(part for part in parts if part)[:_SUMMARY_CHARACTERS]
    return text.encode(errors="replace").decode().replace("\0", "")
