"""Every request enters the queue through one function: a submit as well as a run that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import uuid
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from soundlora.contract.fields import WholeNumber
from soundlora.contract.training import billable_units
from soundlora.errors import InputError
from soundlora.pipeline.lengthen import make_longer
from soundlora.server.endpoints import Endpoint
from soundlora.server.http.auth import Caller
from soundlora.server.http.errors import Refusal
from soundlora.server.http.run_view import steps_done
from soundlora.server.http.state import Service
from soundlora.server.http.submission import Wishes
from soundlora.server.store import listing
from soundlora.server.store.finish import Outcome
from soundlora.server.store.limits import Taken, limits_of, taken
from soundlora.server.store.requests import PRIORITIES
from soundlora.server.store.requests import Request as QueuedRequest
from soundlora.server.work.outcomes import outcome_of, rejected

_GPUS: TypeAdapter[int] = TypeAdapter(Annotated[WholeNumber, Field(ge=1)])
_RETRY_LATER = {"Retry-After": "5", "X-Fal-Needs-Retry": "1", "X-Fal-Retryable": "true"}


async def enqueue(
    service: Service,
    endpoint: Endpoint,
    payload: Any,
    asker: Caller,
    wishes: Wishes,
    *,
    goes_on: QueuedRequest | None = None,
    longer: int | None = None,
    stop_asked: bool = False,
) -> tuple[QueuedRequest, int]:
    """Return the accepted request and how many wait before it. A request with wrong input has already ended with 422.

    `goes_on` is the run that the new request continues. Its folder here and its state in the storage move to the new
    request, unless that ends at once.
    `longer`: that run has finished, and the new one has so many steps; its own folder goes on from the other's last
    state. `stop_asked`: the new request is to end the run with what it has learnt.
    Raises Refusal 429 when a limit is reached, 403 when the budget is, and FileNotFoundError when nothing of `goes_on`
    is left.
    """
    accepted, ahead = await asyncio.to_thread(
        _join, service, endpoint, payload, asker, wishes, goes_on, longer, stop_asked
    )
    service.status_cache.changed(accepted.id)
    if accepted.state == "queued":
        service.wake()
    return accepted, ahead


def wishes_of(first: QueuedRequest) -> Wishes:
    """Return the wishes of a request for the one that goes on with its run.

    The deadline is left out: the run had to begin by then, and it did.
    """
    return Wishes(
        base_url=first.base_url,
        webhook_url=first.webhook_url,
        priority=next(name for name, number in PRIORITIES.items() if number == first.priority),
        max_queue_length=None,
        start_seconds=None,
        no_retry=first.no_retry,
        keep_payloads=first.keep_payloads,
        file_seconds=first.file_seconds,
    )


def _join(
    service: Service,
    endpoint: Endpoint,
    payload: Any,
    asker: Caller,
    wishes: Wishes,
    goes_on: QueuedRequest | None,
    longer: int | None,
    stop_asked: bool,
) -> tuple[QueuedRequest, int]:
    outcome: Outcome | None = None
    units, gpus = 0, 1
    try:
        asked = endpoint.input.model_validate(payload)
    except ValidationError as error:
        outcome = rejected(error)
    else:
        units = _units(service, endpoint, asked, goes_on, longer, stop_asked)
        try:
            wanted = _gpus(endpoint, asked, payload, service.settings.max_gpus)
        except InputError as error:
            outcome = outcome_of(error, payload)
        else:
            # A run that is to end with what it has takes no step.
            gpus = 1 if stop_asked else wanted
    request_id = str(uuid.uuid4())
    folder: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if goes_on is not None and outcome is None:
        if longer is None:
            folder = _passed_on(service, goes_on.id, request_id)
        else:
            folder = _longer(service, goes_on.id, request_id, longer)
    with service.submitting:
        if outcome is None:
            _keep_limits(service, endpoint, asker, wishes, units)
        # A worker may take the request as soon as it is written, so the folder comes first.
        with folder:
            accepted = service.requests.submit(
                endpoint.id,
                payload,
                id=request_id,
                key_id=asker.key_id,
                summary=endpoint.summary(payload),
                priority=wishes.priority,
                webhook_url=wishes.webhook_url,
                base_url=wishes.base_url,
                start_seconds=wishes.start_seconds,
                no_retry=wishes.no_retry,
                keep_payloads=wishes.keep_payloads,
                file_seconds=wishes.file_seconds,
                asked_units=units,
                gpus=gpus,
                outcome=outcome,
                stop_asked=stop_asked,
                # The data of a training is fetched and checked before it takes a slot.
                prepared=endpoint.work != "training",
            )
    return accepted, service.requests.ahead(accepted.id) if outcome is None else 0


def _gpus(endpoint: Endpoint, asked: Any, payload: Any, most: int) -> int:
    """Return how many GPUs a training asks for. Raises InputError for more than this server gives to one.

    What is sent where the field is not offered is no unknown field, for a run would not be what its client thinks.
    """
    if endpoint.work != "training":
        return 1
    wanted = getattr(asked, "gpus", None)
    if wanted is None:
        sent = payload.get("gpus")
        try:
            wanted = 1 if sent is None else _GPUS.validate_python(sent)
        except ValidationError:
            sentence = f"gpus is {str(sent)[:40]}, but it must be a whole number from 1 to {most}."
            raise InputError(sentence, field="gpus") from None
    if wanted > most:
        at_most = "only one" if most == 1 else f"at most {most}"
        sentence = f"The training asks for {wanted} GPUs, but this server gives {at_most} to a run; ask for fewer."
        raise InputError(sentence, field="gpus")
    return int(wanted)


def _units(
    service: Service,
    endpoint: Endpoint,
    asked: Any,
    goes_on: QueuedRequest | None,
    longer: int | None,
    stop_asked: bool,
) -> int:
    """Return the units that the request is billed for if it succeeds."""
    if stop_asked:
        return 0
    if goes_on is not None and longer is not None:
        return billable_units(longer - (steps_done(service, goes_on) or 0), succeeded=True)
    return endpoint.units(asked, True)


@contextlib.contextmanager
def _passed_on(service: Service, old_id: str, new_id: str) -> Iterator[None]:
    """Give what is left of a run to another request, and take it back when the block fails.

    Any machine may take the new request, so the state in the storage is passed on beside the folder on this machine.
    Raises FileNotFoundError when neither exists.
    """
    found = service.run_states.newest(old_id)
    here = (service.settings.runs / old_id).exists()
    with contextlib.ExitStack() as both:
        if here or not (found and found[0]):
            both.enter_context(listing.passed_on(service.settings, old_id, new_id))
        if found and found[0]:
            both.enter_context(service.run_states.passed_on(old_id, new_id))
        yield


@contextlib.contextmanager
def _longer(service: Service, finished_id: str, new_id: str, steps: int) -> Iterator[None]:
    """Make what a run of `steps` steps goes on from, of a finished one, and remove it when the block fails.

    It is a folder on this machine, a state in the storage, or both. Raises FileNotFoundError when neither of the
    finished run exists.
    """
    found = service.run_states.newest(finished_id)
    there = found is not None and found[1]
    finished, made = service.settings.runs / finished_id / "run", service.settings.runs / new_id
    try:
        with service.run_states.longer(finished_id, new_id, steps) if there else contextlib.nullcontext():
            if finished.exists() or not there:
                made.mkdir(parents=True)
                make_longer(finished, made / "run", steps)
            yield
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _keep_limits(service: Service, endpoint: Endpoint, asker: Caller, wishes: Wishes, units: int) -> None:
    """Raise Refusal 429 when a limit is reached, and 403 when the budget is.

    Clients try again after a 429, because it passes by itself. The hosted service says 403 of an account without money.
    """
    requests, settings = service.requests, service.settings
    if wishes.max_queue_length is not None:
        waiting = requests.count_queued(endpoint=endpoint.id)
        if waiting > wishes.max_queue_length:
            raise _full(f"{waiting} requests wait, more than the {wishes.max_queue_length} of fal_max_queue_length.")
    if settings.max_queue and requests.count_queued() >= settings.max_queue:
        raise _full(f"The queue is full: {settings.max_queue} requests wait.")
    limits = limits_of(asker.key, settings)
    most = limits.max_waiting
    if most and requests.count_queued(key_id=asker.key_id) >= most:
        raise _full(f"{most} requests of this key wait already, which is its limit.")
    if limits.budget and units:
        now = taken(service.database, asker.key_id)
        if now.units + now.asked_units + units > limits.budget:
            raise Refusal(403, "exhausted_balance", _exhausted(limits.budget, now, units))


def _exhausted(budget: int, now: Taken, units: int) -> str:
    """Return the sentence for a request beyond the budget. It begins as that of the hosted service."""
    return (
        f"User is locked. Reason: Exhausted balance. This key may use {budget} units a month; {now.units} are used, "
        f"{now.asked_units} belong to requests that wait or run, and this one asks for {units}. Ask for less, wait for "
        "the next month (UTC), or let the operator raise the budget with soundlora keys set."
    )


def _full(sentence: str) -> Refusal:
    return Refusal(429, "concurrent_requests_limit", sentence, _RETRY_LATER)
