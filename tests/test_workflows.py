"""The workflows of the hosted CI try what pyproject.toml promises, with scripts that exist."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
NAMES = ("check", "ci", "release")
IMAGES = {
    "Operating System :: POSIX :: Linux": "ubuntu-latest",
    "Operating System :: MacOS": "macos-latest",
    "Operating System :: Microsoft :: Windows": "windows-latest",
}


def workflow(name: str) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text("utf-8"))
    return loaded


def commands(job: dict[str, Any]) -> str:
    return "\n".join(step["run"] for step in job["steps"] if "run" in step)


@pytest.fixture(scope="module")
def classifiers() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["classifiers"])


@pytest.fixture(scope="module")
def versions(classifiers: list[str]) -> set[str]:
    found = {each.rpartition(" ")[2] for each in classifiers if re.search(r"Python :: 3\.\d+$", each)}
    assert len(found) >= 3
    return found


def test_each_version_of_python_that_is_promised_runs_everything_on_linux(versions: set[str]) -> None:
    job = workflow("ci")["jobs"]["all"]
    assert job["runs-on"] == "ubuntu-latest"
    assert set(job["strategy"]["matrix"]["python"]) == versions
    assert ".ci/run" in commands(job)
    assert "continue-on-error" not in job


def test_each_system_that_is_promised_must_pass(classifiers: list[str], versions: set[str]) -> None:
    job = workflow("ci")["jobs"]["portable"]
    assert set(job["strategy"]["matrix"]["python"]) == versions
    images = job["strategy"]["matrix"]["os"]
    assert set(images) == set(IMAGES.values())
    promised = [IMAGES[each] for each in classifiers if each.startswith("Operating System ::")]
    # One that isn't promised may fail.
    assert job["continue-on-error"] == "${{ matrix.os != 'ubuntu-latest' }}"
    assert promised == ["ubuntu-latest"]
    assert "scripts/wheel.py" in commands(job)


@pytest.mark.parametrize("name", NAMES)
def test_each_script_that_a_workflow_calls_is_there(name: str) -> None:
    called = set()
    for job in workflow(name)["jobs"].values():
        called |= set(re.findall(r"(?:scripts|\.ci)/[\w.]+", commands(job)))
    assert called
    for path in called:
        assert (ROOT / path).is_file()
        assert path.endswith(".py") or os.access(ROOT / path, os.X_OK)


def test_what_is_left_out_elsewhere_is_there_to_be_left_out() -> None:
    job = workflow("ci")["jobs"]["portable"]
    assert "$NOT_PORTABLE" in commands(job)
    left_out = re.findall(r"--ignore=(\S+)", job["env"]["NOT_PORTABLE"])
    assert len(left_out) == len(job["env"]["NOT_PORTABLE"].split())
    assert [path for path in left_out if not (ROOT / path).exists()] == []


def test_a_release_is_checked_for_each_python_and_published_without_a_token(versions: set[str]) -> None:
    found = workflow("release")
    # YAML reads `on` as true.
    assert found[True] == {"push": {"tags": ["v*"]}}
    build, publish = found["jobs"]["build"], found["jobs"]["publish"]
    (command,) = [line for line in commands(build).splitlines() if line.startswith("scripts/wheel")]
    assert '--tag "$GITHUB_REF_NAME"' in command
    assert set(re.findall(r"python(3\.\d+)", command)) == versions
    (setup,) = [step for step in build["steps"] if step.get("uses", "").startswith("actions/setup-python@")]
    assert set(setup["with"]["python-version"].split()) == versions
    assert publish["needs"] == "build"
    assert publish["permissions"] == {"id-token": "write"}
    assert any(step["uses"].startswith("pypa/gh-action-pypi-publish@") for step in publish["steps"])
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")


def test_the_wheel_of_a_release_is_installed_and_tested_on_the_systems_that_are_not_promised() -> None:
    job = workflow("release")["jobs"]["elsewhere"]
    assert job["needs"] == "build"
    assert set(job["strategy"]["matrix"]["os"]) == set(IMAGES.values()) - {"ubuntu-latest"}
    assert job["continue-on-error"] is True
    said = commands(job)
    assert "--editable" not in said
    assert "dist/*.whl" in said
    tested = re.findall(r"\btests/[\w./]+", said)
    assert {"tests/system", "tests/dataset", "tests/pipeline"} <= set(tested)
    assert [path for path in tested if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_may_write_nothing_but_what_it_says(name: str) -> None:
    assert workflow(name)["permissions"] == {"contents": "read"}
