"""The listing shows people their requests: their state, their files so far, and whether they can go on."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.files import FileRow
from soundlora.server.store.finish import is_error
from soundlora.server.store.marks import matching
from soundlora.server.store.requests import Point, Request, Requests
from soundlora.server.store.retention import unstarred
from soundlora.server.store.states import is_id
from soundlora.server.store.tables import FAILED, UNFINISHED, marks, requests
from soundlora.system.file_names import steps_of
from soundlora.system.operating_system import replace

_PREVIEW = re.compile(r"step_(\d+)_prompt_(\d+)\.wav")
_AT_A_TIME = 500

OUTCOMES = ("succeeded", "failed", "cancelled")
CURVES = ("loss", "held_out")


@dataclass(frozen=True)
class Page:
    """Some requests, the latest first. `next` is the `before` of the following page, or None at the end."""

    found: list[Request]
    next: int | None


def page(
    database: Database,
    table: Requests,
    key_id: str,
    *,
    endpoints: Iterable[str] | None = None,
    state: str = "",
    search: str = "",
    starred: bool = False,
    before: int | None = None,
    limit: int = 30,
) -> Page:
    """Return requests of a key that still have their payloads.

    `state` is "", "active" or one of OUTCOMES. `search` is text in names, notes, prompts and trigger phrases, or the
    beginning of an id. `starred` leaves out what has no star.
    """
    statement = sa.select(requests.c.id, requests.c.number).where(requests.c.input.is_not(None))
    if starred:
        # A mark has its request's key. Were that asked for twice, SQLite would walk through all requests of the key.
        statement = statement.join(marks, marks.c.request_id == requests.c.id)
        statement = statement.where(marks.c.key_id == key_id, marks.c.starred.is_(True))
    else:
        statement = statement.where(requests.c.key_id == key_id)
    if endpoints is not None:
        statement = statement.where(requests.c.endpoint.in_(list(endpoints)))
    if before is not None:
        statement = statement.where(requests.c.number < before)
    if search:
        statement = statement.where(matching(key_id, search))
    if state == "active":
        statement = statement.where(UNFINISHED)
    elif state:
        cancelled = sa.func.coalesce(requests.c.error_type, "") == "client_cancelled"
        condition = {
            "succeeded": requests.c.status_code < 400,
            "cancelled": sa.and_(FAILED, cancelled),
            "failed": sa.and_(FAILED, ~cancelled),
        }[state]
        statement = statement.where(requests.c.state == "completed", condition)
    with database.read() as connection:
        rows = connection.execute(statement.order_by(requests.c.number.desc()).limit(limit + 1)).all()
    found = {request.id: request for request in table.find_many(row.id for row in rows[:limit])}
    return Page(
        [found[row.id] for row in rows[:limit] if row.id in found],
        rows[limit - 1].number if len(rows) > limit else None,
    )


def outcome(request: Request) -> str | None:
    """Return one of OUTCOMES, or None while the request has not ended."""
    if request.status_code is None:
        return None
    if request.error_type == "client_cancelled":
        return "cancelled"
    return "failed" if is_error(request.status_code) else "succeeded"


def previews(files: Sequence[FileRow]) -> list[dict[str, Any]]:
    """Return the previews among the files of a run, in order of step and prompt."""
    found = {
        (int(match[1]), int(match[2])): row
        for row in files
        if row.role == "preview" and (match := _PREVIEW.fullmatch(row.name))
    }
    return [{"step": step, "prompt": prompt, "file": found[step, prompt].to_file()} for step, prompt in sorted(found)]


def checkpoints(files: Sequence[FileRow]) -> list[dict[str, Any]]:
    """Return the LoRA checkpoints among the files of a run, in order of step."""
    found = {step: row for row in files if row.role == "checkpoint" and (step := steps_of(row.name)) is not None}
    return [{"step": step, "file": found[step].to_file()} for step in sorted(found)]


def curves(points: Iterable[Point]) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by curve and step; of a step that was said again, the value that came later."""
    found: dict[str, dict[int, float]] = {name: {} for name in CURVES}
    for point in points:
        found.setdefault(point.name, {})[point.step] = point.value
    return {name: sorted(values.items()) for name, values in found.items()}


def resumable(request: Request, settings: Settings) -> bool:
    """Return whether this run ended early and its folder on this machine has a checkpoint."""
    if outcome(request) not in ("failed", "cancelled") or request.input is None:
        return False
    # Only a training leaves such files.
    return any((settings.runs / request.id / "run" / "checkpoints").glob("*.pt"))


def steps_done(request: Request, settings: Settings) -> int | None:
    """Return the steps of a finished training whose last state is on this machine, from which it can be trained on."""
    if outcome(request) != "succeeded" or request.input is None:
        return None
    folder = settings.runs / request.id / "run"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return int(config["number_of_steps"]) if any((folder / "checkpoints").glob("*.pt")) else None
    except (OSError, ValueError, KeyError):
        return None


@contextlib.contextmanager
def passed_on(settings: Settings, old_id: str, new_id: str) -> Iterator[None]:
    """Move the folder of one request to another request, and back when the block fails.

    The content stays as it is: a run knows its clips by their hashes, wherever they lie. Raises FileNotFoundError when
    the folder does not exist.
    """
    old, new = settings.runs / old_id, settings.runs / new_id
    replace(old, new)
    try:
        yield
    except BaseException:
        replace(new, old)
        raise


def sweep_folders(settings: Settings, database: Database, now: float) -> int:
    """Remove the folders that nobody may use any more from this machine. Return how many.

    A failed run leaves its folder to explain it and to go on from, and a finished training its last state for
    `keep_state_days`. One without a star goes `keep_days` after its end, too. It goes with the payloads of its request,
    whoever has deleted them, and when the files of the request were to live no longer. `now` is in seconds since 1970.
    """
    with contextlib.suppress(FileNotFoundError):
        gone = outlived(database, settings, [folder.name for folder in settings.runs.iterdir()], now)
        for id in gone:
            shutil.rmtree(settings.runs / id, ignore_errors=True)
        return len(gone)
    return 0


def outlived(database: Database, settings: Settings, names: Sequence[str], now: float) -> list[str]:
    """Return the ids among `names` of the requests whose folder and states nobody may use any more."""
    ids = [name for name in names if is_id(name)]
    parts = [ids[start : start + 500] for start in range(0, len(ids), 500)]
    return [id for part in parts for id in _outlived(database, settings, part, now)]


def _outlived(database: Database, settings: Settings, ids: Sequence[str], now: float) -> list[str]:
    kept_until = now - settings.keep_state_days * 86400
    over = sa.or_(
        requests.c.response.is_(None),
        requests.c.ended_at + requests.c.file_seconds < now,
        sa.and_(requests.c.status_code < 400, requests.c.ended_at < kept_until),
    )
    if settings.keep_days:
        over = sa.or_(over, sa.and_(requests.c.ended_at < now - settings.keep_days * 86400, unstarred()))
    statement = sa.select(requests.c.id).where(requests.c.id.in_(ids), requests.c.state == "completed", over)
    with database.read() as connection:
        return list(connection.scalars(statement))
