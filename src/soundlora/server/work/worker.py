"""A worker takes requests from their claim to their result: `python -m soundlora.server.work.worker REQUEST OWNER`.

An executor starts it. Without arguments it does one request after another: each is a line on its standard input, of
REQUEST, OWNER and `shared` or `alone`, and each is answered by a line on its standard output.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable

import sqlalchemy as sa

from soundlora.errors import InputError, Interrupted
from soundlora.net.storage import Storage
from soundlora.pipeline.endpoint_words import endpoint_words
from soundlora.server.endpoints import endpoints, unit_prices
from soundlora.server.settings import Settings
from soundlora.server.store.beats import LostLeaseError, lease_lost
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.finish import Outcome, cancelled
from soundlora.server.store.requests import Requests
from soundlora.server.work.generation import GenerationJob
from soundlora.server.work.job import Job, NotStoredError, Work
from soundlora.server.work.machine import Keeper, Machine, NoRoomError
from soundlora.server.work.outcomes import machine_fault, outcome_of, timed_out
from soundlora.server.work.own_log import log_to
from soundlora.server.work.process import DONE, FULL, LAST, SETTINGS_VARIABLE
from soundlora.server.work.pulse import Pulse
from soundlora.server.work.training import TrainingJob
from soundlora.server.work.turn import Turn
from soundlora.system.interrupts import heed_interrupts, heeded_again, ignore_interrupts, termination_interrupts
from soundlora.wording import wording

_WORK: dict[str, Callable[[Job], Work]] = {"training": TrainingJob, "generation": GenerationJob}
"""The work by the name that the endpoint gives it."""

_PATIENCE_SECONDS = 3600.0
"""A finished result waits this long for a database that can't be reached."""
_FULL_SECONDS = 60.0
"""The time between a run that a full disk has ended and the next attempt."""


def main() -> None:
    heed_interrupts()
    settings = Settings.from_json(os.environ[SETTINGS_VARIABLE])
    if sys.argv[1:]:
        request_id, owner = sys.argv[1:]
        _do(request_id, owner, settings, Machine(Turn.of_environment()))
    else:
        _serve(settings)


def _serve(settings: Settings) -> None:
    """Do the requests that come on the standard input, until it ends.

    The process ends, too, after a failure that no client can mend: one that starts anew may fare better.
    """
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        keeper, turn = Keeper(), Turn.of_environment()
        for line in sys.stdin:
            request_id, owner, shared = line.split()
            log_to(settings.runs / request_id)
            machine = Machine(turn, keeper, shared=shared == "shared")
            with heeded_again():
                answer = _do(request_id, owner, settings, machine)
            print(answer, file=answers, flush=True)
            if answer == LAST:
                return


def _do(request_id: str, owner: str, settings: Settings, machine: Machine) -> str:
    """Do the request. Return DONE, FULL, or LAST when this process had better end."""
    try:
        # A terminated worker stops like an interrupted one, between two steps and with a checkpoint.
        with termination_interrupts(), wording(endpoint_words):
            return work(request_id, owner, settings, machine, attached=True)
    except LostLeaseError as error:
        print(error, file=sys.stderr)
        return LAST


def work(
    request_id: str, owner: str, settings: Settings, machine: Machine | None = None, *, attached: bool = False
) -> str:
    """Run the request and write its result, or give it back. Return DONE, FULL, or LAST after a failure.

    With `attached` the worker ends when its standard input does, because whoever started it has gone then. Raises
    LostLeaseError when the request belongs to another worker or has ended.
    """
    database = Database(settings.database)
    requests = Requests(database, unit_prices(settings))
    request = requests.find(request_id)
    if request is None or request.owner != owner:
        raise lease_lost(request_id)
    files = Files(database, Storage(settings.storage))
    job = Job(request, settings, files, machine)
    interrupted = full = False
    outcome: Outcome | None = None
    reason, lost = "The worker was stopped; the run goes on from its last checkpoint", False
    pulse = Pulse(
        requests,
        request_id,
        owner,
        max_seconds=settings.max_run_seconds,
        lease_seconds=settings.lease_seconds,
        watch=job.watch,
        attached=attached,
    )
    with pulse:
        job.pulse = pulse
        try:
            outcome = job.run(work_of)
        except (KeyboardInterrupt, Interrupted):
            interrupted = True
        except NoRoomError as error:
            reason, full = str(error), True
        except NotStoredError as error:
            reason = f"The results are finished but could not be stored; another worker will do it ({error})"
        except Exception as error:
            interrupted = pulse.reason is not None  # The interrupt was on its way when the error came.
            fault = machine_fault(error)
            if not interrupted:
                traceback.print_exc()  # Whoever runs the machine needs the whole story.
            if not interrupted and fault is not None and fault.lack == "processes":
                # The others end with this one, and the next worker goes on from the state that was kept.
                reason, lost = fault.public, True
            elif not interrupted and fault is not None and fault.lack == "disk":
                # A run that needs more room than there is would fill the disk for ever, so the attempt counts.
                reason, lost = fault.public, True
                interrupted = not _wait_for_room()
            elif not interrupted:
                error.args = tuple(job.public(part) if isinstance(part, str) else part for part in error.args)
                outcome = outcome_of(error, request.input)
                pulse.log(outcome.error or str(error), "ERROR")
        # A late interrupt must not take the result away.
        ignore_interrupts()
        if outcome is None and interrupted and pulse.reason == "cancelled":
            outcome = cancelled()
        elif outcome is None and interrupted and pulse.reason == "timeout":
            outcome = timed_out(settings.max_run_seconds)
        job.publish_rest()
    if pulse.reason != "lost":
        with contextlib.suppress(sa.exc.SQLAlchemyError):  # The result matters more than a line of the log.
            _until_written(pulse.tell_the_rest)
    if outcome is not None:
        final = outcome
        _until_written(lambda: requests.finish(request_id, owner, final))
        job.clean_up(final)
    elif pulse.reason != "lost":
        _until_written(lambda: requests.release(request_id, owner, lost=lost, reason=reason))
    database.close()
    if full:
        return FULL
    return DONE if pulse.reason in (None, "cancelled") and outcome is not None and outcome.status_code < 500 else LAST


def work_of(job: Job) -> Work:
    """Return the work that the endpoint of a request asks for.

    Raises InputError for an unknown endpoint, and ValidationError for an input that an earlier version accepted and
    this one does not.
    """
    offered = endpoints(job.settings)
    endpoint = offered.get(job.request.endpoint)
    if endpoint is None:
        raise InputError(
            f"This server has no endpoint {job.request.endpoint!r}; send the request to one of {', '.join(offered)}."
        )
    endpoint.input.model_validate(job.input)
    return _WORK[endpoint.work](job)


def _wait_for_room() -> bool:
    """Wait while somebody may make room on the disk. Return False when interrupted."""
    try:
        time.sleep(_FULL_SECONDS)
    except KeyboardInterrupt:
        return False
    return True


def _until_written(write: Callable[[], None]) -> None:
    """Repeat `write` while the database is locked or away, because that must not cost a finished run.

    Raises the database's error after an hour.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    pause = 0.2
    while True:
        try:
            return write()
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(pause)
            pause = min(pause * 2, 15.0)


if __name__ == "__main__":
    main()
