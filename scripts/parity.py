"""This script compares the model with the reference cases and prints the table of docs/parity.md.

    .venv/bin/python scripts/parity.py [--data DIR] [--out docs/parity.md]

DIR holds one set of cases, or the folders `parity` and `parity25` of both. Cases that nothing computes are counted as
not run. It exits with 1 when any tensor is off by more than its tolerance.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path("tests/fixtures")

INTRODUCTION = """\
# Parity with the reference

The model is checked against what the official code computes on a CPU: {cases} cases with {tensors} expected tensors,
from `{commit}` and torch {torch}. They were made with tiny checkpoints in the official
file layout, video tensors included, whose bf16 weights are random, with no table, gate, norm, statistic or filter left
at zero or one, so that nothing can be left out unnoticed. All sizes come from the checkpoints' `config` metadata. The
data lie in {data}; `manifest.json` there says which official function each case comes from.

An error is given as a share of what is allowed: the largest |ours − expected| / (atol + rtol·|expected|) over the
tensor. At most 1 passes. The tolerances are those of the data; each of the 22 deliberate mistakes that were tried when
they were made (rotary angles in another precision, the exact GELU, rows in another order, …) exceeds at least one of
them, three mistakes by 3 to 16 times, the others by 100 and more. The weights after the training steps may differ by
an atol of {final}, since AdamW divides by the size of tiny gradients. In bf16 single elements differ by rounding;
those wide tolerances are informative.

The cases of LTX 2.5 bear on its text encoder, projection, connector, duration head, transformer, and on the conditions
that a training may have: a start, an end or spans that are given, and a reference in front. Their checkpoints hold the
tensors that two switches of the config leave out of a file, biases of the feed-forward and the prompt's modulation by
the noise level, and the reference computed with them. So the paths without them have no reference;
`tests/model/test_transformer.py` holds them against zero biases and against the block's own table.

This page is written by `python scripts/parity.py --out docs/parity.md`. The tests run the same comparisons, each in the
file of the module that it concerns. Errors differ in the last digits between processors and releases of torch.

"""


@dataclass
class Group:
    """One line of the table."""

    name: str
    tolerances: list[tuple[float, float]]
    worst: dict[str, tuple[float, str]]  # by case: (share of the tolerance, tensor)

    @property
    def share(self) -> float:
        return max(share for share, _ in self.worst.values())

    def row(self) -> str:
        case = max(self.worst, key=self.worst.__getitem__)
        share, tensor = self.worst[case]
        where = f"`{case}`: {_short(tensor)}" if share else "all equal"
        return f"| {self.name} | {len(self.worst)} | {_range(self.tolerances)} | {share:.3f} | {where} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="another set of cases of the same layout")
    parser.add_argument("--out", type=Path, help="write the page to this file instead of printing it")
    arguments = parser.parse_args()
    if arguments.data is not None:
        if not any((arguments.data / name / "manifest.json").is_file() for name in (".", "parity", "parity25")):
            parser.error(f"there is no manifest.json in {arguments.data}, nor in parity or parity25 there")
        os.environ["SOUNDLORA_PARITY"] = str(arguments.data.resolve())
    # The cases read their folder's path when they are imported.
    sys.path.insert(0, str(ROOT / "tests"))
    from parity.cases import ROOTS, manifest, provenance
    from parity.check import FINAL_LORA_ATOL, shares
    from parity.runners import RUNNERS

    groups: dict[str, Group] = {}
    tensors = 0
    for name, (prefixes, _) in RUNNERS.items():
        for case in manifest().values():
            if not case.name.startswith(prefixes):
                continue
            title = f"{name}, bf16" if "_bf16" in case.name else name
            group = groups.setdefault(title, Group(title, [], {}))
            measured = shares(case)
            tensors += len(measured)
            group.tolerances.append((case.atol, case.rtol))
            group.worst[case.name] = max((share, tensor) for tensor, share in measured.items())

    computed = sum(len(group.worst) for group in groups.values())
    assert computed == len(manifest()), "there are cases without a runner"
    introduction = INTRODUCTION.format(
        commit=provenance()["official_commit"][:24],
        torch=provenance()["torch"],
        cases=computed,
        tensors=tensors,
        data=" and ".join(f"`{(arguments.data or DATA / name).as_posix()}`" for name in ROOTS),
        final=_power(FINAL_LORA_ATOL),
    )
    page = introduction + _table(list(groups.values()))
    if arguments.out is None:
        print(page, end="")
    else:
        arguments.out.write_text(page, encoding="utf-8")
        print(f"{arguments.out}: {computed} cases")
    too_far = [
        f"{case}: {tensor} is off by {share:.2f} of its tolerance"
        for group in groups.values()
        for case, (share, tensor) in group.worst.items()
        if not share <= 1
    ]
    for sentence in too_far:
        print(sentence, file=sys.stderr)
    return 1 if too_far else 0


def _table(groups: list[Group]) -> str:
    lines = [
        "| group | cases | atol / rtol | worst error / allowed | where |",
        "|---|---:|---|---:|---|",
        *(group.row() for group in groups),
        f"| **all** | {sum(len(group.worst) for group in groups)} | | {max(group.share for group in groups):.3f} | |",
    ]
    return "\n".join(lines) + "\n"


def _range(tolerances: list[tuple[float, float]]) -> str:
    parts = []
    for values in zip(*tolerances, strict=True):
        low, high = _power(min(values)), _power(max(values))
        parts.append(low if low == high else f"{low} … {high}")
    return " / ".join(parts)


def _power(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value else "0"


def _short(tensor: str) -> str:
    """Return the name of a tensor without the parts that say nothing here."""
    for part in ("diffusion_model.", "transformer_blocks."):
        tensor = tensor.replace(part, "")
    return f"`{tensor}`"


if __name__ == "__main__":
    sys.exit(main())
