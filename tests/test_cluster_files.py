"""What deploy/ gives to whoever runs several machines: manifests for Kubernetes, a Compose file, a script for Slurm."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from soundlora.cli.app import app
from soundlora.server.settings import Settings

DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
OTHERS = {"Kustomization", "RayCluster"}
"""These kinds are not Kubernetes' own, so that it has no schema for them."""
OLDEST, NEWEST = "1.31", "1.37"
SETTINGS = {f"SOUNDLORA_{field.name.upper()}" for field in dataclasses.fields(Settings)}
FOREIGN = {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "HF_TOKEN"}


def documents() -> list[tuple[str, Any]]:
    """Every document of the manifests, with a name for it."""
    found = [(path.stem, document) for path in KUBERNETES for document in yaml.safe_load_all(path.read_text())]
    return [(f"{stem}-{document['kind']}", document) for stem, document in found]


def pods() -> list[tuple[str, Any]]:
    """The pod of each template, wherever it stands."""

    def search(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            if "spec" in value and isinstance(value["spec"], dict) and "containers" in value["spec"]:
                yield value
            for inner in value.values():
                yield from search(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from search(inner)

    found = [(name, template) for name, document in documents() for template in search(document)]
    return [(f"{name}-{number}", template) for number, (name, template) in enumerate(found)]


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(("name", "document"), documents(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_manifests_are_what_kubernetes_understands(name: str, document: Any, version: str) -> None:
    if document["kind"] in OTHERS:
        with pytest.raises(kubernetes_validate.SchemaNotFoundError):
            kubernetes_validate.validate(document, version, strict=True)
    else:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize(("name", "template"), pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_pods_of_other_kinds_are_pods_too(name: str, template: Any) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": template["spec"]}
    kubernetes_validate.validate(pod, NEWEST, strict=True)
    for container in template["spec"]["containers"]:
        assert "soundlora" in container["image"]
        assert {"requests", "limits"} <= container["resources"].keys()


def test_the_manifests_that_are_applied_are_there_and_belong_together() -> None:
    kustomization = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    assert all((DEPLOY / "kubernetes" / name).exists() for name in kustomization["resources"])
    spaces = {document["metadata"].get("namespace") for _, document in documents() if "metadata" in document}
    assert spaces == {None, "soundlora"}  # the Namespace itself is in none
    named = {document["metadata"]["name"] for _, document in documents() if document["kind"] in ("ConfigMap", "Secret")}
    assert named == {"soundlora"}


def commands() -> list[list[str]]:
    """What containers and the Slurm script start."""
    found = [container["args"] for _, pod in pods() for container in pod["spec"]["containers"] if "args" in container]
    found += [service["command"] for service in compose()["services"].values() if "command" in service]
    script = (DEPLOY / "soundlora-work.slurm").read_text()
    return [*found, re.findall(r"bin/soundlora (.*)", script)[0].split()]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_their_commands_are_ours(arguments: list[str]) -> None:
    group = typer.main.get_command(app)
    with group.make_context("soundlora", list(arguments)) as context:
        name, command, rest = group.resolve_command(context, list(arguments))  # type: ignore[attr-defined]
        command.make_context(name, list(rest), parent=context)


def test_their_settings_are_ours() -> None:
    maps = [document for _, document in documents() if document["kind"] in ("ConfigMap", "Secret")]
    named = {name for document in maps for name in document.get("data", document.get("stringData"))}
    named |= set(compose()["x-soundlora"]["environment"])
    named |= set(re.findall(r"\b(SOUNDLORA_\w*[A-Z])\b", (DEPLOY / "soundlora-work.slurm").read_text()))
    assert named - SETTINGS - FOREIGN == set()


def test_who_runs_in_a_pod_is_who_the_image_has() -> None:
    (user,) = re.findall(r"useradd --uid (\d+)", (DEPLOY / "Containerfile").read_text())
    text = "".join(path.read_text() for path in KUBERNETES)
    assert set(re.findall(r"(?:runAsUser|fsGroup): (\d+)", text)) == {user, "0"}
    assert text.count("runAsUser: 0") == 1  # gives the folder of a node to that user
    assert f'"{user}:{user}"' in text


def test_the_compose_file_is_what_compose_understands(tmp_path: Path) -> None:
    if shutil.which("docker-compose") is None:
        pytest.skip("there is no docker-compose on this machine; Debian's package has that name")
    shutil.copy(DEPLOY / "compose.yaml", tmp_path)
    shutil.copy(DEPLOY / "env.example", tmp_path / ".env")
    command = ["docker-compose", "--profile", "head", "--profile", "worker", "config"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    services = yaml.safe_load(found.stdout)["services"]
    assert services["worker"]["environment"]["AWS_ENDPOINT_URL"] == "http://192.168.1.10:9000"
    (tmp_path / ".env").write_text("HEAD=192.168.1.10\n")
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "PASSWORD" in refused.stderr
    assert refused.returncode != 0


def test_the_script_for_slurm_is_one() -> None:
    subprocess.run(["bash", "-n", DEPLOY / "soundlora-work.slurm"], check=True)
