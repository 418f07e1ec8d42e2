"""A preparer fetches and checks the data of trainings: `python -m soundlora.server.work.preparer TOKEN`.

It takes one request after the other while any waits, and ends after some idle seconds. It loads no torch. Each line on
its standard output says that a request may begin. A refusal is the one that the training would have come to.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import TextIO

import sqlalchemy as sa

from soundlora.errors import Interrupted
from soundlora.net.storage import Storage
from soundlora.pipeline.data_check import check_data
from soundlora.pipeline.endpoint_words import endpoint_words
from soundlora.pipeline.options import TrainingOptions
from soundlora.server.endpoints import endpoints, unit_prices
from soundlora.server.settings import Settings
from soundlora.server.store.beats import LostLeaseError
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.finish import Outcome
from soundlora.server.store.preparing import Preparing
from soundlora.server.store.requests import Request, Requests
from soundlora.server.work.job import Job
from soundlora.server.work.outcomes import outcome_of, timed_out
from soundlora.server.work.own_log import log_to
from soundlora.server.work.preparers import IDLE_SECONDS
from soundlora.server.work.process import SETTINGS_VARIABLE
from soundlora.server.work.pulse import Pulse
from soundlora.server.work.training_data import fetched
from soundlora.system.interrupts import heed_interrupts, held_back, termination_interrupts
from soundlora.system.operating_system import pipe_has_ended
from soundlora.wording import wording

_LOOK_SECONDS = 0.2


def main() -> None:
    heed_interrupts()
    settings = Settings.from_json(os.environ[SETTINGS_VARIABLE])
    try:
        answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        with answers, termination_interrupts(), wording(endpoint_words):
            Preparer(settings, sys.argv[1], answers).run()
    except KeyboardInterrupt:
        pass


class Preparer:
    """Prepares requests in the name of `owner`, its token. It writes a line to `answers` for each that may begin."""

    def __init__(self, settings: Settings, owner: str, answers: TextIO) -> None:
        database = Database(settings.database)
        self._settings, self._owner, self._answers = settings, owner, answers
        self._requests = Requests(database, unit_prices(settings))
        needless = [name for name, endpoint in endpoints(settings).items() if endpoint.work == "generation"]
        self._preparing = Preparing(self._requests, needless)
        self._files = Files(database, Storage(settings.storage))

    def run(self) -> None:
        """Prepare what waits, until nothing has for a while, or until whoever started this has gone."""
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < IDLE_SECONDS and not pipe_has_ended(sys.stdin.fileno()):
            try:
                request = self._preparing.claim(self._owner)
            except sa.exc.OperationalError:
                request = None  # The database is away. What waits there waits for whoever comes next, too.
            if request is None:
                time.sleep(_LOOK_SECONDS)
                continue
            try:
                self.prepare(request)
            except LostLeaseError as error:
                print(error, file=sys.stderr, flush=True)
            idle_since = time.monotonic()

    def prepare(self, request: Request) -> None:
        """Fetch and check the data of a request, and let it begin, end it, or give it back.

        Raises LostLeaseError, and KeyboardInterrupt once it is given back.
        """
        outcome: Outcome | None = None
        interrupted = False
        job = Job(request, self._settings, self._files)
        log_to(job.folder)
        most = self._settings.max_run_seconds
        lease = self._settings.lease_seconds
        pulse = Pulse(self._requests, request.id, self._owner, max_seconds=most, lease_seconds=lease, attached=True)
        with pulse:
            job.pulse = pulse
            try:
                with termination_interrupts():
                    _check(job)
            except (KeyboardInterrupt, Interrupted):
                interrupted = True
            except Exception as error:
                error.args = tuple(job.public(part) if isinstance(part, str) else part for part in error.args)
                outcome = outcome_of(error, request.input)
                if outcome.status_code >= 500:
                    # It is not the data's fault. A worker comes to the same, and knows how to go on from it.
                    traceback.print_exc()
                    outcome = None
                else:
                    pulse.log(outcome.error or str(error), "ERROR")
        if interrupted and pulse.reason == "timeout":
            outcome, interrupted = timed_out(most), False
        with held_back() as late:
            self._end(request.id, outcome, interrupted)
        if late or (interrupted and pulse.reason != "lost"):
            raise KeyboardInterrupt

    def _end(self, request_id: str, outcome: Outcome | None, interrupted: bool) -> None:
        if interrupted:
            why = "Who prepared the data was stopped; another one does it"
            _patiently(lambda: self._requests.release(request_id, self._owner, lost=False, reason=why))
        elif outcome is not None:
            refused = outcome
            _patiently(lambda: self._preparing.refuse(request_id, self._owner, refused))
        else:
            _patiently(lambda: self._preparing.done(request_id, self._owner))
            print("prepared", file=self._answers, flush=True)


def _check(job: Job) -> None:
    """Raise what the training would raise for its data."""
    endpoint = endpoints(job.settings).get(job.request.endpoint)
    if endpoint is None:
        return  # Whoever claims it says so.
    endpoint.input.model_validate(job.input)
    _, request = fetched(job)
    check_data(TrainingOptions.from_endpoint(request, job.folder / "run", mode=endpoint.mode))


def _patiently(write: Callable[[], None]) -> None:
    """Repeat `write` once the database has been locked or away. Its lease is lost when that takes long."""
    try:
        write()
    except sa.exc.OperationalError:
        time.sleep(_LOOK_SECONDS)
        write()


if __name__ == "__main__":
    main()
