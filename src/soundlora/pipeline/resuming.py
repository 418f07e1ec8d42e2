"""Whether a run that goes on is the one that was begun."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soundlora.errors import InputError
from soundlora.pipeline.options import DATA_FIELD, SETTINGS, default_of
from soundlora.wording import setting, using


def check_same(run: Path | str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise InputError unless the run in a folder or storage, whose request is `stored`, is the one that is `wanted`.

    The place of the data is no matter: the clips with their hashes tell it apart. A setting that an older run does not
    name has its default.
    """
    names = {known.hosted or name: name for name, known in SETTINGS.items()}
    stored, wanted = json.loads(json.dumps(stored)), json.loads(json.dumps(wanted))
    # Settings choose the clips, and steps the intervals, so that one that differs says more than they do.
    chosen = ("preview_every", "checkpoint_every", "clips")
    for key in sorted((stored.keys() | wanted.keys()) - {DATA_FIELD}, key=lambda key: (key in chosen, key)):
        name = names.get(key, key)
        default = json.loads(json.dumps(default_of(name))) if name in SETTINGS else None
        before, now = (default if values.get(key) is None else values[key] for values in (stored, wanted))
        if before != now:
            raise InputError(
                f"The run in {run} was started with {setting(name)} = {before!r}, not {now!r}; resume it with the same "
                "settings, or start another run in a new folder.",
                field=name,
            )


def other_rates(request: Mapping[str, Any]) -> str:
    """Return a sentence for a lengthened run whose learning rates are not those of a run of so many steps, else "".

    request: it is as the folder keeps it. `lengthened` there has the steps after which a shorter run was left, each
    with the number of steps that its learning rate fell over. Nothing else of a run depends on how long it is.
    """
    steps = request["number_of_steps"]
    others = [stretch for stretch in request.get("lengthened", ()) if stretch["of"] != steps]
    if not others or request.get("schedule") == "constant":
        return ""
    last = others[-1]["step"]
    lengths = " and ".join(str(stretch["of"]) for stretch in others)
    return (
        f"The learning rate fell over {lengths} steps up to step {last}, and falls over {steps} from there on, so the "
        f"LoRA is not quite that of {steps} steps at once; of a run with {using('schedule', 'constant')} it would be, "
        "to the bit."
    )
