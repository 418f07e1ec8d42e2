"""soundlora prune, beside a server or without one."""

from __future__ import annotations

from pathlib import Path

from rows import claimed
from support import Cli

from soundlora.net.storage import Storage
from soundlora.server.settings import Settings
from soundlora.server.store.database import Database
from soundlora.server.store.files import Files
from soundlora.server.store.finish import Outcome
from soundlora.server.store.requests import Requests


def test_files_of_old_runs_go_by_command(soundlora: Cli, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    database = Database(settings.database)
    database.migrate()
    requests, files = Requests(database), Files(database, Storage(settings.storage))
    requests.submit("train", {})
    request, owner = claimed(requests)
    for role in ("preview", "lora"):
        (tmp_path / role).write_bytes(b"x" * 1500)
        files.add(tmp_path / role, name=role, content_type="x/y", role=role, key_id="", request_id=request.id)
    requests.finish(request.id, owner, Outcome(200, {}))
    here = ("--data-dir", settings.data_dir)

    dry = soundlora("prune", "--keep-bytes", 2000, "--dry-run", *here)
    assert (dry.code, len(files.of_request(request.id))) == (0, 2)
    assert dry.out == (
        "1 previews, checkpoints and states and 0 results would go: 1,500 bytes.\n1,500 bytes of runs would stay.\n"
    )
    assert "are gone: 1,500 bytes" in soundlora("prune", "--keep-bytes", 2000, *here).out
    assert [row.role for row in files.of_request(request.id)] == ["lora"]
    assert "0 results are gone" in soundlora("prune", "--keep-days", 1, *here).out
    refused = soundlora("prune", *here)
    assert (refused.code, "--keep-days or --keep-bytes" in refused.err) == (2, True)
    database.close()
