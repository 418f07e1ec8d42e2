"""soundlora serve as a process of its own, and the keys on the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from support import Cli
from waiting import wait_until


def test_keys_are_made_listed_and_revoked(soundlora: Cli, tmp_path: Path) -> None:
    here = ("--data-dir", tmp_path)
    assert "There are no keys" in soundlora("keys", "list", *here).out
    made = soundlora("keys", "create", "Ann", "--max-queue", 2, *here)
    secret = made.out.split()[0]
    id = secret.split(":")[0]
    listed = soundlora("keys", "list", "--json", *here).out
    (key,) = json.loads(listed)
    assert (key["id"], key["name"], key["max_queue"], key["revoked_at"]) == (id, "Ann", 2, None)
    assert secret.split(":")[1] not in listed
    assert soundlora("keys", "revoke", id, *here).code == 0
    assert "revoked" in soundlora("keys", "list", *here).out
    assert soundlora("keys", "revoke", id, *here).code == 2


def test_a_key_gets_limits_of_its_own(soundlora: Cli, tmp_path: Path) -> None:
    here = ("--data-dir", tmp_path)
    id = soundlora("keys", "create", "Ann", *here).out.partition(":")[0]

    def limits() -> list[object]:
        (key,) = json.loads(soundlora("keys", "list", "--json", *here).out)
        assert "hash" not in key
        return [key[name] for name in ("weight", "max_running", "max_queue", "budget")]

    assert limits() == [1, None, 0, None]
    given = ("--weight", 2, "--max-running", 3, "--max-waiting", 20, "--budget", 100_000)
    changed = soundlora("keys", "set", id, *given, *here)
    assert changed.out == f"{id}  Ann, weight 2, 3 running, 20 waiting, 100,000 units a month\n"
    assert limits() == [2, 3, 20, 100_000]
    soundlora("keys", "set", id, "--no-budget", "--no-max-waiting", *here)
    assert limits() == [2, 3, -1, 0]
    assert "any number waiting, no budget" in soundlora("keys", "list", *here).out
    assert "limits of the server" in soundlora("keys", "set", id, "--defaults", *here).out
    assert limits() == [1, None, 0, None]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "Nothing is to be changed"),
        (("--weight", 0), "weight of a key must be above 0"),
        (("--weight", "nan"), "weight of a key must be above 0"),
        (("--weight", "inf"), "weight of a key must be above 0"),
        (("--budget", 5, "--no-budget"), "--budget and --no-budget are both given"),
    ],
)
def test_limits_that_can_not_be_are_refused(
    soundlora: Cli, tmp_path: Path, given: tuple[object, ...], said: str
) -> None:
    id = soundlora("keys", "create", "Ann", "--data-dir", tmp_path).out.partition(":")[0]
    refused = soundlora("keys", "set", id, *given, "--data-dir", tmp_path)
    assert (refused.code, said in refused.err) == (2, True)
    unknown = soundlora("keys", "set", "nobody", "--weight", 2, "--data-dir", tmp_path)
    assert (unknown.code, "no valid key" in unknown.err) == (2, True)


def test_another_host_without_keys_is_refused(soundlora: Cli, tmp_path: Path) -> None:
    refused = soundlora("serve", "--host", "0.0.0.0", "--port", 0, "--data-dir", tmp_path)
    assert refused.code == 2
    assert "soundlora keys create" in refused.err
    assert "--allow-anonymous" in refused.err


def test_a_proxy_that_can_not_be_one_is_refused_at_the_start(soundlora: Cli, tmp_path: Path) -> None:
    refused = soundlora("serve", "--port", 0, "--data-dir", tmp_path, "--fetch-proxy", "user:secret@proxy:3128")
    assert refused.code == 2
    assert "write the address of an HTTP proxy, such as http://host:3128" in refused.err
    assert "secret" not in refused.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_says_where_it_is_and_ends_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", "from soundlora.cli.app import main; main()", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--data-dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = "".join(process.stdout.readline() for _ in range(7))
    assert "keys      none: only this machine may use the server" in said
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found is not None
    with urllib.request.urlopen(f"{found[0]}/health", timeout=10) as answer:
        assert answer.status == 200
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="the browser is a shell script")
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_page_is_opened_where_that_is_wished(tmp_path: Path, host: str) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.new && mv {opened}.new {opened}\n')
    browser.chmod(0o755)
    command = [sys.executable, "-c", "from soundlora.cli.app import main; main()", "serve", "--port", "0", "--open"]
    command += ["--host", host, "--allow-anonymous", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"BROWSER": f"{browser} %s"}
    ) as process:
        assert process.stdout is not None
        found = re.search(r":(\d+);", process.stdout.readline())
        wait_until(opened.exists)
        process.terminate()
    assert found is not None
    assert opened.read_text() == f"http://127.0.0.1:{found[1]}\n"


def test_the_server_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from soundlora.server.settings import Settings; "
        "from soundlora.server.http.app import create_app; create_app(Settings(data_dir=Path(sys.argv[1]))); "
        "import soundlora.server.http.serving; "
        "print([name for name in ('torch', 'numpy', 'av') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system doesn't say what a process has loaded")
def test_a_server_of_nano_never_loads_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "soundlora", "serve", "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "soundlora serves" in process.stdout.readline()
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        process.terminate()
    assert "libpython" in loaded or "python" in loaded
    assert "libtorch" not in loaded
