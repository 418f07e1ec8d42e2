"""What scripts/wheel looks for in a package before anybody gets it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "wheel.py"
VERSION = "1.2.3"
DIST_INFO = f"soundlora-{VERSION}.dist-info"


@pytest.fixture(scope="module")
def wheel() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheel", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def whole(wheel: ModuleType) -> set[str]:
    """The files of a wheel that lacks nothing."""
    own = {f"soundlora/{path}" for path in wheel.expected_files()}
    others = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    return own | {"soundlora/web/dist/assets/index-1a2b.js"} | {f"{DIST_INFO}/{name}" for name in others}


def test_a_wheel_with_all_of_it_has_no_faults(wheel: ModuleType, whole: set[str]) -> None:
    assert wheel.wheel_faults(whole, wheel.expected_files()) == []


@pytest.mark.parametrize(
    "name",
    [
        "soundlora/py.typed",
        "soundlora/nano/base/nano.safetensors",
        "soundlora/clips/rain.opus",
        "soundlora/clips/captions.json",
        "soundlora/web/dist/index.html",
        "soundlora/server/store/migrations/versions/0001_first_tables.py",
        "soundlora/web/dist/assets/index-1a2b.js",
        f"{DIST_INFO}/licenses/LICENSE",
    ],
)
def test_what_is_missing_in_a_wheel_is_found(wheel: ModuleType, whole: set[str], name: str) -> None:
    assert name in whole
    assert len(wheel.wheel_faults(whole - {name}, wheel.expected_files())) == 1


@pytest.mark.parametrize(
    "name",
    [
        "tests/conftest.py",
        "soundlora/tests/test_x.py",
        "soundlora/web/node_modules/vite/index.js",
        "soundlora/web/src/main.ts",
        "soundlora/web/package.json",
        "soundlora/__pycache__/errors.cpython-311.pyc",
        "README.md",
    ],
)
def test_what_does_not_belong_in_a_wheel_is_found(wheel: ModuleType, whole: set[str], name: str) -> None:
    (fault,) = wheel.wheel_faults(whole | {name}, wheel.expected_files())
    assert name in fault


def test_an_sdist_brings_the_page_that_was_built(wheel: ModuleType) -> None:
    names = {"pyproject.toml", "hatch_build.py", "README.md", "CHANGELOG.md", "LICENSE", "PKG-INFO", "tests/a.py"}
    web = {f"src/soundlora/web/{name}" for name in ("package-lock.json", "dist/index.html", "dist/licences.txt")}
    names |= web | {"src/soundlora/py.typed"}
    assert wheel.sdist_faults(names) == []
    assert wheel.sdist_faults(names - {"src/soundlora/web/dist/index.html"}) == [
        "The sdist has no src/soundlora/web/dist/index.html."
    ]
    surplus = "src/soundlora/web/node_modules/vite/index.js"
    assert wheel.sdist_faults(names | {surplus}) == [f"The sdist has {surplus}."]


def test_a_release_needs_its_tag_and_its_day(wheel: ModuleType) -> None:
    dated = f"# Changes\n\n## {VERSION}, 2026-12-01\n\n- One.\n\n## 1.2.2, 2026-11-01\n"
    assert wheel.release_faults(f"v{VERSION}", VERSION, dated) == []
    (fault,) = wheel.release_faults("v1.2.2", VERSION, dated)
    assert "v1.2.2" in fault
    assert VERSION in fault
    (fault,) = wheel.release_faults(f"v{VERSION}", VERSION, dated.replace("2026-12-01", "unreleased"))
    assert f"## {VERSION}, YYYY-MM-DD" in fault
    # The day of an older version is none of this one's.
    (fault,) = wheel.release_faults(f"v{VERSION}", VERSION, "# Changes\n\n## 1.2.2, 2026-11-01\n")
    assert VERSION in fault


def test_the_version_that_is_built_is_the_one_of_the_code(wheel: ModuleType) -> None:
    from soundlora.version import __version__

    assert wheel.current_version() == __version__
