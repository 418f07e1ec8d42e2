"""What a package index shows and pip installs: metadata, the README, and what works without the server's packages."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from support import BaseNames

from soundlora.cli.serve import SERVER_PACKAGES
from soundlora.version import __version__

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "soundlora"
LINK = re.compile(r"\]\(([^)\s]+)\)")
ALWAYS_ALONG = {"starlette": "fastapi", "pydantic_core": "pydantic", "annotated_types": "pydantic"}
"""Imported by name, brought by another package that can't do without."""
OPTIONAL = {"IPython", "fal_client", "prodigyopt", "schedulefree", "torchao", "transformers", "triton", "wandb"}
"""Whoever asks for what needs one of these is told to install it."""

WITHOUT_THE_SERVER = f"""
import sys
for name in {[*SERVER_PACKAGES, "starlette", "httptools", "uvloop", "watchfiles", "websockets", "mako", "psycopg"]}:
    sys.modules[name] = None  # importing it fails
import json
import soundlora
from soundlora.cli.app import main

for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code
    print("ended", *arguments[:2], "with", code)
"""


def without_the_server(*commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Commands one after the other in one process, where the packages of the extra `serve` can't be imported."""
    command = [sys.executable, "-c", WITHOUT_THE_SERVER, json.dumps(commands)]
    return subprocess.run(command, capture_output=True, text=True)


def imported(path: Path) -> set[str]:
    """The packages that a file imports anywhere in it, those for the type checker alone too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"soundlora"}


def declared(requirements: list[str]) -> set[str]:
    """The names to import of `av>=16,<19` and the like."""
    return {re.split(r"[\[<>=;, ]", each)[0].replace("-", "_") for each in requirements}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return loaded


@pytest.fixture(scope="module")
def built() -> Any:
    """The metadata as the build makes it."""
    return ProjectMetadata(str(ROOT), PluginManager()).core


def test_each_package_that_is_imported_is_declared_where_it_is_used(project: dict[str, Any]) -> None:
    # --sync asks for the extra, too, before it imports the storage.
    own = (SOURCE / "cli" / "serve.py", SOURCE / "cli" / "keys.py", SOURCE / "net" / "storage.py")
    server = {*SOURCE.glob("server/**/*.py"), *own}
    rest = set().union(*(imported(path) for path in SOURCE.rglob("*.py") if path not in server))
    core, extra = declared(project["dependencies"]), declared(project["optional-dependencies"]["serve"])
    assert {ALWAYS_ALONG.get(name, name) for name in rest - OPTIONAL} == core
    of_server = {ALWAYS_ALONG.get(name, name) for path in server for name in imported(path)}
    assert of_server - core - {"ray"} == extra == set(SERVER_PACKAGES)


def test_all_but_the_server_works_without_its_packages(quick_base: BaseNames, clips: Path, tmp_path: Path) -> None:
    run, made = tmp_path / "run", tmp_path / "made.wav"
    training = ["--out", str(run), "--steps", "100", "--duration", "0.5", "--rank", "8"]
    lora = str(run / "lora.safetensors")
    done = without_the_server(
        ["train", str(clips), *training, *quick_base.flags],
        ["generate", "--prompt", "a tone", "--duration", "0.5", "--lora", lora, "--out", str(made), *quick_base.flags],
        ["inspect", str(clips), "--duration", "0.5"],
        ["doctor"],
        ["base", "list"],
        ["lora", "info", lora],
    )
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended ")]
    names = ["train", "generate", "inspect", "doctor", "base list", "lora info"]
    assert len(ended) == len(names), done.stderr
    for line, name in zip(ended, names, strict=True):
        assert line.startswith(f"ended {name}")
        assert line.endswith("with 0"), done.stderr
    assert made.stat().st_size > 44


def test_without_its_packages_the_server_says_how_to_get_them(tmp_path: Path) -> None:
    place = ["--data-dir", str(tmp_path / "data")]
    commands = [["serve", *place], ["keys", "create", "me", *place], ["keys", "list", *place]]
    done = without_the_server(*commands)
    assert re.findall(r"with (\d)", done.stdout) == ["2", "2", "2"], done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert all('pip install "soundlora[serve]"' in line and line.endswith(".") for line in lines)
    assert not (tmp_path / "data").exists()


def test_the_metadata_names_the_version_that_the_code_names(built: Any) -> None:
    assert built.version == __version__
    assert {"Repository", "Documentation", "Issues", "Changelog"} <= set(built.urls)


def test_the_readme_of_an_index_has_no_relative_link(built: Any) -> None:
    shown = LINK.findall(built.readme)
    assert len(shown) > 20
    assert [target for target in shown if not target.startswith("https://")] == []
    assert f"](https://github.com/soundlora/soundlora/blob/v{__version__}/docs/training.md)" in built.readme
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", built.readme)
    assert pictures
    raw = f"https://raw.githubusercontent.com/soundlora/soundlora/v{__version__}/docs/images/"
    assert all(picture.startswith(raw) and picture.endswith(".png") for picture in pictures)


def test_what_the_readme_links_to_is_in_the_repository() -> None:
    targets = LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    relative = [target.partition("#")[0] for target in targets if "://" not in target]
    assert len(relative) > 20
    assert [target for target in relative if not (ROOT / target).exists()] == []
