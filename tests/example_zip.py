"""The example clips as clients send them."""

import base64
import io
import zipfile
from pathlib import Path

CLIPS = Path(__file__).resolve().parents[1] / "examples" / "clips"


def zip_uri(*paths: Path) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    return "data:application/zip;base64," + base64.b64encode(buffer.getvalue()).decode()


def some_clips(count: int = 4) -> str:
    sounds = sorted(path for path in CLIPS.iterdir() if path.suffix != ".txt")[:count]
    return zip_uri(*sounds, *(path.with_suffix(".txt") for path in sounds))
