"""What the page is shown of a run: in a list, whole, and as those see it who watch it together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from soundlora.server.http.state import Service
from soundlora.server.store import listing as runs
from soundlora.server.store.files import FileRow
from soundlora.server.store.marks import Mark, Marks
from soundlora.server.store.requests import LogLine, Point
from soundlora.server.store.requests import Request as QueuedRequest
from soundlora.server.store.states import State

Fields = dict[str, Any]

_MARK = tuple(asdict(Mark()))


@dataclass(frozen=True)
class Snapshot:
    """A run as it was last told.

    `fields` are those of `whole` without progress, place, curves and log; `points` are all so far.
    The row was read for `state`, and may have gone on since then.
    """

    state: State
    fields: Fields
    points: Sequence[Point]

    @property
    def behind(self) -> bool:
        """Whether the row says already what `state` does not."""
        return bool(self.fields["state"] != self.state.state)


def snapshot(service: Service, state: State, before: Snapshot | None) -> Snapshot:
    """The run as it is now. While it only runs on, no more is read than what is new since `before`.

    The row is read first: files and points that come meanwhile belong to what it says, or to the next look.
    """
    if before is None or before.behind or before.state.state != state.state:
        found = service.requests.find(state.id)
        assert found is not None, "rows are never deleted"
        # Whoever changes a mark makes all of this be read anew.
        mark = _mark(service, state.id) if before is None else {name: before.fields[name] for name in _MARK}
        fields = _row(service, found) | {"progress": None} | mark | {"result": found.response}
    else:
        fields = before.fields | {"cancel_asked": state.cancel_asked, "stop_asked": state.stop_asked}
    points = [] if before is None else before.points
    new = service.requests.points(state.id, points[-1].number if points else 0)
    return Snapshot(state, fields | _made(service.files.of_request(state.id)), [*points, *new])


def summaries(service: Service, found: Sequence[QueuedRequest]) -> list[Fields]:
    """Runs in a list."""
    marks = Marks(service.database).of(each.id for each in found)
    return [_summary(service, each, marks.get(each.id, Mark())) for each in found]


def whole(service: Service, request: QueuedRequest) -> Fields:
    """Everything about a run, its log included."""
    return {
        **_row(service, request),
        **_place(service, request),
        **_mark(service, request.id),
        **_made(service.files.of_request(request.id)),
        "result": request.response,
        "curves": runs.curves(service.requests.points(request.id)),
        "logs": log(service.requests.log_lines(request.id)),
    }


def log(lines: Iterable[LogLine]) -> list[Fields]:
    """Lines of the log as the page reads them."""
    return [{"number": each.number, "at": each.at, "level": each.level, "message": each.message} for each in lines]


def _row(service: Service, request: QueuedRequest) -> Fields:
    ended = request.state == "completed"
    unit = service.endpoints[request.endpoint].unit_price if request.endpoint in service.endpoints else 0.0
    return {
        "id": request.id,
        "endpoint": request.endpoint,
        "state": request.state,
        "outcome": runs.outcome(request),
        "cancel_asked": request.cancel_asked,
        "stop_asked": request.stop_asked,
        "created_at": request.created_at,
        "started_at": request.started_at,
        "ended_at": request.ended_at,
        "input": _short(request.input),
        "progress": None if ended else request.progress,
        "status_code": request.status_code,
        "error": request.error,
        "error_type": request.error_type,
        "units": request.units,
        "cost": None if request.units is None else round(request.units * unit, 9),
        "resumable": resumable(service, request, known=True),
        "steps_done": steps_done(service, request, known=True),
    }


def resumable(service: Service, request: QueuedRequest, *, known: bool = False) -> bool:
    """Say whether a run ended early, and this machine or the storage has a state of it.

    known: what was known some seconds ago is good enough.
    """
    if runs.resumable(request, service.settings):
        return True
    if runs.outcome(request) not in ("failed", "cancelled") or not _is_training(service, request):
        return False
    found = service.run_states.newest(request.id, known=known)
    return found is not None and found[0] > 0


def steps_done(service: Service, request: QueuedRequest, *, known: bool = False) -> int | None:
    """Return the steps of a finished training whose last state this machine or the storage has, else None.

    known: what was known some seconds ago is good enough.
    """
    done = runs.steps_done(request, service.settings)
    if done is not None or runs.outcome(request) != "succeeded" or not _is_training(service, request):
        return done
    found = service.run_states.newest(request.id, known=known)
    return found[0] if found is not None and found[1] and found[0] else None


def _is_training(service: Service, request: QueuedRequest) -> bool:
    endpoint = service.endpoints.get(request.endpoint)
    return request.input is not None and endpoint is not None and endpoint.work == "training"


def _place(service: Service, request: QueuedRequest) -> Fields:
    return {"position": service.requests.ahead(request.id) if request.state == "queued" else None}


def _summary(service: Service, request: QueuedRequest, mark: Mark) -> Fields:
    made = _made(service.files.of_request(request.id))
    shown = {name: made[name] for name in ("sound", "lora", "checkpoints")}
    return _row(service, request) | _place(service, request) | asdict(mark) | shown


def _mark(service: Service, request_id: str) -> Fields:
    """What its owner says of it: star, name and note."""
    return asdict(Marks(service.database).of([request_id]).get(request_id, Mark()))


def _made(files: Sequence[FileRow]) -> Fields:
    """What has come out of a run so far. `sound`: its last preview, or the sound itself."""
    previews = runs.previews(files)
    sounds = [row.to_file() for row in files if row.role == "audio"]
    return {
        "sound": previews[-1]["file"] if previews else sounds[-1] if sounds else None,
        "lora": next((row.to_file() for row in files if row.role == "lora"), None),
        "previews": previews,
        "checkpoints": runs.checkpoints(files),
        "files": [row.to_file() | {"role": row.role} for row in files],
    }


def _short(payload: Any) -> Any:
    """The input without megabytes: a data: URI is cut to its beginning."""
    if not isinstance(payload, dict):
        return payload
    return {
        name: value[:60] + "…" if isinstance(value, str) and value[:5].lower() == "data:" else value
        for name, value in payload.items()
    }
