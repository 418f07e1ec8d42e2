"""This script builds the sdist and the wheel, looks into them, and uses the wheel as a user who installs it.

    scripts/wheel [--out DIR] [--tag v0.1.0] [PYTHON ...]

Each named interpreter, or else the one that runs this, gets a fresh virtual environment with the wheel. Its
dependencies are unconstrained, so they come in the index's newest versions. The environment trains 100 steps on
examples/clips with nano, generates and inspects. Then it takes the extra `serve` and asks the server for its page. The
built files stay in --out if it is given. With --tag, the tag must name the version, and CHANGELOG.md the day. The
script exits with 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import urllib.request
import wave
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "soundlora"
TOOLS = ("build>=1.3", "twine>=6.1")
SECONDS = 1.0  # of every clip; the steps are quick, and all of the code runs
NEVER = {"node_modules", "tests", "__pycache__", ".venv", ".git"}
PAGE = ("web/dist/index.html", "web/dist/licences.txt")


class FaultError(Exception):
    """The package has faults. The message describes them in sentences."""


def say(line: str) -> None:
    print(line, flush=True)


def run(*command: str | Path, cwd: Path = ROOT, code: int = 0) -> str:
    """Run a command and return its output. Raises FaultError with the output's end when it ends with another code."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PIP_CONSTRAINT")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "SOUNDLORA_CACHE": str(cwd / "cache"), "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != code:
        words = " ".join(str(part) for part in command)
        raise FaultError(f"{words} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def environment(python: str | Path, folder: Path) -> Path:
    """Make a virtual environment and return the folder of its programs."""
    run(python, "-m", "venv", folder)
    return folder / ("Scripts" if os.name == "nt" else "bin")


def current_version() -> str:
    (version,) = re.findall(r'^__version__ = "(.+)"$', (SOURCE / "version.py").read_text("utf-8"), re.MULTILINE)
    return str(version)


def release_faults(tag: str, version: str, changelog: str) -> list[str]:
    """Return the reasons why this can't be released under this tag."""
    faults = []
    if tag != f"v{version}":
        faults.append(f"The tag is {tag}, and src/soundlora/version.py says {version}; one of them must change.")
    heading = next((line for line in changelog.splitlines() if line.startswith("## ")), "")
    if not re.fullmatch(rf"## {re.escape(version)}, \d{{4}}-\d\d-\d\d", heading):
        faults.append(f"CHANGELOG.md begins with {heading!r}; write the day of the release: ## {version}, YYYY-MM-DD.")
    return faults


def wheel_faults(names: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Return what is missing in a wheel with these files, and what is too much. `expected` are paths in soundlora/."""
    names = set(names)
    faults = [f"The wheel has no soundlora/{path}." for path in sorted(expected) if f"soundlora/{path}" not in names]
    if not any(re.fullmatch(r"soundlora/web/dist/assets/[^/]+\.js", name) for name in names):
        faults.append("The wheel has no scripts in soundlora/web/dist/assets: the page was not built.")
    if not any(re.fullmatch(r"soundlora-[^/]+\.dist-info/licenses/LICENSE", name) for name in names):
        faults.append("The wheel has no licence.")
    for name in sorted(names):
        top, *rest = name.split("/")
        strange = top != "soundlora" and not re.fullmatch(r"soundlora-[^/]+\.dist-info", top)
        page_source = rest[:1] == ["web"] and rest[1:2] != ["dist"]
        if strange or page_source or NEVER & {top, *rest}:
            faults.append(f"The wheel has {name}, which nobody needs who installs it.")
    return faults


def sdist_faults(names: Iterable[str]) -> list[str]:
    """Return what is missing in an sdist with these files, and what is too much. `names` lack the folder at the top."""
    names = set(names)
    needed: tuple[str, ...] = ("pyproject.toml", "hatch_build.py", "README.md", "CHANGELOG.md", "LICENSE", "PKG-INFO")
    # With the page built already: a wheel is made of it where npm packages can't be had.
    needed += tuple(f"src/soundlora/{path}" for path in ("py.typed", "web/package-lock.json", *PAGE))
    faults = [f"The sdist has no {name}." for name in needed if name not in names]
    bad = NEVER - {"tests"}
    return faults + [f"The sdist has {name}." for name in sorted(names) if bad & set(name.split("/"))]


def expected_files() -> set[str]:
    """Return what a wheel must have, as paths in soundlora/: all modules, the base nano, the clips and the page."""
    kept = (path for folder in ("nano", "clips") for path in (SOURCE / folder).rglob("*"))
    own = {path.relative_to(SOURCE).as_posix() for path in (*SOURCE.rglob("*.py"), *kept)}
    return {name for name in own if (SOURCE / name).is_file() and not NEVER & set(name.split("/"))} | {
        "py.typed",
        *PAGE,
    }


def build(out: Path, folder: Path) -> Path:
    """Make the sdist in `out`, and the wheel of it. Check both and return the wheel."""
    say("building")
    tools = environment(sys.executable, folder / "tools")
    run(tools / "python", "-m", "pip", "install", "--quiet", *TOOLS)
    run(tools / "python", "-m", "build", "--outdir", out, ROOT)
    version = current_version()
    sdist, wheel = out / f"soundlora-{version}.tar.gz", out / f"soundlora-{version}-py3-none-any.whl"
    say(run(tools / "python", "-m", "twine", "--no-color", "check", "--strict", sdist, wheel).strip())
    with tarfile.open(sdist) as archive:
        faults = sdist_faults(member.name.partition("/")[2] for member in archive if member.isfile())
    with zipfile.ZipFile(wheel) as bundle:
        faults += wheel_faults(bundle.namelist(), expected_files())
    if faults:
        raise FaultError("\n".join(faults))
    for path in (sdist, wheel):
        say(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    return wheel


def use(wheel: Path, python: str, folder: Path) -> None:
    """Install the wheel for this interpreter, train, generate, inspect, and serve the page."""
    say(f"\n{run(python, '--version').strip()}: installing without constraints")
    programs = environment(python, folder / "venv")
    soundlora = programs / "soundlora"
    run(programs / "python", "-m", "pip", "install", "--quiet", wheel)
    run(programs / "python", "-m", "pip", "check")
    say(came_along(programs))

    work = folder / "work"
    shutil.copytree(ROOT / "examples" / "clips", work / "clips")
    seconds = ("--duration", str(SECONDS))
    run(soundlora, "inspect", "clips", *seconds, cwd=work)
    run(soundlora, "train", "clips", "--out", "run", "--steps", "100", "--rank", "8", *seconds, cwd=work)
    lora = work / "run" / "lora.safetensors"
    run(soundlora, "generate", "--prompt", "laser zaps", "--lora", lora, "--out", "sound.wav", *seconds, cwd=work)
    with wave.open(str(work / "sound.wav")) as sound:
        length = sound.getnframes() / sound.getframerate()
    # A sound's length is a whole number of latents, of which a second has 25.
    if abs(length - SECONDS) > 0.1:
        raise FaultError(f"The sound that was generated is {length} s long, and {SECONDS} were asked for.")
    say("inspected, trained 100 steps, generated")

    if "soundlora[serve]" not in run(soundlora, "serve", cwd=work, code=2):
        raise FaultError("soundlora serve does not say how its packages are installed.")
    run(programs / "python", "-m", "pip", "install", "--quiet", f"{wheel}[serve]")
    ask_for_page(soundlora, work)
    say("served the page")


def came_along(programs: Path) -> str:
    """Return the versions of soundlora's dependencies that pip chose, on one line."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[\[<>=;, ]", each)[0].lower() for each in project["dependencies"]}
    listed = run(programs / "python", "-m", "pip", "list", "--format", "freeze").split()
    return ", ".join(line.replace("==", " ") for line in listed if line.partition("==")[0].lower() in wanted)


def ask_for_page(soundlora: Path, work: Path) -> None:
    command: list[str | Path] = [soundlora, "serve", "--port", "0", "--data-dir", work / "data"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", errors="replace", cwd=work)
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        if found is None:
            raise FaultError(f"soundlora serve said {said!r} and not where it is.")
        with urllib.request.urlopen(found[0], timeout=30) as answer:
            if b"<html" not in answer.read():
                raise FaultError("What soundlora serve serves is no page.")
    finally:
        server.terminate()
        server.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="interpreters to install the wheel for")
    parser.add_argument("--out", type=Path, help="the folder for sdist and wheel [default: none, they are deleted]")
    parser.add_argument("--tag", help="the tag of a release, such as v0.1.0")
    arguments = parser.parse_args()
    if arguments.tag:
        faults = release_faults(arguments.tag, current_version(), (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
        if faults:
            raise FaultError("\n".join(faults))
    with tempfile.TemporaryDirectory(prefix="soundlora-wheel-") as temporary:
        folder = Path(temporary)
        wheel = build((arguments.out or folder / "built").absolute(), folder)
        for number, python in enumerate(arguments.pythons or [sys.executable]):
            place = folder / str(number)
            place.mkdir()
            use(wheel, python, place)
            # An environment with the CUDA build of torch takes gigabytes.
            shutil.rmtree(place)


if __name__ == "__main__":
    try:
        main()
    except FaultError as fault:
        sys.exit(f"scripts/wheel: {fault}")
