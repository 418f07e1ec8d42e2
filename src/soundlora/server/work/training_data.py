"""The data of a training request comes to this machine: its clips, and the sounds that its previews are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soundlora.contract.conditioned import AUDIO_FIELDS
from soundlora.contract.training import TrainingRequest, parse_request
from soundlora.errors import about
from soundlora.net.addresses import shown
from soundlora.pipeline.inputs import TRAINING_INPUTS
from soundlora.server.endpoints import endpoints
from soundlora.server.work.inputs import name_of
from soundlora.server.work.job import Job

DATA = "training_data.zip"


def fetched(job: Job) -> tuple[Path, TrainingRequest]:
    """Fetch what the job's folder does not hold yet. Return the data, and the request with paths in place of URLs.

    Raises InputError that names the field, also for a request that is wrong.
    """
    url = job.input["training_data_url"]
    if not (job.folder / DATA).exists():
        job.pulse.log(f"Fetching {shown(url)}")
    with about("data"):
        data = job.fetch(url, DATA)
    mode = endpoints(job.settings)[job.request.endpoint].mode
    local = job.input | {"training_data_url": str(data), "validation": _previews(job)}
    return data, parse_request(local, model=TRAINING_INPUTS[mode])


def _previews(job: Job) -> Any:
    """Return the validation entries as they were sent, with copies of their audio in the place of URLs."""
    entries = job.input.get("validation")
    found = []
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        here = dict(entry)
        for field in AUDIO_FIELDS:
            if isinstance(url := entry.get(field), str):
                with about(f"validation.{number}.{field}"):
                    here[field] = str(job.fetch(url, f"validation_{number}_{name_of(url)}"))
        found.append(here)
    return found
