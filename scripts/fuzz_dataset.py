"""This script sends mutated zips and media files through `inspect_dataset` and `prepare_recordings`.

They run in a process apart:

    scripts/fuzz [--inputs 10000] [--seconds S] [--seed 0] [--first 0] [--keep DIR]

Every input is a function of the seed and its number, so a finding can be repeated: --seed S --first N --inputs 1.
These are findings: a crash, an error that is not a sentence, a report that is not JSON, a plan that does not hold every
sample once, a clip that is not what its plan says, a second run that does anything, more than 30 s, more than 300 MB of
memory, and a file that is opened for writing or left behind outside of the input's own folder. The script exits with 1
when there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.fuzz_inputs import TEMPLATES, damage_plan, make_input, make_media, make_sound

if TYPE_CHECKING:
    from soundlora.dataset.recordings import Prepared

MAX_SECONDS = 30.0
MAX_RESIDENT = 300 * 1000**2
MAX_ADDRESSES = 4 * 1000**3  # bytes; malloc fails beyond this, before the machine suffers


def watch_writes(folder: Path, seen: list[str]) -> None:
    """Note in `seen` every file that is opened for writing, made or moved outside of `folder`."""
    inside = (str(folder) + os.sep, os.devnull)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = (mode and any(letter in mode for letter in "wax+")) or (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            paths = [path] if writes else []
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
            paths = [arguments[0]]
        elif event in ("os.rename", "os.link", "os.symlink"):
            paths = [arguments[1]]
        else:
            return
        for path in paths:
            # A number is a file that is open already, and a name without a folder belongs to an open folder.
            if isinstance(path, (str, Path)) and os.sep in str(path) and not os.path.abspath(path).startswith(inside):
                seen.append(f"{event} {path}")

    sys.addaudithook(hook)


def inspected(path: Path, out: Path, choose: random.Random) -> str:
    """Inspect an input and return what came of it. Raises InputError as `inspect_dataset` does."""
    from soundlora.dataset import inspect_dataset, refusal

    duration = choose.choice((0.1, 0.5, 0.5, 5.0, 60.0))
    settings: dict[str, Any] = {"captions_from": choose.choice(("files", "all", "all"))}
    settings["caption_template"] = choose.choice(TEMPLATES)
    report = inspect_dataset(path, duration=duration, trigger_phrase="zvk", **settings)
    json.dumps(report.to_json(), allow_nan=False).encode()
    if (error := refusal(report)) is not None:
        check_sentence(str(error))
        return "refused"
    return "kept"


def cut(path: Path, out: Path, choose: random.Random) -> str:
    """Plan an input, write its clips to `out` and do so again, as it was and by a damaged plan. Return what came of it.

    Raises InputError as `prepare_recordings` does.
    """
    from soundlora.dataset.cut_plan import PLAN_NAME
    from soundlora.dataset.recordings import prepare_recordings

    settings: dict[str, Any] = {"format": choose.choice(("wav", "flac")), "fade": choose.choice((0, 0.005, 0.1))}
    settings |= choose.choice(({"duration": 0.1}, {"duration": 0.5}, {"shortest": 0.1, "longest": 0.3}))
    settings |= choose.choice(({}, {"silence": -120, "quietest": -120, "keep_clipped": True, "keep_duplicates": True}))
    settings["silence"] = choose.choice((-60, -60, -60, -120, -20, 0))
    dry = prepare_recordings(path, None, **settings)
    json.dumps(dry.plan.to_json(), allow_nan=False).encode()
    for recording in dry.plan.recordings:
        places = [0, *(piece.end for piece in recording.pieces)]
        if places[:-1] != [piece.start for piece in recording.pieces] or places[-1] != recording.samples:
            raise AssertionError(f"the pieces of {recording.source} leave gaps or overlap")
    done = prepare_recordings(path, out / "clips", **settings)
    check_clips(done, out / "clips")
    if done.plan != dry.plan or done.written != dry.plan.clips:
        raise AssertionError(f"planned {dry.plan.clips} clips, wrote {done.written}")
    again = prepare_recordings(path, out / "clips", **settings)
    if (again.written, again.there) != (0, done.written):
        raise AssertionError(f"of {done.written} clips {again.written} were written again")
    plan = out / "plan.json"
    plan.write_bytes(damage_plan((out / "clips" / PLAN_NAME).read_text(encoding="utf-8"), choose))
    check_clips(prepare_recordings(path, out / "by_plan", plan=plan), out / "by_plan")
    return "cut"


def check_clips(done: Prepared, folder: Path) -> None:
    """Raise AssertionError where the folder does not hold the plan's clips, as long as they should be, and texts."""
    import soundfile

    wanted = {piece.clip: piece.end - piece.start for recording in done.plan.recordings for piece in recording.clips}
    found = {path.name for path in folder.iterdir()}
    if lost := wanted.keys() - found:
        raise AssertionError(f"clips are not there: {sorted(lost)[:3]}")
    if other := {name for name in found - wanted.keys() if not name.endswith((".txt", "prepared.json"))}:
        raise AssertionError(f"other files are there: {sorted(other)[:3]}")
    for name, length in wanted.items():
        if soundfile.info(folder / name).frames != length:
            raise AssertionError(f"{name} has not {length} samples")


def check_sentence(sentence: str) -> None:
    if not sentence.endswith(".") or "\n" in sentence:
        raise AssertionError(f"not a sentence: {sentence!r}")


def work(seed: int, first: int, last: int, folder: Path) -> None:
    """Inspect and cut inputs, and print a line of JSON for each. The parent reports what kills this process."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESSES, MAX_ADDRESSES))
    from soundlora.errors import InputError

    media = make_media(folder)
    sys.dont_write_bytecode = True
    written: list[str] = []
    tempfile.tempdir = str(folder)
    watch_writes(folder, written)
    path, sounds, out = folder / "input.zip", folder / "sounds", folder / "out"
    for number in range(first, last):
        path.write_bytes(make_input(number, seed, media))
        sounds.mkdir()
        name, content = make_sound(number, seed, media)
        (sounds / name).write_bytes(content)
        print(json.dumps({"begun": number}), flush=True)
        finding, outcomes = None, []
        choose = random.Random(number)
        out.mkdir()
        for act, data in ((inspected, path), (cut, choose.choice((path, sounds, sounds / name)))):
            try:
                outcomes.append(act(data, out, choose))
            except InputError as error:
                outcomes.append(type(error).__name__)
                if not str(error).endswith(".") or "\n" in str(error):
                    finding = f"not a sentence: {str(error)!r}"
            except BaseException:
                outcomes.append("failed")
                finding = traceback.format_exc()
        shutil.rmtree(out)
        shutil.rmtree(sounds)
        left = [entry.name for entry in folder.iterdir() if entry != path]
        if left or written:
            finding = f"left behind {left}, written outside {written}"
            written.clear()
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if resident > MAX_RESIDENT:
            finding = finding or f"{resident / 1000**2:.0f} MB of memory"
        news = {"done": number, "outcome": ", ".join(outcomes), "finding": finding, "resident": resident}
        print(json.dumps(news), flush=True)
        if resident > MAX_RESIDENT:
            return


def run(arguments: argparse.Namespace, on_finding: Callable[[int, str], None]) -> tuple[Counter[str], int, float]:
    """Run workers until all inputs are done. Return the outcomes, the highest memory and the longest time."""
    outcomes: Counter[str] = Counter()
    most, longest = 0, 0.0
    number, last = arguments.first, arguments.first + arguments.inputs
    deadline = time.monotonic() + arguments.seconds if arguments.seconds else float("inf")
    while number < last and time.monotonic() < deadline:
        with tempfile.TemporaryDirectory(prefix="soundlora-fuzz-") as folder:
            command = [sys.executable, "-m", "scripts.fuzz_dataset", "--worker", folder, "--seed", str(arguments.seed)]
            command += ["--first", str(number), "--inputs", str(last - number)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert process.stdout is not None
            assert process.stderr is not None
            os.set_blocking(process.stderr.fileno(), False)
            selector = selectors.DefaultSelector()
            selector.register(process.stdout, selectors.EVENT_READ)
            begun, began, stopped = number, time.monotonic(), False
            while True:
                # A worker that starts makes the media and imports everything, so it gets more time.
                if not selector.select(MAX_SECONDS + (60 if begun == number else 0)):
                    process.kill()
                    on_finding(begun, f"it took longer than {MAX_SECONDS:g} s")
                    break
                line = process.stdout.readline()
                if not line:
                    break
                news = json.loads(line)
                if "begun" in news:
                    begun, began = news["begun"], time.monotonic()
                    continue
                outcomes[news["outcome"]] += 1
                most, longest = max(most, news["resident"]), max(longest, time.monotonic() - began)
                if news["finding"]:
                    on_finding(news["done"], news["finding"])
                begun = news["done"] + 1
                if time.monotonic() > deadline:
                    process.kill()
                    stopped = True
                    break
            code = process.wait()
            if code and not stopped and begun < last:
                errors = (process.stderr.read() or b"")[-2000:].decode(errors="replace")
                on_finding(begun, f"the process ended with {code}: {errors}")
                outcomes["crashed"] += 1
            process.stdout.close()
            process.stderr.close()
            number = begun if stopped or not code else begun + 1
    return outcomes, most, longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, help="stop after this time even if inputs are left")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for inputs with findings")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        work(arguments.seed, arguments.first, arguments.first + arguments.inputs, arguments.worker)
        return
    with tempfile.TemporaryDirectory() as folder:
        media = make_media(Path(folder))
    findings = 0

    def tell(number: int, finding: str) -> None:
        nonlocal findings
        findings += 1
        print(f"input {number} (seed {arguments.seed}): {finding}", flush=True)
        if arguments.keep is not None:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            (arguments.keep / f"{arguments.seed}_{number}.zip").write_bytes(make_input(number, arguments.seed, media))
            name, content = make_sound(number, arguments.seed, media)
            (arguments.keep / f"{arguments.seed}_{number}_{name}").write_bytes(content)

    began = time.monotonic()
    outcomes, most, longest = run(arguments, tell)
    seconds = time.monotonic() - began
    print(f"{sum(outcomes.values())} inputs in {seconds:.0f} s, seed {arguments.seed}: {findings} findings")
    print(f"at most {most / 1000**2:.0f} MB of memory and {longest:.1f} s for one")
    for outcome, count in outcomes.most_common():
        print(f"  {count:6d} {outcome}")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
